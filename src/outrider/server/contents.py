"""Contents that a worker keeps for delivery, so that a first attempt reads nothing from the log.

Takes what was just committed, gives `(stored, wire)` by reference; what is not here comes from the log
through a `Reader`. Bounded by octets: when full, the oldest is dropped, and costs one read later.

Invariant: what `read` gives is what the log holds, or `SpoolError`.
"""

from outrider.model.changes import ContentRef, Stored
from outrider.model.ports import Reader

OVERHEAD_OCTETS = 2048
# measured: Stored with its strings and the table's entry, one recipient


class Contents:
    """See the module.

    Args:
        reader: Reads the log.
        limit_bytes: Bound on the sum of contents kept, each with its overhead.
    """

    __slots__ = ("_kept", "_limit", "_octets", "_reader")

    def __init__(self, reader: Reader, limit_bytes: int) -> None:
        self._reader = reader
        self._limit = limit_bytes
        self._octets = 0
        self._kept: dict[ContentRef, tuple[Stored, bytes, int]] = {}

    def reshape(self, limit_bytes: int) -> None:
        """Another bound; a smaller one is kept to at once."""
        self._limit = limit_bytes
        while self._octets > self._limit and self._kept:
            self._forget(next(iter(self._kept)))

    def keep(self, ref: ContentRef, stored: Stored, wire: bytes) -> None:
        """Keep a message that was just committed until all its deliveries are `done`."""
        self._kept[ref] = (stored, wire, len(stored.deliveries))
        self._octets += len(wire) + OVERHEAD_OCTETS
        while self._octets > self._limit and self._kept:
            oldest = next(iter(self._kept))
            self._forget(oldest)

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message of `entry`. Raises SpoolError when the log cannot give it."""
        kept = self._kept.get(ref)
        if kept is not None:
            return kept[0], kept[1]
        return self._reader.read(ref, entry)

    def done(self, ref: ContentRef) -> None:
        """One delivery of the message left the hands of this worker."""
        kept = self._kept.get(ref)
        if kept is None:
            return
        if kept[2] <= 1:
            self._forget(ref)
        else:
            self._kept[ref] = (kept[0], kept[1], kept[2] - 1)

    def _forget(self, ref: ContentRef) -> None:
        kept = self._kept.pop(ref)
        self._octets -= len(kept[1]) + OVERHEAD_OCTETS
