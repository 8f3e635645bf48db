"""What replay must remember, because the changes of one entry are spread over several logs.

Theory: a finish may be read before the creation of its entry, and an entry that was moved is created twice.
So every finish seen since the recovery began is kept, as one bit of a page of its log's sequence numbers, and
no creation passes it. States that arrive before their entry wait for it. Both are stored with each checkpoint
until the recovery is complete.

Invariant: the state of an entry after all logs were read does not depend on the order in which they were
read.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from outrider.model.changes import SEQUENCE_BITS, Altered, Entry, LastReply, Retried
from outrider.model.last_reply import last_reply_of
from outrider.spool.frames import encode

PAGE_BITS = 15  # chosen: 32,768 entries, 4 KiB a page
_PAGE_OCTETS = 1 << PAGE_BITS - 3
_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


class FinishedSet:
    """A set of entry numbers that takes one bit each where they are dense."""

    __slots__ = ("_dirty", "_pages")

    def __init__(self) -> None:
        self._pages: dict[tuple[int, int], bytearray] = {}
        self._dirty: set[tuple[int, int]] = set()

    def add(self, entry: int) -> None:
        """Put an entry in."""
        sequence = entry & _SEQUENCE_MASK
        name = entry >> SEQUENCE_BITS, sequence >> PAGE_BITS
        page = self._pages.get(name)
        if page is None:
            page = self._pages[name] = bytearray(_PAGE_OCTETS)
        page[(sequence >> 3) & _PAGE_OCTETS - 1] |= 1 << (sequence & 7)
        self._dirty.add(name)

    def __contains__(self, entry: int) -> bool:
        sequence = entry & _SEQUENCE_MASK
        page = self._pages.get((entry >> SEQUENCE_BITS, sequence >> PAGE_BITS))
        return page is not None and bool(page[(sequence >> 3) & _PAGE_OCTETS - 1] & 1 << (sequence & 7))

    def dirty_pages(self) -> list[tuple[int, int, bytes]]:
        """(log, page, bits) of pages changed since the last call."""
        dirty, self._dirty = self._dirty, set()
        return [(*name, bytes(self._pages[name])) for name in dirty]

    def load(self, pages: Iterable[tuple[int, int, bytes]]) -> None:
        """Take pages that were stored."""
        for log, page, bits in pages:
            self._pages[log, page] = bytearray(bits)

    def touch(self) -> None:
        """All pages are to be stored again, because storing them failed."""
        self._dirty.update(self._pages)


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A partial state of an entry, from whichever change carries one; None is not said by it.

    Attributes:
        version: Version of the entry that it makes.
        due_time: Unix seconds.
        attempts: Attempts made.
        delay_notified: A delay notice went out.
        held: Reason of the hold.
        binding: Binding.
        routing_domain: Routing domain.
        administrative: It comes from `Altered`, or from a full state.
        last: What is remembered of the last attempt.
    """

    version: int
    due_time: float
    attempts: int | None
    delay_notified: bool
    held: str | None
    binding: str | None
    routing_domain: str | None
    administrative: bool
    last: LastReply | None = None


_stored_decoder = msgspec.msgpack.Decoder(tuple[list[State], int])


def state_of(change: Retried | Altered) -> State:
    """The state that a change carries."""
    if isinstance(change, Retried):
        return State(
            change.version,
            change.due_time,
            change.attempts,
            change.delay_notified,
            None,
            None,
            None,
            False,
            last_reply_of(change.attempted),
        )
    return State(
        change.version,
        change.due_time,
        None,
        False,
        change.held,
        change.binding,
        change.routing_domain,
        True,
    )


def full_state(state: Sequence[Any], last: LastReply | None) -> tuple[int, State]:
    """(entry, state) of one item of `Moved.states` or `Carried.states` and its item of `lasts`."""
    entry, version, attempts, due_time, held, binding, routing_domain, delay_notified = state
    return entry, State(
        version, due_time, attempts, delay_notified, held, binding, routing_domain, True, last
    )


def state_tuple(entry: Entry) -> tuple[int, int, int, float, str, str, str, bool]:
    """The full state of an entry, as `Moved.states` and `Carried.states` have it."""
    return (
        entry.entry,
        entry.version,
        entry.attempts,
        entry.due_time,
        entry.held,
        entry.binding,
        entry.routing_domain,
        entry.delay_notified,
    )


def is_later(last: LastReply | None, than: LastReply | None) -> bool:
    """True when `last` tells of a later attempt."""
    return last is not None and (than is None or last.attempted_time > than.attempted_time)


class Recovery:
    """The memory of one recovery.

    Attributes:
        finished: Entries whose finish was seen.
        early: States seen before their entry.
    """

    __slots__ = ("_administered", "early", "finished")

    def __init__(self) -> None:
        self.finished = FinishedSet()
        self.early: dict[int, list[State]] = {}
        self._administered: dict[int, int] = {}

    def finish(self, entry: int) -> None:
        """The entry is finished."""
        self.finished.add(entry)
        self.early.pop(entry, None)
        self._administered.pop(entry, None)

    def wait(self, entry: int, state: State) -> None:
        """Remember a state for an entry that was not created yet."""
        self.early.setdefault(entry, []).append(state)

    def stored(self) -> list[tuple[int, bytes]]:
        """Early states, and versions that administrators made, as they are stored."""
        administered = self._administered
        return [
            (entry, encode((self.early.get(entry, ()), administered.get(entry, -1))))
            for entry in self.early.keys() | administered.keys()
        ]

    def load(self, early: Iterable[tuple[int, bytes]]) -> None:
        """Take early states that were stored."""
        for entry, octets in early:
            states, administered = _stored_decoder.decode(octets)
            if states:
                self.early[entry] = states
            if administered >= 0:
                self._administered[entry] = administered

    def merge(self, entry: Entry, state: State) -> Entry:
        """`entry` after `state`, whichever of the two is newer.

        The due time is that of the highest version; attempts never fall; what an administrator set is that of
        the highest version that set it; the last reply is the one that came last.
        """
        newer = state.version > entry.version
        administered = self._administered.get(entry.entry, -1)
        changes: dict[str, object] = {}
        if newer:
            changes["version"] = state.version
            changes["due_time"] = state.due_time
        if state.attempts is not None and state.attempts > entry.attempts:
            changes["attempts"] = state.attempts
        if state.delay_notified and not entry.delay_notified:
            changes["delay_notified"] = True
        if is_later(state.last, entry.last):
            changes["last"] = state.last
        if state.administrative and (newer or state.version > administered):
            self._administered[entry.entry] = state.version
            for name in ("held", "binding", "routing_domain"):
                given = getattr(state, name)
                if given is not None:
                    changes[name] = given
        return msgspec.structs.replace(entry, **changes) if changes else entry
