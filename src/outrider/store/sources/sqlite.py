"""SQLite files, and CSV files as a table of SQLite.

In: statements. Out: rows. SQLite works in threads of this source's own, one for each connection; a query
that is given up is interrupted.

Theory of what a script could reach: the file of the source and nothing else. It is opened for reading
unless the source is writable; ATTACH (and so VACUUM INTO) is switched off by SQLite's own limit, extensions
are never loaded.

A file that was replaced by another of its name is noticed when a connection is taken from the pool. A CSV
file becomes a table with the name of the source in memory: its first line names the columns, every value is
text, every column has an index, and the whole is read again when the file has changed.

Invariant: a connection is closed only when no thread uses it.
"""

import asyncio
import csv
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from outrider.base.clock import Clock
from outrider.store.sources.backend import Answer, SqlBackend
from outrider.store.sources.failures import SourceDownError, SourceError, SourceQueryError
from outrider.store.sources.options import DataSourceOptions, SourcePoolOptions
from outrider.store.sources.placeholders import Dialect
from outrider.store.sources.rows import Value, rows_of

T = TypeVar("T")

_DOWN: Final = frozenset(
    {
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_CANTOPEN",
        "SQLITE_IOERR",
        "SQLITE_CORRUPT",
        "SQLITE_NOTADB",
        "SQLITE_FULL",
        "SQLITE_INTERRUPT",
        "SQLITE_NOMEM",
        "SQLITE_PROTOCOL",
        "SQLITE_PERM",
    }
)
# what has to do with the file, not with the query; extended codes begin with these names
_BUSY_SHARE: Final = 0.5
# chosen: half of the query's time may go by waiting for who writes
_INDEXED_COLUMNS: Final = 32
# chosen: wide exports are looked up by their first columns
_STEPS: Final = 20_000
# chosen: some 100 µs of SQLite's virtual machine between two looks at whether anybody still waits
_STATEMENTS: Final = 100
# as statements.py keeps for servers


class FileConnection:
    """A connection with the state of the file that it was opened on, and the work under way on it."""

    __slots__ = ("_is_given_up", "database", "mark", "work")

    def __init__(self, database: sqlite3.Connection, mark: tuple[int, ...]) -> None:
        self.database = database
        self.mark = mark
        self.work: Future[Any] | None = None
        self._is_given_up = False
        database.set_progress_handler(self._progress, _STEPS)

    def give_up(self) -> None:
        """End the work, whether it waits for its thread, has just begun or is under way."""
        self._is_given_up = True
        if self.work is not None and not self.work.cancel():
            self.database.interrupt()

    def _progress(self) -> int:
        """SQLite asks every so many steps; anything but 0 ends the query."""
        return int(self._is_given_up)


class _FileConnector:
    """Connections to one file; a subclass opens it."""

    def __init__(self, options: DataSourceOptions) -> None:
        self._options = options
        self._path = Path(options.address.path)
        self._threads: ThreadPoolExecutor | None = None

    async def connect(self) -> FileConnection:
        opened = self._submit(self._open_safely)
        try:
            found = await asyncio.shield(asyncio.wrap_future(opened))
        except asyncio.CancelledError:
            opened.add_done_callback(_close_unwanted)
            raise
        if isinstance(found, SourceError):
            raise found
        return found

    async def ask(
        self, connection: FileConnection, text: str, values: tuple[Value, ...], rows_max: int
    ) -> Answer:
        work = self._submit(lambda: _ask(connection.database, text, values, rows_max))
        connection.work = work
        try:
            answer = await asyncio.shield(asyncio.wrap_future(work))
        except asyncio.CancelledError:
            connection.give_up()
            raise
        if isinstance(answer, SourceError):
            raise answer
        return answer

    def is_usable(self, connection: FileConnection) -> bool:
        try:
            return connection.mark == self._mark(self._path.stat())
        except OSError:
            return False

    def drop(self, connection: FileConnection) -> None:
        if connection.work is None or connection.work.done():
            connection.database.close()
        else:
            connection.work.add_done_callback(lambda _work: connection.database.close())

    async def close(self, connection: FileConnection) -> None:
        self.drop(connection)

    def end(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _submit(self, function: Callable[[], T]) -> Future[T]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._options.pool.max, f"source-{self._options.name}")
        return self._threads.submit(function)

    def _open_safely(self) -> FileConnection | SourceError:
        try:
            return self._open()
        except OSError as error:
            return SourceDownError(f"{self._path} cannot be read: {error.strerror}")
        except (sqlite3.Error, sqlite3.Warning) as error:
            return _failure(error)
        except SourceError as error:
            return error

    def _open(self) -> FileConnection:
        """In a thread."""
        raise AssertionError("a subclass opens the file")

    def _mark(self, status: os.stat_result) -> tuple[int, ...]:
        return (status.st_dev, status.st_ino)


