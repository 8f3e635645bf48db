"""Serving HTTP: hostile framing, limits and deadlines of a connection, pipelining, draining, Unix sockets."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.net.http import HttpLimits, HttpServer, Peer
from tests.patience import PATIENCE_SECONDS

LONG_OCTETS = 32 << 20  # more than the system keeps for both ends
HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\n"


class Echo:
    """Answers with the body's length and the path; waits for `gate` when the path says so."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        self.paths.append(scope["path"])
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.gate.wait()
        if scope["path"] == "/long":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            self.waiting.set()
            await send({"type": "http.response.body", "body": bytes(LONG_OCTETS)})
            return
        if scope["path"] == "/fail":
            raise RuntimeError("about alice@example.com")
        answer = f"{scope['path']} {len(body)}".encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Site:
    def __init__(self, server: HttpServer, port: int, app: Echo, log: ListLog, clock: FakeClock) -> None:
        self.server = server
        self.clock = clock
        self.port = port
        self.app = app
        self.log = log

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def heard(self) -> Any:
        """The server's side of the only connection, once it has heard the beginning of a request."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            connections: set[Any] = self.server._state.connections
            while not any(each._has_begun for each in connections):  # noqa: ASYNC110 - it takes a turn or two
                await asyncio.sleep(0)
        (connection,) = self.server._state.connections
        return connection

    async def send(self, *pieces: bytes) -> bytes:
        """All that comes back until the server closes."""
        reader, writer = await self.connect()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):  # the server closed with something of ours unread
                await writer.wait_closed()


Start = Callable[..., Any]


def ring(connection: Any, seconds: float) -> None:
    """Bring the deadline of a connection about that runs, and was set to at most so many seconds."""
    deadline: asyncio.TimerHandle = connection._deadline
    assert not deadline.cancelled()
    assert deadline.when() - asyncio.get_running_loop().time() <= seconds
    deadline.cancel()
    connection._expire()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[HttpServer] = []

    async def started(**limits: Any) -> Site:
        app, log, clock = Echo(), ListLog(), FakeClock()
        server = HttpServer(app, HttpLimits(**limits), clock, log)
        servers.append(server)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.start([listener])
        return Site(server, listener.getsockname()[1], app, log, clock)

    yield started
    for server in servers:
        await server.close(1)


CLOSE = b"Connection: close\r\n"


async def test_requests_of_one_connection_are_answered_in_order(start: Start) -> None:
    site = await start()
    first = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    last = b"GET /3 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"
    answer = await site.send(first + second + last)
    assert [line for line in answer.split(b"\r\n") if line.startswith(b"/")] != []
    assert answer.index(b"/1 0") < answer.index(b"/2 3") < answer.index(b"/3 0")
    assert answer.count(b"date: Mon, 21 Sep 2026 14:13:20 GMT") == 3
    assert b"server:" not in answer


async def test_a_request_may_come_octet_by_octet(start: Start) -> None:
    site = await start()
    request = HEAD + CLOSE + b"Content-Length: 5\r\n\r\nhello"
    answer = await site.send(*(request[at : at + 1] for at in range(len(request))))
    assert answer.endswith(b"/x 5")


@pytest.mark.parametrize(
    "octets",
    [
        HEAD
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5 5\r\n\r\nhello",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity, chunked, gzip\r\n\r\n0\r\n\r\n",
        HEAD + b"Bad Name: x\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b": empty\r\n\r\n",
        b"GET /x HTTP/9.9\r\n\r\n",
        b"BREW /x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n",
        "GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"),
    ],
)
async def test_hostile_framing_ends_the_connection(start: Start, octets: bytes) -> None:
    site = await start()
    answer = await site.send(octets + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n") or not answer
    assert "/smuggled" not in site.app.paths


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize(
    ("octets", "bodies"),
    [
        (HEAD + UPGRADE + b"Content-Length: 5\r\n\r\nhello" + HEAD + CLOSE + b"\r\n", [b"hello", b""]),
        (HEAD + b"Content-Length: 5\r\n" + UPGRADE + CLOSE + b"\r\nhello", [b"hello"]),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n" + UPGRADE + CLOSE + b"\r\n5\r\nhello\r\n0\r\n\r\n",
            [b"hello"],
        ),
        (
            (HEAD + UPGRADE + b"\r\n") * 3 + HEAD + CLOSE + UPGRADE + b"Content-Length: 1\r\n\r\nx",
            [b""] * 3 + [b"x"],
        ),
        (HEAD + b"Connection: close, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", [b""]),
        (b"POST /x HTTP/1.0\r\n" + UPGRADE + b"Content-Length: 5\r\n\r\nhello", [b"hello"]),
    ],
    ids=["length", "length-first", "chunks", "pipelined", "websocket", "old"],
)
async def test_a_wish_for_another_protocol_is_passed_over(
    start: Start, octets: bytes, bodies: list[bytes], is_split: bool
) -> None:
    site = await start()
    pieces = [octets[at : at + 1] for at in range(len(octets))] if is_split else [octets]
    answer = await site.send(*pieces)
    assert answer.count(b" 200 OK\r\n") == len(bodies)
    assert site.app.bodies == bodies


async def test_a_head_is_bounded_and_framed_also_where_it_asks_for_another_protocol(start: Start) -> None:
    site = await start(header_octets=8_192, header_count=20)
    for octets, status in (
        (HEAD + UPGRADE + b"X: " + b"y" * 9_000 + b"\r\n\r\n", b"431"),
        (HEAD + UPGRADE + b"X: y\r\n" * 21 + b"\r\n", b"431"),
        (HEAD + UPGRADE + b"Host: y\r\n\r\n", b"400"),
        (HEAD + UPGRADE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
        (HEAD + UPGRADE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", b"400"),
        (b"CONNECT a.example:25 HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
    ):
        assert (await site.send(octets)).startswith(b"HTTP/1.1 %b " % status)
    assert site.app.paths == []


async def test_header_sections_are_bounded(start: Start) -> None:
    site = await start(header_octets=8_192, header_count=20)
    for octets, status in (
        (HEAD + b"X: " + b"y" * 9_000 + b"\r\n\r\n", b"431"),
        (HEAD + b"X: " + b"y" * 9_000, b"431"),
        (b"GET /" + b"y" * 9_000, b"414"),
        (b"GET /" + b"y" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (HEAD + b"X: y\r\n" * 21 + b"\r\n", b"431"),
    ):
        answer = await site.send(octets)
        assert answer.startswith(b"HTTP/1.1 %b " % status)
        assert b'"code":"' in answer
    assert site.app.paths == []
    assert (await site.send(HEAD + CLOSE + b"X: " + b"y" * 7_000 + b"\r\n\r\n")).endswith(b"/x 0")


async def test_a_silent_client_is_sent_away(start: Start) -> None:
    site = await start(header_seconds=0.02)
    assert await site.send() == b""


async def test_a_slow_header_is_answered_408(start: Start) -> None:
    site = await start(header_seconds=50)
    reader, writer = await site.connect()
    writer.write(HEAD)
    ring(await site.heard(), 50)
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_slow_body_ends_the_connection(start: Start) -> None:
    site = await start(body_seconds=0.02)
    answer = await site.send(HEAD + b"Content-Length: 5\r\n\r\nhe")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert site.app.bodies == []


async def test_the_next_request_has_a_deadline_of_its_own(start: Start) -> None:
    site = await start(header_seconds=50)
    reader, writer = await site.connect()
    writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /2 HT")
    answer = await reader.readuntil(b"/1 0")
    ring(await site.heard(), 50)
    assert b"HTTP/1.1 408 " in answer + await reader.read()
    writer.close()


async def test_a_slow_answer_is_not_the_client_s_fault(start: Start) -> None:
    site = await start()
    reader, writer = await site.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HT")
    await site.app.waiting.wait()
    (connection,) = site.server._state.connections
    connection._expire()  # the deadline of the second request passes
    site.app.gate.set()
    assert b"200 OK" in await reader.readuntil(b"/wait 0")
    connection._expire()
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_who_takes_nothing_of_an_answer_is_given_up(start: Start) -> None:
    site = await start(body_seconds=100)
    hanging = socket.create_connection(("127.0.0.1", site.port))
    hanging.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await site.app.waiting.wait()
        (connection,) = site.server._state.connections
        for seconds in (0, 99):
            await settled(connection.transport)
            site.clock.advance(seconds)
            site.server.sweep()
        assert site.server.connections == 1
        site.clock.advance(1)
        site.server.sweep()
        while site.server.connections:  # noqa: ASYNC110 - it takes a turn or two
            await asyncio.sleep(0)
    hanging.close()


async def test_who_takes_an_answer_slowly_gets_all_of_it(start: Start) -> None:
    site = await start(body_seconds=100)
    reader, writer = await site.connect()
    writer.write(b"GET /long HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    await site.app.waiting.wait()
    (connection,) = site.server._state.connections
    taken = 0
    while piece := await reader.read(1 << 22):
        taken += len(piece)
        if (await settled(connection.transport)) != connection._unsent_octets:
            site.clock.advance(99)
        site.server.sweep()
    assert taken > LONG_OCTETS
    writer.close()


async def settled(transport: asyncio.WriteTransport) -> int:
    """What is left of an answer once the system takes no more of it."""
    left = -1
    while (now := transport.get_write_buffer_size()) != left:
        left = now
        for _ in range(100):
            await asyncio.sleep(0)
    return left


UNDER_WAY = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
"""A request whose body does not come: its connection waits for nothing else."""


def waiting_of(site: Site) -> list[Any]:
    """The clients whose connections wait for a request."""
    return [each.transport.get_extra_info("peername") for each in site.server._waiting]


async def begin(site: Site) -> asyncio.StreamWriter:
    _, writer = await site.connect()
    name = writer.get_extra_info("sockname")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while name not in waiting_of(site):  # noqa: ASYNC110 - it takes a turn or two
            await asyncio.sleep(0)
    writer.write(UNDER_WAY)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while name in waiting_of(site):  # noqa: ASYNC110 - it takes a turn or two
            await asyncio.sleep(0)
    return writer


async def test_who_asks_nothing_keeps_nobody_out(start: Start) -> None:
    """Idle from the start, with half a head, or between two requests: who has waited longest gives way."""
    site = await start(connections=3)
    asked = b"GET /1 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"
    again, kept = await site.connect()
    kept.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await again.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    idle = [await site.connect() for _ in range(20)]
    idle[-1][1].write(b"GET /1 HTTP/1.1\r\nHo")
    for _ in range(5):
        assert (await site.send(asked)).startswith(b"HTTP/1.1 200")
        assert site.server.connections <= 4
    async with asyncio.timeout(PATIENCE_SECONDS):
        for reader, _ in [(again, kept), *idle[:15]]:
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass
    for _, writer in [(again, kept), *idle]:
        writer.close()


async def test_what_is_under_way_does_not_give_way_and_is_bounded_in_number(start: Start) -> None:
    site = await start(connections=2)
    asked = b"GET /1 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"
    busy = [await begin(site) for _ in range(2)]
    idle = [await site.connect() for _ in range(2)]
    for _ in range(5):
        assert (await site.send(asked)).startswith(b"HTTP/1.1 503")
    assert site.server.connections <= 4
    for writer in busy:
        writer.write(b"123456789")
    for writer in [*busy, *[writer for _, writer in idle]]:
        writer.close()


async def test_too_many_connections_hear_503(start: Start) -> None:
    site = await start(connections=1, retry_after_seconds=7)
    asked = b"GET /1 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n"
    assert (await site.send(asked)).startswith(b"HTTP/1.1 200")
    held = await begin(site)
    answer = await site.send(asked)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"\r\nretry-after: 7\r\n" in answer
    held.close()
    await held.wait_closed()


async def test_a_failure_is_told_without_its_text(start: Start) -> None:
    site = await start()
    answer = await site.send(b"GET /fail HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    ((level, event, fields),) = site.log.lines
    assert (level, event, fields["error"]) == ("error", "http.failed", "RuntimeError")
    assert "alice" not in str(fields)
    assert any("test_http_serving" in place for place in fields["where"])


async def broken_off() -> ListLog:
    """A client asks twice and breaks off before the first answer; what the log says."""
    log, done = ListLog(), asyncio.Event()

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        client.close()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.connections:  # noqa: ASYNC110 - it takes a turn or two
                await asyncio.sleep(0)
        done.set()
        await send({"type": "http.response.body", "body": b"x"})

    server = HttpServer(answer, HttpLimits(), FakeClock(), log)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start([listener])
    client = socket.create_connection(listener.getsockname())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    await asyncio.wait_for(done.wait(), PATIENCE_SECONDS)
    await server.close(1)
    return log


def test_who_breaks_off_while_he_is_answered_is_no_failure_of_ours() -> None:
    assert uvloop.run(broken_off()).lines == []
    assert asyncio.run(broken_off()).lines == []


async def test_draining_finishes_what_was_asked(start: Start) -> None:
    site = await start()
    reader, writer = await site.connect()
    idle_reader, idle_writer = await site.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await site.app.waiting.wait()
    async with asyncio.TaskGroup() as group:
        group.create_task(site.server.close(5))
        assert await idle_reader.read() == b""
        with pytest.raises(ConnectionError):
            await site.connect()
        site.app.gate.set()
        answer = await reader.read()
    assert b"/wait 0" in answer
    assert b"connection: close" in answer
    for each in (writer, idle_writer):
        each.close()
        await each.wait_closed()
    assert site.server.connections == 0


async def test_draining_ends_when_its_time_is_over(start: Start) -> None:
    site = await start()
    reader, writer = await site.connect()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await site.app.waiting.wait()
    await site.server.close(0.01)
    assert b"200" not in await reader.read()
    assert site.server.connections == 0
    writer.close()


async def test_who_has_gone_before_it_was_looked_at_is_not_heard(start: Start) -> None:
    """A connection that was reset in the backlog has no address any more, and its request is still there."""
    site = await start()
    gone = socket.create_connection(("127.0.0.1", site.port))
    gone.send(HEAD + b"Content-Length: 0\r\n\r\n")
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    assert (await site.send(b"GET /next HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")).endswith(b"/next 0")
    assert site.app.paths == ["/next"]
    assert site.server.connections == 0


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()
    listener.setblocking(False)
    server = HttpServer(Echo(), HttpLimits(), FakeClock(), ListLog())
    await server.start([listener])
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    assert (await reader.read()).endswith(b"/x 0")
    writer.close()
    await writer.wait_closed()
    await server.close(1)


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_a_unix_socket_can_be_for_some_users_only(tmp_path: Path, is_allowed: bool) -> None:
    path = str(tmp_path / "control.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.setblocking(False)
    seen: list[Peer] = []
    app = Echo()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["peer"])
        await app(scope, receive, send)

    log = ListLog()
    users = {os.geteuid() if is_allowed else os.geteuid() + 1}
    server = HttpServer(noting, HttpLimits(), FakeClock(), log, users=users)
    await server.start([listener])
    reader, writer = await asyncio.open_unix_connection(path)
    if is_allowed:  # who is not hears it before he has asked
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200" if is_allowed else b"HTTP/1.1 403")
    assert seen == ([Peer(os.getpid(), os.geteuid(), os.getegid())] if is_allowed else [])
    assert [line[1] for line in log.lines] == ([] if is_allowed else ["http.user_denied"])
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await server.close(1)
