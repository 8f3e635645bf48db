"""A throttle that the receiver never sees exceeded: at most N events in any window of one period.

Theory: a permit is given at time g; the event is known to have happened when we hear of it, at f ≥ g; the
receiver saw it at some t between the two. A permit is given only while

    permits given and not heard of + permits heard of within the last period < N.

Take any window of one period and, of the events that the receiver saw in it, the one whose permit was given
last, at g. All others were then either not heard of, or heard of at f ≥ t within the period before g. So
they were counted, and there are at most N - 1 of them. Nothing is assumed about latencies.

Pacing is a second, softer condition: permits are spaced by period / N, so that a receiver sees a steady
stream. `burst` events may come at once after a pause. Fast rates are paced in steps of 50 ms.

Memory is bounded: over 256 events of history are kept in time buckets, each of which counts until the
*latest* event in it has left the period.

After the death of a predecessor its last state is known, and until when it may have gone on giving permits
(`recall`): it kept the limit itself, so what it may have given since is at most what the state leaves free,
and what its pace allows. That much, and what was out, is taken for used at the last moment possible.

Where not even that is known, as after a crash of the machine (`assumed_until`), a predecessor is assumed to
have spent the whole limit: evenly, at worst `SKEW_SECONDS` late, where events are paced; all of it in the
last moment where bursts are allowed. Periods up to `SKEW_SECONDS` therefore stay exact whatever happened
before.

A limit that changes (`reshape`) keeps what is known: from then on no window sees more than the new one.

Invariant: see the first line.
"""

import math
from collections import deque
from collections.abc import Sequence

from outrider.schedule.rate import Rate

# Chosen: a receiver's own clock reading may lag behind by a turn of its event loop.
_GUARD_SECONDS = 0.01
_GUARD_SHARE = 0.01
# Chosen: 20 wake-ups a second pace any rate, and nobody measures finer than that.
_PACE_SECONDS = 0.05
# Chosen: 0.4 % of the limit is lost to rounding.
_BUCKETS = 256
# Chosen: longer than a grant takes to reach the wire when a connection has to be opened first.
SKEW_SECONDS = 60.0
# Absorbs rounding of times that are large compared with the spacing.
_ROUNDING = 1e-6

# What a successor must know, in Unix seconds: when the next paced permit is due, when how many permits were
# heard of, and how many were out.
BucketState = tuple[float, tuple[tuple[float, int], ...], int]

# A time in which a predecessor may have given permits of which nothing is known: from, until, and when the
# receiver had surely seen them.
Gap = tuple[float, float, float]


