"""How the load generator and its connections see each other.

`load_smtp` and `load_http` know the generator only as a `LoadPort`; `load` knows them as `Hand`s.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from outrider.sim.options import LoadOptions
from outrider.sim.tally import Tally
from outrider.sim.tickets import Ticket, Tickets


class Hand(Protocol):
    """One connection of the generator.

    Attributes:
        waiting_since: Monotonic seconds since when a reply is awaited, or None.
        carried: Messages that got a reply on this connection.
        closed: Done when the connection is gone; True when the end was ours and orderly.
    """

    waiting_since: float | None
    carried: int
    closed: asyncio.Future[bool]

    def start(self, ticket: Ticket) -> None:
        """Send a message."""
        ...

    def finish(self) -> None:
        """End in order."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class LoadPort(Protocol):
    """The generator as its connections see it.

    Attributes:
        options: What to send.
        tally: Where to count.
        tickets: Numbers and contents.
        now: Monotonic seconds.
    """

    options: LoadOptions
    tally: Tally
    tickets: Tickets
    now: Callable[[], float]

    def opened(self, hand: Hand) -> None:
        """`hand` has a connection."""
        ...

    def ready(self, hand: Hand) -> None:
        """`hand` can take a message."""
        ...

    def paused(self, hand: Hand) -> None:
        """`hand` heard a transient refusal and is ready after a pause."""
        ...

    def gone(self, hand: Hand) -> None:
        """The connection of `hand` is lost: it gets no more work."""
        ...

    def not_sent(self, ticket: Ticket) -> None:
        """The connection was lost before the end of the content: the message goes out again."""
        ...

    def finished(self) -> None:
        """A message got its fate."""
        ...
