"""One data source as policy asks it: cached, one question for many askers, left alone while it is down.

In: queries and parameters. Out: rows, or a `SourceError` that names the source. `peek` answers from the
cache at once and never waits; it is what policy tries first.

Theory: askers of the same question join the first one, who asks on the behalf of all. When that one goes
away (its session ended), the next of them asks again, so nobody hears of another's cancellation. There is
no task of the source's own.

Invariant: a query runs for at most `query_seconds`; per key at most one is under way, except for those that
asked for no cache; failures are never remembered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, TypeVar

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.store.sources.backend import Backend
from outrider.store.sources.breaker import Breaker
from outrider.store.sources.cache import Cache
from outrider.store.sources.failures import (
    SourceDownError,
    SourceError,
    SourceQueryError,
    SourceTimeoutError,
    named,
)
from outrider.store.sources.measures import SourceMeasures
from outrider.store.sources.options import DataSourceOptions, SourceQueryOptions
from outrider.store.sources.rows import Parameters, Rows, Value

T = TypeVar("T")

_Flight = asyncio.Future[Rows | SourceError | None]
# None: who asked went away before the answer

_NEVER: Final = 0.0


class Source:
    """See the module.

    Args:
        options: What is configured.
        backend: How it is asked.
        clock: Time.
        log: Told when the source goes down and comes back.
        measures: Its series.
    """

    def __init__(
        self,
        options: DataSourceOptions,
        backend: Backend,
        clock: Clock,
        log: Log,
        measures: SourceMeasures,
    ) -> None:
        cache, breaker = options.cache, options.breaker
        self.options = options
        self._backend = backend
        self._clock = clock
        self._log = log.bind(source=options.name)
        self._measures = measures
        self._hits = measures.cached["hit"]
        self._cache = Cache(cache.entries, cache.octets, cache.seconds, cache.negative_seconds, clock.now)
        self._get = self._cache.get
        self._breaker = Breaker(breaker.failures, breaker.open_seconds)
        self._flights: dict[Hashable, _Flight] = {}
        self._queries = {query.name: query for query in options.query}

    @property
    def name(self) -> str:
        """By which it is asked for."""
        return self.options.name

    @property
    def is_open(self) -> bool:
        """It is being left alone because it did not answer."""
        return self._breaker.is_open

    def peek(self, query: str, parameters: Parameters = ()) -> Rows | None:
        """The rows when they are remembered, else None; never waits.

        Args:
            query: Its text.
            parameters: By position, as a tuple, or by name.
        """
        try:
            rows = self._get((query, parameters) if type(parameters) is tuple else _key(query, parameters))
        except TypeError:  # a parameter that no source takes; `fetch` says which
            return None
        if rows is not None:
            self._hits.value += 1
        return rows

    async def fetch(self, query: str, parameters: Parameters = (), *, use_cache: bool = True) -> Rows:
        """The rows that answer a query.

        Args:
            query: Its text, with placeholders.
            parameters: By position, as a tuple, or by name.
            use_cache: False neither looks into the cache nor fills it.

        Raises:
            SourceDownError: The source cannot be asked.
            SourceTimeoutError: It did not answer in time (also a SourceDownError).
            SourceQueryError: It refuses the query.
        """
        if use_cache:
            rows = self.peek(query, parameters)
            if rows is not None:
                return rows
        key = _maybe_key(query, parameters) if use_cache else None
        if key is None:
            outcome = await self._ask(query, parameters)
            if isinstance(outcome, SourceError):
                raise named(outcome, self.name) from outcome
            return outcome
        outcome = await self._joined(key, query, parameters)
        if not isinstance(outcome, SourceError):
            return outcome
        if isinstance(outcome, SourceDownError) and self.options.cache.stale_seconds > _NEVER:
            old = self._cache.stale(key, self.options.cache.stale_seconds)
            if old is not None:
                self._measures.cached["stale"].value += 1
                return old
        raise named(outcome, self.name) from outcome

    async def execute(self, query: str, parameters: Parameters = ()) -> int:
        """Do what a statement says; the number of rows that it changed. The cache is left as it is.

        Raises:
            SourceError: As of `fetch`. After a SourceDownError nobody knows whether it was done.
        """
        outcome = await self._guarded(lambda: self._backend.execute(query, parameters))
        if isinstance(outcome, SourceError):
            raise named(outcome, self.name) from outcome
        return outcome

    async def ask(self, name: str, values: Mapping[str, Value]) -> Rows:
        """The rows of a query that is configured by name.

        Args:
            name: Of the query.
            values: What its parameters are taken from, by their names; what is absent is NULL.

        Raises:
            SourceError: As of `fetch`; a SourceQueryError also when there is no such query.
        """
        query = self.named(name)
        if query is None:
            known = ", ".join(self._queries) or "none"
            raise named(SourceQueryError(f"it has no query {name!r}; it has: {known}"), self.name)
        return await self.fetch(query.text, tuple(values.get(each) for each in query.parameters))

    def named(self, name: str) -> SourceQueryOptions | None:
        """The query that is configured by that name; None without one."""
        return self._queries.get(name)

    def placeholders(self, query: str) -> int:
        """How many parameters a query takes by position; for callers whose lists end in nothing.

        Raises:
            SourceQueryError: The query is not written as it must be.
        """
        try:
            return self._backend.placeholders(query)
        except SourceError as error:
            raise named(error, self.name) from error

    async def probe(self) -> None:
        """Return when the source can be asked; neither cache nor breaker stand before it.

        Raises:
            SourceError: Why not.
        """
        try:
            async with asyncio.timeout(self.options.query_seconds):
                await self._backend.probe()
        except TimeoutError:
            raise named(self._late(), self.name) from None
        except SourceError as error:
            raise named(error, self.name) from error

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()

    async def close(self) -> None:
        """Close its connections; questions under way end first."""
        await self._backend.close()
        self._measures.connections.value = 0
        self._measures.is_open.value = 0

    async def _joined(self, key: Hashable, query: str, parameters: Parameters) -> Rows | SourceError:
        """The outcome of one's own question, or of the same one that is under way."""
        while (flight := self._flights.get(key)) is not None:
            outcome = await asyncio.shield(flight)
            if outcome is not None:
                self._measures.cached["joined"].value += 1
                return outcome
        self._measures.cached["miss"].value += 1
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            outcome = await self._ask(query, parameters)
            if not isinstance(outcome, SourceError):
                self._cache.put(key, outcome)
        finally:
            del self._flights[key]
            flight.set_result(outcome)
        return outcome

    async def _ask(self, query: str, parameters: Parameters) -> Rows | SourceError:
        return await self._guarded(lambda: self._backend.fetch(query, parameters))

    async def _guarded(self, question: Callable[[], Awaitable[T]]) -> T | SourceError:
        """The outcome of a question, with deadline, breaker and measures around it."""
        begun_at = self._clock.now()
        if not self._breaker.admits(begun_at):
            self._measures.queries["refused"].value += 1
            wait = self._breaker.wait_seconds(begun_at)
            return SourceDownError(f"it did not answer before and is left alone, for {wait:.1f} s yet")
        is_probe = self._breaker.is_open
        outcome: T | SourceError
        try:
            async with asyncio.timeout(self.options.query_seconds):
                outcome = await question()
        except TimeoutError:
            outcome = self._late()
        except SourceError as error:
            outcome = error
        except Exception as error:  # a fault of a driver or of ours must not end a session
            self._log.error("source.failed", error=type(error).__name__)
            outcome = SourceDownError(f"asking it failed: {type(error).__name__}")
            outcome.__cause__ = error
        except BaseException:
            self._breaker.abandoned(was_probe=is_probe)
            raise
        self._note(outcome, begun_at, was_probe=is_probe)
        return outcome

    def _late(self) -> SourceTimeoutError:
        return SourceTimeoutError(f"no answer within {self.options.query_seconds:g} s")

    def _note(self, outcome: object, begun_at: float, *, was_probe: bool) -> None:
        """Count the outcome, and tell the breaker."""
        measures, now = self._measures, self._clock.now()
        measures.seconds.observe(now - begun_at)
        measures.connections.value = self._backend.connections
        if not isinstance(outcome, SourceDownError):
            measures.queries["error" if isinstance(outcome, SourceError) else "ok"].value += 1
            if isinstance(outcome, SourceError) and outcome.was_unasked:
                self._breaker.abandoned(was_probe=was_probe)
            elif self._breaker.answered():
                measures.is_open.value = 0
                self._log.info("source.back")
            return
        measures.queries["timeout" if isinstance(outcome, SourceTimeoutError) else "down"].value += 1
        if self._breaker.failed(now, was_probe=was_probe):
            measures.is_open.value = 1
            seconds = self.options.breaker.open_seconds
            self._log.warning("source.down", reason=outcome.message, probe_seconds=seconds)


def _key(query: str, parameters: Parameters) -> Hashable:
    """What a result is remembered by."""
    if isinstance(parameters, Mapping):
        return query, frozenset(parameters.items())
    return query, tuple(parameters)


def _maybe_key(query: str, parameters: Parameters) -> Hashable | None:
    """The same; None where a parameter cannot be remembered, which no source takes: asking says which."""
    try:
        key = _key(query, parameters)
        hash(key)
    except TypeError:
        return None
    return key
