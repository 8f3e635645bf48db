"""Change sets to derive events from, and a log that can be scanned like a real one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.changes import Altered, Attempted, Change, ContentRef, Finished, Retried, Stored
from outrider.model.dispatch import Position
from outrider.model.flow import Delivery, Origin, Outcome, Phase, Recipient, Verdict
from outrider.model.reply import Reply

MESSAGE = MessageId("01k9q4m2x7f3a8w0z1")
SENDER = Address("shop", "sender.example")
ORIGIN = Origin(
    "submission", "ESMTPSA", "192.0.2.9", "app.sender.example", "app", "TLSv1.3 X", "acme", "news"
)


@dataclass
class Make:
    """Builds changes with few words."""

    received_time: float = 1_790_000_000.25

    def stored(
        self,
        *recipients: Address,
        mail_from: Address | None = SENDER,
        first_entry: int = 7,
        message_id: str = MESSAGE,
        helo: str = "app.sender.example",
    ) -> Stored:
        origin = replace(ORIGIN, helo=helo)
        deliveries = tuple(Delivery(Recipient(each), each.domain) for each in recipients)
        return Stored(
            MessageId(message_id),
            first_entry,
            self.received_time,
            origin,
            mail_from,
            deliveries,
            None,
            None,
            False,
            0,
            100,
            2048,
        )

    def attempted(
        self,
        recipient: Address,
        reply: Reply,
        *,
        mail_from: Address | None = SENDER,
        bounce_class: str = "",
        message_id: str = MESSAGE,
    ) -> Attempted:
        outcome = Outcome(
            reply, Phase.RCPT, False, "mx1.example.net", "198.51.100.1:25", "192.0.2.2:4000", None, 0.125
        )
        return Attempted(
            MessageId(message_id),
            recipient,
            mail_from,
            "default",
            "mx.example.net",
            "acme",
            "news",
            self.received_time,
            self.received_time + 2.5,
            1,
            2048,
            outcome,
            Verdict(1, bounce_class),
        )

    def finished(
        self,
        recipient: Address,
        *,
        kind: str = "delivered",
        reply: Reply | None = None,
        entry: int = 7,
        reason: str = "",
        message_id: str = MESSAGE,
        mail_from: Address | None = SENDER,
    ) -> Finished:
        reply = reply or Reply(250, "2.0.0", ("Ok",))
        attempted = self.attempted(recipient, reply, message_id=message_id, mail_from=mail_from)
        return Finished(entry, kind, attempted, reason)

    def retried(self, recipient: Address, *, reply: Reply | None = None, entry: int = 7) -> Retried:
        reply = reply or Reply(451, "4.7.1", ("Try later",))
        return Retried(
            entry,
            2,
            1,
            self.received_time + 600,
            self.attempted(recipient, reply, bounce_class="greylisted"),
        )

    def altered(
        self, *, entry: int = 7, held: str = "", binding: str | None = None, actor: str = "root"
    ) -> Altered:
        return Altered(entry, 3, self.received_time + 60, held, binding, None, actor, self.received_time + 5)


@dataclass
class Frames:
    """A log as `recover` scans it: frames with their places."""

    log: int = 3
    frames: list[tuple[ContentRef, Sequence[Change]]] = field(default_factory=list)

    def add(self, *changes: Change, segment: int = 1) -> ContentRef:
        """Append a frame; its length grows with its changes."""
        before = self.frames[-1][0] if self.frames else None
        offset = before.offset + before.length if before and before.segment == segment else 64
        ref = ContentRef(self.log, segment, offset, 100 * (len(changes) + 1))
        self.frames.append((ref, changes))
        return ref

    def scan(self, start: Position) -> Iterable[tuple[ContentRef, Sequence[Change]]]:
        return [
            frame
            for frame in self.frames
            if (frame[0].segment, frame[0].offset) >= (start.segment, start.offset)
        ]


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture
def frames() -> Frames:
    return Frames()
