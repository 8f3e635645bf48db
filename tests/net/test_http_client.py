"""The HTTP client against a scripted server: framing, limits, TLS, and connections that are kept or not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from outrider.base.errors import LocalProtocolError, RemoteProtocolError, UnavailableError
from outrider.net.http_client import HEAD_OCTETS, HttpAnswer, connect_http
from outrider.net.options import TlsOptions
from outrider.net.tls import TlsContexts

OK = b"HTTP/1.1 200 OK\r\n"


class Scripted:
    """Says `answers`, one for each request; `pieces` octets at a time; then closes when it has no more."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.pieces = 1 << 20
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                for place in range(0, len(answer), self.pieces):
                    writer.write(answer[place : place + self.pieces])
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[asyncio.Server] = []

    async def started(*answers: bytes, tls: ssl.SSLContext | None = None, pieces: int = 1 << 20) -> Scripted:
        scripted = Scripted()
        scripted.answers, scripted.pieces = list(answers), pieces
        server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        scripted.port = server.sockets[0].getsockname()[1]
        return scripted

    yield started
    for server in servers:
        server.close()
        await server.wait_closed()


async def ask(server: Scripted, octets_max: int = 1_000) -> HttpAnswer:
    connection = await connect_http("127.0.0.1", server.port, None)
    try:
        return await connection.ask("GET", "/", octets_max=octets_max)
    finally:
        await connection.close()
        assert not connection.is_usable


