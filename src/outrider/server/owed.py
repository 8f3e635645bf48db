"""The events that dead writers owed, written beside everything else.

In: a log whose writer is dead, and how far the index has read it. Out: its event file completed, and the
index told, which keeps the log's segments until then.

Theory: what is missing can be derived from the log as often as one likes. So mail does not wait for it; what
cannot be written now is tried again later; and a stop breaks it off, because the next start does the rest.
One log after the other, as a thread takes turns with the loop.

Invariant: the index hears of a position only when all events before it are on disk.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from outrider.base.clock import Clock
from outrider.base.files import Files
from outrider.base.log import Log
from outrider.model.changes import Change, ContentRef
from outrider.model.dispatch import Position
from outrider.record.recover import recover
from outrider.server.keys import ServerKeys
from outrider.server.settings import Settings
from outrider.spool.index import Index
from outrider.spool.reader import FrameReader

AGAIN_SECONDS = 10.0
# chosen: what refuses events, as a full disk, lasts for minutes


class _StoppedError(Exception):
    """The process is to end."""


class OwedEvents:
    """See the module.

    Args:
        index: Has read the logs.
        settings: Where events are and what they show.
        keys: To read frames and to make tokens.
        files: The file primitive.
        clock: Time.
        log: Server log.
        stopping: Set when the process is to end.
    """

    def __init__(
        self,
        index: Index,
        settings: Settings,
        keys: ServerKeys,
        files: Files,
        clock: Clock,
        log: Log,
        stopping: asyncio.Event,
    ) -> None:
        self._index = index
        self._settings = settings
        self._keys = keys
        self._files = files
        self._clock = clock
        self._log = log
        self._stopping = stopping
        self._turn = asyncio.Lock()

    async def write(self, log: int, position: Position) -> None:
        """Write what the dead writer of `log` owed up to `position`; at a stop, leave the rest."""
        while not self._stopping.is_set():
            try:
                async with self._turn:
                    missing = await asyncio.to_thread(self._recover, log)
            except _StoppedError:
                return
            except OSError as error:
                self._log.error("record.not_recovered", spool_log=log, error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_SECONDS):
                        await self._stopping.wait()
            else:
                if missing:
                    self._log.info("record.recovered", spool_log=log, events=missing)
                self._index.recorded(log, position)
                return

    def _recover(self, log: int) -> int:
        """In a thread: how many were missing."""
        settings = self._settings
        reader = FrameReader(self._index.directory, settings.spool, self._keys.spool)
        try:
            return recover(
                self._files,
                settings.server.events_directory,
                log,
                partial(self._frames, reader, log),
                settings.record,
                self._clock,
                self._log,
                tokens=self._keys.tokens,
            )
        finally:
            reader.close()

    def _frames(
        self, reader: FrameReader, log: int, start: Position
    ) -> Iterator[tuple[ContentRef, Sequence[Change]]]:
        for scanned in reader.scan(log, start):
            if self._stopping.is_set():
                raise _StoppedError
            yield scanned.ref, scanned.changes
