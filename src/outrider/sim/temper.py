"""What a provider says instead of a plain yes: rules, limits, greylisting and bursts, without I/O.

In: a phase, the addresses concerned, the time. Out: an `Answer`, or None for the usual reply.

Theory: the order is bursts, rules, limits, greylisting; the first that has something to say wins. Every
chance comes from one seeded source, so a world behaves the same when it meets the same commands in the same
order.
"""

import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from outrider.sim.options import Action, Phase, ProviderOptions, Rule
from outrider.sim.spite import Spite

GREYLIST_PAIRS_MAX = 500_000  # chosen, because some 100 MiB are what a test machine can spare
RATE_WINDOW_SECONDS = 60.0  # the option is named per minute

TOO_MANY_CONNECTIONS = "421 4.7.0 Too many connections from your host"
TOO_MANY_MESSAGES = "421 4.7.0 Too many messages on this connection"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients"
TOO_FAST = "451 4.7.1 Message rate exceeded, slow down"
GREYLISTED = "451 4.7.1 Greylisted, please try again later"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply line and what happens with the connection."""

    reply: str
    action: Action = "reply"
    spite: Spite = "none"


class _ActiveRule:
    __slots__ = ("_applied", "_chance", "_seen", "answer", "rule")

    def __init__(self, rule: Rule, chance: random.Random) -> None:
        self.rule = rule
        self.answer = Answer(rule.reply, rule.action, rule.spite)
        self._chance = chance
        self._seen = 0
        self._applied = 0

    def applies(self, subjects: Sequence[str]) -> bool:
        rule = self.rule
        if rule.match != "*" and not any(fnmatchcase(subject, rule.match) for subject in subjects):
            return False
        if rule.times and self._applied >= rule.times:
            return False
        self._seen += 1
        if self._seen % rule.every:
            return False
        if rule.probability < 1 and self._chance.random() >= rule.probability:
            return False
        self._applied += 1
        return True


class Temper:
    """One provider's moods over all its connections.

    Args:
        options: The provider.
        chance: Seeded source for `probability`.
        started_at: Monotonic seconds from which bursts are counted.
    """

    def __init__(self, options: ProviderOptions, chance: random.Random, started_at: float) -> None:
        self._limits = options.behaviour.limits
        self._greylist_seconds = options.behaviour.greylist_seconds
        self._started_at = started_at
        self._rules: dict[Phase, list[_ActiveRule]] = {}
        for rule in options.rule:
            self._rules.setdefault(rule.on, []).append(_ActiveRule(rule, chance))
        self._bursts = {
            phase: [burst for burst in options.behaviour.bursts if burst.on == phase]
            for phase in {burst.on for burst in options.behaviour.bursts}
        }
        self._delays = options.behaviour.delay.by_phase()
        self._pauses = [(pause, itertools.count(1)) for pause in options.behaviour.pause]
        self._chance = chance
        self._moody = frozenset(self._rules) | frozenset(self._bursts)
        self._first_seen: dict[tuple[str, str], float] = {}
        self._accepted_at: deque[float] = deque()

    def delay(self, phase: Phase) -> float:
        """Seconds to think before the answer at `phase`."""
        delay = self._delays.get(phase, 0.0)
        for pause, count in self._pauses:
            if pause.on != phase or next(count) % pause.every:
                continue
            if pause.probability == 1 or self._chance.random() < pause.probability:
                delay += pause.seconds
        return delay

    def answer(self, phase: Phase, subjects: Sequence[str], now: float) -> Answer | None:
        """What bursts and rules say at `phase` about any of `subjects`."""
        if phase not in self._moody:
            return None
        for burst in self._bursts.get(phase, ()):
            since = now - self._started_at - burst.offset_seconds
            if since >= 0 and since % burst.period_seconds < burst.length_seconds:
                return Answer(burst.reply)
        for rule in self._rules.get(phase, ()):
            if rule.applies(subjects):
                return rule.answer
        return None

    def too_many_connections(self, open_now: int) -> Answer | None:
        """The answer to one more connection when `open_now` are open already."""
        limit = self._limits.max_connections
        return Answer(TOO_MANY_CONNECTIONS, "disconnect") if limit and open_now >= limit else None

    def limit_at_mail(self, messages_here: int, now: float) -> Answer | None:
        """The answer to MAIL on a connection that has carried `messages_here`."""
        limits = self._limits
        if limits.max_connection_messages and messages_here >= limits.max_connection_messages:
            return Answer(TOO_MANY_MESSAGES, "disconnect")
        if limits.max_messages_per_minute:
            times = self._accepted_at
            while times and times[0] <= now - RATE_WINDOW_SECONDS:
                times.popleft()
            if len(times) >= limits.max_messages_per_minute:
                return Answer(TOO_FAST)
        return None

    def limit_at_rcpt(self, sender: str, recipient: str, accepted: int, now: float) -> Answer | None:
        """The answer to a RCPT after `accepted` recipients of the same message."""
        if self._limits.max_recipients and accepted >= self._limits.max_recipients:
            return Answer(TOO_MANY_RECIPIENTS)
        if not self._greylist_seconds:
            return None
        pairs = self._first_seen
        first_at = pairs.setdefault((sender, recipient), now)
        if now - first_at >= self._greylist_seconds and first_at != now:
            return None
        if len(pairs) > GREYLIST_PAIRS_MAX:
            del pairs[next(iter(pairs))]
        return Answer(GREYLISTED)

    def accepted(self, now: float) -> None:
        """A message was taken; it counts for the rate."""
        if self._limits.max_messages_per_minute:
            self._accepted_at.append(now)
