"""Messages of a slot's backlog that passed the guard before their turn.

In: the backlog, from the first message on that the guard went through. Out: its next messages, read and
cleared, each when its turn comes.

Theory: a private key's work drives what a message needs out of the processor's caches, and what a message
needs drives out the key's; several signatures one after the other cost each of them less (measured at 2 KiB
beyond the key's own work: 28 µs of 130 with RSA-2048, 16 of 70 with Ed25519). How many is bounded by what the
connection took so far, so that a host which takes one message a connection has one signed for it; by time,
for the loop's sake; and by octets. A failure is left to the message's own turn, which tells of it.

Invariant: nothing is sent that passed longer than `SECONDS_MAX` ago, or for other entries than those that it
is sent to.
"""

from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Final, NamedTuple

from outrider.base.clock import Clock
from outrider.deliver.ports import ContentSource
from outrider.model.changes import Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Content
from outrider.model.ports import Guard

MESSAGES_MAX: Final = 8
# chosen: more gain nothing (measured)
OCTETS_MAX: Final = 256 << 10
# chosen: of a slot; a thousand slots that are full of it hold a quarter of a gigabyte
SECONDS_MAX: Final = 5.0
# chosen: `t=` and what a guard looks up are of now, also where the host is slow
TURN_SECONDS: Final = 0.003
# chosen: a dozen signatures by RSA-2048, and two by a key of 4096 bits


class Cleared(NamedTuple):
    """A message that passed.

    Attributes:
        stored: Its envelope.
        entries: Those that may be sent.
        content: What is sent to them.
    """

    stored: Stored
    entries: Sequence[int]
    content: Content


class _Ready(NamedTuple):
    asked: list[int]
    at: float
    cleared: Cleared


def is_of_one_message(first: Granted, other: Granted) -> bool:
    """Both are recipients of the same message, with the same content."""
    return other.ref == first.ref and other.message == first.message


class Ahead:
    """See the module.

    Args:
        source: Gives messages.
        guard: To pass.
        clock: For the age of what passed.
    """

    __slots__ = ("_clock", "_guard", "_ready", "_source")

    def __init__(self, source: ContentSource, guard: Guard, clock: Clock) -> None:
        self._source = source
        self._guard = guard
        self._clock = clock
        self._ready: deque[_Ready] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    def take(self, entries: list[int]) -> Cleared | None:
        """What passed for exactly these entries, once; None where nothing is ready for them."""
        ready = self._ready.popleft() if self._ready else None
        if ready is None:
            return None
        if ready.asked == entries and self._clock.now() - ready.at <= SECONDS_MAX:
            return ready.cleared
        self._ready.clear()
        return None

    def prepare(self, backlog: Sequence[Granted], messages: int, recipients: int) -> None:
        """Let the first messages of the backlog pass; only while nothing is ready.

        Args:
            backlog: What is granted, in order.
            messages: So many at most, and `MESSAGES_MAX`.
            recipients: Of a transaction, at most.
        """
        until = self._clock.now() + TURN_SECONDS
        at = octets = 0
        while at < len(backlog) and len(self._ready) < min(messages, MESSAGES_MAX):
            first = backlog[at]
            octets += first.ref.length
            if octets > OCTETS_MAX or first.ref.length > self._source.long_from:
                return
            alike = takewhile(partial(is_of_one_message, first), islice(backlog, at, at + recipients))
            asked = [granted.entry for granted in alike]
            at += len(asked)
            try:
                stored, wire = self._source.read(first.ref, first.entry)
                entries, content = self._guard.clear(stored, asked, stored.content(wire))
            except Exception:
                return  # its own turn meets it again, and tells of it
            now = self._clock.now()
            self._ready.append(_Ready(asked, now, Cleared(stored, entries, content)))
            if now > until:
                return

    def drop(self) -> None:
        """The backlog is given back."""
        self._ready.clear()
