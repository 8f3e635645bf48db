"""The client's side of HTTP/1.1: one request at a time on a connection that may be kept.

In: a request. Out: the whole answer, or an exception. TLS is checked when a context is given; there are no
redirects (the answer says so and the caller decides), no proxies, no cookies, and nothing of the
environment is read.

Theory: httptools frames the answer, except for one that ends with the connection, which is taken as it is
when the peer closed in order.

Invariant: the head of an answer is at most `HEAD_OCTETS`, and so are all its fields, those behind its chunks
included; its body is at most what the caller allows; an answer that is longer or is cut short raises. After
an exception, a cancelled request, or an answer with something behind it, the connection is not usable.

Standards: RFC 9112 §6 (framing), RFC 9112 §9.3 (persistence), RFC 9110 §7.2 (Host), RFC 9110 §15.2 (1xx),
RFC 9110 §9.3.2 (HEAD).
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

import httptools
import msgspec

from outrider.base.errors import LocalProtocolError, RemoteProtocolError, UnavailableError

HEAD_OCTETS: Final = 65_536
# chosen, as for requests that come in (net.http)
READ_OCTETS: Final = 65_536
_FORBIDDEN: Final = ("\r", "\n", "\0")


class HttpAnswer(msgspec.Struct, frozen=True):
    """A whole answer.

    Attributes:
        status: Its code.
        fields: Names in lower case, and values.
        body: Content, decoded from chunks.
        names: The same names as they came.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    names: tuple[str, ...] = ()


class _Reading:
    """What httptools tells of one answer."""

    def __init__(self, method: str, octets_max: int) -> None:
        self._is_head = method == "HEAD"
        self._octets_max = octets_max
        self.status = 0
        self.parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.body = bytearray()
        self.fields_octets = 0
        self.has_head = False
        self.is_complete = False
        self.keeps_connection = False

    def on_message_begin(self) -> None:
        self.keeps_connection = False  # until it is complete; then what follows was not asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # RFC 9110 §6.5.1: a trailer is no header field
            self.names.append(name.decode("latin-1"))
            self.fields.append((self.names[-1].lower(), value.decode("latin-1").strip(" \t")))
        self.fields_octets += len(name) + len(value)
        if self.fields_octets > HEAD_OCTETS:  # those that follow chunks may come for ever
            raise RemoteProtocolError(f"the fields of the answer are longer than {HEAD_OCTETS} octets")

    def on_headers_complete(self) -> None:
        if self.is_complete:
            return
        self.has_head = True
        self.status = self.parser.get_status_code()
        codings = [value.lower() for name, value in self.fields if name == "transfer-encoding"]
        if codings not in ([], ["chunked"]):
            raise RemoteProtocolError("the answer has a transfer coding other than chunked")
        if self._is_head and self.status >= 200:  # RFC 9112 §6.3: its head is all
            self.is_complete = True
            self.keeps_connection = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            self.keeps_connection = False
            return
        self.body += data
        if len(self.body) > self._octets_max:
            raise RemoteProtocolError(f"the answer is longer than {self._octets_max} octets")

    def on_message_complete(self) -> None:
        if self.is_complete:
            return
        if self.parser.get_status_code() < 200:
            self._begin()
        else:
            self.is_complete = True
            self.keeps_connection = self.parser.should_keep_alive()  # true to the facts only now

    @property
    def ends_with_connection(self) -> bool:
        """Neither a length nor chunks say where the answer ends."""
        names = {name for name, _ in self.fields}
        return self.has_head and not names & {"content-length", "transfer-encoding"}


class HttpConnection:
    """One connection to one server; see `connect_http`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._is_free = True

    @property
    def is_usable(self) -> bool:
        """Another request may be sent."""
        return self._is_free and not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(
        self,
        method: str,
        target: str,
        fields: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        octets_max: int,
    ) -> HttpAnswer:
        """Send a request and wait for its answer; the caller bounds the time.

        Args:
            method: `GET`, `POST` …
            target: Path and query.
            fields: Header fields besides Host, Content-Length and Connection.
            body: Content.
            octets_max: Longest content of the answer.

        Raises:
            LocalProtocolError: The request would not be one.
            UnavailableError: The connection was lost before the answer began.
            RemoteProtocolError: The answer is no HTTP, too long or cut short.
        """
        head = self._head(method, target, fields, body)
        self._is_free = False
        reading = _Reading(method, octets_max)
        try:
            self._writer.write(head + body)
            await self._writer.drain()
            await self._read(reading)
        except OSError as error:  # a reset, or TLS that was broken off
            raise UnavailableError(f"the connection was lost: {error}") from error
        self._is_free = reading.keeps_connection
        return HttpAnswer(reading.status, tuple(reading.fields), bytes(reading.body), tuple(reading.names))

    def _head(self, method: str, target: str, fields: Sequence[tuple[str, str]], body: bytes) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body or method not in {"GET", "HEAD"}:
            lines.append(f"Content-Length: {len(body)}")
        if " " in target or any(sign in line for line in lines for sign in _FORBIDDEN):
            raise LocalProtocolError("a part of the request holds a line break or a space")
        try:
            return "\r\n".join([*lines, "", ""]).encode("latin-1")
        except UnicodeEncodeError:
            raise LocalProtocolError(
                "a part of the request holds a character that HTTP cannot carry"
            ) from None

    async def _read(self, reading: _Reading) -> None:
        head_octets = 0
        while not reading.is_complete:
            data = await self._reader.read(READ_OCTETS)
            if not data:
                if reading.ends_with_connection:
                    return
                if head_octets:
                    raise RemoteProtocolError("the answer was cut short")
                raise UnavailableError("the connection was closed")
            if not reading.has_head:
                head_octets += len(data)
            try:
                reading.parser.feed_data(data)
            except httptools.HttpParserUpgrade as error:
                raise RemoteProtocolError("the server changed to another protocol") from error
            except httptools.HttpParserError as error:
                cause = error.__context__
                if isinstance(cause, RemoteProtocolError):
                    raise cause from None
                raise RemoteProtocolError(f"the answer is no HTTP: {error}") from error
            if head_octets > HEAD_OCTETS and not reading.has_head:
                raise RemoteProtocolError(f"the head of the answer is longer than {HEAD_OCTETS} octets")

    def drop(self) -> None:
        """End it at once."""
        self._is_free = False
        self._writer.transport.abort()

    async def close(self) -> None:
        """End it in order."""
        self._is_free = False
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:  # it was gone already
            return


async def connect_http(host: str, port: int, tls: ssl.SSLContext | None) -> HttpConnection:
    """A connection to a server; the caller bounds the time.

    Raises:
        UnavailableError: There is none: no such name, nobody listens, or the certificate is not its own.
    """
    try:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=host if tls is not None else None, limit=READ_OCTETS
        )
    except OSError as error:
        raise UnavailableError(f"no connection to {host} port {port}: {error.strerror or error}") from error
    shown = f"[{host}]" if ":" in host else host
    usual = 443 if tls is not None else 80
    return HttpConnection(reader, writer, shown if port == usual else f"{shown}:{port}")