class Throttle:
    """Permits under one rate; all times are monotonic seconds and never go back."""

    __slots__ = (
        "_burst",
        "_heard",
        "_heard_count",
        "_limit",
        "_outstanding",
        "_paced_at",
        "_period",
        "_skew",
        "_spacing",
        "_unknown",
        "_width",
        "rate",
    )

    def __init__(self, rate: Rate, assumed_until: float | None = None) -> None:
        """Make a throttle.

        Args:
            rate: The limit.
            assumed_until: A predecessor may have used the whole limit until then; None: there was none.
        """
        self._outstanding = 0
        self._unknown = 0  # of those outstanding: what a predecessor may have given and nobody told of
        self._heard: deque[list[float]] = deque()  # [first heard, last heard, count]
        self._heard_count = 0
        self._paced_at = -math.inf  # when the next permit would be due if permits were exactly spaced
        self._take_rate(rate)
        if assumed_until is not None:
            self.assume(assumed_until)

    def _take_rate(self, rate: Rate) -> None:
        self.rate = rate
        self._limit = rate.limit
        self._period = rate.seconds + min(_GUARD_SECONDS, rate.seconds * _GUARD_SHARE)
        self._spacing = rate.seconds / rate.limit
        self._burst = rate.burst or max(1, int(_PACE_SECONDS / self._spacing))
        self._width = 0.0 if rate.limit <= _BUCKETS else self._period / _BUCKETS
        self._skew = self._period if rate.burst else SKEW_SECONDS

    def reshape(self, rate: Rate, now: float) -> None:
        """Another limit from now on; what is out and what was heard of counts against it."""
        self._take_rate(rate)
        if self._paced_at > now:
            self._paced_at = now + self._spacing
        heard, self._heard, self._heard_count = self._heard, deque(), 0
        for _, last, count in heard:
            self._record(int(count), last)
        self._forget(now)

    def inherit(self, others: Sequence["Throttle"], now: float) -> None:
        """Count what others heard of too: they stand for the same receiver until now."""
        known = [bucket for other in (self, *others) for bucket in other._heard]
        self._heard, self._heard_count = deque(), 0
        for _, last, count in sorted(known, key=lambda bucket: bucket[1]):
            self._record(int(count), last)
        self._paced_at = max(self._paced_at, *(min(other._paced_at, now) for other in others))
        self._forget(now)

    def leave(self, count: int) -> None:
        """`count` permits that are out belong to another throttle from now on."""
        self._outstanding -= count

    def assume(self, until: float) -> None:
        """A predecessor may have used the whole limit until then; what was heard before says nothing more."""
        skew = self._skew
        if self._heard:
            until = max(until, self._heard[-1][1])
            self._heard.clear()
            self._heard_count = 0
        steps = min(self._limit, _BUCKETS)
        done = 0
        for step in range(1, steps + 1):
            upto = self._limit * step // steps
            self._record(upto - done, min(until, until - self._period * (1 - step / steps) + skew))
            done = upto
        self._paced_at = until + self._spacing

    def available(self, now: float) -> int:
        """Permits that may be given now."""
        self._forget(now)
        room = self._limit - self._outstanding - self._heard_count
        if room <= 0:
            return 0
        if now >= self._paced_at:
            return min(room, self._burst)
        if now < self._paced_at - (self._burst - 1) * self._spacing:
            return 0
        return max(1, min(room, int(self._burst - (self._paced_at - now) / self._spacing + _ROUNDING)))

    def take(self, count: int, now: float) -> None:
        """Give `count` permits; at most what `available` said."""
        self._outstanding += count
        self._paced_at = max(self._paced_at, now) + count * self._spacing

    def adopt(self, count: int) -> None:
        """`count` permits that a predecessor gave and that were not heard of yet."""
        told = min(count, self._unknown)
        self._unknown -= told
        self._outstanding += count - told

    def heard(self, count: int, at: float) -> None:
        """`count` permits were used, the last one at `at` or before."""
        self._outstanding -= count
        self._record(count, at)

    def release(self, count: int) -> None:
        """`count` permits were not used and never will be."""
        self._outstanding -= count
        self._paced_at -= count * self._spacing

    def next_at(self, now: float) -> float:
        """When a permit becomes available without further news; infinite when only news helps."""
        self._forget(now)
        paced_at = self._paced_at - (self._burst - 1) * self._spacing
        if self._limit - self._outstanding - self._heard_count > 0:
            return max(now, paced_at)
        if not self._heard:
            return math.inf
        return max(now, paced_at, self._heard[0][1] + self._period)

    def idle_at(self) -> float:
        """When nothing that happened matters any more; infinite while permits are out."""
        if self._outstanding:
            return math.inf
        return max(self._paced_at, self._heard[-1][1] + self._period if self._heard else -math.inf)

    def snapshot(self, now: float, wall: float) -> BucketState:
        """What a successor must know."""
        shift = wall - now
        heard = tuple((last + shift, int(count)) for _, last, count in self._heard)
        return max(self._paced_at, now - self._period) + shift, heard, self._outstanding

    def restore(self, state: BucketState, now: float, wall: float) -> None:
        """Take over what a predecessor's `snapshot` said; permits that were out then count as used now."""
        outstanding = self._take_over(state, now, now - wall)
        if outstanding:
            self._record(outstanding, now)

    def recall(self, state: BucketState | None, gaps: Sequence[Gap], now: float, wall: float) -> None:
        """Take over from a predecessor that died.

        Args:
            state: Its last `snapshot`, taken where the first gap begins; None: nothing had happened then.
            gaps: When it, and those after it, may have given permits, in Unix seconds. Where the receiver may
                still see some (the last moment is infinite), these are out until `settle_unknown`.
            now: Monotonic seconds.
            wall: Unix time of the same moment.
        """
        shift = now - wall
        out = 0 if state is None else self._take_over(state, now, shift)
        for since, until, seen in gaps:
            out += self._given_at_most(out, since + shift, until + shift)
            if seen == math.inf:
                self._outstanding += out
                self._unknown = out
            elif out:
                self._record(out, min(seen + shift, now))
                self._paced_at = max(self._paced_at, min(seen + shift, now) + self._spacing)
            out = 0
        self._forget(now)

    def settle_unknown(self, at: float) -> None:
        """What a predecessor gave was seen until `at`, except for what was adopted."""
        if self._unknown:
            unknown, self._unknown = self._unknown, 0
            self.heard(unknown, at)
            self._paced_at = max(self._paced_at, at + self._spacing)

    def _take_over(self, state: BucketState, now: float, shift: float) -> int:
        """Know what `state` says was heard of; returns how many permits were out."""
        paced_time, heard, outstanding = state
        # A calendar that was set back must not stop the path for longer than one period.
        self._paced_at = max(self._paced_at, min(paced_time + shift, now + self._period))
        for at, count in heard:
            self._record(count, min(at + shift, now))
        return outstanding

    def _given_at_most(self, out: int, since: float, until: float) -> int:
        """What a predecessor, `out` of whose permits were out at `since`, can have given until `until`."""
        if until <= since:
            return 0
        start = max(since, self._paced_at)
        by_pace = max(0, int(self._burst + (until - start) / self._spacing) + 1)
        kept = sum(int(count) for first, _, count in self._heard if first + self._period > until)
        return max(0, min(by_pace, self._limit - out - kept))

    def _record(self, count: int, at: float) -> None:
        heard = self._heard
        self._heard_count += count
        if heard:
            last = heard[-1]
            at = max(at, last[1])
            if at == last[1] or at - last[0] < self._width:
                last[1] = at
                last[2] += count
                return
        heard.append([at, at, count])

    def _forget(self, now: float) -> None:
        heard = self._heard
        period = self._period
        # The same sum as in `next_at`, or rounding would make it name a moment at which nothing is available.
        while heard and heard[0][1] + period <= now:
            self._heard_count -= int(heard.popleft()[2])
