"""Other scripts beside the live ones: they are asked what those were asked, and what differs is counted.

In: sightings of live sessions, and how many there was no room for. Out: a report: differences by phase, live
and shadow decision, with counts and the newest examples.

Theory: the shadow's scripts have sessions, notes and messages of their own, made from the same client,
envelope and content. Each session's sightings are taken in their order by one task, so a slow hook keeps
only its own session. What is more than `WAITING_MAX` is dropped and counted; the session that lost something
is not looked at any more, because what its scripts would have known is not known.

Where the shadow chooses from a binding group, any member of it counts as the same, because chance or turn
chose both.

Invariant: nothing here reaches the live mail.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final

from outrider.base.clock import Clock, format_utc
from outrider.model.flow import Decided, Origin, Refusal
from outrider.model.hooks import HookPhase
from outrider.model.ports import PolicyDoor, PolicySession, WayOutPolicy
from outrider.policy.bindings import Bindings
from outrider.policy.errors import HookError
from outrider.policy.sightings import (
    CONTINUE,
    Asked,
    Closed,
    Message,
    Missed,
    Opened,
    Reset,
    Row,
    Settled,
    Sighting,
    rows_of,
    said,
)
from outrider.policy.way_out_sightings import (
    Concluded,
    Departed,
    Outward,
    Said,
    differences,
    of_departures,
    of_notes,
    of_ruling,
)

WAITING_MAX: Final = 2_000
# chosen: some seconds of a busy worker
SESSIONS_MAX: Final = 5_000
# chosen: the connections of two listeners
EXAMPLES_MAX: Final = 50
# chosen: what a person looks through
KINDS_MAX: Final = 1_000
# chosen: kinds of differences; further ones are counted together
DECISION: Final = "decision"
# the phase of what is decided of a whole message


@dataclass(slots=True)
class _Session:
    """One live session's shadow."""

    session: PolicySession
    waiting: deque[Sighting] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    is_broken: bool = False


@dataclass(slots=True)
class Counts:
    """What was seen.

    Attributes:
        asked: Questions of sessions and whole messages that both were asked.
        differing: Those with another answer.
        dropped: Sightings that were not taken.
        failures: Hooks of the shadow that failed, by what they say.
    """

    asked: int = 0
    differing: int = 0
    dropped: int = 0
    failures: Counter[str] = field(default_factory=Counter)


class Chosen(str):
    """A binding that was chosen from a group.

    Attributes:
        among: The group's members.
    """

    __slots__ = ("among",)
    among: frozenset[str]


class ShadowBindings(Bindings):
    """Bindings whose choices from a group are known as such."""

    def choose(self, name: str, domain: str) -> tuple[str, str] | None:
        found = super().choose(name, domain)
        if found is None or not found[1]:
            return found
        chosen = Chosen(found[0])
        chosen.among = self.members(found[1])
        return chosen, found[1]


Key = tuple[int, int]
# of the worker's link and the session in it


