"""A listener behind a load balancer, over sockets: who counts as the client, and what is closed unheard."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack
from typing import Any

import pytest
import trustme

from outrider.receive.listener import SmtpListener
from outrider.receive.options import ReceiveDeadlines
from outrider.receive.proxied import ProxiedServer
from outrider.wire.proxy import SIGNATURE, ProxyHeader
from tests.patience import PATIENCE_SECONDS
from tests.receive.conftest import World, build

TRUSTED = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"
STRANGER = "PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n"
MESSAGE = b"EHLO c.test\r\nMAIL FROM:<a@acme.example>\r\nRCPT TO:<b@dest.example>\r\n"


@asynccontextmanager
async def proxied(**options: Any) -> AsyncIterator[tuple[World, int]]:
    """A listener that asks for PROXY headers from loopback, trusts 192.0.2.0/24, and listens on a port."""
    merged: dict[str, Any] = {
        "trusted_networks": ("192.0.2.0/24", "127.0.0.0/8"),
        "proxy_protocol": True,
        "proxy_networks": ("127.0.0.0/8",),
    } | options
    made = build(**merged)
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        group.create_task(made.listener.run())
        await asyncio.sleep(0)
        server = await made.listener.serve(listening, backlog=8)
        yield made, port
        server.close()
        made.listener.stop()


async def talk(port: int, *octets: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Send pieces, and QUIT; all that is said until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in octets:
        writer.write(piece)
        await writer.drain()
    if tls is not None:
        await writer.start_tls(tls, server_hostname="mx.outrider.test")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            greeting = await reader.readline()
            if greeting.startswith(b"220 "):
                for line in (MESSAGE + b"QUIT\r\n").splitlines(keepends=True):
                    writer.write(line)
                    await writer.drain()
            return greeting + await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


V2 = (
    SIGNATURE
    + b"\x21\x11"
    + pack("!H", 12)
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + pack("!HH", 40_000, 25)
)


@pytest.mark.parametrize("header", [(TRUSTED.encode(),), (TRUSTED[:9].encode(), TRUSTED[9:].encode()), (V2,)])
async def test_the_client_that_the_header_names_counts_for_trust(header: tuple[bytes, ...]) -> None:
    async with proxied() as (made, port):
        said = await talk(port, *header)
    assert b"250 2.1.5 Recipient ok" in said
    assert made.intake.refusals == []


@pytest.mark.parametrize(
    "header",
    [STRANGER.encode(), b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00"],
    ids=["stranger", "unknown", "local"],
)
async def test_a_stranger_behind_a_trusted_balancer_does_not_relay(header: bytes) -> None:
    async with proxied() as (_, port):
        said = await talk(port, header)
    assert b"550 5.7.1 Relaying denied" in said
    assert b"Recipient ok" not in said


async def test_the_client_is_what_is_recorded() -> None:
    origins: list[str] = []
    async with proxied() as (made, port):
        made.intake.refused = lambda origin, *_: origins.append(origin.client)  # type: ignore[method-assign]
        await talk(port, STRANGER.encode())
    assert origins == ["203.0.113.9"]


async def test_connections_are_counted_by_the_client() -> None:
    limits = {"connections_per_client": 1}
    async with proxied(limits=limits) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(STRANGER.encode())
        assert (await reader.readline()).startswith(b"220 ")
        second = await talk(port, STRANGER.encode())
        other = await talk(port, STRANGER.replace("113.9", "113.8").encode())
        writer.close()
    assert second.startswith(b"421 4.7.0 Too many connections")
    assert other.startswith(b"220 ")


@pytest.mark.parametrize(
    "octets", [b"EHLO client.test\r\n", b"PROXY TCP4 x\r\n", b"PROXY UNKNOWN " + b"x" * 200, V2[:-1] + b""]
)
async def test_a_connection_without_a_valid_header_is_closed_with_a_line_in_the_log(octets: bytes) -> None:
    async with proxied() as (made, port):
        if octets == V2[:-1]:  # the sender gives up before the end of its header
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(octets)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        else:
            assert await talk(port, octets) == b""
    assert [event for _, event, _ in made.log.lines] == ["receive.proxy_refused"]


async def test_a_header_that_does_not_come_in_time_ends_the_connection() -> None:
    deadlines = ReceiveDeadlines.model_construct(**ReceiveDeadlines().model_dump() | {"proxy_seconds": 0.01})
    async with proxied(deadlines=deadlines) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
    (line,) = made.log.lines
    assert line[2]["why"] == "no PROXY header within 0.01 s"


async def test_a_peer_outside_the_balancers_networks_is_closed() -> None:
    async with proxied(proxy_networks=("198.51.100.0/24",)) as (made, port):
        assert await talk(port, TRUSTED.encode()) == b""
    assert made.log.lines[0][2]["why"] == "is not in proxy_networks"


IMPLICIT = {"certificate": "c.pem", "private_key": "k.pem", "tls_mode": "implicit"}


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server, and of a client that trusts it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("mx.outrider.test").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return context, client


async def test_implicit_tls_begins_after_the_header() -> None:
    context, client = contexts()
    async with proxied(tls=context, **IMPLICIT) as (_, port):
        said = await talk(port, TRUSTED.encode(), tls=client)
    assert b"250 2.1.5 Recipient ok" in said


async def test_handshakes_that_stall_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.receive.proxied.PENDING_MAX", 1)
    has_header = asyncio.Event()
    hand_over = ProxiedServer._hand_over

    async def noted(self: ProxiedServer, connection: socket.socket, header: ProxyHeader) -> None:
        has_header.set()
        await hand_over(self, connection, header)

    monkeypatch.setattr(ProxiedServer, "_hand_over", noted)
    context, client = contexts()
    async with proxied(tls=context, **IMPLICIT) as (_, port):
        _, stalls = await asyncio.open_connection("127.0.0.1", port)
        stalls.write(STRANGER.encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await has_header.wait()
        said = await talk(port, TRUSTED.encode(), tls=client)
        stalls.close()
    assert b"250 2.1.5 Recipient ok" in said


@pytest.mark.parametrize(
    ("header", "held"), [(STRANGER, 3), (TRUSTED, 5), ("PROXY UNKNOWN\r\n", 3)], ids=["own", "all", "unknown"]
)
async def test_handshakes_that_have_not_begun_are_bounded_as_sessions_are(header: str, held: int) -> None:
    context, client = contexts()
    limits = {"connections": 5, "connections_per_client": 3}
    async with proxied(tls=context, limits=limits, **IMPLICIT) as (made, port):

        def told(name: str) -> int:
            return [line[1] for line in made.log.lines].count(name)

        async def silent() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(header.encode())
            return reader, writer

        async with asyncio.timeout(PATIENCE_SECONDS):
            stalled = [await silent() for _ in range(held + 1)]
            while not told("receive.handshake_refused"):  # noqa: ASYNC110 - it takes a turn or two
                await asyncio.sleep(0)
            ends = [asyncio.ensure_future(reader.read()) for reader, _ in stalled]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            assert [end.result() for end in ends if end.done()] == [b""]
            for (_, writer), end in zip(stalled, ends, strict=True):
                writer.close()
                end.cancel()
            while told("receive.tls_failed") < held:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        said = await talk(port, header.encode(), tls=client)  # there is room again
        assert told("receive.handshake_refused") == 1
    assert b"220 " in said


def test_a_listener_with_the_protocol_names_its_balancers() -> None:
    with pytest.raises(ValueError, match="proxy_networks"):
        build(proxy_protocol=True)
    with pytest.raises(ValueError, match="proxy_protocol"):
        build(proxy_networks=("127.0.0.0/8",))
    assert isinstance(build().listener, SmtpListener)
