"""Connections to one source: bounded, used again, and never used after something went wrong on them.

In: how to connect, and work to do on a connection. Out: the work's result.

Theory: the connection used last is used next, so that those of a burst grow old and are closed, when the
next is given back or, where nobody asks any more, by a timer. A connection on which the work failed for any
reason but a refused query, or was cancelled, may hold half an answer: it is dropped. One that the server
closed meanwhile is mostly seen before it is used; where it is not, work that only reads is done once more on
a fresh one.

Invariant: never more than `most` connections, those being made included; a cancelled or failed work leaves
none behind.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from outrider.base.clock import Clock
from outrider.store.sources.failures import SourceDownError, SourceQueryError, SourceTimeoutError
from outrider.store.sources.options import SourcePoolOptions

C = TypeVar("C")
T = TypeVar("T")


class Connector(Protocol[C]):
    """Makes, checks and ends connections of one kind."""

    async def connect(self) -> C:
        """A connection that is ready for queries.

        Raises:
            SourceDownError: There is none to be had.
        """
        ...

    def is_usable(self, connection: C) -> bool:
        """False when the other side has closed it, as far as we know already."""
        ...

    def drop(self, connection: C) -> None:
        """End it at once, without waiting for anybody."""
        ...

    async def close(self, connection: C) -> None:
        """End it politely; raises nothing that matters."""
        ...


class Pool(Generic[C]):
    """See the module.

    Args:
        connector: Makes connections.
        options: How many.
        connect_seconds: Longest wait for one to be made.
        clock: Time.
    """

    def __init__(
        self, connector: Connector[C], options: SourcePoolOptions, connect_seconds: float, clock: Clock
    ) -> None:
        self._connector = connector
        self._options = options
        self._connect_seconds = connect_seconds
        self._clock = clock
        self._slots = asyncio.Semaphore(options.max)
        self._idle: list[tuple[C, float]] = []
        self._open = 0
        self._is_closed = False
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return self._open

    async def run(self, work: Callable[[C], Awaitable[T]], *, may_repeat: bool) -> T:
        """Do `work` on a connection.

        Args:
            work: What to do.
            may_repeat: It only reads, so that it may be done again when the connection proves dead.

        Raises:
            SourceError: What `work` or connecting raised.
        """
        async with self._slots:
            connection = self._take()
            if connection is not None:
                try:
                    return await self._use(connection, work)
                except SourceTimeoutError:
                    raise  # it answered, and would take as long again
                except SourceDownError:
                    self._drop_idle()  # what happened to one has mostly happened to all
                    if not may_repeat:
                        raise
            return await self._use(await self._connect(), work)

    async def close(self) -> None:
        """Close those that are idle; the others are closed when their work is done."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        for connection, _ in idle:
            await self._connector.close(connection)

    async def _connect(self) -> C:
        if self._is_closed:
            raise SourceDownError("it was taken out of the configuration")
        self._open += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._connector.connect()
        except TimeoutError as error:
            self._open -= 1
            raise SourceDownError(f"no connection within {self._connect_seconds:g} s") from error
        except BaseException:
            self._open -= 1
            raise

    async def _use(self, connection: C, work: Callable[[C], Awaitable[T]]) -> T:
        try:
            result = await work(connection)
        except SourceQueryError:
            self._give_back(connection)
            raise
        except BaseException:
            self._drop(connection)
            raise
        self._give_back(connection)
        return result

    def _take(self) -> C | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if self._connector.is_usable(connection):
                return connection
            self._drop(connection)
        return None

    def _give_back(self, connection: C) -> None:
        if self._is_closed or not self._connector.is_usable(connection):
            self._drop(connection)
            return
        self._idle.append((connection, self._clock.now()))
        self._drop_old()
        if self._open > self._options.min and self._sweeping is None:
            self._sweep_later()

    def _drop_old(self) -> None:
        since = self._clock.now() - self._options.idle_seconds
        while self._idle and self._open > self._options.min and self._idle[0][1] < since:
            oldest, _ = self._idle.pop(0)
            self._drop(oldest)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(self._options.idle_seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        self._drop_old()
        if self._idle and self._open > self._options.min:
            self._sweep_later()

    def _drop(self, connection: C) -> None:
        self._open -= 1
        self._connector.drop(connection)

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            self._drop(connection)
