"""The dispatcher's index: every entry alive, and which part of each log that is.

In: what workers announce (`arrive`, `settle`, `advance`), and logs to be replayed. Out: entries that are due,
by queue key.

Theory: memory holds the entries that the scheduler works on, and what has changed since the last checkpoint;
the rest is rows in SQLite and one small summary for each queue key. All database work runs in one thread, one
piece at a time, while the loop goes on. The logs are the truth; see `checkpoint`, `table` and `recovery`.

Invariant: an entry whose creation was applied is found again until its finish is applied, across crashes at
any moment, and never after it.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, Self, TypeVar

import msgspec

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.files import Files
from outrider.base.log import Log
from outrider.model.changes import Entry, Keyed
from outrider.model.dispatch import Arrived, Position, Settled
from outrider.model.ports import SpoolKeys
from outrider.spool.checkpoint import (
    Checkpoint,
    CheckpointDamagedError,
    Group,
    LogRow,
    Write,
    is_without_room,
)
from outrider.spool.directory import LOCKED_SUFFIX, UNREAD_SUFFIX, SpoolDirectory
from outrider.spool.filters import QueueFilter
from outrider.spool.index_due import DueReader
from outrider.spool.keys import KeyTable
from outrider.spool.options import SpoolOptions
from outrider.spool.quarantine import put_aside
from outrider.spool.reader import FRAMES_PER_SLICE, Damage, FrameReader, OnDamage, Scanned
from outrider.spool.recovery import Recovery
from outrider.spool.replay import Applier, Replayed, Tally, entries_of, settled_state
from outrider.spool.spans import CHANGES, CREATES, Place, Spans
from outrider.spool.table import EntryTable, QueueKey

ENTRY_MAX = (1 << 63) - 1  # what SQLite numbers rows by
COUNT_SLICE = 10_000  # chosen: some 10 ms in the loop, where the checkpoint cannot be written
PASSES_PER_CALL = 8  # chosen: a summary is too early only where an entry changed on disk
_UNKNOWN = LogRow(Position(0, 0), Position(0, 0), dead=False)

Result = TypeVar("Result")


class Counts(NamedTuple):
    """Entries alive, resident and held; queue keys; changes since the last checkpoint."""

    alive: int
    resident: int
    held: int
    keys: int
    changed: int


class Index:
    """See the module. Make it with `Index.open`; every method is called in one loop.

    Attributes:
        rebuilt: The checkpoint was missing or damaged: every log must be replayed from its beginning.
        damaged: Stretches of logs that could not be read.
        directory: The spool.
        table: The entries; for the parts of the spool only.
        keys: Idempotency keys.
        on_damage: Called for each damaged stretch, after it was put into quarantine.
        make_room: Asked when a checkpoint finds no room on the disk; gives how many octets there are now.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        checkpoint: Checkpoint,
        options: SpoolOptions,
        clock: Clock,
        log: Log,
        spool_keys: SpoolKeys | None = None,
    ) -> None:
        self.directory = directory
        self.options = options
        self.table = EntryTable()
        self.keys = KeyTable()
        self.rebuilt = False
        self.damaged = 0
        self.on_damage: OnDamage | None = None
        self.make_room: Callable[[], Awaitable[int]] | None = None
        self.reader = FrameReader(directory, options, spool_keys)
        self._kept = directory.kept_segments()
        self._checkpoint = checkpoint
        self._clock = clock
        self._log = log
        self._logs: dict[int, LogRow] = {}
        self._covered: dict[int, LogRow] = {}  # as of the last durable checkpoint
        self._covered_live: frozenset[Place] = frozenset()  # segments with live entries, as of it too
        self.spans = Spans()
        self._settled: list[int] = []  # entries settled since the last `advance`, which says in which log
        self._dropped: list[tuple[int, int]] = []
        self.recovery: Recovery | None = Recovery()
        self._strays: list[Settled] = []
        self._due = DueReader(self.table, lambda asks: self._run(lambda: self._checkpoint.due(asks)))
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "checkpoint")

    @classmethod
    def open(
        cls,
        files: Files,
        directory: str,
        options: SpoolOptions,
        clock: Clock,
        log: Log,
        spool_keys: SpoolKeys | None = None,
    ) -> Self:
        """Open the index of a spool and its checkpoint; a damaged one is put into quarantine.

        Raises:
            FormatError: A newer program made the spool or its checkpoint.
            SpoolError: The spool cannot be used.
        """
        spool = SpoolDirectory(files, directory)
        spool.open()
        path = spool.checkpoint_path()
        try:
            checkpoint = Checkpoint(path, options.checkpoint_cache_octets)
            index = cls(spool, checkpoint, options, clock, log, spool_keys)
            index._load()
        except (CheckpointDamagedError, sqlite3.Error) as error:
            kept = put_aside(spool, clock)
            log.error("spool.checkpoint_damaged", error=str(error), kept=kept)
            checkpoint = Checkpoint(path, options.checkpoint_cache_octets)
            index = cls(spool, checkpoint, options, clock, log, spool_keys)
            index._load()
        index.rebuilt = not index._logs
        return index

    def _load(self) -> None:
        checkpoint = self._checkpoint
        try:
            self._logs = checkpoint.logs()
            self._covered = dict(self._logs)
            for log, row in self._logs.items():
                segments = self.directory.segments(log)
                if segments and segments[0] > row.position.segment:
                    raise CheckpointDamagedError(f"older than what was dropped of log {log}")  # noqa: TRY301
            for entry in checkpoint.entries():
                self.table.adopt(entry)
            self.table.adopted()
            self.spans.load(checkpoint.spans())
            self.keys.load(checkpoint.key_places())
            pages, early = checkpoint.recovery()
            if self.recovery is not None:
                self.recovery.finished.load(pages)
                self.recovery.load(early)
            self._covered_live = frozenset(self.table.live)
        except BaseException:
            self._thread.shutdown(wait=False)
            checkpoint.close()
            raise

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run database or scan work in its thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, CheckpointDamagedError) as error:
            self._log.error("spool.checkpoint_failed", error=str(error))
            raise SpoolError(f"checkpoint cannot be used: {error}") from error

    # -- announcements --

    def positions(self) -> dict[int, Position]:
        """For each log, how far this index has applied it."""
        return {log: row.position for log, row in self._logs.items()}

    def arrive(self, log: int, arrived: Arrived) -> list[Entry]:
        """A message is durable in `log`: its entries, resident from now on."""
        return list(chain.from_iterable(self.arrive_all(log, (arrived,))))

    def arrive_all(self, log: int, arrived: Sequence[Arrived]) -> list[list[Entry]]:
        """The messages of one commit are durable in `log`; their entries in groups of one queue key."""
        if not arrived:
            return []
        groups = self.table.arrive(arrived)
        note = self.spans.note_all
        segment = arrived[0].ref.segment
        if segment == arrived[-1].ref.segment:  # they come in the order of the log
            note(CREATES, (log, segment), [entry.entry for group in groups for entry in group])
        else:
            for entry in chain.from_iterable(groups):
                note(CREATES, (log, entry.ref.segment), (entry.entry,))
        return groups

    def settle_all(self, settled: Sequence[Settled]) -> None:
        """What became of these entries is durable; see `settle`."""
        self._settled += [each.entry for each in settled]
        finish = self.table.finish
        recovery = self.recovery
        for each in settled:
            if each.finished and finish(each.entry):
                if recovery is not None:
                    recovery.finish(each.entry)
            else:
                self._settle(each)

    def settle(self, settled: Settled) -> Entry | None:
        """What became of an entry is durable: its new state, or None when it is gone.

        A state that is not newer than the one known changes nothing; an entry that is now held is no longer
        resident. An entry that is only on disk is settled with the next checkpoint.
        """
        self._settled.append(settled.entry)
        return self._settle(settled)

    def _settle(self, settled: Settled) -> Entry | None:
        known, entry = self.table.find(settled.entry)
        if not known:
            self._strays.append(settled)
            return None
        if entry is None:
            return None
        if settled.finished:
            self.table.remove(entry)
            if self.recovery is not None:
                self.recovery.finish(settled.entry)
            return None
        if settled.version <= entry.version:
            return entry
        new = msgspec.structs.replace(
            entry,
            version=settled.version,
            attempts=max(entry.attempts, settled.attempts),
            due_time=settled.due_time,
            delay_notified=entry.delay_notified or settled.delay_notified,
            held=settled.held or entry.held,
            last=settled.last or entry.last,
        )
        self.table.replace(entry, new)
        return new

    def advance(self, log: int, position: Position, events_position: Position) -> None:
        """Everything of `log` before `position` is applied; its events are synced up to `events_position`.

        Call it after the `arrive` and `settle` of one `Committed`, before those of another.
        """
        row = self._logs.get(log, _UNKNOWN)
        if self._settled:
            settled, self._settled = self._settled, []
            for segment in range(row.position.segment, position.segment + 1):
                self.spans.note_all(CHANGES, (log, segment), settled)
        self._logs[log] = LogRow(position, events_position, row.dead)

    def recorded(self, log: int, events_position: Position) -> None:
        """The events of a dead log are synced up to `events_position`; its segments may be gone since."""
        row = self._logs.get(log)
        if row is not None:
            self._logs[log] = row._replace(events=events_position)

    def get(self, entry: int) -> Entry | None:
        """A resident entry."""
        return self.table.resident.get(entry)

    def evict(self, entry: int) -> None:
        """The scheduler gives a resident entry up; `due` will bring it back."""
        self.table.evict(entry)

    async def key(self, key: bytes) -> Keyed | None:
        """An idempotency key that was used and has not expired.

        Raises:
            SpoolError: The checkpoint cannot be asked.
        """
        found = self.keys.find(key)
        if found is None:
            found = await self._run(lambda: self._checkpoint.key(key))
        return None if found is None or found.expires_time <= self._clock.wall() else found

    def counts(self) -> Counts:
        """Sizes, without any work."""
        table = self.table
        return Counts(table.alive, len(table.resident), table.held, len(table.keys), table.changed)

    def key_counts(self) -> dict[QueueKey, int]:
        """Entries alive by queue key."""
        return {name: key.alive for name, key in self.table.keys.items()}

    def domains(self) -> set[str]:
        """Routing domains of the entries alive."""
        return {domain for _, _, domain in self.table.keys}

    # -- for the other parts of the spool --

    @property
    def lock(self) -> asyncio.Lock:
        """Held while entries that are only on disk are looked at and changed."""
        return self._lock

    async def newest(self, numbers: Iterable[int]) -> dict[int, Entry]:
        """The newest states of these entries, as far as they are alive; the lock is held."""
        wanted = list(numbers)
        unknown = [number for number in wanted if not self.table.find(number)[0]]
        rows = await self._run(lambda: self._checkpoint.rows(unknown)) if unknown else {}
        states = {}
        for number in wanted:
            known, entry = self.table.find(number)
            entry = entry if known else rows.get(number)
            if entry is not None:
                states[number] = entry
        return states

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run reading work in the checkpoint's thread."""
        return await self._run(work)

    def closed_segments(self) -> list[tuple[Place, bool]]:
        """(segment, empty): segments that nothing will be written to, whose events are synced.

        An empty one holds no live entry, and did so in the last durable checkpoint, which covers it.
        """
        found = []
        for log, covered in self._covered.items():
            now = self._logs[log]
            for segment in self.directory.segments(log):
                if (log, segment) in self._kept:
                    continue  # somebody may find the key, or mend the disk
                if segment >= covered.position.segment and not (
                    covered.dead and now.events >= covered.position
                ):
                    continue
                if segment >= now.events.segment and not now.events >= covered.position:
                    continue
                place = log, segment
                found.append((place, place not in self._covered_live and place not in self.table.live))
        return found

    def finished_logs(self) -> list[int]:
        """Dead logs of which no segment is left, as the last durable checkpoint knows them."""
        return [log for log, row in self._covered.items() if row.dead and not self.directory.segments(log)]

    def remove_segment(self, log: int, segment: int) -> None:
        """Unlink a segment; for `in_thread`."""
        self.reader.forget(log, segment)
        self.directory.remove_segment(log, segment)

    def dropped(self, place: Place) -> None:
        """A segment is gone from the disk."""
        self.spans.forget(place)
        self.keys.forget(place)
        self._dropped.append(place)

    def forget_log(self, log: int) -> None:
        """A dead log is gone from the disk."""
        self._logs.pop(log, None)
        self._covered.pop(log, None)

    # -- checkpoints --

    async def checkpoint(self) -> None:
        """Make what is known durable in SQLite, so that a start replays only what comes after.

        Raises:
            SpoolError: It could not be written; the next one writes it all. Nothing is lost: the logs hold
            it.
        """
        async with self._lock:
            await self._settle_strays()
            await self._take()

    async def _settle_strays(self) -> None:
        if not self._strays:
            return
        strays, self._strays = self._strays, []
        rows = await self._run(lambda: self._checkpoint.rows(settled.entry for settled in strays))
        for settled in strays:
            known, entry = self.table.find(settled.entry)
            entry = entry if known else rows.get(settled.entry)
            applier = Applier(self.table, self.recovery, {}, self.spans, Tally())
            if settled.finished:
                applier.finish(settled.entry, entry)
            elif entry is not None:
                applier.update(entry, settled_state(settled))

    async def _take(self) -> None:
        """Write a checkpoint; the lock is held. On a full disk it is written into room that is made."""
        try:
            await self._take_once()
        except SpoolError as error:
            if self.make_room is None or not is_without_room(error.__cause__) or not await self.make_room():
                raise
            await self._take_once()

    async def _take_once(self) -> None:
        snapshot = self.table.snapshot()
        recovery = self.recovery
        spans = self.spans.take_dirty()
        dropped, self._dropped = self._dropped, []
        logs = dict(self._logs)
        live = frozenset(self.table.live)
        write = Write(
            upserts=[
                *snapshot.fresh.values(),
                *(entry for entry in snapshot.dirty.values() if entry is not None),
            ],
            deletes=[number for number, entry in snapshot.dirty.items() if entry is None],
            logs=logs,
            spans=spans,
            dropped_segments=dropped,
            finished=recovery.finished.dirty_pages() if recovery is not None else (),
            early=recovery.stored() if recovery is not None else (),
            recovering=recovery is not None,
            keys=self.keys.take(),
            now=self._clock.wall(),
        )
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._checkpoint.write, write)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as request:  # what is written must be known before we go
                cancelled = request
        failure = future.exception()
        if failure is None:
            self.table.written()
            self.keys.written()
            self._covered = logs
            self._covered_live = live
        else:
            self.table.not_written()
            self.keys.put_back()
            self.spans.put_back(spans)
            self._dropped += dropped
            if recovery is not None:
                recovery.finished.touch()
            self._log.error("spool.checkpoint_failed", error=str(failure))
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise SpoolError(
                f"{self.directory.checkpoint_path()} cannot be written: {failure}; the queue can be asked "
                "and changed again as soon as it can, and goes on meanwhile"
            ) from failure

    async def _has_taken(self) -> bool:
        """As `_take`; False where it failed, which the log tells."""
        try:
            await self._take()
        except SpoolError:
            return False
        return True

    # -- what is due --

    def next_due(self) -> float | None:
        """When the first entry that is not resident is due; in the past while keys wait for room."""
        return self.table.next_due()

    async def due(self, before_time: float, limit: int, rooms: Callable[[QueueKey], int]) -> list[Entry]:
        """Entries due before `before_time` that were not resident, and are now.

        Args:
            before_time: Unix seconds.
            limit: At most so many.
            rooms: How many entries of a queue key the scheduler would take now; 0 leaves them on disk.

        Each call looks at a bounded number of keys and goes on where the last one stopped, so an empty answer
        is no proof that nothing is due; `next_due` tells.
        """
        async with self._lock:
            await self._settle_strays()
            self.table.wake(before_time)
            for _ in range(PASSES_PER_CALL):
                loaded, asked = await self._due.once(before_time, limit, rooms)
                if loaded or not asked:
                    break
            return loaded

    async def load(self, numbers: Iterable[int]) -> list[Entry]:
        """Make entries resident, as far as they are alive and free: what workers hold after our restart."""
        wanted = list(numbers)
        async with self._lock:
            await self._settle_strays()
            rows = await self._run(lambda: self._checkpoint.rows(wanted))
            for number in wanted:
                known, entry = self.table.find(number)
                entry = entry if known else rows.get(number)
                if entry is not None and not entry.held:
                    self.table.load(entry)
        return [entry for number in wanted if (entry := self.table.resident.get(number)) is not None]

    # -- questions --

    async def select(self, chosen: QueueFilter, limit: int, after: int = -1) -> list[Entry]:
        """Entries that match, by number, behind `after`; at most `limit` (an empty answer is the end)."""
        async with self._lock:
            return await self.select_locked(chosen, limit, after)

    async def select_locked(self, chosen: QueueFilter, limit: int, after: int) -> list[Entry]:
        """As `select`; the caller holds the lock and may go on to change what it found."""
        await self._settle_strays()
        is_written = not self.table.changed or await self._has_taken()
        return await self._select(chosen, limit, after, is_written=is_written)

    async def _select(self, chosen: QueueFilter, limit: int, after: int, *, is_written: bool) -> list[Entry]:
        """Rows of the checkpoint as they are now, and where it could not be written, what it lacks."""
        found: dict[int, Entry] = {}
        is_more = True
        while is_more and not found:
            rows = await self._run(partial(self._checkpoint.select, chosen, limit, after))
            is_more = len(rows) == limit
            for row in rows:
                known, newest = self.table.find(row.entry)
                entry = newest if known else row
                if entry is not None and chosen.matches(entry):
                    found[entry.entry] = entry
            last = rows[-1].entry if is_more else ENTRY_MAX
            if not is_written:
                found |= {
                    entry.entry: entry for entry in self.table.unwritten(after, last) if chosen.matches(entry)
                }
            after = last
        return [found[number] for number in sorted(found)[:limit]]

    async def count(self, chosen: QueueFilter) -> int:
        """How many entries match."""
        async with self._lock:
            await self._settle_strays()
            if not self.table.changed or await self._has_taken():
                return await self._run(lambda: self._checkpoint.count(chosen))
            counted, after = 0, -1
            while found := await self._select(chosen, COUNT_SLICE, after, is_written=False):
                counted += len(found)
                after = found[-1].entry
            return counted

    async def summary(self, chosen: QueueFilter, columns: Sequence[str]) -> list[Group]:
        """What matches, counted by `columns` of `checkpoint.GROUPS`."""
        async with self._lock:
            await self._settle_strays()
            if self.table.changed:
                await self._take()
            return await self._run(lambda: self._checkpoint.summary(chosen, columns))

    async def first_message(self) -> str | None:
        """The id of the message that was received first; None where nothing is queued."""
        async with self._lock:
            await self._settle_strays()
            if self.table.changed:
                await self._take()
            return await self._run(self._checkpoint.first_message)

    # -- replay --

    async def replay(self, log: int, until: Position | None = None) -> Replayed:
        """Apply a log from the covered position to `until`, or to its end when its writer is dead.

        In slices; `arrive`, `settle` and `advance` of other logs may be called meanwhile. While no checkpoint
        can be written, as on a full disk, it goes on in memory: what is delivered then is what makes room.

        Raises:
            FormatError: A newer program wrote it.
            SpoolError: The checkpoint cannot be used.
        """
        row = self._logs.get(log, _UNKNOWN)
        self._logs[log] = row
        tally = Tally()
        frames = self.reader.scan(log, row.position, until, lambda damage: self._damaged(damage, tally))
        changes_max = self.options.checkpoint_changes
        while True:
            async with self._lock:
                batch = await self._run(lambda: list(islice(frames, FRAMES_PER_SLICE)))
                if batch:
                    await self._apply_slice(log, batch, tally)
                    changes = self.table.changed + self.keys.changed
                    if changes > changes_max and not await self._has_taken():
                        changes_max = 2 * changes
            if not batch:
                break
        dead = until is None and not self.directory.is_alive(log)
        row = self._logs[log]
        end = row.position if until is None else max(until, row.position)
        self._logs[log] = LogRow(end, row.events, dead)
        return tally.replayed()

    async def _apply_slice(self, log: int, batch: list[Scanned], tally: Tally) -> None:
        touched = {number for scanned in batch for number in entries_of(scanned.changes)}
        unknown = [number for number in touched if not self.table.find(number)[0]]
        rows = await self._run(lambda: self._checkpoint.rows(unknown)) if unknown else {}
        applier = Applier(self.table, self.recovery, rows, self.spans, tally)
        for scanned in batch:
            applier.apply(scanned.changes, scanned.ref)
            for change in scanned.changes:
                if isinstance(change, Keyed):
                    self.keys.put(change, (log, scanned.ref.segment))
        row = self._logs[log]
        self._logs[log] = LogRow(batch[-1].position, row.events, row.dead)

    def _damaged(self, damage: Damage, tally: Tally) -> None:
        """In the database's thread: keep what cannot be read, and tell."""
        tally.damaged += 1
        kept = ""
        try:
            suffix = LOCKED_SUFFIX if damage.is_locked else UNREAD_SUFFIX if damage.is_unread else "frame"
            name = f"{damage.log}-{damage.segment:08d}-{damage.offset}.{suffix}"
            if damage.is_locked or damage.is_unread:
                self._kept.add((damage.log, damage.segment))
            kept = self.directory.quarantine(name, damage.octets)
        except OSError as error:
            self._log.error("spool.quarantine_failed", error=str(error))
        self._log.error(
            "spool.damaged",
            log=damage.log,
            segment=damage.segment,
            offset=damage.offset,
            octets=len(damage.octets),
            reason=damage.reason,
            kept=kept,
        )
        self.damaged += 1
        if self.on_damage is not None:
            self.on_damage(damage)

    def recovered(self) -> None:
        """Every log was replayed and all living writers have announced: forget what only that needed."""
        self.recovery = None

    async def close(self) -> None:
        """Take a last checkpoint if possible, and close."""
        with contextlib.suppress(SpoolError):
            await self.checkpoint()
        await self.abandon()

    async def abandon(self) -> None:
        """Close without a checkpoint, as a crash would."""
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._checkpoint.close)
            self.reader.close()
            self._thread.shutdown()
