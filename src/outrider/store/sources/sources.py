"""All data sources of a process, by name.

In: what is configured. Out: a `Source` for each. Nothing is connected until somebody asks. A reload prepares
everything first, so that a fault changes nothing; a source whose options and password are the same keeps its
connections and its cache.

A driver is imported when a source of its kind is there, because each costs a worker memory and a start tens
of milliseconds.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.store.sources.backend import Backend
from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.measures import Metrics, NoMetrics, SourceMeasures
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.secret import read_secret
from outrider.store.sources.source import Source


def open_backend(options: DataSourceOptions, secret: str, clock: Clock) -> Backend:
    """The backend of a source, by its kind; nothing is connected yet.

    Raises:
        ConfigError: Its authorities cannot be read, or its password cannot be sent.
    """
    match options.address.kind:
        case "sqlite":
            from outrider.store.sources.sqlite import open_sqlite

            return open_sqlite(options, clock)
        case "csv":
            from outrider.store.sources.sqlite import open_csv

            return open_csv(options, clock)
        case "postgresql":
            from outrider.store.sources.postgresql import open_postgresql

            return open_postgresql(options, secret, clock)
        case "mysql":
            from outrider.store.sources.mysql import open_mysql

            return open_mysql(options, secret, clock)
        case "redis":
            from outrider.store.sources.redis_server import open_redis

            return open_redis(options, secret, clock)
        case _:
            from outrider.store.sources.http_server import open_http

            return open_http(options, secret, clock)


class Sources:
    """See the module.

    Args:
        options: What is configured.
        clock: Time.
        log: Told when a source goes down and comes back.
        environment: Usually `os.environ`; passwords may be there.
        metrics: Where sources are measured.

    Raises:
        ConfigError: A password or an authority cannot be read.
    """

    def __init__(
        self,
        options: Sequence[DataSourceOptions],
        clock: Clock,
        log: Log,
        environment: Mapping[str, str],
        metrics: Metrics | None = None,
    ) -> None:
        self._clock = clock
        self._log = log
        self._environment = environment
        self._metrics = metrics if metrics is not None else NoMetrics()
        self._secrets: dict[str, str] = {}
        self._sources: dict[str, Source] = {}
        self._sources, self._secrets = self._prepared(options)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all sources, in the order of the configuration."""
        return tuple(self._sources)

    def find(self, name: str) -> Source:
        """The source of that name.

        Raises:
            SourceQueryError: There is none; says which there are.
        """
        source = self._sources.get(name)
        if source is None:
            known = ", ".join(self._sources) or "none"
            raise SourceQueryError(f"there is no data source {name!r}; configured: {known}", source=name)
        return source

    async def reload(self, options: Sequence[DataSourceOptions]) -> list[str]:
        """Take over another configuration; the names of sources that are new, changed or gone.

        Questions under way at a source that goes end first, on their own connections.

        Raises:
            ConfigError: As of construction; nothing has changed then.
        """
        return await self.prepare(options)()

    def prepare(self, options: Sequence[DataSourceOptions]) -> Callable[[], Awaitable[list[str]]]:
        """All that can fail of a reload; what it gives does the rest, and gives what `reload` does.

        Raises:
            ConfigError: As of construction; nothing has changed then.
        """
        sources, secrets = self._prepared(options)

        async def take() -> list[str]:
            before, self._sources, self._secrets = self._sources, sources, secrets
            gone = [name for name, source in before.items() if sources.get(name) is not source]
            for name in gone:
                await before[name].close()
            return [*gone, *(name for name in sources if name not in before)]

        return take

    async def close(self) -> None:
        """Close all connections."""
        for source in self._sources.values():
            await source.close()

    def _prepared(self, options: Sequence[DataSourceOptions]) -> tuple[dict[str, Source], dict[str, str]]:
        sources: dict[str, Source] = {}
        secrets: dict[str, str] = {}
        for each in options:
            secret = secrets[each.name] = read_secret(each, self._environment)
            old = self._sources.get(each.name)
            if old is not None and old.options == each and self._secrets.get(each.name) == secret:
                sources[each.name] = old
            else:
                backend = open_backend(each, secret, self._clock)
                measures = SourceMeasures(self._metrics, each.name)
                sources[each.name] = Source(each, backend, self._clock, self._log, measures)
        return sources, secrets
