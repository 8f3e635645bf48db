"""PostgreSQL by asyncpg.

In: statements. Out: rows. Statements are prepared once for each connection; arguments go apart from them,
in the binary form of the type that PostgreSQL says each has. Scripts give text and numbers, so an argument
is first turned into what its type asks for (`5` and `"5"` both fit an integer).

Theory: without `writable` the session is read-only, by PostgreSQL's own default of its transactions. What is
between, such as PgBouncer, may drop that wish, so the server is asked whether it holds; and it may give each
transaction another connection, so a statement has no name there and goes with each of its executions. Such a
session's server is asked for one row more than there may be; a writable one's statements are done whole.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]

from outrider.base.clock import Clock
from outrider.store.sources.backend import Answer, SqlBackend
from outrider.store.sources.failures import (
    SourceDownError,
    SourceError,
    SourceParameterError,
    SourceQueryError,
    SourceTimeoutError,
)
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.placeholders import Dialect
from outrider.store.sources.rows import Value, rows_of
from outrider.store.sources.statements import PreparingConnection, Statements
from outrider.store.sources.verified import verified_context

_DOWN_CLASSES: Final = frozenset({"08", "28", "40", "53", "57", "58", "3D"})
# SQLSTATE classes of the server's state: connection, authorisation, rollback, resources, intervention, system
_PROTOCOL: Final = "08P01"
# protocol_violation: PgBouncer's code for all that it refuses
_SETTINGS: Final = ("statement_timeout", "default_transaction_read_only")
# what is asked for at a connection's start, and PgBouncer does not know
_EVERY_ROW: Final = 0
# of the protocol's Execute: no limit
_CANCELLED: Final = "57014"
_NO_CHARACTER: Final = "22021"
# character_not_in_repertoire: a text with an octet 0
_TOLD_CLASSES: Final = frozenset({"42", "25", "0A"})
# their messages speak of the query's text, not of values


class PostgresqlConnector:
    """Makes connections and puts statements."""

    def __init__(self, options: DataSourceOptions, secret: str) -> None:
        self._options = options
        self._secret = secret
        self._tls = verified_context(options)

    async def connect(self) -> PreparingConnection:
        address = self._options.address
        # the server gives up as we do, and does not go on for somebody who has left
        limit = str(max(int(self._options.query_seconds * 1_000), 1))
        settings = {"application_name": "outrider", "statement_timeout": limit}
        if not self._options.writable:
            settings["default_transaction_read_only"] = "on"
        try:
            client = await asyncpg.connect(
                host=address.socket or address.host,
                port=address.port,
                user=address.user,
                password=self._secret,
                database=address.path,
                ssl=self._tls if self._tls is not None else False,
                statement_cache_size=0,
                server_settings=settings,
                timeout=self._options.connect_seconds,
            )
        except asyncpg.PostgresError as error:
            raise SourceDownError(
                f"PostgreSQL does not let us in: {error.sqlstate} {error.message or error}{_startup(error)}"
            ) from error
        except (asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
            raise SourceDownError(f"no connection to PostgreSQL: {_reason(error)}") from error
        connection = PreparingConnection(client, Statements())
        if not self._options.writable:
            try:
                await self._check_read_only(client)
            except BaseException:
                self.drop(connection)
                raise
        return connection

    async def _check_read_only(self, client: Any) -> None:
        try:
            is_read_only = await client.fetchval("SHOW transaction_read_only") == "on"
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise SourceDownError(f"the connection to PostgreSQL was lost: {_kind(error)}") from error
        if not is_read_only:
            raise SourceDownError(
                "the source is only to be read, but PostgreSQL would let us write: what is between, such as "
                "PgBouncer, drops default_transaction_read_only; let the server itself set it, by ALTER ROLE "
                f"{self._options.address.user} SET default_transaction_read_only = on"
            )

    def is_usable(self, connection: PreparingConnection) -> bool:
        return not connection.client.is_closed()

    def drop(self, connection: PreparingConnection) -> None:
        connection.client.terminate()

    async def close(self, connection: PreparingConnection) -> None:
        try:
            await connection.client.close(timeout=self._options.connect_seconds)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.client.terminate()

    def end(self) -> None: ...

    async def ask(
        self,
        connection: PreparingConnection,
        text: str,
        values: tuple[Value, ...],
        rows_max: int,
    ) -> Answer:
        limit = _EVERY_ROW if self._options.writable else rows_max + 1
        try:
            statement = connection.statements.find(text)
            if statement is None:
                statement = await connection.client.prepare(text)
                connection.statements.keep(text, statement)  # what goes is closed by its own finaliser
            fitted = _fit(values, statement.get_parameters())
            # `fetch` with a limit, which only `fetchrow` has; a cursor needs BEGIN and COMMIT around it
            records = await statement._PreparedStatement__bind_execute(fitted, limit, None)
            columns = [attribute.name for attribute in statement.get_attributes()]
            return Answer(rows_of(columns, records), _affected(statement.get_statusmsg()))
        except asyncpg.InvalidCachedStatementError as error:
            raise SourceDownError("a table was changed meanwhile") from error  # a fresh connection knows it
        except asyncpg.PostgresError as error:
            raise _failure(error) from error
        except asyncpg.DataError as error:
            raise SourceParameterError("a parameter does not fit its type") from error
        except (asyncpg.InterfaceError, OSError) as error:
            raise SourceDownError(f"the connection to PostgreSQL was lost: {_kind(error)}") from error
        except asyncpg.InternalClientError as error:
            raise SourceDownError(f"asyncpg: {_kind(error)}") from error


def _startup(error: Any) -> str:
    """What to do where a pooler does not take a connection for what it asks for at its start."""
    if error.sqlstate != _PROTOCOL or "startup parameter" not in str(error):
        return ""
    return "; let PgBouncer pass it over: ignore_startup_parameters = " + ", ".join(_SETTINGS)


def _kind(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or _kind(error)


def _failure(error: Any) -> SourceError:
    state = error.sqlstate or ""
    if state == _CANCELLED:
        return SourceTimeoutError("PostgreSQL gave the query up (statement_timeout, or cancelled)")
    if state[:2] in _DOWN_CLASSES:
        return SourceDownError(f"PostgreSQL: {state} {_kind(error)}")
    if state == _NO_CHARACTER:
        return SourceParameterError("a parameter holds what is no character to PostgreSQL")
    told = f": {error.message}" if state[:2] in _TOLD_CLASSES else ""
    return SourceQueryError(f"PostgreSQL: {state} {_kind(error)}{told}")


def _affected(status: str) -> int:
    """`UPDATE 3` is 3."""
    last = status.rpartition(" ")[2] if status else ""
    return int(last) if last.isdigit() and not status.startswith("SELECT") else 0


def _fit(values: tuple[Value, ...], types: Any) -> list[Any]:
    if len(values) != len(types):
        raise SourceQueryError(
            f"PostgreSQL sees {len(types)} placeholders, but there are {len(values)} arguments"
        )
    fitted: list[Any] = []
    for place, (value, kind) in enumerate(zip(values, types, strict=True), 1):
        convert = _CONVERT.get(kind.name)
        if value is None or convert is None:
            fitted.append(value)
            continue
        try:
            fitted.append(convert(value))
        except (ValueError, TypeError, InvalidOperation):
            raise SourceParameterError(f"parameter {place} is no {kind.name}") from None
    return fitted


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _as_int(value: Any) -> int:
    if isinstance(value, float):
        raise ValueError("not a whole number")  # noqa: TRY004 - as int() of a text says it
    return int(value)


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in {"1", "t", "true", "y", "yes", "on"}:
        return True
    if text in {"0", "f", "false", "n", "no", "off"}:
        return False
    raise ValueError("neither true nor false")


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


_CONVERT: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _as_int),
    **dict.fromkeys(("float4", "float8"), float),
    **dict.fromkeys(
        (
            "text",
            "varchar",
            "bpchar",
            "name",
            "char",
            "json",
            "jsonb",
            "xml",
            "unknown",
            "uuid",
            "inet",
            "cidr",
            "citext",
        ),
        _as_text,
    ),
    "numeric": lambda value: Decimal(_as_text(value)),
    "bool": _as_bool,
    "bytea": _as_bytes,
    "date": lambda value: date.fromisoformat(_as_text(value)),
    "time": lambda value: time.fromisoformat(_as_text(value)),
    **dict.fromkeys(("timestamp", "timestamptz"), lambda value: datetime.fromisoformat(_as_text(value))),
}
"""By name of the type: what asyncpg takes for it. Others go as they are."""


def open_postgresql(options: DataSourceOptions, secret: str, clock: Clock) -> SqlBackend[PreparingConnection]:
    """The backend of a PostgreSQL server."""
    return SqlBackend(PostgresqlConnector(options, secret), Dialect.POSTGRESQL, options, clock)