@pytest.mark.parametrize("pieces", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
        (OK + b"\r\nhello", 200, b"hello"),  # until the end of the connection
        (b"HTTP/1.0 404 Nope\r\nContent-Length: 0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 204 None\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nLink: x\r\n\r\n", 200, b"a"),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi"),
    ],
)
async def test_framing(answer: bytes, status: int, body: bytes, pieces: int, serve: Serve) -> None:
    found = await ask(await serve(answer, pieces=pieces))
    assert (found.status, found.body) == (status, body)
    assert ("link", "x") not in found.fields


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"", UnavailableError, "was closed"),
        (OK + b"Content-Length: 5\r\n\r\nhel", RemoteProtocolError, "cut short"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhe", RemoteProtocolError, "cut short"),
        (OK + b"Content-Len", RemoteProtocolError, "cut short"),
        (b"220 mx.example.test ESMTP\r\n", RemoteProtocolError, "no HTTP"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", RemoteProtocolError, "no HTTP"),
        (OK + b"Content-Length: x\r\n\r\n", RemoteProtocolError, "no HTTP"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nx", RemoteProtocolError, "other than chunked"),
        (
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            RemoteProtocolError,
            "other than chunked",
        ),
        (
            OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
            RemoteProtocolError,
            "no HTTP",
        ),
        (OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, RemoteProtocolError, "longer than 1000 octets"),
        (OK + b"\r\n" + b"x" * 1001, RemoteProtocolError, "longer than 1000 octets"),
        (OK + b"X: " + b"y" * (HEAD_OCTETS * 2), RemoteProtocolError, "head of the answer is longer"),
        (OK + b"X: y\r\n" * HEAD_OCTETS, RemoteProtocolError, "of the answer (is|are) longer"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * HEAD_OCTETS,
            RemoteProtocolError,
            "fields of the answer are longer",
        ),
        (
            b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            RemoteProtocolError,
            "another protocol|no HTTP|cut short",
        ),
    ],
)
async def test_answers_that_are_not_taken(
    answer: bytes, error: type[Exception], reason: str, serve: Serve
) -> None:
    with pytest.raises(error, match=reason):
        await ask(await serve(answer))


async def test_a_connection_is_kept_while_the_server_keeps_it(serve: Serve) -> None:
    server = await serve(
        OK + b"Content-Length: 1\r\n\r\na",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
        OK + b"Content-Length: 1\r\nConnection: close\r\n\r\nc",
    )
    connection = await connect_http("127.0.0.1", server.port, None)
    for expected, kept in ((b"a", True), (b"b", True), (b"c", False)):
        assert connection.is_usable
        answer = await connection.ask("POST", "/x", [("A", "b")], b"body", octets_max=10)
        assert answer.body == expected
        assert connection.is_usable == kept
    await connection.close()
    assert server.requests[0] == (
        b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nA: b\r\nContent-Length: 4\r\n\r\nbody" % server.port
    )


@pytest.mark.parametrize("pieces", [1, 1 << 20])
@pytest.mark.parametrize("fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_an_answer_to_head_is_its_head(fields: bytes, pieces: int, serve: Serve) -> None:
    """RFC 9110 §9.3.2: whatever its fields say of a content."""
    server = await serve(OK + fields + b"\r\n", OK + b"Content-Length: 1\r\n\r\nb", pieces=pieces)
    connection = await connect_http("127.0.0.1", server.port, None)
    answer = await connection.ask("HEAD", "/", octets_max=10)
    assert (answer.status, answer.body) == (200, b"")
    if fields:  # else who asks cannot know whether the connection goes on
        assert (await connection.ask("GET", "/", octets_max=10)).body == b"b"
    await connection.close()


async def test_what_follows_an_answer_is_none_of_it(serve: Serve) -> None:
    second = b"HTTP/1.1 404 Nope\r\nX: y\r\nContent-Length: 1\r\n\r\nb"
    connection = await connect_http(
        "127.0.0.1", (await serve(OK + b"Content-Length: 1\r\n\r\na" + second)).port, None
    )
    answer = await connection.ask("GET", "/", octets_max=10)
    assert (answer.status, answer.fields, answer.body) == (200, (("content-length", "1"),), b"a")
    assert not connection.is_usable
    connection.drop()


async def test_a_value_is_without_the_space_around_it(serve: Serve) -> None:
    """RFC 9110 §5.5."""
    answer = await ask(await serve(OK + b"X: \t a b \t\r\nContent-Length: 0\r\n\r\n"))
    assert ("x", "a b") in answer.fields


async def test_after_a_failure_it_is_not_used_again(serve: Serve) -> None:
    server = await serve(OK + b"Content-Length: 99\r\n\r\n" + b"x" * 99)
    connection = await connect_http("127.0.0.1", server.port, None)
    with pytest.raises(RemoteProtocolError):
        await connection.ask("GET", "/", octets_max=5)
    assert not connection.is_usable
    connection.drop()


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nb", "a\0b", "\U0001f600"])
async def test_no_part_of_a_request_makes_another_line(text: str, serve: Serve) -> None:
    connection = await connect_http("127.0.0.1", (await serve(OK)).port, None)
    with pytest.raises(LocalProtocolError):
        await connection.ask("GET", f"/{text}", octets_max=5)
    with pytest.raises(LocalProtocolError):
        await connection.ask("GET", "/", [("A", text)], octets_max=5)
    await connection.close()


async def test_nobody_listens() -> None:
    with pytest.raises(UnavailableError, match=r"no connection to 127\.0\.0\.1 port 1"):
        await connect_http("127.0.0.1", 1, None)


async def test_the_certificate_is_checked(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trusted = TlsContexts(TlsOptions(ca_file=tmp_path / "ca.pem")).client("required")
    others = TlsContexts(TlsOptions()).client("required")
    for names, context, works in (
        (("127.0.0.1",), trusted, True),
        (("other.example",), trusted, False),
        (("127.0.0.1",), others, False),
    ):
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(server_side)
        server = await serve(OK + b"Content-Length: 2\r\n\r\nhi", tls=server_side)
        if works:
            connection = await connect_http("127.0.0.1", server.port, context)
            assert (await connection.ask("GET", "/", octets_max=5)).body == b"hi"
            await connection.close()
        else:
            with pytest.raises(UnavailableError, match="certificate"):
                await connect_http("127.0.0.1", server.port, context)
