"""Time, passed in.

Nothing in the house asks the operating system for the time except `SystemClock`, so that every test can
hold time in its hand. Numbers named `*_at` are monotonic seconds, `*_time` are Unix seconds (UTC).

Theory: `wall` is anchored once, when the clock is made, and then advances with the monotonic clock. A step
of the machine's clock while the server runs therefore moves no due time and expires no message; it is
taken up at the next start.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# RFC 5322 §3.3, whatever the locale
_READINGS = 5
# chosen: on a busy machine one of so many is not interrupted


class Clock(Protocol):
    """Source of the two times that the house uses."""

    def now(self) -> float:
        """Monotonic seconds; the origin has no meaning."""
        ...

    def wall(self) -> float:
        """Unix seconds, advancing steadily since the clock was made."""
        ...

    def stepped(self) -> float:
        """By how many seconds the machine's own calendar is ahead of `wall` now: the sum of its steps."""
        ...


def _anchors() -> Iterator[tuple[float, float]]:
    """(uncertainty, wall minus monotonic) of some readings: the process may lose its turn within one."""
    for _ in range(_READINGS):
        before = time.monotonic()  # noqa: TID251 - the one place that asks
        wall = time.time()  # noqa: TID251 - the one place that asks
        after = time.monotonic()  # noqa: TID251 - the one place that asks
        yield after - before, wall - (before + after) / 2


class SystemClock:
    """The machine's clock; see the module for how `wall` behaves under clock steps."""

    __slots__ = ("_anchor",)

    def __init__(self) -> None:
        self._anchor = min(_anchors())[1]

    now = staticmethod(time.monotonic)  # noqa: TID251 - the one place that asks

    def wall(self) -> float:
        return self._anchor + time.monotonic()  # noqa: TID251 - the one place that asks

    def stepped(self) -> float:
        return min(_anchors())[1] - self._anchor


@dataclass(slots=True)
class FakeClock:
    """A clock for tests: stands still until `advance` moves it or `step_wall` steps the calendar."""

    at: float = 1_000.0
    time: float = 1_790_000_000.0
    machine_steps: float = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.time

    def stepped(self) -> float:
        return self.machine_steps

    def advance(self, seconds: float) -> None:
        """Both times move on by `seconds`."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use step_wall for a clock step")
        self.at += seconds
        self.time += seconds

    def step_wall(self, seconds: float) -> None:
        """Only the calendar steps, as when an administrator or a restart corrects it."""
        self.time += seconds


def format_utc(unix_seconds: float) -> str:
    """RFC 3339 text with microseconds, in UTC, as written to events and logs."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_date(unix_seconds: float) -> str:
    """A date-time in UTC as mail writes it, in `Date` and `Received` (RFC 5322 §3.3)."""
    at = datetime.fromtimestamp(unix_seconds, UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day} {_MONTHS[at.month - 1]} {at.year} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} +0000"
    )
