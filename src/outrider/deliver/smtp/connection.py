"""One TCP connection to a host: sockets and time around the client machine.

Octets from the transport go into `SmtpClient`, its octets go to the transport, its events to the owner.
During the set-up (greeting to AUTH) the events are queued as *steps* for the attempt that opened the
connection; afterwards the owner, a slot, is called directly, so that a message costs no task and no future.

Theory: a deadline is measured from the last complete reply, not from the last octet, so a peer that drips
octets gains nothing. A content is written in blocks while the peer takes them; until it is out the limit is
that of a block.

Invariant: an error in here or in the owner ends this connection only, and the owner hears of the end
exactly once.

Standards: RFC 5321 §4.5.3.2 (time-outs), RFC 5321 §4.1.1.10 (QUIT).
"""

import asyncio
import socket
from collections import deque
from struct import pack
from typing import Protocol, cast

from outrider.base.clock import Clock
from outrider.base.errors import RemoteProtocolError, where
from outrider.base.log import Log
from outrider.deliver.options import DeliveryOptions
from outrider.deliver.smtp import failures
from outrider.model.flow import Host, Phase
from outrider.model.reply import Reply
from outrider.net.tls import describe
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import (
    Answer,
    Disconnected,
    Ready,
    SetupFailed,
    TlsWanted,
    TransactionDone,
)

BLOCK_OCTETS = 262_144
# chosen: one write of it costs under 1 ms in TLS; most messages are smaller and go out in one

TURN_BLOCKS = 8
# chosen: 2 MiB, some 8 ms in TLS

_NO_LINGER = pack("ii", 1, 0)
# socket(7): struct linger, on and of no seconds, makes close(2) a reset


class Owner(Protocol):
    """Who uses a connection after its set-up."""

    def transaction_done(self, done: TransactionDone) -> None: ...

    def pump(self) -> None:
        """Something may be sent now, or the session has just ended."""
        ...

    def idle(self, seconds: float) -> None:
        """Nothing has been under way for so long."""
        ...

    def connection_ended(self, answer: Answer | None) -> None:
        """The connection is gone; `answer` says why when it did not end by our QUIT (ours, or a 421)."""
        ...


