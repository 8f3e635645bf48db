"""How often each client did something in the current minute, in one process.

Theory: a minute is a fixed window: what a client did is forgotten when the next begins, so a client may do
twice its limit around the change, and counting costs one look-up. Memory is bounded: beyond `CLIENTS_MAX`
clients in a minute the one that came first is forgotten.

Standards: RFC 5321 §7.8 (a server may limit what it serves).
"""

WINDOW_SECONDS = 60.0
CLIENTS_MAX = 65_536
# chosen: some 10 MiB in the worst minute


class ClientRates:
    """See the module.

    Args:
        limit: Most in a minute.
    """

    __slots__ = ("_began_at", "_counts", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._began_at = 0.0
        self._counts: dict[str, int] = {}

    def take(self, client: str, now: float) -> bool:
        """Count one; False when it is over the limit."""
        if now - self._began_at >= WINDOW_SECONDS:
            self._began_at = now
            self._counts.clear()
        count = self._counts.get(client, 0) + 1
        if count == 1 and len(self._counts) >= CLIENTS_MAX:
            del self._counts[next(iter(self._counts))]
        self._counts[client] = count
        return count <= self._limit
