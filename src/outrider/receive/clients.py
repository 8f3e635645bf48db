"""How many connections each client has at one listener, exact over all worker processes.

In: clients that come and go. Out: whether one more is within the limit.

Theory: each process counts its own clients by name. What the others count is read from memory that all share:
one column for each process, in which only that process writes, one cell for each hash of a client. A process
counts itself in before it looks at the sum, so two that let a client in at the same moment see each other.
Sockets with SO_REUSEPORT spread a client's connections unevenly, so a share of the limit for each process
would refuse too early. Processes of one server are forked from one parent and therefore hash alike; the hash
is keyed at the parent's start, so nobody outside can choose whom to share a cell with.

Invariant: a client never has more connections than the limit. It has fewer only where another client that
fell into the same cell (one of 65,536) takes its room, or for the moment between a process's death and its
successor's start, which clears the column.
"""

import ipaddress
import mmap

CELLS = 65_536
# chosen: of 2,000 clients at once 3 % share a cell, and sharing matters only close to the limit
_CELL_OCTETS = 4


def shared_counts(processes: int) -> mmap.mmap:
    """Memory for one listener's counts in `processes` processes; make it before they are forked."""
    return mmap.mmap(-1, processes * CELLS * _CELL_OCTETS)


class ClientCounts:
    """The counts of one listener.

    Args:
        shared: What `shared_counts` gave; None where there is only this process.
        column: Number of this process, from 0.
    """

    __slots__ = ("_base", "_cells", "_own")

    def __init__(self, shared: mmap.mmap | None = None, column: int = 0) -> None:
        self._own: dict[str, int] = {}
        self._base = column * CELLS
        self._cells: memoryview | None = None
        if shared is not None:
            start = self._base * _CELL_OCTETS
            shared[start : start + CELLS * _CELL_OCTETS] = bytes(CELLS * _CELL_OCTETS)
            self._cells = memoryview(shared).cast("I")

    def __len__(self) -> int:
        """Clients of this process."""
        return len(self._own)

    def enter(self, client: str, limit: int) -> bool:
        """Count one more connection of `client`; False, and nothing counted, when that is over `limit`."""
        count = self._own[client] = self._own.get(client, 0) + 1
        cells = self._cells
        if cells is not None:
            cell = hash(client) % CELLS
            cells[self._base + cell] += 1
            count += sum(cells[cell::CELLS]) - cells[self._base + cell]
        if count <= limit:
            return True
        self.leave(client)
        return False

    def leave(self, client: str) -> None:
        """A connection that `enter` counted has ended."""
        left = self._own[client] - 1
        if left:
            self._own[client] = left
        else:
            del self._own[client]
        if self._cells is not None:
            self._cells[self._base + hash(client) % CELLS] -= 1


def client_key(client: str) -> str:
    """What connections are counted by: the address, or the /64 of an IPv6 one (RFC 6177 §2)."""
    if ":" not in client or client.startswith("::ffff:"):
        return client
    return str(ipaddress.ip_network((client, 64), strict=False))
