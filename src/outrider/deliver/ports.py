"""What a deliverer asks of its surroundings.

Standards: RFC 3207 §4 (TLS contexts).
"""

import ssl
from asyncio import Future
from collections.abc import Sequence
from typing import Literal, Protocol

from outrider.model.changes import ContentRef, Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Outcome, Path


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


class DeliveryReport(Protocol):
    """Where a deliverer reports.

    Every granted entry is named exactly once: in `outcome`, `unreadable` or `returned`. All calls come from
    the loop; none may wait.
    """

    def outcome(self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        """One recipient of one attempt came to an end."""
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
