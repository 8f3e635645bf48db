"""The surroundings of one worker's parts: a log that keeps what is committed, contents, a link."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.ids import IdSource, MessageId
from outrider.base.log import ListLog
from outrider.classify.options import DsnOptions
from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Stored
from outrider.model.dispatch import Granted, ToDispatcher
from outrider.model.flow import Delivery, Message, Origin, Path, Recipient, Refusal, Submission
from outrider.model.ports import CommitDone, Policy, Reader
from outrider.policy.routing import RoutingPolicy
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.shaping import ShapingTable
from outrider.server.contents import Contents
from outrider.server.egress import Egress
from outrider.server.reports import Reports

PATH = Path("smtp", "default", "mx.example.net")
WIRE = b"Subject: x\r\n\r\nHello\r\n"


@dataclass
class KeepingLog:
    """`model.ports.Log` that keeps each frame; `done` is called by the test."""

    frames: list[tuple[Sequence[Change], Sequence[Sequence[bytes]]]] = field(default_factory=list)
    waiting: list[CommitDone] = field(default_factory=list)
    reserved: int = 1_000

    def reserve(self, count: int) -> int:
        first = self.reserved
        self.reserved += count
        return first

    def commit(
        self,
        changes: Sequence[Change],
        contents: Sequence[Sequence[bytes]],
        done: CommitDone | None,
        *,
        follows: bool = False,
    ) -> None:
        self.frames.append((changes, contents))
        if done is not None:
            self.waiting.append(done)

    @property
    def changes(self) -> list[Change]:
        """All changes so far."""
        return [change for changes, _ in self.frames for change in changes]


@dataclass
class KeepingLink:
    """Keeps what is said to the dispatcher."""

    said: list[ToDispatcher] = field(default_factory=list)

    def send(self, message: ToDispatcher) -> None:
        self.said.append(message)


class NoReader:
    """A log that can give nothing."""

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        raise SpoolError("the frame is damaged", entry=entry, segment=ref.segment)


@dataclass
class StubPolicy:
    """Routes like the real one until told to refuse."""

    refusal: Refusal | None = None

    def decide(self, submission: Submission) -> Message | Refusal:
        return self.refusal or RoutingPolicy().decide(submission)


def stored_message(*recipients: Recipient) -> Stored:
    """A stored message for `recipients`."""
    deliveries = tuple(Delivery(recipient, recipient.address.domain) for recipient in recipients)
    origin = Origin("smtp", "ESMTP", "127.0.0.1", "client.test", None, None)
    return Stored(
        MessageId("0" * 18),
        1,
        1_790_000_000.0,
        origin,
        Address("shop", "sender.test"),
        deliveries,
        None,
        None,
        False,
        0,
        12,
        len(WIRE),
    )


def granted_entry(index: int = 0, *, attempts: int = 0) -> Granted:
    """Entry `index` of the stored message."""
    return Granted(1 + index, ContentRef(1, 1, 64, 200), index, 0, attempts, delay_notified=False)


class EgressWorld:
    """An `Egress` between fakes."""

    def __init__(self, *, long_reader: Reader | None = None, **dsn: Any) -> None:
        self.clock = FakeClock()
        self.log = KeepingLog()
        self.link = KeepingLink()
        self.server_log = ListLog()
        self.policy = StubPolicy()
        self.contents = Contents(NoReader(), 1_000_000, long_reader)
        policy: Policy = self.policy
        self.reports = Reports(
            DsnOptions(**dsn),
            "mail.example.test",
            policy,
            self.log,
            IdSource(self.clock, 7),
            self.clock,
            self.server_log,
        )
        self.egress = Egress(
            ShapingTable(ScheduleOptions()),
            self.log,
            self.contents,
            self.reports,
            self.link,
            self.clock,
            Random(1),
            self.server_log,
        )

    def keep(self, stored: Stored) -> None:
        """The message's content is still in memory."""
        self.contents.keep(granted_entry().ref, stored, WIRE)


@pytest.fixture
async def egress_world() -> EgressWorld:
    return EgressWorld()
