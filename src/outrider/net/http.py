"""Serve an ASGI application on inherited sockets, inside the loop that runs already.

In: an application (Starlette's or a plain one) and listening sockets, TCP or Unix. Out: HTTP/1.1, by
uvicorn's httptools protocol, with limits that it lacks: octets and count of header fields, a deadline for the
head and one for the body of each request, no access log, our own log for failures. A wish to change the
protocol is passed over.

Theory: uvicorn's own server installs signal handlers, ticks ten times a second and may exit the process. All
of that is the lifecycle's business here, so only its protocol is used.

Invariants:

- A connection that does not complete a request in time, or takes nothing of its answer, is closed.
- Memory per connection is bounded by `header_octets` and uvicorn's flow control. A field that follows the
  body (a trailer) is counted and thrown away.
- What comes over TCP is heard only where its address is known, because who may ask can depend on it.
- After `close` no connection is left.

Standards: RFC 9110 §15.5 (client errors), RFC 9112 §9.8 (closing), RFC 6585 §5 (431), RFC 9457 §3 (problems),
RFC 9110 §10.2.3 (Retry-After), RFC 9110 §6.5.1 (trailers), RFC 9110 §10.1.1 (Expect), RFC 9110 §7.8
(Upgrade), RFC 9112 §6.1 (HTTP/1.0 knows no chunks). Not here: what is wrong with a head (net.http_framing).
"""

import asyncio
import socket
import ssl
import struct
import traceback
from collections.abc import Callable, Collection, Sequence
from email.utils import formatdate
from typing import Any, Final

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.net.http_framing import head_without_upgrade, maybe_head_fault

AsgiApp = Callable[[Any, Any, Any], Any]

_HEADER_TOO_BIG: Final = "The request's header section is too big."
_TARGET_TOO_LONG: Final = "The target of the request is too long."
_ANSWERED_FACTOR: Final = 2
# chosen: so many times the limit may wait for their 503; beyond it nobody is waited for
_QUIET: Final = 100  # above every level of logging: nothing is formatted that nobody hears


class HttpLimits(msgspec.Struct, frozen=True):
    """What a server takes from a client before the application sees it.

    Attributes:
        header_octets: Request line and header fields together.
        header_count: Header fields.
        header_seconds: From connecting, or from the first octet of a further request, to the end of the head.
        body_seconds: From the end of the head to the end of the body; and how long a client may take nothing
            of its answers.
        idle_seconds: Between requests of one connection.
        connections: At once. One more has the one closed that has waited longest for a request; where none
            waits it is answered 503, and from twice as many on before it has asked.
        retry_after_seconds: What Retry-After of that 503 says.
    """

    header_octets: int = 65_536
    header_count: int = 200
    header_seconds: float = 30.0
    body_seconds: float = 300.0
    idle_seconds: float = 60.0
    connections: int = 1_000
    retry_after_seconds: int = 30


class Peer(msgspec.Struct, frozen=True):
    """The process at the other end of a Unix socket, as the kernel knew it when it connected (unix(7)).

    Attributes:
        process: Its id.
        user: Its effective user id.
        group: Its effective group id.
    """

    process: int
    user: int
    group: int


_CREDENTIALS: Final = struct.Struct("3i")
# linux/include/linux/socket.h: struct ucred is pid, uid, gid


def peer_of(connection: socket.socket) -> Peer:
    """Who connected to a Unix socket (SO_PEERCRED)."""
    octets = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(octets))


class _Report:
    """Stands where uvicorn expects a logger; says only what failed, without any text of a request."""

    level = _QUIET

    def __init__(self, log: Log) -> None:
        self._log = log

    def hasHandlers(self) -> bool:  # noqa: N802 - logging's name
        return False

    def log(self, *_args: object) -> None: ...

    def info(self, *_args: object, **_more: object) -> None: ...

    def warning(self, *_args: object, **_more: object) -> None: ...

    def denied(self, peer: Peer) -> None:
        """A user connected to a Unix socket who may not."""
        self._log.warning("http.user_denied", user=peer.user, pid=peer.process)

    def error(self, message: str, *_args: object, exc_info: BaseException | None = None) -> None:
        if exc_info is None:
            self._log.error("http.failed", reason=message.partition("'")[0][:80])
            return
        # Where it happened is code and shown; the exception's text may hold what a client sent and is not.
        frames = traceback.extract_tb(exc_info.__traceback__)
        where = [f"{frame.filename}:{frame.lineno}" for frame in frames[-6:]]
        self._log.error("http.failed", error=type(exc_info).__name__, where=where)


class _Cycle(RequestResponseCycle):
    """A request; uvicorn tells only the last of several that the client is gone, and uvloop then raises."""

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():
            self.disconnected = True
        await super().send(message)


