"""MySQL and MariaDB by asyncmy.

In: statements. Out: rows. Statements are prepared at the server and arguments go apart from them, in binary
form; the driver's other way, which writes arguments into the text, is not used.

Theory: without `writable` the session is read-only, by `SET SESSION TRANSACTION READ ONLY`.
"""

from typing import Any, Final

import asyncmy
from asyncmy import errors

from outrider.base.clock import Clock
from outrider.store.sources.backend import Answer, SqlBackend
from outrider.store.sources.failures import SourceDownError, SourceError, SourceQueryError, SourceTimeoutError
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.placeholders import Dialect
from outrider.store.sources.rows import Value, rows_of
from outrider.store.sources.statements import PreparingConnection, Statements
from outrider.store.sources.verified import verified_context

_CLIENT_ERRORS: Final = range(2_000, 3_000)
# the client's own numbers: the connection
_DOWN: Final = frozenset(
    {1040, 1043, 1053, 1077, 1079, 1129, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226}
)
# MariaDB's error codes of the server's state: too many connections, shutting down, network, locks
_OUT_OF_TIME: Final = frozenset({1317, 1969, 3024})
# interrupted, and the two servers' own statement time
_TOLD_CLASSES: Final = ("42", "25")
# SQLSTATE classes whose messages speak of the query's text, not of values
_READ_ONLY: Final = 1792
# a statement that writes, in a read-only transaction
_OPTION_PREVENTS: Final = 1290
# an option of the server forbids the statement, `read_only` among others


class MysqlConnector:
    """Makes connections and puts statements."""

    def __init__(self, options: DataSourceOptions, secret: str) -> None:
        self._options = options
        self._secret = secret
        self._tls = verified_context(options)

    async def connect(self) -> PreparingConnection:
        address = self._options.address
        try:
            client = await asyncmy.connect(
                host=address.host or "localhost",
                port=address.port,
                unix_socket=address.socket or None,
                user=address.user,
                password=self._secret,
                database=address.path,
                charset="utf8mb4",
                autocommit=True,
                init_command=None if self._options.writable else "SET SESSION TRANSACTION READ ONLY",
                connect_timeout=max(int(self._options.connect_seconds), 1),
                program_name="outrider",
                ssl=self._tls,
            )
            await self._limit(client)
        except errors.MySQLError as error:
            what = (
                "no connection to MySQL" if _number(error) in _CLIENT_ERRORS else "MySQL does not let us in"
            )
            raise SourceDownError(f"{what}: {_number(error)} {_told(error)}") from error
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SourceDownError(f"no connection to MySQL: {reason}") from error
        return PreparingConnection(client, Statements())

    async def _limit(self, client: Any) -> None:
        """The server gives up as we do, and gives one row more than there may be.

        Only SELECTs without a LIMIT of their own heed the second; what may write is done whole.
        """
        seconds = self._options.query_seconds
        is_mariadb = "mariadb" in str(client.get_server_info()).lower()
        limit = (
            f"max_statement_time = {seconds:.3f}"
            if is_mariadb
            else f"max_execution_time = {seconds * 1e3:.0f}"
        )
        if not self._options.writable:
            limit += f", sql_select_limit = {self._options.rows_max + 1}"
        try:
            await client.query(f"SET SESSION {limit}")
        except BaseException:
            client.close()
            raise

    def is_usable(self, connection: PreparingConnection) -> bool:
        return bool(connection.client.connected) and not connection.client._stream_broken

    def drop(self, connection: PreparingConnection) -> None:
        connection.client.close()

    async def close(self, connection: PreparingConnection) -> None:
        try:
            await connection.client.ensure_closed()
        except (errors.MySQLError, OSError):
            connection.client.close()

    def end(self) -> None: ...

    async def ask(
        self,
        connection: PreparingConnection,
        text: str,
        values: tuple[Value, ...],
        rows_max: int,  # noqa: ARG002 - the session has it
    ) -> Answer:
        try:
            statement = connection.statements.find(text)
            if statement is None:
                statement = await connection.client.prepare(text)
                if (old := connection.statements.keep(text, statement)) is not None:
                    await old.close()
            if statement.parameter_count != len(values):
                raise SourceQueryError(
                    f"MySQL sees {statement.parameter_count} placeholders, not {len(values)}"
                )
            result = await statement.execute(values)
        except errors.MySQLError as error:
            raise _failure(error) from error
        except (OSError, EOFError) as error:
            raise SourceDownError(f"the connection to MySQL was lost: {type(error).__name__}") from error
        if result.rows is None:
            return Answer((), result.affected_rows)
        columns = [column[0] for column in result.description]
        return Answer(rows_of(columns, result.rows), 0)


def _number(error: errors.MySQLError) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _told(error: errors.MySQLError) -> str:
    return str(error.args[1]) if len(error.args) > 1 else type(error).__name__


def _failure(error: errors.MySQLError) -> SourceError:
    number = _number(error)
    if number == _OPTION_PREVENTS and "read-only" in _told(error):
        return SourceDownError("MySQL: 1290, the server takes no changes (read_only), as a replica does")
    state = str(getattr(error, "sqlstate", None) or "")
    if number in _OUT_OF_TIME:
        return SourceTimeoutError(f"MySQL gave the query up: {number}")
    if (
        number in _CLIENT_ERRORS
        or number in _DOWN
        or (not number and isinstance(error, errors.InterfaceError))
    ):
        return SourceDownError(f"MySQL: {number} {type(error).__name__}")
    told = f": {_told(error)}" if state.startswith(_TOLD_CLASSES) or number == _READ_ONLY else ""
    return SourceQueryError(f"MySQL: {number} {type(error).__name__.removesuffix('Error')}{told}")


def open_mysql(options: DataSourceOptions, secret: str, clock: Clock) -> SqlBackend[PreparingConnection]:
    """The backend of a MySQL or MariaDB server."""
    return SqlBackend(MysqlConnector(options, secret), Dialect.MYSQL, options, clock)
