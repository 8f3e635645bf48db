"""What one key may do: requests at once and recipients a second, over all workers.

In: requests that come and go. Out: whether one more is within the limits, or when to come back.

Theory: requests at once are counted as clients are (`clients`). For the rate, each process counts up, in
memory that all share, what its keys have handed in since it started, and keeps for each of its keys a
*level*: what is over what the rate has drained. At each request the level takes what all processes have
counted since the last one. So no process writes where another one does. A process that has not seen a key for
a while may know of a burst elsewhere only after its first request: the rate is exceeded by at most one
request of each process.

Invariant: a key that keeps to its limits is never refused, but where another one that fell into the same cell
(one of 4,096) uses its room.
"""

import mmap
from math import ceil
from typing import Final

from outrider.receive.clients import ClientCounts

CELLS: Final = 4_096
"""Chosen: far more than the keys that are busy at once."""
_CELL_OCTETS: Final = 8
_LEVELS_MAX: Final = 4 * CELLS
"""Chosen: keys whose level is remembered; beyond it the levels that have drained are forgotten."""


def shared_rates(processes: int) -> mmap.mmap:
    """Memory for one listener's rates in `processes` processes; make it before they are forked."""
    return mmap.mmap(-1, processes * CELLS * _CELL_OCTETS)


def rates_name(listener: str) -> str:
    """The name of a listener's rates beside that of its counts."""
    return f"{listener} rates"


class KeyRates:
    """What keys hand in.

    Args:
        rate: Recipients a second; 0 is no limit.
        shared: What `shared_rates` gave; None where there is only this process.
        column: Number of this process, from 0.
    """

    __slots__ = ("_base", "_cells", "_levels", "_rate")

    def __init__(self, rate: int, shared: mmap.mmap | None = None, column: int = 0) -> None:
        self._rate = rate
        self._base = column * CELLS
        shared = shared if shared is not None else shared_rates(column + 1)
        start = self._base * _CELL_OCTETS
        shared[start : start + CELLS * _CELL_OCTETS] = bytes(CELLS * _CELL_OCTETS)
        self._cells = memoryview(shared).cast("Q")
        self._levels: dict[str, tuple[float, float, int]] = {}  # key: level, when, sum of all columns

    def reshape(self, rate: int) -> None:
        """Another rate from now on; what was counted stays."""
        self._rate = rate

    def take(self, key: str, recipients: int, now: float) -> int:
        """Count `recipients` of `key`; 0, or the seconds after which to come back, and nothing counted.

        A request is taken while less than a second's worth is over, so a large one is taken too, and paid for
        afterwards.
        """
        rate = self._rate
        if not rate:
            return 0
        cell = hash(key) % CELLS
        total = sum(self._cells[cell::CELLS])
        level, at, known = self._levels.get(key, (0.0, now, total))
        # a column that a successor cleared counts less than before
        level = max(level + max(total - known, 0) - rate * (now - at), 0.0)
        if level >= rate:
            self._levels[key] = (level, now, total)
            return max(ceil(level / rate - 1.0), 1)
        if len(self._levels) >= _LEVELS_MAX:
            self._forget(now)
        self._cells[self._base + cell] += recipients
        self._levels[key] = (level + recipients, now, total + recipients)
        return 0

    def _forget(self, now: float) -> None:
        self._levels = {
            key: held for key, held in self._levels.items() if held[0] > self._rate * (now - held[1])
        }


class KeyLimits:
    """The limits of one listener.

    Args:
        requests: At once, for one key.
        counts: Counts them over all processes.
        rates: Counts recipients over all processes.
    """

    __slots__ = ("_counts", "_rates", "_requests")

    def __init__(self, requests: int, counts: ClientCounts, rates: KeyRates) -> None:
        self._requests = requests
        self._counts = counts
        self._rates = rates

    def enter(self, key: str) -> bool:
        """One more request of `key`; False, and nothing counted, when that is too many."""
        return self._counts.enter(key, self._requests)

    def leave(self, key: str) -> None:
        """A request that `enter` counted is done."""
        self._counts.leave(key)

    def take(self, key: str, recipients: int, now: float) -> int:
        """See `KeyRates.take`."""
        return self._rates.take(key, recipients, now)