class _OldCycle(_Cycle):
    """A request of HTTP/1.0: an answer that says no length ends with the connection (RFC 9112 §6.1)."""

    is_unframed = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.is_unframed = all(
                name.lower() != b"content-length" for name, _ in message.get("headers", ())
            )
            if self.is_unframed:
                self.chunked_encoding = False  # there is none, and none is to be added
        elif self.is_unframed:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class _Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: HttpLimits,
        report: _Report,
        users: Collection[int] | None,
        waiting: dict["_Protocol", None],
    ) -> None:
        super().__init__(config, state, {})
        self._waiting = waiting
        self._users = users
        self.logger = report  # type: ignore[assignment]
        self.access_logger = report  # type: ignore[assignment]
        self.access_log = False
        self._limits = limits
        self._report = report
        self.url = b""
        self._head_octets = 0
        self._field_octets = 0
        self._trailers = 0
        self._between_octets = 0  # that came since the last octet of a body: sizes of chunks, trailers
        self._in_head = True
        self._has_begun = False
        self._is_refused = False
        self._asks_upgrade = False
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent_octets = 0
        self._took_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is None and not _is_unix(transport):  # whoever it was has gone by now
            self._is_refused = True
            transport.abort()
            return
        excess = len(self.connections) - self._limits.connections
        if (
            excess > 0
            and not self._make_room()
            and excess > (_ANSWERED_FACTOR - 1) * self._limits.connections
        ):
            self._refuse_busy()  # without waiting for what it asks
            return
        self._waiting[self] = None
        self._set_deadline(self._limits.header_seconds)
        if self._users is not None:
            peer = peer_of(transport.get_extra_info("socket"))
            if peer.user not in self._users:
                self._report.denied(peer)
                self._refuse(403, "user_denied", "Only root and the user of the server may ask here.")
            self.app_state["peer"] = peer

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request: who asks nothing keeps nobody out."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        del self._waiting[longest]
        longest._is_refused = True
        longest.transport.abort()
        self.connections.discard(longest)  # it does not count until its end is heard of in the next turn
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not (self.transport.is_closing() or self._is_answering()):
            self._waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._drop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._in_head:
            self._head_octets += len(data)
        else:
            self._between_octets += len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        most = self._limits.header_octets
        if self._in_head and self._head_octets > most:  # a field that never ends
            self._refuse_head()
        elif not self._in_head and self._between_octets > most:  # the same behind the chunks, or an extension
            self._refuse(431, "header_too_big", _HEADER_TOO_BIG)

    def _feed(self, data: bytes) -> None:
        """Have it parsed; a head that asks for another protocol again without that.

        llhttp takes what follows such a head for the other protocol, also where it is the body. RFC 9110 §7.8
        lets a server pass over it; Java's HttpClient asks with its first request, whatever that is.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as error:
                if not self._asks_upgrade:  # it is refused
                    return
                (head_end,) = error.args
                head = head_without_upgrade(
                    self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
                )
                data = head + data[head_end:]
                self._asks_upgrade = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            except httptools.HttpParserError:
                self._refuse(400, "bad_request", "This is not a valid HTTP request.")
                return
            else:
                return

    def look(self, now: float) -> None:
        """Once a second: give up a client that takes nothing of what was written for it.

        Nothing else would: it is not asked for anything, and a closing transport waits for it too.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent_octets:
            self._unsent_octets, self._took_at = unsent, now
        elif now - self._took_at >= self._limits.body_seconds:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._field_octets = 0
        self._trailers = 0
        self._between_octets = 0
        self._has_begun = True
        if self._deadline is None:  # the first request's runs since the connection was made
            self._set_deadline(self._limits.header_seconds)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_octets += len(name) + len(value)
        if self._in_head:
            name = name.lower()
            # RFC 9110 §5.5: white space behind a value is none of it; of a coding it says how it was framed
            super().on_header(name, value if name == b"transfer-encoding" else value.rstrip(b" \t"))
        else:
            self._trailers += 1  # RFC 9110 §6.5.1: nobody here knows of a trailer what it means
            if self._field_octets > self._limits.header_octets:
                self._refuse(431, "header_too_big", _HEADER_TOO_BIG)
        if len(self.headers) + self._trailers > self._limits.header_count:
            self._refuse(431, "too_many_headers", "The request has too many header fields.")

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        if self.parser.get_method() == b"CONNECT":
            self._refuse(405, "no_tunnel", "This server is no proxy.")
            return
        if self.parser.should_upgrade():
            self._asks_upgrade = True  # `_feed` begins it anew
            return
        if self._field_octets + len(self.url) > self._limits.header_octets:
            self._refuse_head()
            return
        version = self.parser.get_http_version()
        fault = maybe_head_fault(version, self.url, self.headers)
        if fault is not None:
            self._refuse(*fault)
            return
        if len(self.connections) > self._limits.connections:
            self._refuse_busy()
            return
        self._waiting.pop(self, None)
        self._in_head = False
        self._head_octets = 0
        self._set_deadline(self._limits.body_seconds)
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110 §10.1.1: it knows no answer that is not the last
        super().on_headers_complete()
        self.cycle.__class__ = _OldCycle if version == "1.0" else _Cycle

    def on_body(self, body: bytes) -> None:
        self._between_octets = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_refused or self._asks_upgrade:
            return
        self._in_head = True
        self._has_begun = False
        self._drop_deadline()
        super().on_message_complete()

    def _refuse(self, status: int, code: str, detail: str, retry_after_seconds: int | None = None) -> None:
        """Answer and close. Where a response is under way, or the request has its own already, only close."""
        if self._is_refused:
            return
        self._is_refused = True
        if self.transport.is_closing():
            return
        if self._may_answer():
            head, body = _problem(status, code, detail, retry_after_seconds)
            head += b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers])
            head += b"\r\n"
            is_head = self._has_begun and self.parser.get_method() == b"HEAD"  # RFC 9110 §9.3.2: no content
            self.transport.write(head if is_head else head + body)
        self.transport.close()

    def _refuse_head(self) -> None:
        if len(self.url) > self._limits.header_octets:
            self._refuse(414, "target_too_long", _TARGET_TOO_LONG)
        else:
            self._refuse(431, "header_too_big", _HEADER_TOO_BIG)

    def _refuse_busy(self) -> None:
        self._refuse(503, "too_busy", "Too many connections are open.", self._limits.retry_after_seconds)

    def _may_answer(self) -> bool:
        """Nobody has begun to answer what is being read, and all before it is answered."""
        if self._in_head:
            return not self._is_answering()
        if self.pipeline or self.cycle.response_started:
            return False
        self.cycle.disconnected = True  # from now on the application says nothing any more
        return True

    def _is_answering(self) -> bool:
        # None before the first request, whatever uvicorn's type says.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _set_deadline(self, seconds: float) -> None:
        self._drop_deadline()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._in_head and self._is_answering():
            # Reading is paused meanwhile, so the client is not to blame.
            self._set_deadline(self._limits.header_seconds)
        elif not self._has_begun:
            self.transport.close()  # nothing was asked, so nothing is answered
        else:
            self._refuse(408, "too_slow", "The request did not arrive in time.")


