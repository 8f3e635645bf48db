"""The same drivers on the loop that the server runs on."""

import asyncio
from typing import Any

import pytest

from outrider.base.clock import SystemClock
from outrider.base.log import NullLog
from outrider.net.loop import run
from outrider.store.sources.failures import SourceTimeoutError
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from tests.patience import PATIENCE_SECONDS
from tests.peers.databases import PASSWORD, DatabaseServer
from tests.store.sources.conftest import BY_DOMAIN, CUSTOMERS, SERVED, fill, url_of

pytest.importorskip("uvloop")


@pytest.mark.peer
@pytest.mark.parametrize("kind", SERVED)
def test_each_server_on_uvloop(kind: str, request: pytest.FixtureRequest) -> None:
    server: DatabaseServer = request.getfixturevalue(f"{kind}_server")
    by_domain = "HGETALL customer:?" if kind == "redis" else BY_DOMAIN
    slow = {"postgresql": "SELECT pg_sleep(600)", "mysql": "SELECT SLEEP(600)"}.get(kind)

    def source(name: str, tls: bool, **more: Any) -> DataSourceOptions:
        return DataSourceOptions(
            name=name,
            url=url_of(kind, server.tls_port if tls else server.port),
            password_environment="SHOP_PASSWORD",
            tls=tls,
            ca_file=server.folder / "ca.pem",
            connect_seconds=PATIENCE_SECONDS,
            **{"query_seconds": PATIENCE_SECONDS, **more},
        )

    async def main() -> None:
        options = (source("writer", False, writable=True), source("reader", False), source("sealed", True))
        sources = Sources(
            (*options, source("hasty", False, query_seconds=0.2)),
            SystemClock(),
            NullLog(),
            {"SHOP_PASSWORD": PASSWORD},
        )
        await fill(kind, sources.find("writer"))
        for name in ("reader", "sealed"):
            asked = [
                sources.find(name).fetch(by_domain, (each[0],), use_cache=False) for each in CUSTOMERS * 20
            ]
            found = await asyncio.gather(*asked)
            assert [rows[0]["binding"] for rows in found] == [each[1] for each in CUSTOMERS * 20]
        if slow is not None:
            with pytest.raises(SourceTimeoutError):
                await sources.find("hasty").fetch(slow)
        await sources.close()

    run(main(), loop="uvloop")
