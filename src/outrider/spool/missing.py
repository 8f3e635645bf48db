"""Closed segments that hold mail of the queue and are not on the disk any more: somebody removed them.

In: the index and the directory, looked at now and then. Out: which are missing, with how many entries.

Theory: what is being written is written again by its writer (`LogWriter.watch`); a closed segment has no
descriptor that would keep its octets, so all that can be done is to say so before its mail is due. One that
its writer restores, or that is just being dropped, is missing for a moment: it counts from the second look.
"""

from typing import NamedTuple

from outrider.base.errors import SpoolError
from outrider.base.log import Log
from outrider.spool.index import Index
from outrider.spool.spans import Place

ADVICE = (
    "bring the file back, as from a backup; what cannot be read is tried again until it expires, and "
    "`outrider queue purge --reply '*cannot be read from the spool*'` gives it up"
)


class Gone(NamedTuple):
    """How many segments are missing, and how many entries have their message in them."""

    segments: int
    entries: int


class MissingSegments:
    """See the module; `log` is told once of each."""

    def __init__(self, index: Index, log: Log) -> None:
        self._index = index
        self._log = log
        self._absent: frozenset[Place] = frozenset()
        self._missing: frozenset[Place] = frozenset()

    @property
    def gone(self) -> Gone:
        """As of the last look."""
        live = self._index.table.live
        entries = [live[place][0] for place in self._missing if place in live]
        return Gone(len(entries), sum(entries))

    async def look(self) -> None:
        """Compare what the queue needs with what is there; where that cannot be read, nothing changes."""
        directory = self._index.directory
        logs = {log for log, _ in self._index.table.live}

        def present() -> set[Place]:
            return {(log, segment) for log in logs for segment in directory.segments(log)}

        try:
            there = await self._index.in_thread(present)
        except (OSError, SpoolError) as error:
            self._log.error("spool.unreadable", error=str(error))
            return
        live = self._index.table.live
        absent = frozenset(place for place in live if place[0] in logs and place not in there)
        missing = absent & self._absent
        for log, segment in sorted(missing - self._missing):
            entries = live[log, segment][0]
            self._log.error(
                "spool.segment_gone",
                file=directory.segment_path(log, segment),
                entries=entries,
                advice=ADVICE,
            )
        for log, segment in sorted(self._missing - absent):
            if (log, segment) in live:
                self._log.info("spool.segment_back", file=directory.segment_path(log, segment))
        self._absent, self._missing = absent, missing
