"""What each client of a listener did lately, over all worker processes: how often, and that it authenticated.

In: clients that connect, send and authenticate. Out: whether one more is within a rate, and who is known.

Theory: as in `clients`, the processes share memory and each client has a cell by its keyed hash. For a rate
each process writes in a column of its own, where a cell holds the minute and a count; a cell of another
minute is empty, so nothing is ever cleared. A minute is a fixed window: a client may do twice its limit
around its change. Who authenticated stands in one column for all processes: the latest to write is right.

Invariant: within a minute a client never gets more than its limit from all processes together. It gets less,
or is known without reason, only where another client fell into the same cell (one of 65,536).

Standards: RFC 5321 §7.8 (a server may limit what it serves).
"""

import mmap
from typing import Final

from outrider.receive.clients import CELLS

WINDOW_SECONDS: Final = 60.0
KNOWN_SECONDS: Final = 3_600.0
# chosen: applications that send at all send within the hour

_CELL_OCTETS: Final = 8
_LOW: Final = 0xFFFFFFFF
# a cell is two numbers of 32 bits; minutes and seconds since the machine's start fit


def shared_history(processes: int) -> mmap.mmap:
    """Memory for one listener's clients in `processes` processes; make it before they are forked."""
    return mmap.mmap(-1, (1 + 2 * processes) * CELLS * _CELL_OCTETS)


def history_name(listener: str) -> str:
    """The name of a listener's history beside that of its counts."""
    return f"{listener} history"


class ClientRates:
    """How often each client did something in the current minute.

    Args:
        cells: A column for each process.
        column: Number of this process, from 0.
    """

    __slots__ = ("_base", "_cells")

    def __init__(self, cells: memoryview, column: int) -> None:
        self._cells = cells
        self._base = column * CELLS

    def take(self, client: str, limit: int, now: float) -> bool:
        """Count one; False when it is over `limit`."""
        cells = self._cells
        minute = int(now // WINDOW_SECONDS)
        cell = hash(client) % CELLS
        own = self._base + cell
        held = cells[own]
        cells[own] = held + 1 if held >> 32 == minute else minute << 32 | 1
        return sum(each & _LOW for each in cells[cell::CELLS] if each >> 32 == minute) <= limit


class KnownClients:
    """Clients that authenticated lately.

    Args:
        cells: One column; a cell holds another part of the client's hash, and when it was.
    """

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def note(self, client: str, now: float) -> None:
        """It authenticated."""
        key = hash(client)
        self._cells[key % CELLS] = (key // CELLS & _LOW) << 32 | int(now) + 1

    def has(self, client: str, now: float) -> bool:
        """It authenticated within `KNOWN_SECONDS`, to the second."""
        key = hash(client)
        held = self._cells[key % CELLS]
        second = held & _LOW
        return second != 0 and held >> 32 == key // CELLS & _LOW and now - (second - 1) < KNOWN_SECONDS


class ClientHistory:
    """The history of one listener.

    Args:
        shared: What `shared_history` gave; None where there is only this process.
        column: Number of this process, from 0.

    Attributes:
        connections: Rates of connections.
        messages: Rates of messages.
        known: Who authenticated.
    """

    __slots__ = ("connections", "known", "messages")

    def __init__(self, shared: mmap.mmap | None = None, column: int = 0) -> None:
        cells = memoryview(shared_history(column + 1) if shared is None else shared).cast("Q")
        columns = cells[CELLS:]
        half = len(columns) // 2
        self.known = KnownClients(cells[:CELLS])
        self.connections = ClientRates(columns[:half], column)
        self.messages = ClientRates(columns[half:], column)
