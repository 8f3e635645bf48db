"""Opens the control database: SQLite in the state directory, or PostgreSQL.

In: `StoreOptions` and the state directory. Out: an `AsyncEngine`; whoever opens it disposes of it. `reading`
and `writing` give one transaction each, and translate what the libraries raise.

Theory: in SQLite a transaction that writes begins with BEGIN IMMEDIATE, so that two writers queue up rather
than fail half-way; readers never wait for it, because the file keeps a write-ahead log. In PostgreSQL the
same order comes from the lock on `audit_head` (`store.editor`).

Invariant: the SQLite file is never readable by others than its owner, from its first octet on.
"""

import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from outrider.base.errors import ConfigError, StoreError, UnavailableError
from outrider.store.options import StoreOptions

Database = AsyncEngine
"""What is opened here, for whoever is not at home with SQLAlchemy; `dispose` closes it."""

FILE_NAME = "control.db"
FILE_MODE = 0o600
# it holds hashes of passwords and keys

_PRIMARY = 0xFF
# what an extended result code of SQLite is a kind of
_WRITES = "outrider_writes"
# execution option of connections that will write


def database_path(options: StoreOptions, state_directory: Path) -> Path | None:
    """The SQLite file, or None where the database is a server."""
    if not options.url:
        return state_directory / FILE_NAME
    if options.url.startswith("sqlite"):
        return state_directory / options.url.removeprefix("sqlite:///")
    return None


def open_engine(options: StoreOptions, state_directory: Path) -> AsyncEngine:
    """The engine; nothing is connected yet, but an SQLite file is there afterwards.

    Raises:
        ConfigError: The file cannot be made, others can read it, or the password file cannot be read.
    """
    pool: dict[str, Any] = {
        "pool_size": options.pool_size,
        "max_overflow": options.pool_overflow,
        "pool_timeout": options.wait_seconds,
    }
    path = database_path(options, state_directory)
    if path is not None:
        _make_file(path)
        url = sa.URL.create("sqlite+aiosqlite", database=str(path))
        engine = create_async_engine(
            url, connect_args={"timeout": options.wait_seconds}, poolclass=sa.AsyncAdaptedQueuePool, **pool
        )
        sa.event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    url = sa.make_url(options.url).set(drivername="postgresql+asyncpg")
    if options.password_file is not None:
        url = url.set(password=_password(options.password_file))
    return create_async_engine(
        url,
        connect_args={
            "timeout": options.wait_seconds,
            "command_timeout": options.wait_seconds,
            # statements without names: PgBouncer may give each transaction another connection, where a name
            # stands for another process's statement, because all processes count alike
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
        },
        pool_pre_ping=True,
        **pool,
    )


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"the control database {path} cannot be opened: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others (mode {mode:04o}); do: chmod 600 {path}")


def _password(path: Path) -> str:
    try:
        return path.read_text("utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"store.password_file: {path} cannot be read: {error}") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so: see _begin_sqlite
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that only reads, and sees one moment however many queries it makes.

    Raises:
        UnavailableError: The database does not answer.
    """
    async with _translated(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # whose usual transactions see a moment for each query
            await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that writes: committed at the end of the block, rolled back when it raises.

    Raises:
        UnavailableError: The database does not answer, or is locked for too long.
        StoreError: What was written contradicts what is there.
    """
    async with _translated(), engine.connect() as connection:
        await connection.execution_options(**{_WRITES: True})
        async with connection.begin():
            yield connection


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise StoreError("the control database refuses the change", "conflict") from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        told = str(cause) or "not within store.wait_seconds"  # a time-out of the driver says nothing itself
        raise UnavailableError(f"the control database does not answer: {told}{_advice(cause)}") from error


def _advice(cause: BaseException) -> str:
    """What to do about what SQLite says of its file."""
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "; it is damaged, and the way back is a copy: see `outrider doctor`"
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return "; is its disk full, or broken? See `outrider doctor`"
    return ""
