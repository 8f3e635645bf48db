"""TLS with servers: certificate and name are checked, and nobody falls back to clear text."""

import asyncio
from pathlib import Path

import pytest
import trustme

from outrider.base.errors import ConfigError
from outrider.store.sources.failures import SourceDownError
from tests.peers.databases import DatabaseServer
from tests.store.sources.conftest import SERVED, Opened, url_of


@pytest.mark.peer
@pytest.mark.parametrize("kind", SERVED)
async def test_the_servers_certificate_is_checked(
    kind: str, request: pytest.FixtureRequest, opened: Opened, tmp_path: Path
) -> None:
    server: DatabaseServer = request.getfixturevalue(f"{kind}_server")
    usual = {"url": url_of(kind, server.tls_port), "password_environment": "SHOP_PASSWORD", "tls": True}
    trusted, _ = opened(**usual, ca_file=server.folder / "ca.pem")
    await trusted.probe()
    (row,) = await trusted.fetch(
        {
            "postgresql": "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            "mysql": "SELECT IF(VARIABLE_VALUE = '', 'false', 'true') FROM information_schema.SESSION_STATUS "
            "WHERE VARIABLE_NAME = 'Ssl_cipher'",
            "redis": "ECHO true",  # its port takes nothing else
        }[kind]
    )
    assert row.at(0) == "true"
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    stranger, _ = opened(**usual, ca_file=tmp_path / "other.pem")
    with pytest.raises(SourceDownError, match=r"(?i)certificate"):
        await stranger.probe()
    other_name = usual | {"url": usual["url"].replace("127.0.0.1", "localhost")}  # type: ignore[attr-defined]
    misnamed, _ = opened(**other_name, ca_file=server.folder / "ca.pem")
    with pytest.raises(SourceDownError, match=r"(?i)certificate|hostname"):
        await misnamed.probe()


@pytest.mark.parametrize("kind", SERVED)
async def test_without_tls_nothing_is_said(kind: str, opened: Opened) -> None:
    """A server, or somebody before it, that speaks no TLS hears neither name nor password."""
    heard = bytearray()
    greeting = (
        b"\x0a5.7.0\x00" + b"\x01\x00\x00\x00" + b"salt5678\x00" + b"\xff\xf7\x21\x02\x00\xff\x81\x15"
        + b"\x00" * 10 + b"salt90123456\x00" + b"mysql_native_password\x00"
    )  # fmt: skip
    says = {
        "mysql": len(greeting).to_bytes(3, "little") + b"\x00" + greeting,
        "postgresql": b"N",
        "redis": b"",
    }

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says[kind])
        heard.extend(await reader.read(4_096))
        heard.extend(await reader.read(4_096))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = url_of(kind, server.sockets[0].getsockname()[1])
    source, _ = opened(url=url, password_environment="SHOP_PASSWORD", tls=True, connect_seconds=0.3)
    with pytest.raises(SourceDownError):
        await source.probe()
    assert b"outrider" not in heard
    assert b"horse" not in heard
    server.close()
    await server.wait_closed()


def test_a_missing_authority_is_found_when_it_is_configured(opened: Opened, tmp_path: Path) -> None:
    for kind in SERVED:
        with pytest.raises(ConfigError, match=r"absent.pem cannot be used"):
            opened(url=url_of(kind, 1), tls=True, ca_file=tmp_path / "absent.pem")
