"""How often something happened lately, counted over all workers: allowances of scripts in Python.

    from outrider.policy.api import Refuse, Series

    hourly = Series("customer", seconds=3600)

    def mailfrom(connection, sender):
        if not hourly.take(connection.user, 1000):
            return Refuse(451, "4.7.1 No more than 1000 messages an hour")

In: names and keys. Out: sums over a sliding span.

Theory: the span is cut into windows, and a window of a key is one shared number (`policy.shared`), whose key
holds the window's number; it ends with the span, so nothing is ever moved or cleared. The oldest window
counts whole, so a sum is of the span and of one window more at most: an allowance is never exceeded in any
span, and may be reached a window early. Series of one name, span and windows are one, over workers and
reloads; a restart of the server begins anew unless it is kept.

Invariant: `take` never lets more than the limit through in a span, over all workers together.
"""

from typing import Final

from outrider.policy.surroundings import HERE, shared_numbers

WINDOWS_MAX: Final = 1_440
# chosen: a day in minutes; each is looked up for a sum
SECONDS_MAX: Final = 366 * 86_400
# chosen: who means more has mistaken the unit
COUNT_MAX: Final = 1 << 40
# chosen: far over what anybody counts, far under what a number holds


class Series:
    """See the module.

    Args:
        name: Of the scripts' choice.
        seconds: The span.
        windows: How many parts it has.
        is_kept: It goes on after a restart of the server.

    Raises:
        ValueError: One of them is out of bounds.
    """

    __slots__ = ("_is_kept", "_name", "_seconds", "_windows")

    def __init__(self, name: str, seconds: float, windows: int = 60, *, is_kept: bool = False) -> None:
        if not 1 <= windows <= WINDOWS_MAX:
            raise ValueError(f"a series has 1 to {WINDOWS_MAX} windows")
        if not 1 <= seconds <= SECONDS_MAX:
            raise ValueError(f"the span of a series has 1 to {SECONDS_MAX} seconds")
        self._name = f"{name}\0{seconds!r}\0{windows}".encode()
        self._seconds = float(seconds)
        self._windows = windows
        self._is_kept = is_kept

    def add(self, key: str, count: int = 1) -> int:
        """Count something; how much there is in the span now.

        Raises:
            UnavailableError: Nothing is counted in this process.
            StoreError: There is no room.
        """
        if not -COUNT_MAX <= count <= COUNT_MAX:
            raise ValueError(f"{count} is more than a series counts at once")
        cell, now = self._cell(key), HERE.wall()
        self._add(cell, count, now)
        return self._sum(cell, now)

    def total(self, key: str) -> int:
        """How much there is in the span. Raises UnavailableError."""
        return self._sum(self._cell(key), HERE.wall())

    def take(self, key: str, limit: int, count: int = 1) -> bool:
        """Count something if that stays within `limit`; False, and nothing counted, where it does not.

        Raises:
            UnavailableError: Nothing is counted in this process.
            StoreError: There is no room.
        """
        if not 0 <= count <= COUNT_MAX:
            raise ValueError(f"{count} is nothing that can be taken")
        cell, now = self._cell(key), HERE.wall()
        self._add(cell, count, now)
        if self._sum(cell, now) <= limit:
            return True
        self._add(cell, -count, now)
        return False

    def _cell(self, key: str) -> bytes:
        """The key of its windows."""
        parts = self._name, key.encode("utf-8", "surrogatepass")
        return shared_numbers().key(b"series", *parts, is_kept=self._is_kept)

    def _window(self, now: float) -> int:
        return int(now * self._windows / self._seconds)

    def _add(self, cell: bytes, count: int, now: float) -> None:
        window = self._window(now)
        ends = (window + 1 + self._windows) * self._seconds / self._windows
        cells = shared_numbers()
        cells.add(cells.window(cell, window), count, now, ends)

    def _sum(self, cell: bytes, now: float) -> int:
        newest = self._window(now)
        cells = shared_numbers()
        found = (cells.get(cells.window(cell, newest - back), now) for back in range(self._windows + 1))
        return sum(number or 0 for number in found)
