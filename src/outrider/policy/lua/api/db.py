"""`msys.db`: named data sources.

In: the name of a source, SQL, parameters. Out: rows as tables by column name. What a source remembers is
given at once; otherwise the script waits.

Theory: Momentum's pages say that failures raise unless `raise_error` is false, and its examples test for nil
as if it were; raising is the default, and the examples work as long as the query succeeds. A source that is
down raises so that the peer hears 451, whoever does not look; who looks finds its name in the connection's
context too. Beyond Momentum's, the name of a query that the configuration has (`[[data_source.query]]`)
stands for its text.

Not here: the row iterator, which is in Lua (`db.lua`).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from outrider.base.errors import OutriderError
from outrider.policy.asking import note_source
from outrider.policy.connection import Connection
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, lua_text, needs, options_of, text_of
from outrider.policy.lua.convert import INTEGER_MAX, kind_of
from outrider.policy.lua.registry import LuaRegistry
from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.rows import Parameters, Rows
from outrider.store.sources.source import Source

_OPTIONS: Final = frozenset({"nocache", "raise_error"})


class Databases:
    """The functions of `msys.db`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def query(self, cache: Any, sql: Any, params: Any = None, options: Any = None) -> Any:
        """All rows; `nil, message` on a failure that is not to raise."""
        return self._ask(cache, sql, params, options, _all)

    def fetch_row(self, cache: Any, sql: Any, params: Any = None, options: Any = None) -> Any:
        """The first row, or nil."""
        return self._ask(cache, sql, params, options, _first)

    def execute(self, cache: Any, sql: Any, params: Any = None, options: Any = None) -> Any:
        """Do what a statement says: true, or `false, message`."""
        chosen = options_of(options, _OPTIONS, "msys.db.execute")
        raises = chosen.get("raise_error") is not False
        try:
            source = self._source(cache)
            text, params = _named(source, text_of(sql, "a statement"), params)
            parameters = _parameters(source, text, params)
            connection = self._host.current().connection
            return self._execute(source, text, parameters, connection, raises=raises)
        except (OutriderError, ValueError) as error:
            if raises:
                raise
            return False, _reason(error)

    async def _execute(
        self,
        source: Source,
        sql: str,
        parameters: Parameters,
        connection: Connection | None,
        *,
        raises: bool,
    ) -> Any:
        try:
            await source.execute(sql, parameters)
        except OutriderError as error:
            note_source(connection, error)
            if raises:
                raise
            return False, error.message
        return True

    def _source(self, cache: Any) -> Source:
        find: Callable[[str], Source] = needs(self._host.source, "data sources")
        return find(text_of(cache, "the name of a data source"))

    def _ask(
        self, cache: Any, sql: Any, params: Any, options: Any, shape: Callable[[Rows], Any]
    ) -> Any | Awaitable[Any]:
        chosen = options_of(options, _OPTIONS, "msys.db.query") if options is not None else {}
        raises = chosen.get("raise_error") is not False
        use_cache = not chosen.get("nocache")
        try:
            source = self._source(cache)
            text, params = _named(source, text_of(sql, "a query"), params)
            if use_cache and type(params) is list:
                rows = source.peek(text, tuple([_value(each) for each in params]))
                if rows is not None:  # as it mostly is, and without reading the query
                    return shape(rows)
            parameters = _parameters(source, text, params)
        except (OutriderError, ValueError) as error:
            if raises:
                raise
            return None, _reason(error)
        if use_cache:
            rows = source.peek(text, parameters)
            if rows is not None:
                return shape(rows)
        connection = self._host.current().connection
        return self._fetch(source, text, parameters, connection, shape, use_cache=use_cache, raises=raises)

    async def _fetch(
        self,
        source: Source,
        sql: str,
        parameters: Parameters,
        connection: Connection | None,
        shape: Callable[[Rows], Any],
        *,
        use_cache: bool,
        raises: bool,
    ) -> Any:
        try:
            return shape(await source.fetch(sql, parameters, use_cache=use_cache))
        except OutriderError as error:
            note_source(connection, error)
            if raises:
                raise
            return None, error.message


def _all(rows: Rows) -> list[dict[str, Any]]:
    return [_exact(row) for row in rows]


def _first(rows: Rows) -> dict[str, Any] | None:
    return _exact(rows[0]) if rows else None


def _exact(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with whole numbers as text where those of Lua would round them."""
    found = dict(row)
    for name, value in found.items():
        if type(value) is int and not -INTEGER_MAX <= value <= INTEGER_MAX:
            found[name] = str(value)
    return found


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, OutriderError) else str(error)


def _named(source: Source, sql: str, params: Any) -> tuple[str, Any]:
    """Text and parameters of a query that is asked for by its name; both as they are where it is none."""
    query = source.named(sql)
    if query is None:
        return sql, params
    if isinstance(params, dict) and not any(isinstance(key, (int, float)) for key in params):
        given = {text_of(key, "a parameter's name").lstrip(":$"): each for key, each in params.items()}
        return query.text, [given.get(name) for name in query.parameters]
    return query.text, params


def _parameters(source: Source, sql: str, params: Any) -> Parameters:
    """Parameters as the source takes them: a list by position, or by name without the sign.

    A list that ends in nil is shorter than the query's marks, or has numbers as keys; NULL stands there. A
    table in which all is nil is empty: its parameters may have come by name.
    """
    if params is None or params == {}:
        is_given = params is not None
        count = source.placeholders(sql) if is_given or "?" in sql else 0
        return {} if is_given and not count and (":" in sql or "$" in sql) else (None,) * count
    if isinstance(params, list):
        values = [_value(each) for each in params]
    elif isinstance(params, dict) and all(isinstance(key, (int, float)) for key in params):
        last = max(params)
        if last > (count := source.placeholders(sql)):  # places up to it are made, so it is looked at before
            raise SourceQueryError(
                f"the query has {count} placeholders, but there is a parameter at {last:g}"
            )
        values = [_value(params.get(place)) for place in range(1, int(last) + 1)]
    elif isinstance(params, dict):
        return {text_of(key, "a parameter's name").lstrip(":$"): _value(each) for key, each in params.items()}
    else:
        raise SourceQueryError(f"parameters are a table, not {kind_of(params)}")
    missing = source.placeholders(sql) - len(values)
    return tuple(values) + (None,) * missing if missing > 0 else tuple(values)


def _value(value: Any) -> Any:
    """Strings are text for a database, where they are UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.db` and `msys.datasource`."""
    databases = Databases(host)
    functions = {
        "query": databases.query,
        "fetch_row": databases.fetch_row,
        "execute": databases.execute,
    }
    install(registry, host, rows, "msys.db", functions, as_module="outrider.msys.db")
    registry.register_source("msys.db", lua_text("db"))
    registry.register("msys.datasource", {})
