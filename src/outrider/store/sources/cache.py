"""Results by query and parameters: the least recently used go first, and each has its age.

No I/O and no clock: times come in, except for `get`, which is on the way of each message and is given the
clock once.

Invariant: never more entries, nor more octets, than allowed.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from outrider.store.sources.rows import Rows, octets_of

_ENTRY_OCTETS = 400
# measured with sys.getsizeof: an entry, its key with a parameter or two, and its place; texts come on top


class _Entry(NamedTuple):
    rows: Rows
    until: float
    octets: int


class Cache:
    """One source's.

    Args:
        entries: At most so many.
        octets: At most so much memory, roughly.
        seconds: Age of a result with rows.
        negative_seconds: Age of one without.
        now: Monotonic seconds.
    """

    __slots__ = (
        "_entries",
        "_entries_max",
        "_negative_seconds",
        "_now",
        "_octets",
        "_octets_max",
        "_seconds",
    )

    def __init__(
        self,
        entries: int,
        octets: int,
        seconds: float,
        negative_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._entries_max = entries
        self._octets_max = octets
        self._seconds = seconds
        self._negative_seconds = negative_seconds
        self._now = now
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        """Memory that the results take, roughly."""
        return self._octets

    def get(self, key: Hashable) -> Rows | None:
        """The result, when it is there and not too old."""
        entry = self._entries.get(key)
        if entry is None or entry.until <= self._now():
            return None
        self._entries.move_to_end(key)
        return entry.rows

    def stale(self, key: Hashable, seconds: float) -> Rows | None:
        """The result, also when it is up to `seconds` too old."""
        entry = self._entries.get(key)
        return None if entry is None or entry.until + seconds <= self._now() else entry.rows

    def put(self, key: Hashable, rows: Rows) -> None:
        """Remember a result, if results like it are remembered at all."""
        self.drop(key)
        seconds = self._seconds if rows else self._negative_seconds
        octets = octets_of(rows) + _ENTRY_OCTETS + _length(key)
        if not seconds or not self._entries_max or octets > self._octets_max:
            return
        self._entries[key] = _Entry(rows, self._now() + seconds, octets)
        self._octets += octets
        while len(self._entries) > self._entries_max or self._octets > self._octets_max:
            _, oldest = self._entries.popitem(last=False)
            self._octets -= oldest.octets

    def drop(self, key: Hashable) -> None:
        """Forget one result."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._octets -= entry.octets

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._octets = 0


def _length(key: Hashable) -> int:
    """Of all texts in a key: a query, and parameters that strangers may have written."""
    match key:
        case str() | bytes():
            return len(key)
        case tuple() | frozenset():
            return sum(map(_length, key))
        case _:
            return 0