def _is_unix(transport: asyncio.Transport) -> bool:
    return bool(transport.get_extra_info("socket").family == socket.AF_UNIX)


_PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def _problem(status: int, code: str, detail: str, retry_after_seconds: int | None) -> tuple[bytes, bytes]:
    """Head, its end and the usual fields excepted, and body of an answer."""
    title = _PHRASES[status]
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    )
    retry = "" if retry_after_seconds is None else f"retry-after: {retry_after_seconds}\r\n"
    head = (
        f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{retry}connection: close\r\n"
    )
    return head.encode("ascii"), body


class HttpServer:
    """Serves one application on any number of sockets.

    Args:
        app: ASGI application; it gets no lifespan events.
        limits: See `HttpLimits`.
        clock: Gives the Date field.
        log: Told about failures.
        tls: Context of an `https` listener, or None.
        users: Ids of the users who may connect to a Unix socket; who that is, an application reads from
            `scope["state"]["peer"]`. None lets everybody connect who can open it.
    """

    def __init__(
        self,
        app: AsgiApp,
        limits: HttpLimits,
        clock: Clock,
        log: Log,
        tls: ssl.SSLContext | None = None,
        *,
        users: Collection[int] | None = None,
    ) -> None:
        self._limits = limits
        self._users = users
        self._clock = clock
        self._tls = tls
        self._report = _Report(log)
        self._config = Config(
            app,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(limits.idle_seconds),
        )
        self._config.load()
        self._state = ServerState()
        self._waiting: dict[_Protocol, None] = {}  # connections without a request, the longest first
        self._servers: list[asyncio.Server] = []
        self._date_timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets that are listened on."""
        return [each for server in self._servers for each in server.sockets]

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on `sockets`, which listen already; they are closed by `close`."""
        self._tick(asyncio.get_running_loop())
        for each in sockets:
            await self.accept(each)

    async def accept(self, sock: socket.socket) -> asyncio.Server:
        """Accept on one more; it may be closed before the others."""
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        server = await create(self._protocol, sock=sock, ssl=self._tls)
        self._servers.append(server)
        return server

    async def close(self, seconds: float) -> None:
        """Stop accepting, let requests under way finish for at most `seconds`, then close everything."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=seconds)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks))
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None

    def _protocol(self) -> asyncio.Protocol:
        return _Protocol(self._config, self._state, self._limits, self._report, self._users, self._waiting)

    def sweep(self) -> None:
        """End the connections of clients that do not take their answers."""
        now = self._clock.now()
        for connection in list(self._state.connections):
            assert isinstance(connection, _Protocol)  # noqa: S101 - `_protocol` makes no others
            connection.look(now)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once a second: the Date field of responses (RFC 9110 §6.6.1), and who takes nothing."""
        self.sweep()
        date = formatdate(self._clock.wall(), usegmt=True).encode("ascii")
        self._state.default_headers = [(b"date", date)]
        self._date_timer = loop.call_later(1.0, self._tick, loop)
