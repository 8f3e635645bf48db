"""A message goes through all phases without a server: what each script decides, and what becomes of it.

In: scripts, and a message with what is known of its client. Out: each decision in order, and the messages or
the refusal. Nothing is stored and nothing is sent.

What would go out is then asked about as a slot and the egress ask, for a first attempt that meets no host,
and for a reply if one is given.

Theory: the phases of the session are asked as `receive` asks them, and the rest as the intake does, by the
very code that a server runs (`scripted`). What a listener itself checks, as who may relay, is not asked.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TypeVar

from msgspec.structs import replace

from outrider.model.flow import HTTP, Decided, Message, Outcome, Recipient, Refusal, Submission, Verdict
from outrider.model.hooks import HookPhase
from outrider.model.ports import Answer, PolicySession
from outrider.model.reply import Reply
from outrider.policy.bindings import Bindings
from outrider.policy.checking import NO_CHECKS, Checks
from outrider.policy.errors import HookError
from outrider.policy.observed import Decision, Lines, Observed
from outrider.policy.script import Script
from outrider.policy.scripted import Scripts
from outrider.policy.signing import ConfiguredSigning
from outrider.policy.way_out_rehearsal import Left, leave
from outrider.wire.smtp import replies

T = TypeVar("T")


@dataclass(slots=True)
class Rehearsal:
    """What came of a message.

    Attributes:
        decisions: Of each hook that was asked.
        failures: Hooks that failed, with script, line and phase.
        refused: Recipients that were refused, with the reply.
        refusal: The reply that refused the whole; None where it was taken.
        refused_in: The phase of that.
        messages: What goes out, or is discarded.
        leaving: What becomes of each recipient before the wire, and after it.
    """

    decisions: list[Decision] = field(default_factory=list)
    failures: list[HookError] = field(default_factory=list)
    refused: list[tuple[str, Reply]] = field(default_factory=list)
    refusal: Reply | None = None
    refused_in: str = ""
    messages: tuple[Message, ...] = ()
    leaving: tuple[Left, ...] = ()

    def asked(self, phase: HookPhase) -> None:
        """`asking.Told`: the decision itself is what counts here."""

    def failed(self, error: HookError) -> None:
        """`asking.Told`: it is listed, and is why the last decision failed, if that is its own."""
        self.failures.append(error)
        last = self.decisions[-1] if self.decisions else None
        if last is not None and last.failure and (last.script, last.phase) == (error.script, error.phase):
            self.decisions[-1] = dataclasses.replace(last, failure=error.reason)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What hooks meet besides the message.

    Attributes:
        bindings: Those that there are.
        now: Monotonic seconds.
        wait_seconds: How long one hook may wait.
        signing: What the configuration says of signatures.
        notes: For each listener the notes that its connections begin with.
        checks: What it says of checks of messages.
        addresses: Address and port of each listener.
        lines: Knows lines of scripts.
        classify: Says what a reply means.
    """

    bindings: Bindings
    now: Callable[[], float]
    wait_seconds: float = 20.0
    signing: ConfiguredSigning | None = None
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    checks: Checks = NO_CHECKS
    addresses: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    lines: Lines | None = None
    classify: Callable[[Outcome], Verdict] | None = None


async def rehearse(
    scripts: Sequence[Script],
    submission: Submission,
    around: Surroundings,
    notes: Mapping[str, str] | None = None,
    reply: Reply | None = None,
) -> Rehearsal:
    """Have a message go through all phases.

    Args:
        scripts: In the order in which they are asked.
        submission: The message; a protocol of HTTP in its origin lets it enter where requests do, and a
            principal is a login that was right.
        around: See there.
        notes: More notes of the connection.
        reply: What the host says, where that is rehearsed too.
    """
    found = Rehearsal()
    listener = submission.origin.listener
    door = Scripts(
        [Observed(script, found.decisions.append, around.now, around.lines) for script in scripts],
        found,
        wait_seconds=around.wait_seconds,
        bindings=around.bindings,
        signing=around.signing,
        notes={listener: {**around.notes.get(listener, {}), **(notes or {})}},
        checks=around.checks,
        addresses=around.addresses,
    )
    session = door.open(submission.origin)
    try:
        if submission.origin.protocol == HTTP:
            await _decide(found, session, submission)
        else:
            await _play(found, session, submission)
    finally:
        session.close()
    if door.way_out.phases:
        found.leaving = await leave(door.way_out, found.messages, around.classify, reply)
    return found


async def _play(found: Rehearsal, session: PolicySession, submission: Submission) -> None:
    """As an SMTP session."""
    origin, envelope = submission.origin, submission.envelope
    early = replace(origin, helo="", principal=None)
    steps: list[tuple[HookPhase, Callable[[], Answer | Awaitable[Answer]]]] = [
        (HookPhase.CONNECT, lambda: session.connect(early)),
        (HookPhase.EHLO, lambda: session.ehlo(replace(early, helo=origin.helo), origin.helo)),
        (HookPhase.MAILFROM, lambda: session.mail_from(origin, envelope.mail_from)),
    ]
    if origin.principal is not None:
        user = origin.principal
        steps.insert(2, (HookPhase.AUTH, lambda: session.auth(origin, user, is_valid=True)))
    for phase, ask in steps:
        reply = await _awaited(ask())
        if reply is not None:
            found.refusal, found.refused_in = reply, phase
            return
    accepted: list[Recipient] = []
    for recipient in envelope.recipients:
        reply = await _awaited(session.rcpt_to(origin, recipient))
        if reply is None:
            accepted.append(recipient)
        else:
            found.refused.append((str(recipient.address), reply))
            found.refused_in = HookPhase.RCPTTO
    if not accepted:
        found.refusal = found.refused[-1][1] if found.refused else replies.NO_RECIPIENTS_LEFT
        return
    reply = await _awaited(session.rcpt_list(origin, accepted))
    if reply is not None:
        found.refusal, found.refused_in = reply, HookPhase.RCPTTO_LIST
        return
    envelope = replace(envelope, recipients=tuple(accepted))
    await _decide(found, session, replace(submission, envelope=envelope))


async def _decide(found: Rehearsal, session: PolicySession, submission: Submission) -> None:
    decision: Decided | Refusal = await _awaited(session.decide(submission))
    if isinstance(decision, Refusal):
        found.refusal = decision.reply
        found.refused_in = str(found.decisions[-1].phase) if found.decisions else "policy"
    else:
        found.messages = decision.messages
        found.refused += [(str(each.recipient.address), each.reply) for each in decision.refused]


async def _awaited(answer: T | Awaitable[T]) -> T:
    if isawaitable(answer):
        return await answer
    return answer
