"""Giving disk space back: dead segments are dropped, mostly dead ones are compacted first.

Theory: the index can always be rebuilt from the logs alone. So before a segment goes, what it says about
entries that another segment creates is copied into the dispatcher's own log: finishes as `Forgotten`, states
as `Carried`, idempotency keys that have not expired as they are. Most segments say nothing about others,
which the ranges in `spans` tell without reading. A segment with little live content is first emptied: the
content is repeated as `Moved`, synced, and then the index points there.

A segment is dead when no live entry is in it now *and* none was in the last durable checkpoint, and this
covers it: a start from that checkpoint does not need it.

Invariant: a crash at any moment leaves every live entry with its content and its state, and no finished one
alive.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.log import Log
from outrider.model.changes import (
    Carried,
    Change,
    ContentRef,
    Entry,
    Finished,
    Forgotten,
    Keyed,
    Moved,
    Stored,
)
from outrider.model.dispatch import Position
from outrider.model.ports import Log as SpoolLog
from outrider.spool.admin import Take
from outrider.spool.await_commit import begin_commit, commit_and_wait
from outrider.spool.index import Index
from outrider.spool.reader import FRAMES_PER_SLICE, Scanned
from outrider.spool.recovery import state_tuple
from outrider.spool.replay import entries_of
from outrider.spool.spans import CHANGES, CREATES, Place, is_within

NAMES_PER_CHANGE = 10_000  # chosen: a frame of some 100 KiB
FORGOTTEN_OCTETS = 9  # MessagePack: one 64-bit number
CARRIED_OCTETS = 80  # measured: a state with domain names of 20 characters
KEYED_OCTETS = 80  # MessagePack: two digests, a time, frame
POSTPONE_SECONDS = 600.0  # chosen: a segment that is not worth it is looked at again after ten minutes

Item = TypeVar("Item")


class Reclaimed(NamedTuple):
    """What one run did: segments dropped, segments compacted, messages moved, entries copied forward."""

    dropped: int
    compacted: int
    moved: int
    carried: int


class Reclaimer:
    """Run it after each checkpoint.

    Args:
        index: The entries.
        log: The dispatcher's own log, to copy into.
        clock: For postponed segments.
        say: The server log.
        take: As for `QueueAdmin`.
    """

    def __init__(self, index: Index, log: SpoolLog, clock: Clock, say: Log, take: Take) -> None:
        self._index = index
        self._log = log
        self._clock = clock
        self._say = say
        self._take = take
        self._postponed: dict[tuple[Place, bool], float] = {}
        self._sizes: dict[Place, int] = {}

    async def run(self, limit: int = 16) -> Reclaimed:
        """Drop and compact at most `limit` segments.

        Raises:
            SpoolError: Something could not be copied; the segment stays.
        """
        dropped = compacted = moved = carried = 0
        if self._index.recovery is not None:  # what a segment means is known only when all logs were read
            return Reclaimed(0, 0, 0, 0)
        now = self._clock.now()
        self._postponed = {what: at for what, at in self._postponed.items() if at > now}
        for place, is_empty in self._index.closed_segments():
            if dropped + compacted >= limit:
                break
            if (place, is_empty) in self._postponed:
                continue
            if is_empty:
                copied = await self._drop(place)
                if copied is not None:
                    dropped += 1
                    carried += copied
            elif self._is_mostly_dead(place):
                self._postponed[place, False] = now + POSTPONE_SECONDS
                moved += await self._compact(place)
                compacted += 1
        self._remove_logs()
        return Reclaimed(dropped, compacted, moved, carried)

    # -- dropping --

    async def _drop(self, place: Place) -> int | None:
        """Drop a dead segment; how many entries were copied forward, or None when it stays."""
        copied = 0
        if self._index.spans.matters(place):
            forgotten, states = await self._what_matters(place)
            size = len(forgotten) * FORGOTTEN_OCTETS + len(states) * CARRIED_OCTETS
            if size > self._index.options.carry_below * self._index.options.segment_octets:
                self._postponed[place, True] = self._clock.now() + POSTPONE_SECONDS
                return None
            await self._copy_forward(forgotten, states)
            copied = len(forgotten) + len(states)
        if self._index.keys.matters(place, self._clock.wall()):
            keyed = await self._living_keys(place)
            size = sum(KEYED_OCTETS + len(each.answer) for each in keyed)
            if size > self._index.options.carry_below * self._index.options.segment_octets:
                self._postponed[place, True] = self._clock.now() + POSTPONE_SECONDS
                return None
            await self._copy_keys(keyed)
            copied += len(keyed)
        log, segment = place
        try:
            await self._index.in_thread(lambda: self._index.remove_segment(log, segment))
        except OSError as error:
            self._say.error("spool.segment_not_removed", log=log, segment=segment, error=str(error))
            self._postponed[place, True] = self._clock.now() + POSTPONE_SECONDS
            return None
        self._index.dropped(place)
        self._sizes.pop(place, None)
        self._say.info("spool.segment_dropped", log=log, segment=segment, copied=copied)
        return copied

    async def _what_matters(self, place: Place) -> tuple[list[int], list[Entry]]:
        """Entries of other segments that this one finishes, and live ones whose state it holds."""
        creators = self._index.spans.creators(place)
        finished: set[int] = set()
        changed: set[int] = set()
        async for batch in self._slices(place):
            for scanned in batch:
                for change in scanned.changes:
                    if isinstance(change, Stored):
                        continue
                    into = finished if isinstance(change, Finished | Forgotten) else changed
                    into.update(number for number in entries_of((change,)) if is_within(number, creators))
        async with self._index.lock:
            states = await self._index.newest(changed | finished)
        forgotten = sorted(number for number in finished if number not in states)
        return forgotten, [states[number] for number in sorted(states)]

    async def _living_keys(self, place: Place) -> list[Keyed]:
        """The idempotency keys in a segment that have not expired."""
        now = self._clock.wall()
        return [
            change
            async for batch in self._slices(place)
            for scanned in batch
            for change in scanned.changes
            if isinstance(change, Keyed) and change.expires_time > now
        ]

    async def _copy_keys(self, keyed: Sequence[Keyed]) -> None:
        async with self._index.lock:  # no checkpoint may cover the copy without knowing it
            for part in _parts(keyed):
                ref = await commit_and_wait(self._log, part)
                for each in part:
                    self._index.keys.put(each, (ref.log, ref.segment))

    async def _slices(self, place: Place) -> AsyncIterator[list[Scanned]]:
        log, segment = place
        frames = self._index.reader.scan(log, Position(segment, 0), Position(segment + 1, 0))
        while batch := await self._index.in_thread(lambda: list(islice(frames, FRAMES_PER_SLICE))):
            yield batch

    async def _copy_forward(self, forgotten: Sequence[int], states: Sequence[Entry]) -> None:
        async with self._index.lock:  # no checkpoint may cover the copy without its ranges
            for part in _parts(forgotten):
                await self._copy([Forgotten(tuple(part))], part)
            for some in _parts(states):
                carried = Carried(tuple(map(state_tuple, some)), tuple(entry.last for entry in some))
                await self._copy([carried], [entry.entry for entry in some])

    async def _copy(self, changes: Sequence[Change], numbers: Iterable[int]) -> None:
        ref = await commit_and_wait(self._log, changes)
        for number in numbers:
            self._index.spans.note(CHANGES, (ref.log, ref.segment), number, number)

    # -- compaction --

    def _is_mostly_dead(self, place: Place) -> bool:
        live = self._index.table.live.get(place)
        if live is None:
            return False
        size = self._sizes.get(place)
        if size is None:
            try:
                size = self._sizes[place] = self._index.directory.segment_size(*place)
            except OSError:
                return False
        return live[1] < self._index.options.compact_below * size

    async def _compact(self, place: Place) -> int:
        """Copy the live content of a segment into our own log; returns how many messages were moved."""
        moved = 0
        async for batch in self._slices(place):
            async with self._index.lock:
                moved += await self._move_live(batch)
        self._say.info("spool.segment_compacted", log=place[0], segment=place[1], moved=moved)
        return moved

    async def _move_live(self, batch: list[Scanned]) -> int:
        numbers = [
            number
            for scanned in batch
            for stored in _messages(scanned.changes)
            for number in _entries(stored)
        ]
        states = await self._index.newest(numbers)
        moves: list[tuple[list[Entry], asyncio.Future[ContentRef | None]]] = []
        for scanned in batch:
            live = {
                number
                for stored in _messages(scanned.changes)
                for number in _entries(stored)
                if number in states and states[number].ref == scanned.ref
            }
            if live:
                moves += await self._move_frame(scanned.ref, live, states)
        moved = 0
        for entries, future in moves:
            ref = await future
            if ref is None:
                raise SpoolError("the spool did not take a moved message: see spool.write_failed in the log")
            self._switch(entries, ref)
            moved += 1
        return moved

    async def _move_frame(
        self, ref: ContentRef, live: set[int], states: dict[int, Entry]
    ) -> list[tuple[list[Entry], asyncio.Future[ContentRef | None]]]:
        try:
            changes, payload, start = await self._index.in_thread(lambda: self._index.reader.frame(ref))
        except SpoolError as error:  # damaged since: it stays where it is, for whoever looks into it
            self._say.error("spool.frame_not_moved", log=ref.log, segment=ref.segment, error=error.message)
            return []
        moves = []
        for stored in _messages(changes):
            content = payload[start : start + stored.size]
            start += stored.size
            entries = [states[number] for number in _entries(stored) if number in live]
            if entries and self._set_free(entries):
                lasts = tuple(entry.last for entry in entries)
                moved = Moved(stored, tuple(map(state_tuple, entries)), lasts)
                moves.append((entries, begin_commit(self._log, [moved], [[content]])))
        return moves

    def _set_free(self, entries: Sequence[Entry]) -> bool:
        """Make sure that nobody is granted the old place; a message that is with a worker waits."""
        table = self._index.table
        resident = [entry.entry for entry in entries if entry.entry in table.resident]
        taken = self._take(resident)
        for number in taken:
            table.evict(number)
        return len(taken) == len(resident)

    def _switch(self, entries: list[Entry], ref: ContentRef) -> None:
        """The content is durable at `ref`: point there, unless the entry has changed or gone meanwhile."""
        for old in entries:
            number = old.entry
            for kind in (CREATES, CHANGES):
                self._index.spans.note(kind, (ref.log, ref.segment), number, number)
            known, newest = self._index.table.find(number)
            if not known:
                newest = old
            if newest is not None and newest.ref == old.ref:
                self._index.table.replace(newest, replace(newest, ref=ref))

    # -- whole logs --

    def _remove_logs(self) -> None:
        """Remove the directories of dead logs of which nothing is left."""
        for log in self._index.finished_logs():
            try:
                removed = self._index.directory.remove_log(log)
            except OSError as error:
                self._say.error("spool.log_not_removed", log=log, error=str(error))
                continue
            if removed:
                self._index.forget_log(log)
                self._say.info("spool.log_removed", log=log)


def _messages(changes: Iterable[Change]) -> Iterator[Stored]:
    for change in changes:
        if isinstance(change, Stored):
            yield change
        elif isinstance(change, Moved):
            yield change.stored


def _entries(stored: Stored) -> range:
    return range(stored.first_entry, stored.first_entry + len(stored.deliveries))


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), NAMES_PER_CHANGE):
        yield items[start : start + NAMES_PER_CHANGE]
