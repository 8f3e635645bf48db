"""Contents that a worker keeps for delivery, so that a first attempt reads nothing from the log.

Takes what was just committed, gives `(stored, wire)` by reference; what is not here comes from the log
through a `Reader`. Bounded by octets: when full, the oldest is dropped, and costs one read later. A long one
is then read in a thread, by a reader of its own.

Invariant: what `read` gives is what the log holds, or `SpoolError`.
"""

import threading
from asyncio import Future, get_running_loop
from collections.abc import Callable
from functools import partial

from outrider.base.long_octets import LONG_OCTETS
from outrider.model.changes import ContentRef, Stored
from outrider.model.ports import Reader

OVERHEAD_OCTETS = 2048
# measured: Stored with its strings and the table's entry, one recipient


class Contents:
    """See the module.

    Args:
        reader: Reads the log, in the loop.
        limit_bytes: Bound on the sum of contents kept, each with its overhead.
        long_reader: Reads long messages, in a thread, one at a time; without it `reader` does.
        measure: The octets of a frame that may be compressed; None where none is.
    """

    __slots__ = ("_kept", "_limit", "_lock", "_long_reader", "_measure", "_octets", "_reader", "long_from")

    def __init__(
        self,
        reader: Reader,
        limit_bytes: int,
        long_reader: Reader | None = None,
        measure: Callable[[ContentRef], int] | None = None,
    ) -> None:
        self.long_from = LONG_OCTETS if measure is None else 0
        self._measure = measure
        self._reader = reader
        self._long_reader = long_reader
        self._lock = threading.Lock()
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
        self._keep(ref, stored, wire, len(stored.deliveries))

    def _keep(self, ref: ContentRef, stored: Stored, wire: bytes, deliveries: int) -> None:
        self._kept[ref] = (stored, wire, deliveries)
        self._octets += len(wire) + OVERHEAD_OCTETS
        while self._octets > self._limit and self._kept:
            oldest = next(iter(self._kept))
            self._forget(oldest)

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message of `entry`. Raises SpoolError when the log cannot give it."""
        kept = self._kept.get(ref)
        if kept is not None and 0 <= entry - kept[0].first_entry < len(kept[0].deliveries):
            return kept[0], kept[1]  # else it is another message of the same frame
        return self._reader.read(ref, entry)

    def load(self, ref: ContentRef, entry: int) -> Future[tuple[Stored, bytes]] | None:
        """As `read`, in a thread: for a long message that is not in memory; else None.

        It is kept then for one delivery, and for the report that may follow from it.
        """
        reader, lock = self._long_reader, self._lock
        if reader is None:
            return None
        kept = self._kept.get(ref)
        if kept is not None and 0 <= entry - kept[0].first_entry < len(kept[0].deliveries):
            return None
        if ref.length <= LONG_OCTETS and (self._measure is None or self._measure(ref) <= LONG_OCTETS):
            return None

        def read() -> tuple[Stored, bytes]:
            with lock:
                return reader.read(ref, entry)

        future = get_running_loop().run_in_executor(None, read)
        future.add_done_callback(partial(self._loaded, ref))
        return future

    def _loaded(self, ref: ContentRef, future: Future[tuple[Stored, bytes]]) -> None:
        if not future.cancelled() and future.exception() is None and ref not in self._kept:
            self._keep(ref, *future.result(), 1)

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