class Shadow:
    """See the module.

    Args:
        clock: Time.
        tasks: Own what waits.
        shown: What may be shown of a text.
        with_addresses: Recipients may be shown.

    Attributes:
        door: The shadow's scripts, which tell this of their failures; until they are there nothing is taken.
        counts: What was seen.
    """

    def __init__(
        self,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        shown: Callable[[str], str] = str,
        *,
        with_addresses: bool = False,
    ) -> None:
        self.door: PolicyDoor | None = None
        self._clock = clock
        self._tasks = tasks
        self._shown = shown
        self._with_addresses = with_addresses
        self._sessions: dict[Key, _Session] = {}
        self._kinds: Counter[tuple[str, str, str]] = Counter()
        self._examples: deque[dict[str, Any]] = deque(maxlen=EXAMPLES_MAX)
        self._waiting = 0
        self._last_failure = ""
        self._since_time = clock.wall()
        self.counts = Counts()

    # as `asking.Told`

    def asked(self, phase: HookPhase) -> None:
        """A hook of the shadow was asked."""

    def failed(self, error: HookError) -> None:
        """A hook of the shadow failed."""
        where = f"{error.script}:{error.line}" if error.line else error.script
        self._last_failure = f"{where}: {error.phase}: {type(error).__name__}"
        if len(self.counts.failures) < KINDS_MAX or self._last_failure in self.counts.failures:
            self.counts.failures[self._last_failure] += 1

    # what happens in live sessions

    def take(self, link: int, sighting: Message) -> None:
        """Something happened in a session of a worker, or was not told of."""
        if isinstance(sighting, Missed):
            self.counts.dropped += sighting.count
            return
        if isinstance(sighting, Departed | Concluded):
            self._take_outward(sighting)
            return
        key = link, sighting.session
        if isinstance(sighting, Opened):
            if self.door is not None and len(self._sessions) < SESSIONS_MAX:
                self._sessions[key] = _Session(self.door.open(sighting.origin))
            else:
                self.counts.dropped += 1
            return
        session = self._sessions.get(key)
        if session is None:  # it began before, or was not taken
            return
        if self._waiting >= WAITING_MAX and not isinstance(sighting, Closed):
            session.is_broken = True
            self.counts.dropped += 1
            return
        session.waiting.append(sighting)
        self._waiting += 1
        if session.task is None:
            session.task = self._tasks.create_task(self._follow(key, session))

    def _take_outward(self, sighting: Outward) -> None:
        """On the way out each question stands alone."""
        way_out = None if self.door is None else self.door.way_out
        if way_out is None or self._waiting >= WAITING_MAX:
            self.counts.dropped += 1
            return
        self._waiting += 1
        self._tasks.create_task(self._compare_outward(way_out, sighting))

    async def _compare_outward(self, way_out: WayOutPolicy, sighting: Outward) -> None:
        self._last_failure = ""
        told = await _asked_outward(way_out, sighting)
        self._waiting -= 1
        self.counts.asked += 1
        stored = sighting.leaving.stored if isinstance(sighting, Departed) else sighting.ended.stored
        for phase, index, live, shadow in told:
            found = differences(live, shadow)
            self.counts.differing += bool(found)
            for before, after in found:
                recipient = str(stored.deliveries[index].recipient.address)
                self._note(phase, before, after, (stored.origin, str(stored.message_id)), recipient)

    def lost(self, link: int) -> None:
        """A worker is gone, with its sessions."""
        for key in [key for key in self._sessions if key[0] == link]:
            self.take(link, Closed(key[1]))

    async def _follow(self, key: Key, session: _Session) -> None:
        while session.waiting:
            sighting = session.waiting.popleft()
            self._waiting -= 1
            if isinstance(sighting, Closed):
                session.session.close()
                self._sessions.pop(key, None)
            elif not session.is_broken:
                await self._compare(session.session, sighting)
        session.task = None

    async def _compare(self, session: PolicySession, sighting: Sighting) -> None:
        self._last_failure = ""
        match sighting:
            case Asked():
                answer = said(await _answered(session, sighting))
                self.counts.asked += 1
                if answer != sighting.answer:
                    self._differs(sighting.phase, sighting.answer, answer, sighting)
            case Settled():
                decision = session.decide(sighting.submission)
                if isawaitable(decision):
                    decision = await decision
                self.counts.asked += 1
                self._compare_whole(sighting, decision)
            case Reset():
                session.reset()
            case _:
                raise AssertionError("taken before")

    def _compare_whole(self, live: Settled, decision: Decided | Refusal) -> None:
        answer = str(decision.reply) if isinstance(decision, Refusal) else CONTINUE
        if answer != live.answer:
            self._differs(DECISION, live.answer, answer, live)
            return
        if isinstance(decision, Refusal):
            return
        found = self._row_differences(live.rows, rows_of(live.submission, decision))
        for what, before, after, recipient in dict.fromkeys(found):
            subject = _subject_of(live)
            self._note(DECISION, f"{what} {before}".strip(), f"{what} {after}".strip(), subject, recipient)
        self.counts.differing += bool(found)

    def _row_differences(self, live: Sequence[Row], shadow: Sequence[Row]) -> list[tuple[str, str, str, str]]:
        """What differs for which recipient."""
        found: list[tuple[str, str, str, str]] = []
        theirs = {row.recipient: row for row in shadow}
        for row in live:
            other = theirs.pop(row.recipient, None)
            if other is None:
                found.append(("recipient", "kept", "gone", row.recipient))
                continue
            if row.refusal != other.refusal:
                found.append(("refusal", row.refusal or "none", other.refusal or "none", row.recipient))
                continue
            pairs = [
                ("sender", row.mail_from, other.mail_from),
                ("routing domain", row.routing_domain, other.routing_domain),
                ("priority", str(row.priority), str(other.priority)),
                ("discard", row.discard or "no", other.discard or "no"),
            ]
            if not isinstance(other.binding, Chosen) or row.binding not in other.binding.among:
                pairs.append(("binding", row.binding, other.binding))
            # times and contents are each message's own: told as such, they would be as many kinds as messages
            if row.not_before_time != other.not_before_time:
                pairs.append(("first attempt", "this time", "another"))
            if row.content != other.content:
                pairs.append(("content", *_contents(row, other)))
            if row.signing != other.signing:
                pairs.append(("signatures", "these", "others"))
            notes, others = dict(row.notes), dict(other.notes)
            pairs += [
                (f"note {name}", "this" if name in notes else "none", "another" if name in others else "none")
                for name in {**notes, **others}
                if notes.get(name) != others.get(name)
            ]
            found += [(what, old, new, row.recipient) for what, old, new in pairs if old != new]
        found += [("recipient", "none", "added", recipient) for recipient in theirs]
        return found

    # what is told

    def _differs(self, phase: str, live: str, shadow: str, sighting: Asked | Settled) -> None:
        self.counts.differing += 1
        recipients = sighting.recipients if isinstance(sighting, Asked) else ()
        recipient = str(recipients[0].address) if recipients else ""
        self._note(phase, live, shadow, _subject_of(sighting), recipient)

    def _note(self, phase: str, live: str, shadow: str, subject: tuple[Origin, str], recipient: str) -> None:
        """Count a difference; `subject` is where the mail came from, and the message's id if it has one."""
        if self._last_failure:
            shadow = f"{shadow} (failed: {self._last_failure})"
        key = str(phase), self._shown(live), self._shown(shadow)
        if key not in self._kinds and len(self._kinds) >= KINDS_MAX:
            key = (str(phase), "others", "others")
        self._kinds[key] += 1
        origin, message_id = subject
        example = {
            "time": format_utc(self._clock.wall()),
            "phase": key[0],
            "live": key[1],
            "shadow": key[2],
            "listener": origin.listener,
            "tenant": origin.tenant,
            "stream": origin.stream,
            "message_id": message_id,
            "domain": recipient.rpartition("@")[2],
        }
        if self._with_addresses:
            example["recipient"] = recipient
        self._examples.append(example)

    def report(self) -> dict[str, Any]:
        """What was seen so far."""
        return {
            "since_time": format_utc(self._since_time),
            "sessions": len(self._sessions),
            "asked": self.counts.asked,
            "differing": self.counts.differing,
            "dropped": self.counts.dropped,
            "waiting": self._waiting,
            "failures": [
                {"what": what, "times": times} for what, times in self.counts.failures.most_common()
            ],
            "differences": [
                {"phase": phase, "live": live, "shadow": shadow, "times": times}
                for (phase, live, shadow), times in self._kinds.most_common()
            ],
            "examples": list(reversed(self._examples)),
        }


