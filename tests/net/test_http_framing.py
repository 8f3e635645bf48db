"""Heads and framing of requests, sentence by sentence: what is taken, what is refused, and how."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.net.http import HttpLimits, HttpServer

LIMIT = 8_192
HOST = b"Host: x\r\nConnection: close\r\n"
POST = b"POST /x HTTP/1.1\r\n" + HOST
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


class App:
    """Notes each request, its body and its fields as they are once the body is read."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, dict[bytes, bytes]]] = []
        self.begun = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/early":  # answered before its body was looked at
            await self.answer(send, [(b"content-length", b"2")])
            return
        self.begun.set()
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        else:
            return
        self.seen.append((scope["path"], body, dict(scope["headers"])))
        await self.answer(send, [] if scope["path"] == "/stream" else [(b"content-length", b"2")])

    async def answer(self, send: Any, headers: list[tuple[bytes, bytes]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send({"type": "http.response.body", "body": b"k"})


class Site:
    def __init__(self, port: int, app: App) -> None:
        self.port = port
        self.app = app

    async def ask(self, *pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    app = App()
    server = HttpServer(app, HttpLimits(header_octets=LIMIT, header_count=20), FakeClock(), ListLog())
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start([listening])
    yield Site(listening.getsockname()[1], app)
    await server.close(1)


def status(answer: bytes) -> int:
    assert len(re.findall(rb"HTTP/1\.\d \d\d\d ", answer)) == 1, answer
    return int(answer.split(b" ", 2)[1])


REFUSED = {
    # RFC 9112 §3.2: "MUST respond with a 400" without Host, with several, with an invalid one
    "no host": (400, b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n"),
    "two hosts": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "the same host twice": (400, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "a host with a space": (400, b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "a host with a user": (400, b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "a host with a path": (400, b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "a port that is none": (400, b"GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    "two hosts in HTTP/1.0": (400, b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    # RFC 9112 §3.2: no fragment
    "a fragment": (400, b"GET /x#y HTTP/1.1\r\n" + HOST + b"\r\n"),
    # RFC 9112 §2.3, RFC 9110 §15.6.6
    "HTTP/0.9": (400, b"GET /x\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /x HTTP/2.0\r\n" + HOST + b"\r\n"),
    # RFC 9112 §6.1
    "chunks in HTTP/1.0": (400, b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS),
    "gzip": (400, POST + b"Transfer-Encoding: gzip\r\n\r\nabc"),
    "identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\nabc"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS),
    "two codings in two fields": (
        501,
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    ),
    "an empty coding before": (501, POST + b"Transfer-Encoding: ,chunked\r\n\r\n" + CHUNKS),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS),
    "chunked with a parameter": (400, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS),
    "chunked in quotes": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS),
    "chunked that the parser takes for another": (
        400,
        POST + b"Transfer-Encoding: chunked \r\n\r\n" + CHUNKS,
    ),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS),
    "both lengths": (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS),
    # RFC 9112 §6.3
    "a list of lengths": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "a length twice": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "a length with a sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "an empty length": (400, POST + b"Content-Length:\r\n\r\nabc"),
    # RFC 9112 §5.1, RFC 9112 §5.2
    "a space before the colon": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    "a folded field": (400, b"GET /x HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n"),
    "a folded first field": (400, b"GET /x HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n"),
    "bare line feeds": (400, b"GET /x HTTP/1.1\nHost: x\n\n"),
    # RFC 9112 §7.1: the request is there, so it has an answer
    "no size of a chunk": (400, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a size with a sign": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"),
    "a size beyond all": (400, POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"),
    "a chunk that is longer": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
    "chunks with bare line feeds": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n"),
    "a line feed in an extension": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n"),
    "a length behind the chunks": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    ),
    # RFC 9112 §3: "MUST respond with a 414"
    "a long target": (414, b"GET /" + b"y" * LIMIT + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    # RFC 6585 §5, also behind the chunks
    "long trailers": (
        431,
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: " + b"y" * LIMIT + b"\r\n\r\n",
    ),
    "many trailers": (431, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20 + b"\r\n"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_standard_refuses(site: Site, case: str) -> None:
    expected, octets = REFUSED[case]
    answer = await site.ask(octets)
    assert status(answer) == expected
    assert b"content-type: application/problem+json\r\n" in answer
    assert b"connection: close\r\n" in answer
    assert b"\r\ndate: " in answer, "RFC 9110 §6.6.1"
    assert site.app.seen == []


TAKEN = {
    "an empty host": (b"", b"GET /x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"),
    "a host and a port": (b"", b"GET /x HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nConnection: close\r\n\r\n"),
    "HTTP/1.0 without host": (b"", b"GET /x HTTP/1.0\r\n\r\n"),
    # RFC 9112 §3.2.2: "A server MUST accept the absolute-form"
    "absolute form": (b"", b"GET http://other/x HTTP/1.1\r\n" + HOST + b"\r\n"),
    # RFC 9112 §2.2: "SHOULD ignore at least one empty line"
    "empty lines before": (b"", b"\r\n\r\nGET /x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "coding in any case": (b"abc", POST + b"Transfer-Encoding: ChUnKeD\r\n\r\n" + CHUNKS),
    "extensions of chunks": (
        b"abc",
        POST + b'Transfer-Encoding: chunked\r\n\r\n3;a=b;c="d;e"\r\nabc\r\n000;x\r\n\r\n',
    ),
    "zeros before a size": (b"abc", POST + b"Transfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n0\r\n\r\n"),
    "a body of GET": (b"abc", b"GET /x HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"),
    "an escaped path": (b"", b"GET /%78 HTTP/1.1\r\n" + HOST + b"\r\n"),
    # RFC 9110 §7.8: without Connection it is no wish to change
    "upgrade by itself": (b"", b"GET /x HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\n\r\n"),
}


@pytest.mark.parametrize("case", TAKEN)
@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "octets"])
async def test_what_the_standard_takes(site: Site, case: str, is_split: bool) -> None:
    body, octets = TAKEN[case]
    pieces = [octets[at : at + 1] for at in range(len(octets))] if is_split else [octets]
    assert status(await site.ask(*pieces)) == 200
    [(path, got, _)] = site.app.seen
    assert (path, got) == ("/x", body)


async def test_a_value_is_without_the_space_around_it(site: Site) -> None:
    """RFC 9110 §5.5."""
    await site.ask(b"GET /x HTTP/1.1\r\n" + HOST + b"X: \t a b \t\r\n\r\n")
    assert site.app.seen[0][2][b"x"] == b"a b"


async def test_a_trailer_is_no_header_field(site: Site) -> None:
    """RFC 9110 §6.5.1."""
    await site.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n")
    [(_, body, fields)] = site.app.seen
    assert body == b"abc"
    assert b"authorization" not in fields


@pytest.mark.parametrize("start", [b"3;", b"0\r\nX: "], ids=["extension", "trailer"])
async def test_what_is_no_body_is_bounded_behind_the_head(site: Site, start: bytes) -> None:
    """RFC 9112 §7.1.1: the length of extensions "ought to" be limited; a trailer is kept in memory."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    async with asyncio.timeout(20):
        await site.app.begun.wait()
        writer.write(start.ljust(LIMIT + 1, b"y"))
        assert status(await reader.read()) == 431
    writer.close()
    assert site.app.seen == []


async def test_only_http_1_1_is_told_to_continue(site: Site) -> None:
    """RFC 9110 §10.1.1: HTTP/1.0 "MUST ignore that expectation"."""
    expecting = b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    assert (await site.ask(b"POST /x HTTP/1.1\r\nHost: x\r\n" + expecting)).startswith(b"HTTP/1.1 100 ")
    assert status(await site.ask(b"POST /x HTTP/1.0\r\n" + expecting)) == 200
    assert [body for _, body, _ in site.app.seen] == [b"abc", b"abc"]


async def test_http_1_0_gets_no_chunks(site: Site) -> None:
    """RFC 9112 §6.1: "MUST NOT send a response containing Transfer-Encoding" unless HTTP/1.1 asked."""
    chunked = await site.ask(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
    assert chunked.endswith(b"\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n")
    plain = await site.ask(b"GET /stream HTTP/1.0\r\n\r\n")
    assert plain.endswith(b"\r\nconnection: close\r\n\r\nok")
    assert b"transfer-encoding" not in plain
    assert (await site.ask(b"GET /x HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok")
    assert (await site.ask(b"HEAD /stream HTTP/1.0\r\n\r\n")).endswith(b"\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_to_head_has_no_body(site: Site, version: bytes) -> None:
    """RFC 9110 §9.3.2."""
    answer = await site.ask(b"HEAD /x HTTP/" + version + b"\r\n" + HOST + b"\r\n")
    assert b"content-length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("fields", [b"", b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"])
async def test_a_refusal_of_head_has_no_body_either(site: Site, fields: bytes) -> None:
    answer = await site.ask(b"HEAD /x HTTP/1.1\r\n" + fields + b"\r\n")
    assert status(answer) in (400, 501)
    assert answer.endswith(b"\r\n\r\n")


async def test_who_has_his_answer_gets_no_second_one(site: Site) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(early)
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"ok")
        writer.write(b"zz\r\n")
        assert await reader.read() == b""
    assert status(answer) == 200
    writer.close()