def _close_unwanted(opened: Future[FileConnection | SourceError]) -> None:
    if not opened.cancelled() and isinstance(found := opened.result(), FileConnection):
        found.database.close()


class SqliteConnector(_FileConnector):
    """Connections to an SQLite file."""

    def _open(self) -> FileConnection:
        status = self._path.stat()  # so that a file that is missing is never made
        mode = "rw" if self._options.writable else "ro"
        database = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode={mode}",
            uri=True,
            timeout=self._options.query_seconds * _BUSY_SHARE,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
        )
        _restrict(database, self._options.octets_max)
        database.execute("SELECT count(*) FROM sqlite_schema")  # whether it is a database is seen only now
        return FileConnection(database, self._mark(status))


class CsvConnector(_FileConnector):
    """One connection to a table in memory that holds a CSV file."""

    def _mark(self, status: os.stat_result) -> tuple[int, ...]:
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)

    def _open(self) -> FileConnection:
        with self._path.open("r", encoding="utf-8-sig", newline="") as file:
            status = os.fstat(file.fileno())
            if status.st_size > self._options.octets_max:
                raise SourceDownError(f"{self._path} has {status.st_size} octets, more than octets_max")
            database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            try:
                self._fill(database, csv.reader(file, strict=True))
            except (csv.Error, UnicodeDecodeError) as error:
                database.close()
                raise SourceDownError(f"{self._path} is not CSV in UTF-8: {error}") from error
            except BaseException:
                database.close()
                raise
        database.execute("PRAGMA query_only = ON")
        _restrict(database, self._options.octets_max)
        return FileConnection(database, self._mark(status))

    def _fill(self, database: sqlite3.Connection, lines: Any) -> None:
        columns: list[str] = next(lines, [])
        if not columns or not all(columns) or len({name.lower() for name in columns}) < len(columns):
            raise SourceDownError(f"{self._path}: the first line must name each column, and none twice")
        table, names = _name(self._options.name), [_name(column) for column in columns]
        places = ", ".join("?" * len(columns))
        database.execute("BEGIN")
        database.execute(f"CREATE TABLE {table} ({', '.join(f'{name} TEXT' for name in names)})")
        database.executemany(
            f"INSERT INTO {table} VALUES ({places})",  # noqa: S608 - a quoted name of ours
            self._checked(lines, len(columns)),
        )
        for number, name in enumerate(names[:_INDEXED_COLUMNS]):
            database.execute(f"CREATE INDEX by_{number} ON {table} ({name})")
        database.execute("COMMIT")

    def _checked(self, lines: Any, columns: int) -> Any:
        for line in lines:
            if not line:
                continue  # an empty line, which many programs leave at the end
            if len(line) != columns:
                raise SourceDownError(
                    f"{self._path}, line {lines.line_num}: {len(line)} fields instead of {columns}"
                )
            yield line


def _name(text: str) -> str:
    """A quoted name."""
    return '"' + text.replace('"', '""') + '"'


def _restrict(database: sqlite3.Connection, octets_max: int) -> None:
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, octets_max)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.text_factory = _text


def _text(octets: bytes) -> str | bytes:
    """Text, or the octets where they are none."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def _ask(
    database: sqlite3.Connection, text: str, values: tuple[Value, ...], rows_max: int
) -> Answer | SourceError:
    """In a thread."""
    try:
        cursor = database.execute(text, values)
        try:
            columns = [column[0] for column in cursor.description or ()]
            rows = rows_of(columns, cursor.fetchmany(rows_max + 1))
            return Answer(rows, max(cursor.rowcount, 0))
        finally:
            cursor.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        return _failure(error)


def _failure(error: Exception) -> SourceError:
    """SQLite's messages name tables, columns and what is near a fault, never a bound value."""
    code = getattr(error, "sqlite_errorname", "")
    if any(code.startswith(name) for name in _DOWN):
        return SourceDownError(f"SQLite: {error}")
    return SourceQueryError(f"SQLite: {error}")


def open_sqlite(options: DataSourceOptions, clock: Clock) -> SqlBackend[FileConnection]:
    """The backend of an SQLite file."""
    return SqlBackend(SqliteConnector(options), Dialect.SQLITE, options, clock)


def open_csv(options: DataSourceOptions, clock: Clock) -> SqlBackend[FileConnection]:
    """The backend of a CSV file."""
    one = options.model_copy(
        update={"pool": SourcePoolOptions(min=1, max=1, idle_seconds=options.pool.idle_seconds)}
    )
    return SqlBackend(CsvConnector(one), Dialect.SQLITE, one, clock)
