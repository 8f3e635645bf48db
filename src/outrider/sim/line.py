"""What carries an SMTP session of the simulator: octets, time, TLS and replies, without any command.

In: octets of a client. Out: replies, late where the provider is slow.

Theory: everything is a plain callback. While an answer waits (`_held`) nothing further is read from the
buffer, so replies keep their order whatever the client pipelines.

Standards: RFC 5321 §4.3.1 (early talk), RFC 3207 §4 (handshake). Not here: the commands (`sim.session`).
"""

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, cast

from outrider.sim.options import Phase
from outrider.sim.provider import Provider, is_established
from outrider.sim.spite import octets_of, pause_seconds
from outrider.sim.temper import Answer
from outrider.sim.tls import TlsPipe

_BUFFER_OCTETS_MAX = 1_048_576  # chosen, because a client that waits for replies never fills it
_EARLY_OCTETS = 3  # chosen: not even the header of the first record, RFC 8446 §5.1
_DEAF_LOOK_SECONDS = 0.2  # chosen: who does not read must ask whether the other side is still there
_IDLE = b"421 4.4.2 Idle for too long\r\n"


class Line(asyncio.Protocol):
    """One connection to a provider; a session adds what is said on it."""

    __slots__ = (
        "_buffer",
        "_client",
        "_closing",
        "_held",
        "_idle_timer",
        "_loop",
        "_out",
        "_pieces",
        "_pipe",
        "_provider",
        "_reading_paused",
        "_tcp",
        "_timer",
        "_tls_wait",
        "_transport",
        "_writing_paused",
    )

    def __init__(self, provider: Provider, loop: asyncio.AbstractEventLoop) -> None:
        self._provider = provider
        self._loop = loop
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._pipe: TlsPipe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._held = False
        self._closing = False
        self._tls_wait = False
        self._reading_paused = False
        self._writing_paused = False
        self._pieces: Iterator[bytes] | None = None

    @abstractmethod
    def _greet(self) -> None:
        """Say the greeting."""

    @abstractmethod
    def _step(self) -> bool:
        """Take one command or piece of content from the buffer; False when more octets are needed."""

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._tcp = transport.get_extra_info("socket")
        peer = transport.get_extra_info("peername") or ("", 0)
        self._client = f"{peer[0]}:{peer[1]}"
        refused = self._provider.opened(self)
        if refused:
            self._say(refused.reply.encode() + b"\r\n")
            self._close()
            self._flush()
            return
        if self._provider.behaviour.idle_seconds:
            self._watch_idle()
        self._after("connect", self._greet)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is the client's affair
        self._closing = True
        for timer in (self._timer, self._idle_timer):
            if timer:
                timer.cancel()
        self._provider.closed(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._spite_on(0.0)

    def abort(self) -> None:
        self._transport.abort()

    def peer_is_there(self) -> bool:
        return is_established(self._tcp)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._idle_timer:
            self._idle_timer.cancel()
            self._watch_idle()
        if self._tls_wait:
            self._shake_hands(data)
            return
        if self._pipe:
            try:
                data = self._pipe.receive(data)
            except ssl.SSLError:
                self._provider.counts.violations["tls"] += 1
                self._transport.write(self._pipe.pending())
                self._transport.abort()
                return
            if answer := self._pipe.pending():
                self._transport.write(answer)
            if not data:
                return
        self._buffer += data
        self._pace(len(data))
        if not self._held:
            self._work()

    def _watch_idle(self) -> None:
        self._idle_timer = self._loop.call_later(self._provider.behaviour.idle_seconds, self._idle_too_long)

    def _idle_too_long(self) -> None:
        if not self._closing:
            self._say(_IDLE)
            self._close()
            self._flush()

    def _pace(self, octets: int) -> None:
        rate = self._provider.behaviour.read_bytes_per_second
        if rate:
            self._transport.pause_reading()
            self._loop.call_later(octets / rate, self._read_on)
        elif self._held and not self._reading_paused and len(self._buffer) > _BUFFER_OCTETS_MAX:
            self._reading_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # time

    def _after(self, phase: Phase, function: Callable[..., None], *arguments: Any) -> None:
        """Call `function` now, or when the provider has thought long enough."""
        provider = self._provider
        delay = provider.temper.delay(phase) if phase in provider.slow_phases else 0.0
        if delay:
            self._held = True
            self._timer = self._loop.call_later(delay, self._resume, function, arguments)
        else:
            function(*arguments)

    def _resume(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self._closing:
            return
        self._held = False
        self._timer = None
        if self._buffer and function == self._greet:
            self._provider.counts.violations["early-talk"] += 1
        function(*arguments)
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._work()

    def _work(self) -> None:
        while not self._held and not self._closing:
            if not self._step():
                break
        self._flush()

    # replies

    def _say(self, reply: bytes) -> None:
        self._out.append(reply)
        self._provider.counts.replies[int(reply[:3])] += 1

    def _act(self, answer: Answer, recipients: int = 0) -> None:
        action = answer.action
        self._provider.counts.refused(answer.reply, recipients)
        if action in ("reply", "disconnect"):
            self._say(answer.reply.encode() + b"\r\n")
            if action == "disconnect" or answer.reply.startswith("421"):
                self._close()
        elif action == "stall":
            self._held = True
        elif action == "deaf":
            self._say(answer.reply.encode() + b"\r\n")
            self._held = True
            self._transport.pause_reading()
            self._timer = self._loop.call_later(_DEAF_LOOK_SECONDS, self._stay_deaf)
        elif action == "spite":
            self._flush()
            self._held = True
            self._pieces = octets_of(answer.spite)
            self._spite_on(pause_seconds(answer.spite))
        else:
            self._out.clear()
            self._closing = True
            self._transport.abort()

    def _stay_deaf(self) -> None:
        if self.peer_is_there():
            self._timer = self._loop.call_later(_DEAF_LOOK_SECONDS, self._stay_deaf)
        else:
            self._transport.abort()

    def _spite_on(self, pause: float) -> None:
        """Send the next piece, and the one after it when the client has taken this one."""
        if self._pieces is None or self._closing or self._transport.is_closing():
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._pieces = None
            self._held = False
            self._work()
            return
        self._transport.write(self._pipe.wrap(piece) if self._pipe else piece)
        if not self._writing_paused:
            self._timer = self._loop.call_later(pause, self._spite_on, pause)

    def _close(self) -> None:
        self._closing = True

    def _flush(self) -> None:
        out = self._out
        if out and not self._transport.is_closing():
            data = out[0] if len(out) == 1 else b"".join(out)
            self._transport.write(self._pipe.wrap(data) if self._pipe else data)
        out.clear()
        if self._closing:
            self._transport.close()

    def _shake_hands(self, data: bytes) -> None:
        fault = self._provider.behaviour.tls.fault
        if fault == "stall" or self._pipe:
            return
        if fault == "handshake" or self._provider.tls is None:
            self._transport.write(b"\x15\x03\x03\x00\x02\x02\x28 this is no handshake\r\n")
            self._close()
            self._flush()
            return
        pipe = TlsPipe(self._provider.tls)
        if fault in {"stall-early", "stall-late"}:
            pipe.receive(data)
            flight = pipe.pending()
            self._transport.write(flight[:_EARLY_OCTETS] if fault == "stall-early" else flight[:-1])
            self._pipe = pipe  # and nothing is read from it any more
            return
        self._tls_wait = False
        self._pipe = pipe
        self.data_received(data)
