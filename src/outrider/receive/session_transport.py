"""One SMTP connection's octets and time: the server machine joined to a transport.

In: octets from the event loop, and the listener's look once a second. Out: events to the handlers of the
class that is built on this one (`session_client`, then `session`), replies to the transport.

Theory: a deadline moves when a whole command has been read or answered, not with each octet, so dripping
octets buys no time; inside a message it moves with the octets, and between its chunks with the commands, but
never past `message_seconds`. On the way only the time is noted; what deadline follows from it is worked out
when the listener looks.

Invariant: whatever goes wrong in a handler ends this session with 421 and touches no other.

Standards: RFC 5321 §4.5.3.2 (deadlines).
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from outrider.base.errors import where
from outrider.model.reply import Reply
from outrider.receive.session_context import SessionContext
from outrider.wire.smtp import replies
from outrider.wire.smtp.server import Server
from outrider.wire.smtp.server_events import StartTls

HELD_OCTETS = 65_536
"""Chosen, because it is one read of the event loop: reading stops while more than this waits."""

TURN_OCTETS = 16_384
"""Chosen: some 600 replies; what a flood of commands still wants then waits for the next turn of the loop, so
that no client holds it over 20 ms."""

LINGER_SECONDS = 10.0
"""Chosen, because a peer that has not taken our last reply by then is not there."""


class SessionTransport(asyncio.Protocol):
    """See the module.

    Attributes:
        handlers: For each kind of event, what handles it.
    """

    __slots__ = (
        "_context",
        "_eof",
        "_lingers",
        "_message_started_at",
        "_more",
        "_reading_paused",
        "_renewed_at",
        "_running",
        "_server",
        "_tight",
        "_transport",
        "_writing_paused",
    )

    handlers: ClassVar[dict[type, Callable[[Any, Any], None]]] = {}

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._server = Server(context.server_limits)
        self._eof = False
        self._more = False
        self._running = False
        self._reading_paused = False
        self._writing_paused = False
        self._lingers = False
        self._tight = False
        self._message_started_at = 0.0
        self._renewed_at = 0.0

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        self._server.feed(data)
        self._run()

    def eof_received(self) -> bool:
        """The client stopped sending: what it waits for is still said, where the transport can."""
        self._eof = True
        return (self._server.waiting is not None or self._more) and not self._server.tls

    def pause_writing(self) -> None:
        """The client does not take our replies: nothing more is read or done for it."""
        self._writing_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """It took them."""
        self._writing_paused = False
        self._run()

    # What the listener calls

    def expire(self) -> None:
        """The deadline has passed: say so and close, or drop a connection that does not even take that."""
        if self._transport is None:
            return
        server = self._server
        if server.closed or server.handshaking or self._transport.is_closing():
            self._transport.abort()
            return
        self._end(replies.TIMED_OUT)

    def drain(self) -> None:
        """Close as soon as no transaction is open."""
        self._context.draining = True  # that of its beginning, which a reload may have replaced
        server = self._server
        if server.mail is None and server.waiting is None and not (server.closed or server.handshaking):
            self._end(replies.SHUTTING_DOWN)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reply: Reply) -> None:
        self._server.abort(reply)
        self._flush()

    # The loop of one session

    def _run(self) -> None:
        """Handle what can be handled now. Not reentrant: an answer given inside it is seen by its loop."""
        if self._running:
            return
        self._running = True
        server = self._server
        handlers = self.handlers
        progress = False
        try:
            while not self._writing_paused:
                event = server.next_event()
                if event is None:
                    break
                progress = True
                handlers[type(event)](self, event)
                if len(server.output) > TURN_OCTETS:
                    break
        except Exception as error:
            self._context.log.error("receive.session_failed", **where(error))
            server.abort(replies.INTERNAL_ERROR)
        finally:
            self._running = False
        context = self._context
        if context.draining:
            self.drain()
        output = server.output
        receiving = server.receiving
        if progress or output or receiving:
            self._renewed_at = now = context.now()
            if not receiving and not server.between_chunks:
                self._message_started_at = now  # a chunk that is refused tells nobody of its beginning
        if len(output) > TURN_OCTETS and not server.closed:
            self._go_on_later()
        elif server.waiting is not None or self._reading_paused or self._eof or server.closed:
            self._flush()
        elif output and self._transport is not None:  # nothing but a reply: the usual turn
            server.output = b""
            self._transport.write(output)

    def _go_on_later(self) -> None:
        """Send the replies so far; the others are served before this client's next commands."""
        if self._transport is None:
            return
        self._pause_reading()
        self._transport.write(self._server.take_output())
        if not self._more:
            self._more = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._more = False
        if self._transport is not None:
            self._run()

    def _flush(self) -> None:
        """Send what is to be sent, and do what follows from the state: close, stop or go on reading."""
        transport = self._transport
        server = self._server
        output = server.take_output()
        if transport is None:
            return
        if output:
            transport.write(output)
        if server.closed or (self._eof and server.waiting is None):
            transport.close()
            self._lingers = True
            self._renewed_at = self._context.now()
        elif server.buffered > HELD_OCTETS:
            self._pause_reading()
        elif self._reading_paused and not self._writing_paused and not isinstance(server.waiting, StartTls):
            self._reading_paused = False
            transport.resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    @property
    def deadline_at(self) -> float:
        """When the listener's sweep ends the session."""
        server = self._server
        deadlines = self._context.options.deadlines
        if self._lingers:
            return self._renewed_at + LINGER_SECONDS
        if server.waiting is not None:
            return self._renewed_at + deadlines.answer_seconds
        if server.receiving:
            return min(
                self._renewed_at + deadlines.data_seconds,
                self._message_started_at + deadlines.message_seconds,
            )
        seconds = deadlines.command_seconds
        if self._tight:
            seconds = min(seconds, self._context.options.stress.command_seconds)
        if server.between_chunks:
            return min(self._renewed_at + seconds, self._message_started_at + deadlines.message_seconds)
        return self._renewed_at + seconds

    def tighten(self) -> None:
        """Stress began or ended: the limits of a client without a grant change with it."""
        context = self._context
        self._tight = context.stress.is_on and not self._has_grant()
        self._server.change_limits(context.strict_limits if self._tight else context.server_limits)

    def _has_grant(self) -> bool:
        """The client is one that stress must not touch."""
        return False
