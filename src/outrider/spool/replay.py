"""Applying change sets to the entries: the same meaning in every order of the logs.

In: changes in the order of one log, with the rows of entries that are only on disk. Out: changes of the entry
table.

Invariant: applying a change set twice, or after a later one, changes nothing more.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, assert_never

from msgspec.structs import replace

from outrider.model.changes import (
    Altered,
    Carried,
    Change,
    ContentRef,
    Entry,
    Finished,
    Forgotten,
    Keyed,
    LastReply,
    Moved,
    Retried,
    Stored,
)
from outrider.model.dispatch import Settled
from outrider.spool.recovery import Recovery, State, full_state, state_of
from outrider.spool.spans import CHANGES, CREATES, Spans
from outrider.spool.table import EntryTable

_NEW = -1  # version of an entry that only takes the state that follows


class Replayed(NamedTuple):
    """What a replay found.

    Attributes:
        frames: Frames read.
        created: Entries that were new; none of them is resident.
        finished: Resident entries that turned out to be finished; they are gone from the index.
        changed: New states of resident entries; those held now are no longer resident.
        damaged: Stretches that could not be read.
    """

    frames: int
    created: int
    finished: list[int]
    changed: list[Entry]
    damaged: int


class Tally:
    """What one replay has met so far."""

    __slots__ = ("changed", "created", "damaged", "finished", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self.created = 0
        self.damaged = 0
        self.finished: list[int] = []
        self.changed: dict[int, Entry] = {}

    def replayed(self) -> Replayed:
        """The sum."""
        return Replayed(self.frames, self.created, self.finished, list(self.changed.values()), self.damaged)


def entries_of(changes: Iterable[Change]) -> Iterator[int]:
    """The entries that a change set creates or changes."""
    for change in changes:
        match change:
            case Stored():
                yield from range(change.first_entry, change.first_entry + len(change.deliveries))
            case Finished() | Retried() | Altered():
                yield change.entry
            case Forgotten():
                yield from change.entries
            case Moved() | Carried():
                for state in change.states:
                    yield state[0]
            case Keyed():
                pass
            case _:
                assert_never(change)


def settled_state(settled: Settled) -> State:
    """The state that a worker reports."""
    return State(
        settled.version,
        settled.due_time,
        settled.attempts,
        settled.delay_notified,
        settled.held or None,
        None,
        None,
        True,
        settled.last,
    )


def new_entry(stored: Stored, number: int, ref: ContentRef, version: int = 0) -> Entry:
    """Entry `number` of a message as it is when the message is stored."""
    delivery = stored.deliveries[number - stored.first_entry]
    first_due = max(stored.received_time, delivery.not_before_time)
    return Entry(
        number,
        ref,
        number - stored.first_entry,
        delivery.channel,
        delivery.binding,
        delivery.routing_domain,
        stored.origin.tenant,
        stored.origin.stream,
        delivery.priority,
        stored.size,
        first_due,
        first_due,
        version,
        message_id=stored.message_id,
    )


class Applier:
    """Applies changes.

    Args:
        table: The entries.
        recovery: Its memory, or None when no recovery is under way.
        rows: Entries that are only on disk, as far as the changes concern them.
        spans: Told which entries the frames create and change.
        tally: Counts, and collects what happened to resident entries.
    """

    def __init__(
        self,
        table: EntryTable,
        recovery: Recovery | None,
        rows: dict[int, Entry],
        spans: Spans,
        tally: Tally,
    ) -> None:
        self._table = table
        self._recovery = recovery
        self._merge = recovery if recovery is not None else Recovery()
        self._rows = rows
        self._spans = spans
        self._tally = tally

    def _find(self, number: int) -> Entry | None:
        known, entry = self._table.find(number)
        return entry if known else self._rows.get(number)

    def apply(self, changes: Sequence[Change], ref: ContentRef) -> None:
        """Apply one frame."""
        self._tally.frames += 1
        place = ref.log, ref.segment
        note = self._spans.note
        for change in changes:
            match change:
                case Stored():
                    self._store(change, ref)
                case Finished():
                    note(CHANGES, place, change.entry, change.entry)
                    self.finish(change.entry, self._find(change.entry))
                case Retried() | Altered():
                    note(CHANGES, place, change.entry, change.entry)
                    self._change(change.entry, state_of(change))
                case Forgotten():
                    for number in change.entries:
                        note(CHANGES, place, number, number)
                        self.finish(number, self._find(number))
                case Moved():
                    self._move(change, ref)
                case Carried():
                    for state, last in _with_lasts(change):
                        note(CHANGES, place, state[0], state[0])
                        self._change(*full_state(state, last))
                case Keyed():
                    pass  # concerns no entry; see `keys`
                case _:
                    assert_never(change)

    def _store(self, stored: Stored, ref: ContentRef) -> None:
        last = stored.first_entry + len(stored.deliveries) - 1
        self._spans.note(CREATES, (ref.log, ref.segment), stored.first_entry, last)
        for number in range(stored.first_entry, last + 1):
            if self._find(number) is None:
                self._create(new_entry(stored, number, ref))

    def _create(self, entry: Entry) -> None:
        recovery = self._recovery
        if recovery is not None:
            if entry.entry in recovery.finished:
                return
            for state in sorted(recovery.early.pop(entry.entry, ()), key=_version):
                entry = recovery.merge(entry, state)
        self._table.create(entry, resident=False)
        self._tally.created += 1

    def _move(self, moved: Moved, ref: ContentRef) -> None:
        place = ref.log, ref.segment
        for item, last in _with_lasts(moved):
            number, state = full_state(item, last)
            self._spans.note(CREATES, place, number, number)
            self._spans.note(CHANGES, place, number, number)
            entry = self._find(number)
            if entry is None:
                fresh = new_entry(moved.stored, number, ref, _NEW)
                self._create(self._merge.merge(fresh, state))
            else:
                self.update(entry, state, ref)

    def _change(self, number: int, state: State) -> None:
        entry = self._find(number)
        if entry is not None:
            self.update(entry, state)
        elif self._recovery is not None and number not in self._recovery.finished:
            self._recovery.wait(number, state)

    def finish(self, number: int, entry: Entry | None) -> None:
        """Entry `number` is done; `entry` is its newest state, if it is alive."""
        if self._recovery is not None:
            self._recovery.finish(number)
        if entry is None:
            return
        if number in self._table.resident:
            self._tally.finished.append(number)
            self._tally.changed.pop(number, None)
        self._table.remove(entry)

    def update(self, entry: Entry, state: State, ref: ContentRef | None = None) -> None:
        """`entry` gets a state, and a new place if `ref` is given."""
        new = self._merge.merge(entry, state)
        if ref is not None and ref != entry.ref:
            new = replace(new, ref=ref)
        if new is entry:
            return
        if entry.entry in self._table.resident:
            self._tally.changed[entry.entry] = new
        self._table.replace(entry, new)


def _with_lasts(
    change: Moved | Carried,
) -> Iterator[tuple[tuple[int, int, int, float, str, str, str, bool], LastReply | None]]:
    """Each state with what is remembered of its last attempt; older programs wrote no `lasts`."""
    return zip_longest(change.states, change.lasts[: len(change.states)])


def _version(state: State) -> int:
    return state.version