class Connection(asyncio.Protocol):
    """See the module.

    Args:
        host: The peer.
        client: A fresh machine.
        options: Options of the path.
        clock: For deadlines.
        log: For errors that are bugs.
        register: All open connections; this one adds and removes itself.

    Attributes:
        steps: Events of the set-up that nobody has taken.
        gone: The transport is closed.
        tls: Protocol and cipher, or None.
        source: Our address.
    """

    __slots__ = (
        "_at",
        "_clock",
        "_end_answer",
        "_end_at",
        "_goes_on",
        "_log",
        "_options",
        "_owner",
        "_paused",
        "_phase_seconds",
        "_register",
        "_transport",
        "_unsent",
        "_waiter",
        "client",
        "gone",
        "handshaking",
        "host",
        "peer",
        "source",
        "steps",
        "tls",
    )

    def __init__(
        self,
        host: Host,
        client: SmtpClient,
        *,
        options: DeliveryOptions,
        clock: Clock,
        log: Log,
        register: set["Connection"],
    ) -> None:
        self.host = host
        self.peer = failures.format_peer(host)
        self.client = client
        self.steps: deque[Ready | TlsWanted | SetupFailed] = deque()
        self.gone = False
        self._waiter: asyncio.Future[None] | None = None
        self.handshaking = False
        self.tls: str | None = None
        self.source = ""
        self._options = options
        self._phase_seconds = options.phase_seconds()
        self._clock = clock
        self._log = log
        self._register = register
        self._transport: asyncio.Transport | None = None
        self._owner: Owner | None = None
        self._at = clock.now()
        self._end_at = 0.0
        self._end_answer: Answer | None = None
        self._paused = False
        self._goes_on = False
        self._unsent: deque[bytes | memoryview] = deque()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport
        self._transport = cast("asyncio.Transport", transport)
        self._at = self._clock.now()
        name = transport.get_extra_info("sockname")
        self.source = name[0] if isinstance(name, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:  # implicit; after STARTTLS it is `secured` that is called
            self.tls = describe(tls)
        self._register.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except Exception as error:
            self.crash(error)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._unsent:
            self._at = self._clock.now()
            self._write_blocks()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        self._register.discard(self)
        try:
            if not self._end_at:
                self._fail(failures.lost(self.host, self.client.phase, exc))
            owner, self._owner = self._owner, None
            if owner is not None:
                owner.connection_ended(self._end_answer)
        except Exception as error:
            self._log.error("deliver.connection_end_failed", host=self.host.name, **where(error))
        finally:
            self.gone = True
            self._wake()

    # the attempt and the owner call these

    async def next_step(self) -> Ready | TlsWanted | SetupFailed:
        """The next event of the set-up; only one may wait."""
        while not self.steps:
            await self._news()
        return self.steps.popleft()

    async def closed(self) -> None:
        """Return when the transport is closed."""
        while not self.gone:
            await self._news()

    def secured(self, transport: asyncio.Transport) -> None:
        """The TLS handshake is done; `transport` is the encrypted one."""
        self.handshaking = False
        self._transport = transport
        self._at = self._clock.now()
        self._paused = False
        self.tls = describe(transport.get_extra_info("ssl_object"))
        self.client.tls_established()
        self.flush()

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    def attach(self, owner: Owner) -> None:
        """From now on `owner` is called. It is called at once where the connection has already ended."""
        if self._transport is None:
            owner.connection_ended(self._end_answer)
            return
        self._owner = owner
        self.run()

    def run(self) -> None:
        """Let the owner send what it can, then write it."""
        owner = self._owner
        if owner is None or self._transport is None:
            return
        try:
            if self.client.phase is None:
                self._at = self._clock.now()
            owner.pump()
            self.flush()
        except Exception as error:
            self.crash(error)

    def flush(self) -> bool:
        """Write what the machine wants to say; False when that is nothing."""
        out = self.client.take_output()
        transport = self._transport
        if not out or transport is None:
            return False
        if self._unsent or sum(map(len, out)) > BLOCK_OCTETS:
            self._unsent.extend(out)
            self._write_blocks()
        elif len(out) == 1:
            transport.write(out[0])
        else:
            transport.writelines(out)
        return True

    def fail(self, reply: Reply) -> None:
        """End the connection at once; what is unfinished gets `reply`, which is ours."""
        self._fail(reply)
        self._reset()

    def discard(self) -> None:
        """The set-up failed or was given up: close without another word."""
        if self._transport is not None:
            self._transport.abort()
        self._register.discard(self)

    def crash(self, error: Exception) -> None:
        """A bug showed itself in this session: it ends, the others go on."""
        self._log.error("deliver.session_failed", host=self.host.name, **where(error))
        try:
            self.fail(failures.INTERNAL)
        except Exception as second:
            self._log.error("deliver.session_end_failed", host=self.host.name, error=repr(second))
            if self._transport is not None:
                self._transport.abort()

    def check(self, now: float) -> None:
        """Apply the deadlines. Called by the deliverer's timer."""
        waited = now - self._at
        if self._end_at:
            if now >= self._end_at:
                self._reset()
        elif self.handshaking:
            return  # start_tls has its own deadline
        elif self._unsent:
            if waited > self._options.block_seconds:
                self.fail(failures.blocked(self.host, self._options.block_seconds))
        else:
            self._check_phase(now, waited)

    def _check_phase(self, now: float, waited: float) -> None:
        if self.client.is_quitting:
            if waited > self._options.quit_seconds:
                self._end_at = now
            return
        phase = self.client.phase
        if phase is not None:
            seconds = self._phase_seconds[phase]
            if waited > seconds:
                in_tls = self._options.tls == "implicit"
                self.fail(failures.timed_out(self.host, phase, seconds, in_tls=in_tls))
        elif self._owner is not None:
            self._owner.idle(waited)
            if self.flush():
                self._at = now

    # inside

    def _receive(self, data: bytes) -> None:
        client = self.client
        heard = client.replies
        try:
            events = client.receive(data)
        except RemoteProtocolError as error:
            self.fail(failures.broke_protocol(self.host, error.message))
            return
        if client.replies != heard:
            self._at = self._clock.now()
        owner = self._owner
        for event in events:
            if isinstance(event, TransactionDone):
                if owner is not None:
                    owner.transaction_done(event)
            elif isinstance(event, Disconnected):
                if event.reply.code == 421:
                    self._end_answer = Answer(event.reply, Phase.MAIL)
            else:
                self.steps.append(event)
                self._wake()
        if owner is not None:
            owner.pump()
        self.flush()
        if client.is_closed and not self._end_at:
            self._end(self._at)

    def _end(self, now: float) -> None:
        """Nothing more is said: the peer has until `quit_seconds` to close, then we do."""
        self._end_at = now + self._options.quit_seconds

    def _reset(self) -> None:
        """Throw away what the host has not taken (RST).

        Else the system goes on offering it, minutes long, to one that takes nothing.
        """
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()

    def _fail(self, reply: Reply) -> None:
        """Give `reply` to whatever is unfinished; the transport is not touched."""
        if self._end_at:
            return
        self._end_at = self._clock.now() or 1.0
        phase = self.client.phase
        if not self.client.is_quitting:
            self._end_answer = Answer(reply, phase or Phase.MAIL, ours=True)
        for done in self.client.abandon(reply):
            if self._owner is not None:
                self._owner.transaction_done(done)
        if self._owner is None:
            self.steps.append(SetupFailed(phase or Phase.CONNECT, reply, ours=True))
            self._wake()

    async def _news(self) -> None:
        """Wait for a step or the end; a future costs a third of what a queue and its future cost."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _write_blocks(self) -> None:
        """Write what the host takes, of a host that takes all at once `TURN_BLOCKS` in a turn of the loop."""
        transport = self._transport
        left = TURN_BLOCKS
        while self._unsent and not self._paused and transport is not None:
            if not left:
                if not self._goes_on:
                    self._goes_on = True
                    asyncio.get_running_loop().call_soon(self._write_more)
                return
            left -= 1
            block = self._unsent.popleft()
            if len(block) > BLOCK_OCTETS:
                view = memoryview(block)
                self._unsent.appendleft(view[BLOCK_OCTETS:])
                block = view[:BLOCK_OCTETS]
            transport.write(block)

    def _write_more(self) -> None:
        self._goes_on = False
        if self._transport is not None:
            self._at = self._clock.now()
            self._write_blocks()
