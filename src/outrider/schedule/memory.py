"""What a dispatcher's throttles leave to its successor.

Theory: the state is written before anything is granted, and says until when granting may go on before it
is written again. A successor therefore knows all that was sent but for the short *gap* between the two,
in which its predecessor kept the limits itself (see `throttle`). Gaps of earlier deaths stay on the list
for throttles that nobody has needed since.

All times are Unix seconds.
"""

import math

import msgspec

from outrider.schedule.throttle import BucketState, Gap

LONGEST_SECONDS = 86_400.0
# chosen: the longest period that a rate has a name for; what is older limits only what has a longer one
_GAPS_MAX = 16
# chosen: a dispatcher that dies more often in a day has other troubles; its oldest gaps become one


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One throttle: its state, the gaps since then in which it was not needed; its period, a day at least."""

    state: BucketState
    gaps: tuple[Gap, ...] = ()
    seconds: float = LONGEST_SECONDS

    @property
    def last_time(self) -> float:
        """When the last thing happened that it knows of."""
        paced_time, heard, _ = self.state
        return max(paced_time, heard[-1][0] if heard else paced_time, *(gap[2] for gap in self.gaps))

    def moved(self, seconds: float) -> "Kept":
        """The same on a calendar that is so much ahead."""
        paced_time, heard, out = self.state
        state = paced_time + seconds, tuple((at + seconds, count) for at, count in heard), out
        return Kept(state, moved(self.gaps, seconds), self.seconds)


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """All throttles.

    Attributes:
        taken_time: When.
        until_time: Granting may have gone on until then; `taken_time` after a clean stop.
        throttles: By key.
        gaps: Those that hold for throttles that are not named.
    """

    taken_time: float
    until_time: float
    throttles: dict[str, Kept]
    gaps: tuple[Gap, ...] = ()

    @property
    def is_clean(self) -> bool:
        """True after a stop in order: nothing was granted since."""
        return self.until_time <= self.taken_time

    def after_death(self) -> "Memory":
        """The same with the gap that follows it, whose end in the receiver's eyes is not known yet."""
        gap = (self.taken_time, self.until_time, math.inf)
        return msgspec.structs.replace(
            self,
            throttles={
                key: msgspec.structs.replace(kept, gaps=(*kept.gaps, gap))
                for key, kept in self.throttles.items()
            },
            gaps=_bounded((*self.gaps, gap)),
        )

    def seen_until(self, seen_time: float) -> "Memory":
        """The same once it is known until when the receiver saw what was granted in the last gap."""
        return msgspec.structs.replace(
            self,
            throttles={
                key: msgspec.structs.replace(kept, gaps=_closed(kept.gaps, seen_time))
                for key, kept in self.throttles.items()
            },
            gaps=_closed(self.gaps, seen_time),
        )

    def without_old(self) -> "Memory":
        """The same without what limits nothing any more."""
        now_time = self.taken_time
        recent = {
            key: kept for key, kept in self.throttles.items() if kept.last_time > now_time - kept.seconds
        }
        gaps = tuple(gap for gap in self.gaps if gap[2] > now_time - LONGEST_SECONDS)
        return msgspec.structs.replace(self, throttles=recent, gaps=gaps)

    def after_a_day(self, now_time: float) -> "Memory":
        """What still limits something when nobody has granted anything for a day: the longer periods."""
        ended = self if self.is_clean else self.after_death().seen_until(self.until_time)
        long = {key: kept for key, kept in ended.throttles.items() if kept.seconds > LONGEST_SECONDS}
        return Memory(now_time, now_time, long).without_old()


def moved(gaps: tuple[Gap, ...], seconds: float) -> tuple[Gap, ...]:
    """Gaps on a calendar that is `seconds` ahead."""
    return tuple((since + seconds, until + seconds, seen + seconds) for since, until, seen in gaps)


def _closed(gaps: tuple[Gap, ...], seen_time: float) -> tuple[Gap, ...]:
    return tuple((since, until, min(seen, seen_time)) for since, until, seen in gaps)


def _bounded(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    while len(gaps) > _GAPS_MAX:
        (since, _, _), (_, until, seen), *rest = gaps
        gaps = ((since, until, seen), *rest)
    return gaps
