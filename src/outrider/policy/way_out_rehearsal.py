"""Tries out the way out on messages that nobody sends: what scripts say before the wire, and of a reply.

In: messages as they would be stored, and perhaps a host's reply. Out: what becomes of each recipient.

Theory: it is asked as a slot and the egress ask, for a first attempt; there is no host, so what is known of
one is empty.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Final, TypeVar

from outrider.model.changes import ContentRef, Stored, stored_of
from outrider.model.dispatch import Granted
from outrider.model.flow import Disposition, Message, Outcome, Path, Phase, Verdict
from outrider.model.hooks import HookPhase
from outrider.model.ports import WayOutPolicy
from outrider.model.reply import Reply
from outrider.model.route import DISCARD
from outrider.model.way_out import Departure, Ended, Leaving, Stay

T = TypeVar("T")
Classify = Callable[[Outcome], Verdict]

_NOWHERE: Final = ContentRef(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Left:
    """What becomes of one recipient.

    Attributes:
        recipient: Who.
        fate: `goes`, `held back`, `refused`, `deferred`, `discarded`; after a reply `delivered`, `transient`
            or `permanent`.
        reply: Of the script, or of the host; empty for one that goes.
        seconds: When it is tried again, where a script said so; 0 otherwise.
        size: Octets of what goes; 0 for one that stays.
        notes: For the event.
    """

    recipient: str
    fate: str
    reply: str = ""
    seconds: float = 0.0
    size: int = 0
    notes: tuple[tuple[str, str], ...] = ()


async def leave(
    policy: WayOutPolicy, messages: Sequence[Message], classify: Classify | None, reply: Reply | None
) -> tuple[Left, ...]:
    """What becomes of the recipients of messages that go out."""
    found: list[Left] = []
    for message in messages:
        if any(each.channel == DISCARD for each in message.deliveries):
            continue
        stored = stored_of(message, 0)
        for index, delivery in enumerate(message.deliveries):
            path = Path(delivery.channel, delivery.binding, delivery.routing_domain)
            found.append(await _one(policy, message, stored, index, path, classify, reply))
    return tuple(found)


async def _one(
    policy: WayOutPolicy,
    message: Message,
    stored: Stored,
    index: int,
    path: Path,
    classify: Classify | None,
    reply: Reply | None,
) -> Left:
    recipient = str(stored.deliveries[index].recipient.address)
    content = message.submission.content
    departure: Departure = content
    if HookPhase.OUTBOUND in policy.phases:
        granted = Granted(index, _NOWHERE, index, 0, 0, delay_notified=False)
        leaving = Leaving(path, stored, content, (granted,), "", "", "", None)
        [departure] = await _awaited(policy.outbound(leaving))
    if isinstance(departure, Stay):
        return await _stays(policy, Ended(path, stored, index, 1, *_of_stay(departure)), departure, recipient)
    left = Left(recipient, "goes", size=len(departure.wire))
    if reply is None or classify is None:
        return left
    phase = Phase.BODY if reply.is_positive else Phase.RCPT
    outcome = Outcome(reply, phase)
    return await _replied(policy, Ended(path, stored, index, 1, outcome, classify(outcome)), left)


async def _stays(policy: WayOutPolicy, ended: Ended, stay: Stay, recipient: str) -> Left:
    left = Left(recipient, "deferred", str(stay.reply))
    if stay.seconds is not None:
        return replace(left, fate="held back", seconds=stay.seconds)
    if stay.reply.is_transient:
        return left
    fate, kind = ("discarded", "discarded") if stay.discard else ("refused", "bounced")
    return await _ends(policy, ended, kind, replace(left, fate=fate, reply=stay.discard or left.reply))


async def _replied(policy: WayOutPolicy, ended: Ended, left: Left) -> Left:
    verdict = ended.verdict
    if HookPhase.RESPONSE in policy.phases:
        ruling = await _awaited(policy.response(ended))
        verdict = ruling.verdict
        left = replace(left, seconds=ruling.seconds or 0.0, notes=tuple(ruling.metadata.items()))
    fate = Disposition(verdict.disposition).name.lower()
    left = replace(left, fate=fate, reply=str(ended.outcome.reply))
    if verdict.disposition != Disposition.PERMANENT:
        return left
    return await _ends(policy, ended, "bounced", left)


async def _ends(policy: WayOutPolicy, ended: Ended, kind: str, left: Left) -> Left:
    if HookPhase.DISPOSAL not in policy.phases:
        return left
    end = Ended(ended.path, ended.stored, ended.index, ended.attempts, ended.outcome, ended.verdict, kind)
    notes = await _awaited(policy.disposal(end))
    return replace(left, notes=tuple({**dict(left.notes), **notes}.items()))


def _of_stay(stay: Stay) -> tuple[Outcome, Verdict]:
    permanent = Disposition.PERMANENT if stay.reply.is_permanent else Disposition.TRANSIENT
    return Outcome(stay.reply, Phase.QUEUE, ours=True), Verdict(permanent)


async def _awaited(answer: T | Awaitable[T]) -> T:
    return await answer if isawaitable(answer) else answer
