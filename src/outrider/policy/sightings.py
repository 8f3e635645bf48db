"""What the live scripts were asked and said, told to whoever has others asked the same.

In: a live session. Out: the same session, and messages that say what happened in it.

Theory: the messages hold what hooks are given and what came of it, and nothing that the live scripts noted;
so who reads them can ask other scripts the very same. They are made only while somebody listens.

Invariant: what the live session answers is what it would answer untold, at the same time.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from inspect import isawaitable
from typing import Final, TypeVar

import msgspec

from outrider.model.address import Address
from outrider.model.flow import Decided, Origin, Recipient, Refusal, Submission
from outrider.model.hooks import HookPhase
from outrider.model.ports import Answer, PolicySession
from outrider.model.reply import Reply
from outrider.policy.way_out_sightings import Concluded, Departed

CONTINUE: Final = "continue"
"""What was said where nothing was refused."""

_T = TypeVar("_T")


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A session began."""

    session: int
    origin: Origin


class Asked(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A hook of the session was asked.

    Attributes:
        session: Number of the session.
        phase: Which.
        origin: What was known of the client then.
        answer: `continue`, or the reply that refused.
        text: Name or login, by phase.
        is_valid: The login was right.
        sender: Of mailfrom.
        recipients: Of rcptto and rcptto_list.
    """

    session: int
    phase: HookPhase
    origin: Origin
    answer: str
    text: str = ""
    is_valid: bool = False
    sender: Address | None = None
    recipients: tuple[Recipient, ...] = ()


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What was decided for one recipient.

    `content` is a digest, empty where it is as it came; `refusal` the reply, where it alone is refused.
    """

    recipient: str
    mail_from: str
    routing_domain: str
    binding: str
    priority: int
    not_before_time: float
    discard: str
    content: bytes
    signing: bytes
    notes: tuple[tuple[str, str], ...]
    refusal: str = ""


class Settled(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A whole message was decided.

    Attributes:
        session: Number of the session.
        submission: As it was received.
        answer: `continue`, or the reply that refused.
        rows: What goes out, and who is refused alone.
    """

    session: int
    submission: Submission
    answer: str
    rows: tuple[Row, ...] = ()


class Reset(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The transaction was over."""

    session: int


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The session was over."""

    session: int


class Missed(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """So many sightings were not told of."""

    count: int


Sighting = Opened | Asked | Settled | Reset | Closed
"""What happens in a session."""

Message = Sighting | Missed | Departed | Concluded
"""What is told to whoever asks others."""


def rows_of(submission: Submission, decided: Decided) -> tuple[Row, ...]:
    """What goes out and who is refused, recipient by recipient."""
    rows = []
    for message in decided.messages:
        content = message.submission.content
        own = b"" if content is submission.content else blake2b(content.wire, digest_size=16).digest()
        sender = message.submission.envelope.mail_from
        rows += [
            Row(
                str(each.recipient.address),
                "" if sender is None else str(sender),
                each.routing_domain,
                each.binding,
                each.priority,
                each.not_before_time,
                message.discard,
                own,
                message.signing,
                message.notes,
            )
            for each in message.deliveries
        ]
    rows += [
        Row(str(each.recipient.address), "", "", "", 0, 0.0, "", b"", b"", (), str(each.reply))
        for each in decided.refused
    ]
    return tuple(rows)


def said(answer: Reply | None) -> str:
    """An answer as text."""
    return CONTINUE if answer is None else str(answer)


class Seen:
    """`model.ports.PolicySession` that tells what happens in another one.

    Args:
        session: The other one.
        number: Its number.
        tell: Hears; may not raise.
    """

    __slots__ = ("_number", "_session", "_tell")

    def __init__(self, session: PolicySession, number: int, tell: Callable[[Sighting], None]) -> None:
        self._session = session
        self._number = number
        self._tell = tell

    def _then(self, answer: _T | Awaitable[_T], told: Callable[[_T], Sighting]) -> _T | Awaitable[_T]:
        if isawaitable(answer):
            return self._later(answer, told)
        self._tell(told(answer))
        return answer

    async def _later(self, answer: Awaitable[_T], told: Callable[[_T], Sighting]) -> _T:
        found = await answer
        self._tell(told(found))
        return found

    def connect(self, origin: Origin) -> Answer | Awaitable[Answer]:
        return self._then(
            self._session.connect(origin),
            lambda answer: Asked(self._number, HookPhase.CONNECT, origin, said(answer)),
        )

    def ehlo(self, origin: Origin, name: str) -> Answer | Awaitable[Answer]:
        return self._then(
            self._session.ehlo(origin, name),
            lambda answer: Asked(self._number, HookPhase.EHLO, origin, said(answer), name),
        )

    def auth(self, origin: Origin, user: str, *, is_valid: bool) -> Answer | Awaitable[Answer]:
        return self._then(
            self._session.auth(origin, user, is_valid=is_valid),
            lambda answer: Asked(self._number, HookPhase.AUTH, origin, said(answer), user, is_valid),
        )

    def mail_from(self, origin: Origin, sender: Address | None) -> Answer | Awaitable[Answer]:
        return self._then(
            self._session.mail_from(origin, sender),
            lambda answer: Asked(self._number, HookPhase.MAILFROM, origin, said(answer), sender=sender),
        )

    def rcpt_to(self, origin: Origin, recipient: Recipient) -> Answer | Awaitable[Answer]:
        return self._then(
            self._session.rcpt_to(origin, recipient),
            lambda answer: Asked(
                self._number, HookPhase.RCPTTO, origin, said(answer), recipients=(recipient,)
            ),
        )

    def rcpt_list(self, origin: Origin, recipients: Sequence[Recipient]) -> Answer | Awaitable[Answer]:
        asked = tuple(recipients)
        return self._then(
            self._session.rcpt_list(origin, asked),
            lambda answer: Asked(self._number, HookPhase.RCPTTO_LIST, origin, said(answer), recipients=asked),
        )

    def decide(self, submission: Submission) -> Decided | Refusal | Awaitable[Decided | Refusal]:
        def told(decision: Decided | Refusal) -> Sighting:
            if isinstance(decision, Refusal):
                return Settled(self._number, submission, str(decision.reply))
            return Settled(self._number, submission, CONTINUE, rows_of(submission, decision))

        return self._then(self._session.decide(submission), told)

    def reset(self) -> None:
        self._session.reset()
        self._tell(Reset(self._number))

    def close(self) -> None:
        self._session.close()
        self._tell(Closed(self._number))
