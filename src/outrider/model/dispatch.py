"""What workers and the dispatcher say to each other over the link; batches of plain values.

Theory: the dispatcher alone decides, so limits are exact. A *slot* is the right to have one connection
open on a path. `Open` gives a slot with its first entries; the worker reports `Want` whenever the slot's
connection can take more, `Closed` when the connection is really gone. An entry is with one slot at a time
and comes back as `Settled` or in `Returned`. Everything that is durable is announced only after its sync.

A `Stored` change is announced as `Arrived`; what an attempt changed as `Settled`. Both carry the log position
that they make true, through `Committed`, so that the dispatcher always knows which part of each log it has
seen.
"""

from enum import IntEnum

import msgspec

from outrider.model.changes import ContentRef, Keyed, LastReply
from outrider.model.flow import Host, Outcome, Path


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """A place in a log: everything before `offset` of `segment`, and all earlier segments."""

    segment: int
    offset: int


class Arrived(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message that was stored.

    Attributes:
        deliveries: For each entry (channel, binding, routing_domain, priority, not_before_time).
        message_id: The message's id, so that it can be asked for by it.
    """

    first_entry: int
    ref: ContentRef
    tenant: str
    stream: str
    size: int
    received_time: float
    deliveries: tuple[tuple[str, str, str, int, float], ...]
    message_id: str = ""


class Settled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of a granted entry, after it is durable.

    Attributes:
        slot: The slot it was granted to; 0 for a settle job.
        entry: Which.
        finished: True when it is done; the fields below are then without meaning.
        version: New version.
        attempts: Attempts made.
        due_time: Unix seconds.
        delay_notified: A delay notice went out.
        held: Put on hold, with the reason; empty is not.
        last: What is to be remembered of the attempt.
    """

    slot: int
    entry: int
    finished: bool
    version: int = 0
    attempts: int = 0
    due_time: float = 0.0
    delay_notified: bool = False
    held: str = ""
    last: LastReply | None = None


class Granted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry handed to a slot."""

    entry: int
    ref: ContentRef
    index: int
    version: int
    attempts: int
    delay_notified: bool

    @property
    def message(self) -> tuple[ContentRef, int]:
        """What entries of one stored message have in common: its frame, and its first entry in that."""
        return self.ref, self.entry - self.index


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A slot that a worker holds when it says hello to a new dispatcher."""

    slot: int
    path: Path
    entries: tuple[int, ...]


# worker → dispatcher


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First message of a link: who I am, how far my log is synced, what I hold.

    Attributes:
        reserved: Idempotency keys whose requests are under way, each with the digest of its request.
    """

    worker: int
    log: int
    position: Position
    held: tuple[Held, ...]
    pid: int
    reserved: tuple[tuple[bytes, bytes], ...] = ()


class Committed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One group commit: now synced up to `position`; `events` is how far the event file is synced.

    Attributes:
        kept: Idempotency keys that are durable now, each with the segment that holds it.
    """

    position: Position
    arrived: tuple[Arrived, ...]
    settled: tuple[Settled, ...]
    events: Position
    kept: tuple[tuple[Keyed, int], ...] = ()


class Want(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The slot's connection is ready for up to `count` more entries; the last's message may come whole."""

    slot: int
    count: int


class Returned(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Granted entries that were not attempted come back; no attempt is counted.

    Attributes:
        slot: Which.
        entries: Which.
        was_seen: The receiver may have seen their RCPT all the same, which a throttle counts.
    """

    slot: int
    entries: tuple[int, ...]
    was_seen: bool = False


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The slot's connection is gone.

    Attributes:
        slot: Which.
        failure: None after an orderly end; else what went wrong before any transaction on it (connect,
            greeting, EHLO, TLS), for the path's back-off.
        deliveries: Transactions that the connection carried.
    """

    slot: int
    failure: Outcome | None
    deliveries: int


class Reserve(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """May this request be done under its idempotency key? Answered by `Reserved` with the same token."""

    token: int
    key: bytes
    body: bytes


class Released(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """A request under a reserved key came to nothing: the key is free again."""

    key: bytes


ToDispatcher = Hello | Committed | Want | Returned | Closed | Reserve | Released


# dispatcher → worker


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The dispatcher knows everything up to the position in `Hello`; announcing may go on."""

    epoch: int


class Open(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Open a connection for `path` to the first of `hosts` that answers, and deliver `entries` on it."""

    slot: int
    path: Path
    hosts: tuple[Host, ...]
    entries: tuple[Granted, ...]


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """More entries for an open slot; none means: nothing now, keep the connection until its idle time-out."""

    slot: int
    entries: tuple[Granted, ...]


class Close(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Close the slot's connection as soon as it is idle."""

    slot: int


class Settle(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Settle these entries without a connection: `outcome` is ours (expired, no route, loop).

    Attributes:
        path: For the record; its site may be empty when no route was found.
        outcome: What to settle with.
        entries: Which.
        kind: `attempt` counts as an attempt and may be retried; `expire` ends the entry.
        lasts: For `expire`: what is remembered of each entry's last attempt.
    """

    path: Path
    outcome: Outcome
    entries: tuple[Granted, ...]
    kind: str
    lasts: tuple[LastReply | None, ...] = ()


class Suspended(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The suspensions of paths that hold now, whenever they change: who chooses bindings heeds them.

    Attributes:
        suspensions: (channel, binding, site, until_time): patterns, and Unix seconds or None for no end.
    """

    suspensions: tuple[tuple[str, str, str, float | None], ...]


class KeyState(IntEnum):
    """What the dispatcher knows of an idempotency key."""

    FREE = 1  # it is reserved for whoever asked
    BUSY = 2  # a request under it is under way
    DONE = 3  # the same request was done: the answer is given again
    OTHER = 4  # it was used for another request
    UNKNOWN = 5  # cannot be told now


class Reserved(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """The answer to `Reserve`.

    Attributes:
        token: Of the question.
        state: A `KeyState`.
        answer: For DONE: what the client was told.
    """

    token: int
    state: int
    answer: bytes = b""


ToWorker = Welcome | Open | Batch | Close | Settle | Suspended | Reserved
