"""What a deliverer asks of its surroundings.

Standards: RFC 3207 §4 (TLS contexts).
"""

import ssl
from asyncio import Future
from collections.abc import Sequence
from typing import Final, Literal, Protocol

from outrider.model.changes import ContentRef, Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Outcome, Path
from outrider.model.way_out import Departure, Leaving, Stay


class ContentSource(Protocol):
    """Gives messages: what the worker still has in memory, else the spool's reader.

    Attributes:
        long_from: `load` need not be asked for a frame of at most so many octets.
    """

    long_from: int

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message that holds `entry`, and its content in wire form.

        Raises:
            SpoolError: It cannot be read.
        """
        ...

    def load(self, ref: ContentRef, entry: int) -> "Future[tuple[Stored, bytes]] | None":
        """As `read`, in a thread where it would hold up the loop: long, and not in memory; else None."""
        ...


class TlsContexts(Protocol):
    """Makes the TLS settings of a connection."""

    def client(self, mode: Literal["opportunistic", "required"]) -> ssl.SSLContext:
        """`opportunistic` checks nothing, `required` checks chain and host name.

        Raises:
            ConfigError: The authorities cannot be read.
        """
        ...


class Departures(Protocol):
    """Policy, asked about recipients that are about to go on the wire.

    Attributes:
        is_asked: False while it has nothing to say; `ask` is then not called.
    """

    is_asked: bool

    def ask(self, leaving: Leaving) -> "Sequence[Departure] | Future[Sequence[Departure]]":
        """A departure for each recipient, in order; a future where something waits. It never raises."""
        ...


class NoDepartures:
    """Nobody is asked: all go as they are."""

    is_asked = False

    def ask(self, leaving: Leaving) -> "Sequence[Departure]":
        """As they are."""
        return [leaving.content for _ in leaving.group]


NO_DEPARTURES: Final = NoDepartures()


class DeliveryReport(Protocol):
    """Where a deliverer reports.

    Every granted entry is named exactly once: in `outcome`, `stays`, `unreadable` or `returned`. All calls
    come from the loop; none may wait.
    """

    def outcome(self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        """One recipient of one attempt came to an end."""
        ...

    def stays(
        self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome, stay: Stay
    ) -> None:
        """Policy kept one recipient from the wire; `outcome` is ours and has the reply of `stay`."""
        ...

    def unreadable(self, path: Path, slot: int, granted: Granted, outcome: Outcome) -> None:
        """The spool could not give the entry's message (SpoolError); `outcome` is ours, 451 4.3.0."""
        ...

    def want(self, slot: int, count: int) -> None:
        """The slot takes up to `count` more entries; the answer is a Batch, perhaps an empty one."""
        ...

    def returned(self, slot: int, entries: Sequence[int], *, was_seen: bool = False) -> None:
        """These entries were not attempted; `was_seen`: the host may have seen their RCPT all the same."""
        ...

    def closed(self, slot: int, failure: Outcome | None, deliveries: int) -> None:
        """The slot's connection is gone and nothing is left in it; always the last call for a slot.

        Args:
            slot: Which.
            failure: What kept the connection from carrying a single transaction, or None.
            deliveries: Transactions that it carried.
        """
        ...