def _subject_of(sighting: Asked | Settled) -> tuple[Origin, str]:
    if isinstance(sighting, Asked):
        return sighting.origin, ""
    return sighting.submission.origin, str(sighting.submission.message_id)


async def _asked_outward(way_out: WayOutPolicy, sighting: Outward) -> list[tuple[HookPhase, int, Said, Said]]:
    """For each recipient the phase, its place, what the live scripts said, and what the others say."""
    if isinstance(sighting, Departed):
        leaving = sighting.leaving
        answer = way_out.outbound(leaving)
        found = of_departures(leaving.content, await answer if isawaitable(answer) else answer)
        return [
            (HookPhase.OUTBOUND, granted.index, live, shadow)
            for granted, live, shadow in zip(leaving.group, sighting.said, found, strict=True)
        ]
    ended = sighting.ended
    if ended.kind:
        notes = way_out.disposal(ended)
        said = of_notes(await notes if isawaitable(notes) else notes)
        return [(HookPhase.DISPOSAL, ended.index, sighting.said, said)]
    ruling = way_out.response(ended)
    said = of_ruling(await ruling if isawaitable(ruling) else ruling)
    return [(HookPhase.RESPONSE, ended.index, sighting.said, said)]


def _contents(live: Row, shadow: Row) -> tuple[str, str]:
    """What became of contents that are not alike."""
    if live.content and shadow.content:
        return "changed", "changed otherwise"
    return ("changed", "as it came") if live.content else ("as it came", "changed")


async def _answered(session: PolicySession, asked: Asked) -> Any:
    """What the shadow's scripts say to the same question."""
    origin = asked.origin
    match asked.phase:
        case HookPhase.CONNECT:
            answer = session.connect(origin)
        case HookPhase.EHLO:
            answer = session.ehlo(origin, asked.text)
        case HookPhase.AUTH:
            answer = session.auth(origin, asked.text, is_valid=asked.is_valid)
        case HookPhase.MAILFROM:
            answer = session.mail_from(origin, asked.sender)
        case HookPhase.RCPTTO:
            answer = session.rcpt_to(origin, asked.recipients[0])
        case _:
            answer = session.rcpt_list(origin, asked.recipients)
    return await answer if isawaitable(answer) else answer
