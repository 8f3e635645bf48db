"""Scripts in Python, written by a test, and what they are asked with."""

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.flow import Content, Decided, Envelope, Message, Origin, Recipient, Refusal, Submission
from outrider.model.hooks import HookPhase
from outrider.policy import python
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.connection import Connection
from outrider.policy.errors import HookError
from outrider.policy.mail import Mail
from outrider.policy.scripted import ScriptedSession, Scripts
from outrider.wire.smtp.content import stuff_plain

SMTP = Origin("smtp", "ESMTP", "192.0.2.1", "client.test", None, None)
HTTP = Origin("api", "HTTP", "192.0.2.1", "", "key", None)
PLAIN = b"From: shop@sender.test\r\nSubject: hello\r\n\r\nHello\r\n"
BINDINGS = ("default", "vip")


@dataclass
class Told:
    """Keeps what is told of hooks."""

    calls: list[HookPhase] = field(default_factory=list)
    failures: list[HookError] = field(default_factory=list)

    def asked(self, phase: HookPhase) -> None:
        self.calls.append(phase)

    def failed(self, error: HookError) -> None:
        self.failures.append(error)


def submission(
    *recipients: str, origin: Origin = SMTP, plain: bytes = PLAIN, mail_from: str = "shop@sender.test"
) -> Submission:
    """A message for `recipients`."""
    return Submission(
        MessageId("0" * 18),
        1_790_000_000.0,
        origin,
        Envelope(
            address(mail_from) if mail_from else None,
            tuple(Recipient(address(each)) for each in recipients or ("joe@one.test",)),
        ),
        stuff_plain(plain),
    )


def address(text: str) -> Address:
    """A mailbox."""
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)


def mail_of(submitted: Submission, phase: HookPhase = HookPhase.DATA) -> Mail:
    """A message as hooks of a phase see it."""
    mail = Mail(submitted, Connection(submitted.origin), Bindings(BINDINGS))
    mail.enter(phase)
    return mail


class Stage:
    """Scripts of a test, and what became of them.

    Args:
        folder: Where they are written.
        texts: One for each script; they are named a, b, c …
        seconds: Their processor time.
        wait_seconds: How long they may wait.
    """

    def __init__(
        self, folder: Path, *texts: str, seconds: float = 0.05, wait_seconds: float = 20.0, **more: Any
    ) -> None:
        self.told = Told()
        self.budget = CpuBudget(seconds)
        self.scripts = [
            python.load(chr(97 + at), written(folder, chr(97 + at), text), self.budget)
            for at, text in enumerate(texts)
        ]
        self.door = Scripts(
            self.scripts,
            self.told,
            wait_seconds=wait_seconds,
            bindings=Bindings(BINDINGS),
            **more,
        )

    def open(self, origin: Origin = SMTP) -> ScriptedSession:
        """A session that begins."""
        session = self.door.open(origin)
        assert isinstance(session, ScriptedSession)
        return session

    def decide(self, submitted: Submission | None = None) -> Decided | Refusal:
        """What becomes of a message, where no script waits."""
        submitted = submitted or submission()
        decision = self.open(submitted.origin).decide(submitted)
        assert isinstance(decision, Decided | Refusal)
        return decision

    async def decided(self, submitted: Submission | None = None) -> Decided | Refusal:
        """What becomes of a message."""
        submitted = submitted or submission()
        decision = self.open(submitted.origin).decide(submitted)
        return decision if isinstance(decision, Decided | Refusal) else await decision

    @property
    def failure(self) -> HookError:
        """The one that was told."""
        [failure] = self.told.failures
        return failure


def written(folder: Path, name: str, text: str) -> Path:
    """A script's file."""
    path = folder / f"{name}.py"
    path.write_text(dedent(text), encoding="utf-8")
    return path


def messages(decision: Decided | Refusal) -> tuple[Message, ...]:
    """Of a decision that takes the message."""
    assert isinstance(decision, Decided), decision
    return decision.messages


def recipients_of(decision: Decided | Refusal) -> list[str]:
    """Whom its messages go to, each as often as it does."""
    return sorted(
        str(delivery.recipient.address) for message in messages(decision) for delivery in message.deliveries
    )


def plain_content(plain: bytes) -> Content:
    """A content."""
    return stuff_plain(plain)
