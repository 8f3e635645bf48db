"""Sources that are killed, come back, are slow, or were never there."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import UnavailableError
from outrider.base.log import ListLog
from outrider.store.sources.failures import (
    SourceDownError,
    SourceError,
    SourceQueryError,
    SourceTimeoutError,
)
from outrider.store.sources.redis_server import RedisConnector
from outrider.store.sources.source import Source
from outrider.store.sources.sqlite import FileConnection
from tests.patience import PATIENCE_SECONDS
from tests.peers.databases import PASSWORD, DatabaseServer
from tests.store.sources.conftest import (
    BY_DOMAIN,
    SERVED,
    Customers,
    Opened,
    Shop,
    fill,
    url_of,
    write_csv,
    write_sqlite,
)

SLOW = {
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT SLEEP(600)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "csv": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
}


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.peer) for kind in SERVED])
def served(request: pytest.FixtureRequest) -> tuple[str, DatabaseServer]:
    """A kind of server, and one."""
    return request.param, request.getfixturevalue(f"{request.param}_server")


def asked_at(scheme: str, port: int) -> tuple[str, str]:
    """The URL of a server of this kind, and a query that asks it for nothing."""
    if scheme == "http":
        return f"http://127.0.0.1:{port}", "GET /"
    return url_of(scheme, port), "PING" if scheme == "redis" else "SELECT 1"


async def until_answered(ask: Callable[[], Any]) -> Any:
    """The answer, as soon as there is one; a server that starts takes a moment."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await ask()
            except SourceDownError:
                await asyncio.sleep(0.02)


async def test_a_killed_server_is_found_again(served: tuple[str, DatabaseServer], opened: Opened) -> None:
    kind, server = served
    clock = FakeClock()
    usual = {"url": url_of(kind, server.port), "password_environment": "SHOP_PASSWORD"}
    writer, _ = opened(**usual, writable=True)
    await fill(kind, writer)
    source, log = opened(clock, **usual, breaker={"failures": 2, "open_seconds": 5})
    by_domain = "HGETALL customer:?" if kind == "redis" else BY_DOMAIN
    rows = await source.fetch(by_domain, ("a.example",))
    await asyncio.to_thread(server.kill)
    try:
        for _ in range(2):
            with pytest.raises(SourceDownError):
                await source.fetch(by_domain, ("b.example",))
        assert source._measures.is_open.value == 1
        with pytest.raises(SourceDownError, match="left alone"):  # without asking
            await source.fetch(by_domain, ("b.example",))
        assert source._measures.queries["refused"].value == 1
        assert source.peek(by_domain, ("a.example",)) is rows  # what is known is known
        assert [line[1] for line in log.lines] == ["source.down"]
    finally:
        await asyncio.to_thread(server.start)
    clock.advance(5)

    async def ask() -> Any:
        clock.advance(5)
        return await source.fetch(by_domain, ("b.example",))

    (found,) = await until_answered(ask)
    assert found["binding"] == "silver"
    assert not source.is_open
    assert source._measures.is_open.value == 0
    assert log.lines[-1][1] == "source.back"


async def test_a_lost_connection_is_not_noticed(served: tuple[str, DatabaseServer], opened: Opened) -> None:
    kind, server = served
    usual = {"url": url_of(kind, server.port), "password_environment": "SHOP_PASSWORD"}
    writer, _ = opened(**usual, writable=True)
    await fill(kind, writer)
    by_domain = "HGETALL customer:?" if kind == "redis" else BY_DOMAIN
    source, log = opened(**usual)
    await asyncio.gather(*(source.fetch(by_domain, (f"{number}.example",)) for number in range(8)))
    assert source._backend.connections == source.options.pool.max
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    await until_answered(writer.probe)  # a port answers before it lets anybody in
    (row,) = await source.fetch(by_domain, ("a.example",))
    assert row["binding"] == "gold"
    assert log.lines == []


