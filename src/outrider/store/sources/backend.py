"""What each kind of source can do, and what kinds that speak SQL have in common.

`Backend` is the port; `source.Source` puts cache, breaker and measures around it. `SqlBackend` makes one of a
connector that can put one statement to its server.
"""

from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from outrider.base.clock import Clock
from outrider.store.sources.failures import SourceQueryError, before_asking
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.placeholders import Compiled, Dialect, arguments, compile_query
from outrider.store.sources.pool import Connector, Pool
from outrider.store.sources.rows import Parameters, Rows, Value

C = TypeVar("C")

COMPILED_MAX: Final = 500
# chosen: scripts have tens of queries; who builds texts out of values fills it again and again


class Backend(Protocol):
    """A source of one kind, without cache. Every method raises a `SourceError`, and nothing else."""

    @property
    def connections(self) -> int:
        """Open now."""
        ...

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        """The rows that answer a query."""
        ...

    async def execute(self, query: str, parameters: Parameters) -> int:
        """Do what a statement says; how many rows it changed."""
        ...

    def placeholders(self, query: str) -> int:
        """How many parameters the query takes by position."""
        ...

    async def probe(self) -> None:
        """Return when the source can be asked."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


class Answer(NamedTuple):
    """What a statement gave: its rows, and how many it changed."""

    rows: Rows
    affected: int


class SqlConnector(Connector[C], Protocol[C]):
    """Connections that take SQL."""

    async def ask(self, connection: C, text: str, values: tuple[Value, ...], rows_max: int) -> Answer:
        """Put one statement with its arguments; at least one row more than `rows_max` tells of too many."""
        ...

    def end(self) -> None:
        """No connection will be asked for any more."""
        ...


class SqlBackend(Generic[C]):
    """A source that speaks SQL.

    Args:
        connector: Makes connections and puts statements.
        dialect: Whose SQL.
        options: Of the source.
        clock: Time.
    """

    def __init__(
        self, connector: SqlConnector[C], dialect: Dialect, options: DataSourceOptions, clock: Clock
    ) -> None:
        self._connector = connector
        self._dialect = dialect
        self._rows_max = options.rows_max
        self._writable = options.writable
        self._pool = Pool(connector, options.pool, options.connect_seconds, clock)
        self._compiled: dict[tuple[str, bool], Compiled] = {}

    @property
    def connections(self) -> int:
        return self._pool.open

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        rows = (await self._ask(query, parameters, may_repeat=not self._writable)).rows
        if len(rows) > self._rows_max:
            raise SourceQueryError(f"the query gives more than {self._rows_max} rows (rows_max)")
        return rows

    async def execute(self, query: str, parameters: Parameters) -> int:
        if not self._writable:
            with before_asking():
                raise SourceQueryError("the source is read only; set writable for it")
        return (await self._ask(query, parameters, may_repeat=False)).affected

    def placeholders(self, query: str) -> int:
        return self._compile(query, by_name=False).needed

    async def probe(self) -> None:
        await self._ask("SELECT 1", (), may_repeat=True)

    async def close(self) -> None:
        await self._pool.close()
        self._connector.end()

    def _compile(self, query: str, *, by_name: bool) -> Compiled:
        found = self._compiled.get((query, by_name))
        if found is None:
            found = compile_query(query, self._dialect, by_name=by_name)
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            self._compiled[query, by_name] = found
        return found

    async def _ask(self, query: str, parameters: Parameters, *, may_repeat: bool) -> Answer:
        with before_asking():
            compiled = self._compile(query, by_name=not isinstance(parameters, tuple))
            values = arguments(compiled.order, compiled.needed, parameters)

        async def work(connection: C) -> Answer:
            return await self._connector.ask(connection, compiled.text, values, self._rows_max)

        return await self._pool.run(work, may_repeat=may_repeat)
