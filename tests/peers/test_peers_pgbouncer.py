"""PgBouncer before PostgreSQL, with fewer connections than we open: data sources and control database."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.store import tenants
from outrider.store.editor import Author
from outrider.store.engine import open_engine
from outrider.store.options import StoreOptions
from outrider.store.sources.failures import SourceDownError, SourceQueryError
from outrider.store.upgrade import upgrade
from tests.e2e.outrider_process import configuration_for, serving
from tests.peers import databases
from tests.peers import pgbouncer as pgbouncer_peer
from tests.peers.databases import PASSWORD, DatabaseServer
from tests.peers.pgbouncer import pgbouncer
from tests.store.sources.conftest import BY_DOMAIN, CUSTOMERS, Opened, fill, opened, url_of

__all__ = ["opened"]

pytestmark = pytest.mark.peer

MODES = ("session", "transaction")
PASSED_OVER = "statement_timeout, default_transaction_read_only"


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    """A PostgreSQL; skipped without it or PgBouncer."""
    if reason := databases.missing("postgresql") or pgbouncer_peer.missing():
        pytest.skip(reason)
    with databases.postgresql() as found:
        yield found


def source_options(port: int) -> dict[str, str]:
    return {"url": url_of("postgresql", port), "password_environment": "SHOP_PASSWORD"}


async def test_a_refused_setting_is_told_with_what_to_do(server: DatabaseServer, opened: Opened) -> None:
    with pgbouncer(server.port, "transaction") as port:
        source, _ = opened(**source_options(port))
        with pytest.raises(SourceDownError, match="ignore_startup_parameters = statement_timeout, default_"):
            await source.probe()


@pytest.mark.parametrize("mode", MODES)
async def test_a_source_that_is_read_is_not_written_through_pgbouncer(
    mode: str, server: DatabaseServer, opened: Opened
) -> None:
    admin, _ = opened(**source_options(server.port), writable=True)
    await fill("postgresql", admin)
    with pgbouncer(server.port, mode, ignored=PASSED_OVER) as port:
        source, _ = opened(**source_options(port))
        with pytest.raises(
            SourceDownError, match="ALTER ROLE outrider SET default_transaction_read_only = on"
        ):
            await source.fetch(BY_DOMAIN, ("a.example",))
        assert source._backend.connections == 0
    await admin.execute("ALTER ROLE outrider SET default_transaction_read_only = on")
    try:
        with pgbouncer(server.port, mode, ignored=PASSED_OVER) as port:
            source, _ = opened(**source_options(port))
            (row,) = await source.fetch(BY_DOMAIN, ("a.example",))
            assert tuple(row.values()) == CUSTOMERS[0]
            with pytest.raises(SourceQueryError, match="read-only transaction"):
                await source.fetch("INSERT INTO customers VALUES ('e.example') RETURNING 1")
    finally:
        await admin.execute("ALTER ROLE outrider RESET default_transaction_read_only")


@pytest.mark.parametrize("mode", MODES)
async def test_answers_are_not_mixed_up_by_pgbouncer(
    mode: str, server: DatabaseServer, opened: Opened
) -> None:
    """Two sources with four connections each; in transaction mode all of them take turns on two."""
    size = 2 if mode == "transaction" else 8
    with pgbouncer(server.port, mode, size=size, ignored=PASSED_OVER) as port:
        both = [opened(**source_options(port), writable=True)[0] for _ in range(2)]

        async def ask(number: int) -> tuple[object, object]:
            text = f"SELECT {number % 7} AS query, ?::integer AS number, pg_sleep(0.001)"
            (row,) = await both[number % 2].fetch(text, (number,), use_cache=False)
            return row["query"], row["number"]

        answers = await asyncio.gather(*map(ask, range(200)))
    assert answers == [(number % 7, number) for number in range(200)]


@pytest.mark.parametrize("mode", MODES)
async def test_the_control_database_behind_pgbouncer(
    mode: str, server: DatabaseServer, opened: Opened, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    admin, _ = opened(**source_options(server.port), writable=True)
    await admin.execute(f"CREATE DATABASE control_{mode}")
    size = 1 if mode == "transaction" else 8
    with pgbouncer(server.port, mode, size=size) as port:
        url = f"postgresql://outrider@127.0.0.1:{port}/control_{mode}"
        options = StoreOptions(url=url, password_file=tmp_path / "password")
        engines = [open_engine(options, tmp_path) for _ in range(2)]
        try:
            author = Author("cli:tester", FakeClock(), "a test")
            await upgrade(engines[0], author)
            names = [f"t{number}" for number in range(10)]
            await asyncio.gather(
                *(tenants.add_tenant(engines[number % 2], author, name) for number, name in enumerate(names))
            )
            for engine in engines:
                found = {one.name for one in await tenants.list_tenants(engine)}
                assert found >= set(names)
        finally:
            for engine in engines:
                await engine.dispose()


async def test_all_processes_share_one_connection_to_the_control_database(
    server: DatabaseServer, opened: Opened, tmp_path: Path
) -> None:
    """The names of one process's statements are those of another's, so none may have a name."""
    admin, _ = opened(**source_options(server.port), writable=True)
    await admin.execute("CREATE DATABASE control_live")
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o600)
    with pgbouncer(server.port, "transaction", size=1) as port:
        url = f"postgresql://outrider@127.0.0.1:{port}/control_live"
        more = f'[store]\nurl = "{url}"\npassword_file = "password"\n'
        with serving(folder, configuration_for({}, more=more)) as running:
            for name in ("one", "two"):
                running.command("tenant", "add", name)
            found = running.command("tenant", "list")
            assert {one["name"] for one in found} >= {"one", "two"}
            assert "control database does not answer" not in running.log()
