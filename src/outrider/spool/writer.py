"""Group commit: the writing side of the spool in one process.

`commit` encodes at once; one thread writes and syncs. Whatever is committed while it works is the next batch,
so the cost of a sync is shared by all who wait, and nobody waits for more than two of them.

Theory: the loop owns the queue, the thread owns the segments, and a batch is handed over whole: one wake-up
of the thread and one of the loop for each batch, never one per message.

Invariant: `done` gets a place only after the `fdatasync` that covers it has returned; callbacks come in the
order of commits. A frame without `done` is a fact (a finish): it is never given up while the process lives.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError, where
from outrider.base.log import Log
from outrider.model.changes import Change, ContentRef, entry_id
from outrider.model.dispatch import Position
from outrider.model.ports import CommitDone, SpoolKeys
from outrider.spool.codec import encoder_of
from outrider.spool.directory import SpoolDirectory
from outrider.spool.frames import encode, prompt_checksum
from outrider.spool.options import SpoolOptions
from outrider.spool.segments import SALT_OCTETS, Payload, SegmentWriter

GATHER_FROM = 12  # chosen: so many clients waited for the last sync; below it latency counts for more
WATCH_SECONDS = 1.0  # chosen: while nothing is written; each batch looks for itself
RESERVE_SHARE = 8  # chosen: an eighth of a segment is kept for finishes when no new segment can be made


class Synced(NamedTuple):
    """One frame that has become durable: its changes and its place; `done` has been called."""

    changes: Sequence[Change]
    ref: ContentRef


Result = TypeVar("Result")
OnSynced = Callable[[Position, Sequence[Synced]], None]


class _Pending(NamedTuple):
    payload: Payload | None  # None was refused at commit, and waits for its turn to be told so
    changes: Sequence[Change]
    done: CommitDone | None


class _Report(NamedTuple):
    batch: list[_Pending]
    refs: list[ContentRef]
    position: Position
    room: int
    failed: bool
    seconds: float


class LogWriter:
    """Implements `model.ports.Log` on a log of its own.

    Args:
        directory: An opened spool.
        options: See there.
        clock: For the time that syncs take.
        log: Where failures are told.
        on_synced: Called in the loop once per batch, after the callbacks, with the new position and all
            frames of the batch in order.
        salts: Random octets; the default asks the system.
        keys: The spool's keys, where it is encrypted.

    Raises:
        SpoolError: No log can be opened.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        options: SpoolOptions,
        clock: Clock,
        log: Log,
        on_synced: OnSynced | None = None,
        *,
        salts: Callable[[], bytes] | None = None,
        keys: SpoolKeys | None = None,
    ) -> None:
        self._directory = directory
        self._options = options
        self._clock = clock
        self._log = log
        self.on_synced = on_synced
        self.number = directory.allocate_log()
        self._sequence = 0
        self._segments = SegmentWriter(
            directory,
            self.number,
            options.segment_octets,
            salts=salts or (lambda: os.urandom(SALT_OCTETS)),
            log=log,
            sequence=lambda: self._sequence,
            clock=clock,
            encoder=encoder_of(options, keys),
        )
        self.position = self._segments.position
        self.counts = self._segments.counts
        self.sync_seconds = 0.0
        self.refused = 0
        self._is_refusing = False
        self._is_looking = False
        self.facts_lost = 0
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Pending] = []
        self._pending_octets = 0
        self._flying = False
        self._scheduled = False
        self._waiters = 0
        self._retry: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._room = self._segments.room
        self._idle: list[asyncio.Future[None]] = []
        self._closed = False
        self._batches: SimpleQueue[list[_Pending] | Callable[[], None] | None] = SimpleQueue()
        self._syncer = threading.Thread(target=self._work, name=f"spool-{self.number}", daemon=True)
        self._syncer.start()

    # -- loop side --

    def reserve(self, count: int) -> int:
        """The first of `count` consecutive entry ids; see `model.ports.Log`."""
        first = self._sequence
        self._sequence = first + count
        return entry_id(self.number, first)

    def commit(
        self,
        changes: Sequence[Change],
        contents: Sequence[Sequence[bytes]],
        done: CommitDone | None,
        *,
        follows: bool = False,
    ) -> None:
        """Write one atomic frame; see `model.ports.Log`."""
        octets = encode(changes)
        crc, length = prompt_checksum(octets, contents)
        if done is not None:
            if not follows:
                self._is_refusing = self.is_full
            if self._is_refusing:
                self.refused += 1
                self._pending.append(_Pending(None, changes, done))
            else:
                self._pending_octets += length
                payload = Payload(octets, contents, length, crc, follows)
                self._pending.append(_Pending(payload, changes, done))
            if not self._scheduled and not self._flying:
                self._gather()
            return
        if self._closed:
            raise SpoolError(f"log {self.number} is closed", log=self.number)
        self._pending_octets += length
        self._pending.append(_Pending(Payload(octets, contents, length, crc), changes, None))
        if self._timer is None and self._retry is None and not self._scheduled and not self._flying:
            self._timer = self._loop.call_later(self._options.finish_delay_seconds, self._hand_over)

    @property
    def is_full(self) -> bool:
        """True when a message committed now would be refused; for the listener's early 452.

        How long the message is does not matter: one that alone is over `pending_octets` would never be taken,
        and always told to come back.
        """
        return self._pending_octets > self._options.pending_octets or self._closed or self.is_without_room

    @property
    def is_without_room(self) -> bool:
        """True while the disk has no room for the log: what is left of it is kept for finishes."""
        return self._room < self._options.segment_octets // RESERVE_SHARE and not self._segments.grows

    @property
    def pending_octets(self) -> int:
        """Octets that are committed and not yet synced."""
        return self._pending_octets

    def free_octets(self) -> int:
        """Octets free on the spool's file system; the caller compares them with its limit."""
        return self._directory.free_octets()

    async def give_back(self) -> int:
        """Give the file system most of what this log has reserved and not written; how many octets."""
        return await self._ask(self._segments.give_back)

    async def take_back(self) -> None:
        """Reserve it again, where there is room."""
        await self._ask(self._segments.take_back)

    async def watch(self) -> None:
        """Write again, about each second, what somebody removes of the log's files; until cancelled."""
        was_failing = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                restored = await self._ask(self._segments.restore)
            except OSError as error:
                if not was_failing:
                    self._log.error("spool.file_gone", log=self.number, error=str(error))
                was_failing = True
            else:
                was_failing = False
                for path in restored:
                    self._log.error("spool.file_restored", log=self.number, file=path)

    def look_for_room(self) -> None:
        """Ask the disk again, as each batch does; while those who would bring one are refused."""
        if not self._closed and not self._is_looking:
            self._is_looking = True
            self._batches.put(self._look)

    def _look(self) -> None:
        self._segments.prepare()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(self._looked, self._segments.room)

    def _looked(self, room: int) -> None:
        self._room = room
        self._is_looking = False

    async def _ask(self, what: Callable[[], Result]) -> Result:
        """Have the thread do something between two batches; what it raises is raised."""
        if self._closed:
            raise SpoolError(f"log {self.number} is closed", log=self.number)
        answer: asyncio.Future[Result] = self._loop.create_future()

        def heard(result: Result, room: int) -> None:
            self._room = room
            if not answer.done():
                answer.set_result(result)

        def failed(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

        def ask() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                try:
                    result = what()
                except Exception as error:  # the thread must live
                    self._loop.call_soon_threadsafe(failed, error)
                else:
                    self._loop.call_soon_threadsafe(heard, result, self._segments.room)

        self._batches.put(ask)
        return await answer

    def _gather(self) -> None:
        """Hand over soon: at once for a few, a little later for many, so that they share a sync.

        Each batch costs two wake-ups of a thread, some 50 µs of CPU; gathering for a millisecond when a dozen
        wait saves some 6 % of the CPU at 100 connections (measured); a lone client never waits.
        """
        self._scheduled = True
        if self._waiters < GATHER_FROM:
            self._loop.call_soon(self._hand_over)
        else:
            self._loop.call_later(self._options.gather_seconds, self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flying or not self._pending:
            return
        self._flying = True
        batch, self._pending = self._pending, []
        self._waiters = sum(item.done is not None for item in batch)
        self._batches.put(batch)

    def _complete(self, report: _Report) -> None:
        """The thread is done with a batch: hand over the next one first, then tell everybody."""
        batch, refs, self.position, self._room, failed, seconds = report
        self.sync_seconds += seconds
        self._flying = False
        synced: list[Synced] = []
        kept: list[_Pending] = []
        answers: list[tuple[CommitDone, ContentRef | None]] = []
        place = iter(refs)
        for item in batch:
            payload, changes, done = item
            ref = None
            if payload is not None:
                ref = next(place, None)
                if ref is not None:
                    synced.append(Synced(changes, ref))
                if ref is not None or done is not None:
                    self._pending_octets -= payload.length
                else:
                    kept.append(item)
            if done is not None:
                answers.append((done, ref))
        self._go_on(kept, failed)
        self._tell(answers, synced)
        if self._idle and not self._flying and not self._pending:
            waiting, self._idle = self._idle, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _tell(self, answers: list[tuple[CommitDone, ContentRef | None]], synced: list[Synced]) -> None:
        for done, ref in answers:
            try:
                done(ref)
            except Exception as error:
                self._log.error("spool.callback_failed", **where(error))
        if synced and self.on_synced is not None:
            try:
                self.on_synced(self.position, synced)
            except Exception as error:
                self._log.error("spool.callback_failed", **where(error))

    def _go_on(self, kept: list[_Pending], failed: bool) -> None:
        """Hand over what has arrived meanwhile; facts that failed are tried again, after a pause."""
        if kept and self._closed:
            self._log.error("spool.facts_lost", log=self.number, frames=len(kept))
            self.facts_lost += len(kept)
            self._pending_octets -= sum(item.payload.length for item in kept if item.payload is not None)
            kept = []
        self._pending[:0] = kept
        if failed and self._retry is None and not self._closed:
            self._retry = self._loop.call_later(self._options.write_retry_seconds, self._try_again)
        if self._closed:
            self._hand_over()
        elif any(item.done is not None for item in self._pending):
            self._gather()
        elif self._pending and self._retry is None:
            self._timer = self._loop.call_later(self._options.finish_delay_seconds, self._hand_over)

    def _try_again(self) -> None:
        self._retry = None
        self._hand_over()

    async def drain(self) -> None:
        """Wait until everything committed so far is synced or has failed for good."""
        self._hand_over()
        while self._flying or self._pending:
            future: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(future)
            await future

    async def close(self) -> None:
        """Drain, end the thread, and give the log's lock back. Nothing can be committed afterwards.

        Facts that still cannot be written are given up, counted in `facts_lost`, and told to the log.
        """
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._segments.hurry()
        await self.drain()
        self._batches.put(None)
        await self._loop.run_in_executor(None, self._syncer.join)
        self._segments.close()

    # -- thread side --

    def _work(self) -> None:
        segments = self._segments
        now = self._clock.now
        while (batch := self._batches.get()) is not None:
            if not isinstance(batch, list):
                batch()
                continue
            started = now()
            payloads = [item.payload for item in batch if item.payload is not None]
            refs: list[ContentRef] = []
            error: Exception | None = None
            try:
                refs, error = segments.write(payloads)
            except Exception as bug:  # the thread must live: without it every listener would hang
                self._log.error("spool.write_raised", error=repr(bug))
                error = bug
            report = _Report(
                batch, refs, segments.position, segments.room, error is not None, now() - started
            )
            try:
                self._loop.call_soon_threadsafe(self._complete, report)
            except RuntimeError:  # the loop is closed: the process ends, nobody can be told
                return
            segments.prepare()
