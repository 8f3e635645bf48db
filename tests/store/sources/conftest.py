"""Data sources of every kind with the same table in them, on real servers and files."""

import asyncio
import csv
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from outrider.base.clock import Clock, FakeClock, SystemClock
from outrider.base.log import ListLog
from outrider.net.http import HttpLimits, HttpServer
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.source import Source
from outrider.store.sources.sources import Sources
from tests.patience import PATIENCE_SECONDS
from tests.peers import databases
from tests.peers.databases import PASSWORD, DatabaseServer

COLUMNS = ("domain", "binding", "note", "quota")
CUSTOMERS: tuple[tuple[str, str, str | None, int], ...] = (
    ("a.example", "gold", "Ärger, 'quoted' \\ \"twice\"", 5),
    ("b.example", "silver", None, 7),
    ("100%.example", "per?cent", "line\nbreak", 0),
    ("Robert'); DROP TABLE customers;--", "none", "", -1),
)
BY_DOMAIN = "SELECT domain, binding, note, quota FROM customers WHERE domain = ?"
CREATE = "CREATE TABLE customers (domain VARCHAR(190) PRIMARY KEY, binding TEXT, note TEXT, quota INTEGER)"
SERVED = ("postgresql", "mysql", "redis")
KINDS = ("sqlite", "csv", "http", *(pytest.param(kind, marks=pytest.mark.peer) for kind in SERVED))


@dataclass
class Shop:
    """A source with the customers in it.

    Attributes:
        kind: Of the source.
        source: It.
        by_domain: Query by domain.
        log: What it said.
        options: What it was made with.
    """

    kind: str
    source: Source
    by_domain: str
    log: ListLog
    options: DataSourceOptions

    async def find(self, domain: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.source.fetch(self.by_domain, (domain,))]


@dataclass
class Customers:
    """An HTTP server that has them; `delay` holds its answers back."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    status: int = 200
    body: bytes | None = None
    gate: asyncio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        self.asked.append((scope["method"], f"{path}?{query}" if query else path, body))
        if self.gate is not None:
            await self.gate.wait()
        wanted = parse_qs(query).get("domain") or [unquote(path.rpartition("/")[2])]
        found = [row for row in self.rows if row["domain"] == wanted[0]]
        content = self.body if self.body is not None else json.dumps({"data": {"rows": found}}).encode()
        length = str(len(content)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        headers += [(b"location", b"http://other.example/")] if self.status in {301, 302} else []
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@pytest.fixture
async def customers() -> AsyncIterator[tuple[Customers, int]]:
    """The HTTP server and its port."""
    app = Customers([dict(zip(COLUMNS, each, strict=True)) for each in CUSTOMERS])
    server = HttpServer(app, HttpLimits(), FakeClock(), ListLog())
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start([listener])
    yield app, listener.getsockname()[1]
    await server.close(0.1)


def server_of(
    kind: str, start: Callable[[], AbstractContextManager[DatabaseServer]]
) -> Iterator[DatabaseServer]:
    if reason := databases.missing(kind):
        pytest.skip(reason)
    with start() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[DatabaseServer]:
    yield from server_of("postgresql", databases.postgresql)


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[DatabaseServer]:
    yield from server_of("mysql", databases.mariadb)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[DatabaseServer]:
    yield from server_of("redis", databases.redis)


def url_of(kind: str, port: int) -> str:
    """Of a server that tests have started."""
    return f"redis://127.0.0.1:{port}/1" if kind == "redis" else f"{kind}://outrider@127.0.0.1:{port}/shop"


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., tuple[Source, ListLog]]]:
    """Opens sources by their options; all are closed afterwards."""
    every: list[Sources] = []

    def open_source(clock: Clock | None = None, **options: Any) -> tuple[Source, ListLog]:
        log = ListLog()
        patient = {"connect_seconds": PATIENCE_SECONDS, "query_seconds": PATIENCE_SECONDS}
        made = DataSourceOptions(**{"name": "customers", **patient, **options})
        sources = Sources([made], clock or SystemClock(), log, {"SHOP_PASSWORD": PASSWORD})
        every.append(sources)
        return sources.find(made.name), log

    yield open_source
    for sources in every:
        await sources.close()


Opened = Callable[..., tuple[Source, ListLog]]


async def fill(kind: str, source: Source) -> None:
    """The customers, and nothing else, into a source that can be written."""
    if kind == "redis":
        for customer in CUSTOMERS:
            key = customer[0]
            await source.execute("DEL customer:?", (key,))
            for name, value in zip(COLUMNS, customer, strict=True):
                await source.execute("HSET customer:? ? ?", (key, name, "" if value is None else value))
        return
    await source.execute("DROP TABLE IF EXISTS customers")
    await source.execute(CREATE)
    for customer in CUSTOMERS:
        assert await source.execute("INSERT INTO customers VALUES (?, ?, ?, ?)", customer) == 1


def write_csv(path: Path, customers: tuple[tuple[Any, ...], ...] = CUSTOMERS) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(customers)


def write_sqlite(path: Path) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(CREATE)
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?)", CUSTOMERS)
    database.close()


@pytest.fixture(params=KINDS)
async def shop(
    request: pytest.FixtureRequest, tmp_path: Path, opened: Opened, customers: tuple[Customers, int]
) -> Shop:
    """The customers, in a source of each kind."""
    kind: str = request.param
    options: dict[str, Any] = {}
    by_domain = BY_DOMAIN
    if kind == "sqlite":
        write_sqlite(tmp_path / "shop.db")
        options = {"url": f"sqlite:///{tmp_path}/shop.db"}
    elif kind == "csv":
        write_csv(tmp_path / "shop.csv")
        options = {"url": f"csv:///{tmp_path}/shop.csv"}
    elif kind == "http":
        options = {"url": f"http://127.0.0.1:{customers[1]}/v1"}
        by_domain = "GET /customers?domain={}#/data/rows"
    else:
        server: DatabaseServer = request.getfixturevalue(f"{kind}_server")
        options = {"url": url_of(kind, server.port), "password_environment": "SHOP_PASSWORD"}
        writer, _ = opened(**options, writable=True)
        await fill(kind, writer)
        by_domain = "HGETALL customer:?" if kind == "redis" else BY_DOMAIN
    source, log = opened(**options)
    return Shop(kind, source, by_domain, log, source.options)
