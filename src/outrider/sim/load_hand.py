"""What the connections of the load generator have in common, whatever they speak.

In: what the transport tells. Out: what the generator hears of a connection, which asks it for more work. The
dialogues are `load_smtp` and `load_http`.
"""

import asyncio
from abc import abstractmethod
from typing import cast

from outrider.sim.load_port import Hand, LoadPort
from outrider.sim.tickets import Ticket


class LoadHand(Hand, asyncio.Protocol):
    """One connection that hands messages in; its attributes are those of `Hand`."""

    _transport: asyncio.Transport

    def __init__(self, load: LoadPort) -> None:
        self._load = load
        self._tally = load.tally
        self.closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting_since: float | None = None
        self.carried = 0
        self._buffer = b""
        self._ticket: Ticket | None = None
        self._orderly = False
        self._started_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the fate does not depend on how
        self.waiting_since = None
        self._load.gone(self)
        if self._ticket:
            self._broke_off(self._ticket)
        if not self.closed.done():
            self.closed.set_result(self._orderly)

    @abstractmethod
    def _broke_off(self, ticket: Ticket) -> None:
        """The connection was lost in the middle of a message."""

    def abort(self) -> None:
        """Give the connection up."""
        self._transport.abort()

    def _ask_for_more(self, *, after_pause: bool) -> None:
        """Take another message, at once or after a pause, unless this connection carried its share."""
        limit = self._load.options.connection_messages
        if limit and self.carried >= limit:
            self.finish()
        elif after_pause:
            self._load.paused(self)
        else:
            self._load.ready(self)
