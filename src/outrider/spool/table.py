"""The dispatcher's entries in memory: resident, changed since the last checkpoint, or summed up.

Theory: an entry that is alive is in exactly one place: *resident* (the scheduler has it), *parked* (given up
by the scheduler, but its newest state is not on disk yet), *disk* (only a number in its key's summary), or
*held*. `fresh` are entries that the checkpoint has never seen, `dirty` those whose row there is out of date
(None: to be deleted). An entry that arrives and is finished between two checkpoints leaves no trace: a
first-try success never touches SQLite.

Invariant: alive = resident + parked + disk + held, over all keys; an `Entry` is never changed in place, so
the checkpoint's thread may read it.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from outrider.model.changes import ContentRef, Entry
from outrider.model.dispatch import Arrived

QueueKey = tuple[str, str, str]
INFINITE = math.inf
_START = (-INFINITE, -1)


def queue_key(entry: Entry) -> QueueKey:
    """(channel, binding, routing domain): what the scheduler maps to a path."""
    return entry.channel, entry.binding, entry.routing_domain


class KeyState:
    """Summary of one queue key.

    Attributes:
        key: The key.
        alive: Entries alive.
        disk: Of them, free ones that are only on disk.
        parked: Free ones given up since the last checkpoint.
        next_due: No entry on disk behind `marker` is due earlier.
        marker: (due, entry) up to which the rows on disk have been looked at.
        wakes_at: When the key is looked at: its item in the heap; others that stand there for it are void.
        is_ready: In the line of keys that have something due.
    """

    __slots__ = ("alive", "disk", "is_ready", "key", "marker", "next_due", "parked", "wakes_at")

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        self.alive = 0
        self.disk = 0
        self.is_ready = False
        self.parked: dict[int, Entry] | None = None
        self.next_due = INFINITE
        self.marker: tuple[float, int] = _START
        self.wakes_at = INFINITE

    def earliest(self) -> float:
        """When the first of parked and disk is due."""
        parked = (
            min((entry.due_time for entry in self.parked.values()), default=INFINITE)
            if self.parked
            else INFINITE
        )
        return min(parked, self.next_due if self.disk else INFINITE)


class Snapshot(NamedTuple):
    """What a checkpoint writes: rows to insert or replace, rows to delete."""

    fresh: dict[int, Entry]
    dirty: dict[int, Entry | None]


class EntryTable:
    """All entries alive, as far as memory holds them."""

    def __init__(self) -> None:
        self.resident: dict[int, Entry] = {}
        self.keys: dict[QueueKey, KeyState] = {}
        self.live: dict[tuple[int, int], list[int]] = {}  # by segment: entries, octets of their frames
        self.alive = 0
        self.held = 0
        self._fresh: dict[int, Entry] = {}
        self._dirty: dict[int, Entry | None] = {}
        self._writing: Snapshot | None = None
        self._heap: list[tuple[float, QueueKey]] = []
        self._ready: deque[KeyState] = deque()

    # -- look-up --

    def find(self, entry: int) -> tuple[bool, Entry | None]:
        """(known, entry): unknown entries may be on disk; known ones without entry are finished."""
        found = self.resident.get(entry) or self._fresh.get(entry)
        if found is not None:
            return True, found
        if entry in self._dirty:
            return True, self._dirty[entry]
        if self._writing is not None:
            if entry in self._writing.dirty:
                return True, self._writing.dirty[entry]
            if entry in self._writing.fresh:
                return True, self._writing.fresh[entry]
        return False, None

    def unwritten(self, after: int, last: int) -> Iterator[Entry]:
        """Entries behind `after` up to `last` that the checkpoint does not know as they are now."""
        for group in (self._fresh, self._dirty):
            for number, entry in group.items():
                if entry is not None and after < number <= last:
                    yield entry

    @property
    def changed(self) -> int:
        """Entries changed since the last checkpoint."""
        return len(self._fresh) + len(self._dirty)

    # -- changes --

    def _key(self, entry: Entry) -> KeyState:
        return self._key_named((entry.channel, entry.binding, entry.routing_domain))

    def _key_named(self, key: QueueKey) -> KeyState:
        found = self.keys.get(key)
        if found is None:
            found = self.keys[key] = KeyState(key)
        return found

    def arrive(self, arrived: Iterable[Arrived]) -> list[list[Entry]]:
        """New messages: their entries, resident, in groups of one queue key.

        This and `finish` are all that a first-try success costs here, so each does in one go what the general
        ways do in five calls. The entries of a key share its strings.
        """
        groups: dict[KeyState, list[Entry]] = {}
        fresh, resident = self._fresh, self.resident
        last: QueueKey | None = None
        group: list[Entry] = []
        own_channel = own_binding = own_domain = ""
        for message in arrived:
            ref = message.ref
            tenant, stream, size = message.tenant, message.stream, message.size
            received, message_id = message.received_time, message.message_id
            first = message.first_entry
            self._enter_segment(ref, len(message.deliveries))
            for index, (channel, binding, domain, priority, not_before) in enumerate(message.deliveries):
                if (channel, binding, domain) != last:
                    key = self._key_named((channel, binding, domain))
                    own_channel, own_binding, own_domain = last = key.key
                    group = groups.setdefault(key, [])
                # what is to be sent later gets old from then on
                first_due = not_before if not_before > received else received  # noqa: FURB136 - max costs a call
                entry = Entry(
                    first + index,
                    ref,
                    index,
                    own_channel,
                    own_binding,
                    own_domain,
                    tenant,
                    stream,
                    priority,
                    size,
                    first_due,
                    first_due,
                    0,
                    0,
                    "",
                    False,
                    message_id,
                )
                fresh[first + index] = resident[first + index] = entry
                group.append(entry)
        for key, group in groups.items():
            key.alive += len(group)
            self.alive += len(group)
        return list(groups.values())

    def create(self, entry: Entry, *, resident: bool) -> None:
        """A new entry."""
        number = entry.entry
        self._fresh[number] = entry
        self._enter_segment(entry.ref)
        self.alive += 1
        key = self._key(entry)
        key.alive += 1
        if entry.held:
            self.held += 1
        elif resident:
            self.resident[number] = entry
        else:
            self._park(key, entry)

    def adopt(self, entry: Entry) -> None:
        """An entry that the checkpoint holds; used while it is opened."""
        self._enter_segment(entry.ref)
        self.alive += 1
        key = self._key(entry)
        key.alive += 1
        if entry.held:
            self.held += 1
        else:
            key.disk += 1
            key.next_due = min(key.next_due, entry.due_time)

    def adopted(self) -> None:
        """All rows of the checkpoint have been adopted."""
        waiting = [key for key in self.keys.values() if key.disk]
        for key in waiting:
            key.wakes_at = key.next_due
        self._heap = sorted((key.next_due, key.key) for key in waiting)

    def _take_out(self, key: KeyState, old: Entry) -> bool:
        """Take an entry out of its place; True when that was resident."""
        number = old.entry
        if old.held:
            self.held -= 1
        elif number in self.resident:
            del self.resident[number]
            return True
        elif key.parked is None or key.parked.pop(number, None) is None:
            key.disk -= 1
        return False

    def _drop_key(self, key: KeyState) -> None:
        if not key.alive:
            self.keys.pop(key.key, None)

    def finish(self, number: int) -> bool:
        """A resident entry is finished; False when it is not resident: see `remove`."""
        old = self.resident.pop(number, None)
        if old is None:
            return False
        key = self.keys[old.channel, old.binding, old.routing_domain]
        self.alive -= 1
        key.alive -= 1
        if not key.alive:
            del self.keys[key.key]
        self._leave_segment(old.ref)
        if self._fresh.pop(number, None) is None:
            self._dirty[number] = None
        return True

    def remove(self, old: Entry) -> None:
        """`old`, the entry's newest state, is finished, wherever it is."""
        number = old.entry
        if self.finish(number):
            return
        key = self._key(old)
        self._take_out(key, old)
        self.alive -= 1
        key.alive -= 1
        if not key.alive:
            self._drop_key(key)
        self._leave_segment(old.ref)
        if self._fresh.pop(number, None) is None:
            self._dirty[number] = None

    def _leave_segment(self, ref: ContentRef) -> None:
        place = ref.log, ref.segment
        live = self.live[place]
        live[0] -= 1
        live[1] -= ref.length
        if not live[0]:
            del self.live[place]

    def _enter_segment(self, ref: ContentRef, count: int = 1) -> None:
        place = ref.log, ref.segment
        live = self.live.get(place)
        if live is None:
            live = self.live[place] = [0, 0]
        live[0] += count
        live[1] += count * ref.length

    def replace(self, old: Entry, new: Entry) -> None:
        """The newest state `old` becomes `new`. A resident entry stays so unless it is now held."""
        number = old.entry
        key = self._key(old)
        was_resident = self._take_out(key, old)
        key.alive -= 1
        target = self._key(new)
        target.alive += 1
        self._drop_key(key)
        if new.ref != old.ref:
            self._leave_segment(old.ref)
            self._enter_segment(new.ref)
        if number in self._fresh:
            self._fresh[number] = new
        else:
            self._dirty[number] = new
        if new.held:
            self.held += 1
        elif was_resident:
            self.resident[number] = new
        else:
            self._park(target, new)

    def _park(self, key: KeyState, entry: Entry) -> None:
        if key.parked is None:
            key.parked = {}
        key.parked[entry.entry] = entry
        self._announce(key, entry.due_time)

    def _announce(self, key: KeyState, due: float) -> None:
        if not key.is_ready:
            self._wake_at(key, due)

    def _wake_at(self, key: KeyState, due: float) -> None:
        """Look at the key at `due`; one item for each entry would be memory for all that is deferred."""
        if due < key.wakes_at:
            key.wakes_at = due
            heappush(self._heap, (due, key.key))

    def evict(self, number: int) -> None:
        """The scheduler gives the entry up."""
        entry = self.resident.pop(number, None)
        if entry is None:
            return
        key = self._key(entry)
        writing = self._writing
        if (
            number in self._fresh
            or number in self._dirty
            or (writing is not None and (number in writing.fresh or number in writing.dirty))
        ):
            self._park(key, entry)
        else:
            self._to_disk(key, entry)

    def _to_disk(self, key: KeyState, entry: Entry) -> None:
        key.disk += 1
        due = entry.due_time
        key.next_due = min(key.next_due, due)
        if (due, entry.entry) <= key.marker:
            key.marker = (due, entry.entry - 1)
        self._announce(key, due)

    def load(self, entry: Entry) -> bool:
        """Make an entry that was read from disk, or is parked, resident; False when it is neither."""
        number = entry.entry
        if number in self.resident:
            return False
        known, newest = self.find(number)
        key = self._key(entry)
        if not known:
            key.disk -= 1
            self.resident[number] = entry
            return True
        if newest is None or newest.held:
            return False
        key = self._key(newest)
        if key.parked is None or key.parked.pop(number, None) is None:
            return False
        self.resident[number] = newest
        return True

    # -- checkpoints --

    def snapshot(self) -> Snapshot:
        """What has changed; from now on changes count for the next checkpoint."""
        self._writing = Snapshot(self._fresh, self._dirty)
        self._fresh, self._dirty = {}, {}
        return self._writing

    def written(self) -> None:
        """The snapshot is durable: parked entries in it are on disk now."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        for group in (writing.fresh, writing.dirty):
            for number, entry in group.items():
                if entry is None or entry.held or number in self.resident:
                    continue
                if number in self._fresh or number in self._dirty:
                    continue
                key = self._key(entry)
                if key.parked is not None and key.parked.pop(number, None) is not None:
                    if not key.parked:
                        key.parked = None
                    self._to_disk(key, entry)

    def not_written(self) -> None:
        """The snapshot failed: its changes count again.

        A commit that failed may have happened, so what was fresh counts as being on disk: its finish will
        delete the row.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        for group in (writing.fresh, writing.dirty):
            for number, state in group.items():
                self._dirty.setdefault(number, state)

    # -- due times --

    def wake(self, before_time: float) -> None:
        """Move keys with something due before `before_time` to the ready ones."""
        heap = self._heap
        while heap and heap[0][0] <= before_time:
            at, name = heappop(heap)
            key = self.keys.get(name)
            if key is None or key.wakes_at != at:
                continue
            key.wakes_at = INFINITE
            if key.disk or key.parked:
                self.put_back(key)

    def put_back(self, key: KeyState) -> None:
        """To the end of the line of ready keys."""
        if not key.is_ready:
            key.is_ready = True
            self._ready.append(key)

    def next_ready(self) -> KeyState | None:
        """Take out the ready key that has waited longest; give it to `put_back` or `settle_key`."""
        while self._ready:
            key = self._ready.popleft()
            key.is_ready = False
            if key.alive and (key.disk or key.parked):
                return key
        return None

    @property
    def ready(self) -> int:
        """Number of keys that have, or may have, something due."""
        return len(self._ready)

    def settle_key(self, key: KeyState, before_time: float) -> None:
        """Put a key that was looked at where its next due time belongs."""
        earliest = key.earliest()
        if earliest <= before_time:
            self.put_back(key)
        elif earliest < INFINITE:
            self._wake_at(key, earliest)

    def next_due(self) -> float | None:
        """When the first entry that is not resident is due; may be early, never late."""
        for key in self._ready:
            if key.disk or key.parked:
                return key.earliest()
        return self._heap[0][0] if self._heap else None