@pytest.mark.peer
async def test_a_redis_that_became_a_replica_is_left(redis_server: DatabaseServer, opened: Opened) -> None:
    usual = {"url": url_of("redis", redis_server.port), "password_environment": "SHOP_PASSWORD"}
    source, _ = opened(**usual, writable=True)
    await source.execute("SET name 1")
    assert source._backend.connections == 1
    operator = RedisConnector(source.options, PASSWORD)
    connection = await operator.connect()

    async def order(*words: str) -> None:
        await connection.send_command(*words)
        assert await connection.read_response() == b"OK"

    await order("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(SourceDownError, match="READONLY"):
            await source.execute("SET name 2")
        assert source._backend.connections == 0  # whoever has its address next is asked next
        (row,) = await source.fetch("GET name")
        assert row.at(0) == "1"
    finally:
        await order("REPLICAOF", "NO", "ONE")
        await operator.close(connection)
    assert await source.execute("SET name 2") == 1


@pytest.mark.peer
async def test_a_mysql_that_became_a_replica_is_left(mysql_server: DatabaseServer, opened: Opened) -> None:
    url = url_of("mysql", mysql_server.port)
    operator, _ = opened(url=url, password_environment="SHOP_PASSWORD", writable=True)
    await fill("mysql", operator)
    clerk = url.replace("outrider@", "clerk@")  # who may set what is read only is not held by it
    source, _ = opened(url=clerk, password_environment="SHOP_PASSWORD", writable=True)
    change = "UPDATE customers SET quota = quota + 1"
    assert await source.execute(change) == 4
    await operator.execute("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(SourceDownError, match="read_only"):
            await source.execute(change)
        assert source._backend.connections == 0  # whoever has its address next is asked next
        assert len(await source.fetch("SELECT * FROM customers")) == 4
    finally:
        await operator.execute("SET GLOBAL read_only = 0")
    assert await source.execute(change) == 4


async def test_who_hangs_up_on_postgresql_is_told_in_words(opened: Opened) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    source, _ = opened(url=url_of("postgresql", server.sockets[0].getsockname()[1]))
    with pytest.raises(SourceDownError, match="08003 connection was closed"):
        await source.probe()
    server.close()
    await server.wait_closed()


@pytest.mark.peer
async def test_a_postgresql_that_lets_nobody_in_says_why(
    postgresql_server: DatabaseServer, opened: Opened
) -> None:
    """As the server's words are, such as `no pg_hba.conf entry for … no encryption`."""
    url = url_of("postgresql", postgresql_server.port).replace("outrider@", "nobody@")
    source, _ = opened(url=url, password_environment="SHOP_PASSWORD")
    with pytest.raises(SourceDownError, match='28P01 password authentication failed for user "nobody"'):
        await source.probe()


@pytest.mark.peer
@pytest.mark.parametrize("served", SERVED[:2], indirect=True)  # a Redis command never waits
async def test_a_query_that_is_killed_in_the_midst(
    served: tuple[str, DatabaseServer], opened: Opened
) -> None:
    kind, server = served
    source, _ = opened(url=url_of(kind, server.port), password_environment="SHOP_PASSWORD", query_seconds=60)
    await source.probe()
    asking = asyncio.ensure_future(source.fetch(SLOW[kind]))
    await until_active(source)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    with pytest.raises(SourceDownError) as down:
        await asyncio.wait_for(asking, PATIENCE_SECONDS)
    assert not isinstance(down.value, SourceTimeoutError)
    await until_answered(source.probe)


async def until_active(source: Source) -> None:
    """Return when the source's connection was taken from the pool and asked."""
    backend: Any = source._backend
    for _ in range(200):  # a turn of the loop each, in which nothing but this query goes on
        await asyncio.sleep(0.001)
    assert backend._pool._idle == []


@pytest.mark.parametrize("shop", ["sqlite", "csv", *SERVED[:2]], indirect=True)
async def test_a_slow_query_ends_in_time_and_harms_nobody(shop: Shop, opened: Opened) -> None:
    options = shop.options.model_dump(exclude_unset=True) | {"query_seconds": 0.2, "pool": {"max": 1}}
    source, _ = opened(**options)
    with pytest.raises(SourceTimeoutError, match=r"no answer within 0\.2 s"):
        await source.fetch(SLOW[shop.kind])
    assert source._measures.queries["timeout"].value == 1
    patient, _ = opened(**{**options, "query_seconds": 30})
    asking = asyncio.ensure_future(patient.fetch(SLOW[shop.kind]))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(await patient.fetch(shop.by_domain, ("a.example",))) == 1
    assert patient._backend.connections == 1


RUNNING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sl%'"
    " AND state = 'active' AND pid <> pg_backend_pid()",
    "mysql": "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT BENCHMARK%'",
}


@pytest.mark.parametrize("shop", SERVED[:2], indirect=True)
async def test_a_server_does_not_go_on_for_somebody_who_left(shop: Shop, opened: Opened) -> None:
    # what MariaDB works on ends with its time, so that has to be longer than it takes to see it at work
    options = shop.options.model_dump(exclude_unset=True) | {"query_seconds": 5}
    source, _ = opened(**options)
    # MariaDB looks by itself for who has left when it sleeps, and not when it works
    busy = "SELECT BENCHMARK(1000000000000, MD5('x'))" if shop.kind == "mysql" else SLOW[shop.kind]
    asking = asyncio.ensure_future(source.fetch(busy))
    await running_at(shop, 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await running_at(shop, 0)


async def running_at(shop: Shop, number: int) -> None:
    """Return when so many slow queries run at the server."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await shop.source.fetch(RUNNING[shop.kind], use_cache=False))[0].at(0) != number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_query_that_is_given_up_before_it_begins_never_runs(tmp_path: Path, opened: Opened) -> None:
    write_sqlite(tmp_path / "shop.db")
    source, _ = opened(url=f"sqlite:///{tmp_path}/shop.db", pool={"max": 1}, query_seconds=60)
    await source.probe()
    threads = source._backend._connector._threads  # type: ignore[attr-defined]
    gate = threading.Event()
    blocking = threads.submit(gate.wait)
    asking = asyncio.ensure_future(source.fetch(SLOW["sqlite"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.set()
    await asyncio.wrap_future(blocking)
    assert len(await source.fetch("SELECT * FROM customers")) == 4  # its thread is free


def test_a_query_that_is_given_up_as_it_begins_ends() -> None:
    """Between a thread's taking it up and SQLite's first step, interrupt() does nothing."""
    database = sqlite3.connect(":memory:")
    connection = FileConnection(database, ())
    connection.work = Future()
    connection.work.set_running_or_notify_cancel()
    connection.give_up()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.execute(SLOW["sqlite"].replace("FROM n)", "FROM n LIMIT 1000000)"))
    database.close()


async def test_what_redis_says_of_a_command_is_not_repeated(opened: Opened) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"-ERR with args beginning with: 'erika@example.test'\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    source, _ = opened(url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(SourceQueryError, match=r"Redis refuses GET: ERR$"):
        await source.fetch("GET ?", ("erika@example.test",))
    await source.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("reply", "error", "told"),
    [
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", SourceDownError,
         "Redis: MASTERDOWN$"),
        ("OOM command not allowed when used memory > 'maxmemory'.", SourceDownError, "Redis: OOM$"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", SourceDownError, "Redis: TRYAGAIN$"),
        ("CLUSTERDOWN The cluster is down", SourceDownError, "Redis: CLUSTERDOWN$"),
        ("BUSY Redis is busy running a script.", SourceDownError, "Redis: BUSY$"),
        ("NOPERM No permissions to access a key", SourceQueryError, "Redis refuses GET: NOPERM$"),
        ("WRONGTYPE Operation against a key", SourceQueryError, "Redis refuses GET: WRONGTYPE$"),
    ],
)  # fmt: skip
async def test_what_speaks_of_the_state_of_redis_is_no_fault_of_the_query(
    reply: str, error: type[SourceError], told: str, opened: Opened
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(f"-{reply}\r\n".encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    source, _ = opened(url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(SourceError, match=told) as raised:
        await source.fetch("GET ?", ("erika@example.test",))
    assert raised.type is error
    await source.close()
    server.close()
    await server.wait_closed()


async def test_a_value_of_a_file_that_is_too_large_is_refused(tmp_path: Path, opened: Opened) -> None:
    write_sqlite(tmp_path / "shop.db")
    source, _ = opened(url=f"sqlite:///{tmp_path}/shop.db", octets_max=1_024)
    for query in ("SELECT zeroblob(1000000000)", "SELECT hex(zeroblob(900))"):
        with pytest.raises(SourceQueryError, match="too big"):
            await source.fetch(query)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "redis", "http"])
async def test_a_server_that_never_answers(scheme: str, opened: Opened) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    url, query = asked_at(scheme, port)
    source, _ = opened(url=url, connect_seconds=0.1, query_seconds=0.3)
    with pytest.raises(SourceDownError, match=r"within 0\.[13] s"):
        await source.fetch(query)
    assert source._backend.connections == 0
    silent.close()
    await silent.wait_closed()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "redis", "http"])
async def test_a_server_that_talks_nonsense(scheme: str, opened: Opened) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncpg never comes back from a message of negative length, so it gets what a wrong port says
        nonsense = b"" if scheme == "postgresql" else b"\x00\xff"
        writer.write((nonsense + b"220 mx.example.test ESMTP\r\n") * 20)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url, query = asked_at(scheme, port)
    source, _ = opened(url=url, connect_seconds=1, query_seconds=2)
    with pytest.raises(SourceDownError):
        await source.fetch(query)
    assert source._backend.connections == 0
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "redis", "http"])
async def test_nobody_listens(scheme: str, opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url, query = asked_at(scheme, port)
    source, _ = opened(url=url)
    with pytest.raises(UnavailableError, match="data source customers: no connection"):
        await source.fetch(query)
    with pytest.raises(UnavailableError):
        await source.probe()


@pytest.mark.peer
async def test_a_wrong_password_is_told(
    served: tuple[str, DatabaseServer], tmp_path: Path, opened: Opened
) -> None:
    kind, server = served
    path = tmp_path / "password"
    path.write_text("battery staple\n")
    path.chmod(0o600)
    source, _ = opened(url=url_of(kind, server.port), password_file=path)
    with pytest.raises(SourceDownError, match=r"let us in|refuses user or password") as told:
        await source.probe()
    assert "battery" not in str(told.value)


async def test_files_that_are_not_there_or_no_such_thing(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "mail.txt").write_text("From: nobody\n")
    for scheme in ("sqlite", "csv"):
        missing, _ = opened(url=f"{scheme}:///{tmp_path}/absent")
        with pytest.raises(SourceDownError, match=r"absent cannot be read"):
            await missing.probe()
        assert not (tmp_path / "absent").exists()
    no_database, _ = opened(url=f"sqlite:///{tmp_path}/mail.txt")
    with pytest.raises(SourceDownError, match="not a database"):
        await no_database.probe()


async def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path, opened: Opened) -> None:
    write_sqlite(tmp_path / "shop.db")
    write_csv(tmp_path / "shop.csv")
    for scheme, name in (("sqlite", "shop.db"), ("csv", "shop.csv")):
        source, _ = opened(url=f"{scheme}:///{tmp_path}/{name}", cache={"seconds": 0})
        assert len(await source.fetch("SELECT * FROM customers")) == 4
        if scheme == "csv":
            write_csv(tmp_path / "new", (("z.example", "zinc", "", 1),))
        else:
            (tmp_path / "new").touch()
        (tmp_path / "new").replace(tmp_path / name)
        if scheme == "csv":
            (row,) = await source.fetch("SELECT * FROM customers")
            assert row["binding"] == "zinc"
        else:
            with pytest.raises(SourceQueryError, match="no such table"):
                await source.fetch("SELECT * FROM customers")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first line must name each column"),
        ("a,,b\n1,2,3\n", "the first line must name each column"),
        ("a,A\n1,2\n", "none twice"),
        ("a,b\n1,2\n1\n", "line 3: 1 fields instead of 2"),
        ('a,b\n"x" y,2\n', "no CSV|not CSV"),
        ("a\n\udcff\n", "not CSV in UTF-8"),
        ("a\n" + "x" * 2_000, "more than octets_max"),
    ],
)
async def test_a_csv_file_that_is_damaged_is_not_used(
    text: str, reason: str, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "shop.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    source, _ = opened(url=f"csv:///{tmp_path}/shop.csv", octets_max=1_024)
    with pytest.raises(SourceDownError, match=reason):
        await source.fetch("SELECT * FROM customers")
    assert source._backend.connections == 0


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '{path}/other.db' AS other",
        "VACUUM INTO '{path}/other.db'",
        "CREATE TABLE other (a)",
        "SELECT load_extension('{path}/other')",
        "PRAGMA user_version = 5",
        "SELECT 1; SELECT 2",
    ],
)
@pytest.mark.parametrize("shop", ["sqlite", "csv"], indirect=True)
async def test_sql_reaches_nothing_but_its_file(shop: Shop, statement: str, tmp_path: Path) -> None:
    with pytest.raises(SourceQueryError):
        await shop.source.fetch(statement.format(path=tmp_path))
    assert not (tmp_path / "other.db").exists()


async def test_an_old_result_serves_while_the_source_is_down(
    customers: tuple[Customers, int], opened: Opened
) -> None:
    app, port = customers
    clock = FakeClock()
    source, _ = opened(clock, url=f"http://127.0.0.1:{port}", cache={"seconds": 10, "stale_seconds": 100})
    query = "GET /customers/{}#/data/rows"
    rows = await source.fetch(query, ("a.example",))
    app.status = 503
    clock.advance(11)
    assert source.peek(query, ("a.example",)) is None
    assert await source.fetch(query, ("a.example",)) is rows
    with pytest.raises(SourceDownError, match="answers 503"):
        await source.fetch(query, ("b.example",))
    clock.advance(100)
    with pytest.raises(SourceDownError):
        await source.fetch(query, ("a.example",))


def said(log: ListLog) -> str:
    """Everything in a log."""
    return repr(log.lines)


async def test_no_log_line_holds_a_password_or_a_parameter(opened: Opened) -> None:
    source, log = opened(
        url="mysql://outrider@127.0.0.1:1/shop", password_environment="SHOP_PASSWORD", breaker={"failures": 1}
    )
    with pytest.raises(SourceDownError):
        await source.fetch("SELECT ?", ("erika@example.test",))
    assert "source.down" in said(log)
    assert "correct horse" not in said(log)
    assert "erika" not in said(log)
