"""One SMTP connection: the server machine joined to a transport, the rules and the intake.

In: octets from the event loop. Out: replies, and submissions handed to the intake, which answers by calling
`_stored`. There is no task and no timer per command or message: a session notes when it would be too late
(`deadline_at`) and its listener looks once a second. Only AUTH and STARTTLS wait, as tasks of the listener.

Theory: a deadline moves when a whole command has been read or answered, not with each octet, so dripping
octets buys no time; inside a message it moves with the octets but never past `message_seconds`. On the way
only the time is noted; what deadline follows from it is worked out when the listener looks.

Invariant: the client hears a 250 after DATA only with the reply that the intake gave; whatever goes wrong
here ends this session with 421 and touches no other.

Standards: RFC 5321 §4.5.3.2 (deadlines), RFC 3207 §4.2 (STARTTLS), RFC 4954 §4 (AUTH).
"""

import asyncio
import ipaddress
import ssl
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, cast

from outrider.base.clock import Clock
from outrider.base.ids import IdSource
from outrider.base.log import Log
from outrider.model.flow import Content, Envelope, Origin, Submission
from outrider.model.ports import Authenticator, Intake, Principal
from outrider.model.reply import Reply
from outrider.receive.access import Access
from outrider.receive.clients import ClientCounts
from outrider.receive.nesting import is_nested_deeper
from outrider.receive.options import ListenerOptions, Role
from outrider.receive.trace import Tracer, format_peer, refuse_header
from outrider.wire.smtp import replies
from outrider.wire.smtp.server import Server
from outrider.wire.smtp.server_events import (
    AuthRequest,
    DataStart,
    Helo,
    MailFrom,
    MessageEnd,
    Quit,
    RcptTo,
    Reset,
    StartTls,
    Violation,
)
from outrider.wire.smtp.server_limits import ServerLimits

HELD_OCTETS = 65_536
"""Chosen, because it is one read of the event loop: reading stops while more than this waits."""

THREAD_OCTETS = 1 << 20
"""Chosen: the parts of a larger content are looked at in a thread, so that no callback takes over 20 ms."""

LINGER_SECONDS = 10.0
"""Chosen, because a peer that has not taken our last reply by then is not there."""


class SessionContext:
    """What all sessions of a listener share."""

    __slots__ = (
        "access",
        "authenticator",
        "clients",
        "clock",
        "draining",
        "emptied",
        "hostname",
        "ids",
        "intake",
        "log",
        "now",
        "options",
        "server_limits",
        "sessions",
        "spawn",
        "tls",
        "tracer",
    )

    def __init__(
        self,
        options: ListenerOptions,
        *,
        hostname: str,
        intake: Intake,
        authenticator: Authenticator,
        ids: IdSource,
        clock: Clock,
        log: Log,
        tls: ssl.SSLContext | None,
        server_limits: ServerLimits,
        spawn: Callable[[Coroutine[Any, Any, None]], bool],
        clients: ClientCounts,
    ) -> None:
        self.options = options
        self.hostname = hostname
        self.intake = intake
        self.authenticator = authenticator
        self.ids = ids
        self.clock = clock
        self.now = clock.now
        self.log = log
        self.tls = tls
        self.server_limits = server_limits
        self.spawn = spawn
        self.access = Access(options)
        self.tracer = Tracer(
            hostname,
            clock,
            add_message_id=options.add_message_id and options.role is Role.SUBMISSION,
            add_date=options.add_date and options.role is Role.SUBMISSION,
        )
        self.sessions: set[SmtpSession] = set()
        self.clients = clients
        self.draining = False
        self.emptied = asyncio.Event()


class SmtpSession(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_any_sender",
        "_auth_failures",
        "_client",
        "_client_key",
        "_context",
        "_counted",
        "_eof",
        "_lingers",
        "_message_started_at",
        "_origin",
        "_peer_text",
        "_principal",
        "_reading_paused",
        "_recipient_refusal",
        "_renewed_at",
        "_running",
        "_server",
        "_tls_text",
        "_transport",
        "_trusted",
        "_writing_paused",
    )

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._server = Server(context.server_limits)
        self._client = ""
        self._client_key = ""
        self._counted = False
        self._eof = False
        self._trusted = False
        self._recipient_refusal: Reply | None = replies.RELAY_DENIED
        self._any_sender = False
        self._principal: Principal | None = None
        self._tls_text: str | None = None
        self._origin: Origin | None = None
        self._peer_text = ""
        self._auth_failures = 0
        self._running = False
        self._reading_paused = False
        self._writing_paused = False
        self._lingers = False
        self._message_started_at = 0.0
        self._renewed_at = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; TLS, where it is implicit, is already active."""
        context = self._context
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = peer[0].partition("%")[0] if isinstance(peer, tuple) else "127.0.0.1"
        if transport.get_extra_info("ssl_object") is not None:
            self._note_tls()
        self._trusted = context.access.is_trusted(self._client)
        self._note_grant()
        context.sessions.add(self)
        self._renewed_at = context.now()
        refusal = self._refuse_connection()
        if refusal is not None:
            context.intake.refused(self._current_origin(), "", "", refusal)
            self._server.abort(refusal)
            self._flush()
        elif context.options.greeting_delay_seconds:
            asyncio.get_running_loop().call_later(context.options.greeting_delay_seconds, self._greet)
        else:
            self._greet()

    def _greet(self) -> None:
        self._server.greet()
        self._flush()

    def _refuse_connection(self) -> Reply | None:
        context = self._context
        limits = context.options.limits
        if context.draining:
            return replies.SHUTTING_DOWN
        if len(context.sessions) > limits.connections:
            return replies.LISTENER_FULL
        refusal = context.intake.refusal()
        if refusal is not None and refusal.code == 421:
            return refusal
        if not self._trusted:
            self._client_key = client_key(self._client)
            if not context.clients.enter(self._client_key, limits.connections_per_client):
                return replies.TOO_MANY_CONNECTIONS
            self._counted = True
        return None

    def data_received(self, data: bytes) -> None:
        """Octets from the client."""
        self._server.feed(data)
        self._run()

    def eof_received(self) -> bool:
        """The client stopped sending: what it waits for is still said, where the transport can."""
        self._eof = True
        return self._server.waiting is not None and not self._server.tls

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        """The connection is gone; a message under way in the intake stays there."""
        context = self._context
        self._transport = None
        context.sessions.discard(self)
        if context.draining and not context.sessions:
            context.emptied.set()
        if self._counted:
            self._counted = False
            context.clients.leave(self._client_key)

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
        progress = False
        try:
            while not self._writing_paused:
                event = server.next_event()
                if event is None:
                    break
                progress = True
                _HANDLERS[type(event)](self, event)
        except Exception as error:
            # Not the text: it may quote what the client said.
            self._context.log.error("receive.session_failed", **_where(error))
            server.abort(replies.INTERNAL_ERROR)
        finally:
            self._running = False
        context = self._context
        if context.draining:
            self.drain()
        output = server.output
        if progress or output or server.receiving:
            self._renewed_at = context.now()
        if server.waiting is not None or self._reading_paused or self._eof or server.closed:
            self._flush()
        elif output and self._transport is not None:  # nothing but a reply: the usual turn
            server.output = b""
            self._transport.write(output)

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
        return self._renewed_at + deadlines.command_seconds

    # What happened

    def _note_grant(self) -> None:
        """What each MAIL and RCPT needs of the grant is worked out when the grant changes."""
        access, trusted, principal = self._context.access, self._trusted, self._principal
        self._recipient_refusal = access.refuse_recipient(trusted=trusted, principal=principal)
        domains = access.granted_domains(trusted=trusted, principal=principal)
        self._any_sender = domains is not None and "*" in domains

    def _current_origin(self) -> Origin:
        origin = self._origin
        if origin is None:
            options = self._context.options
            principal = self._principal
            origin = self._origin = Origin(
                listener=options.name,
                protocol=self._server.protocol,
                client=self._client,
                helo=self._server.helo,
                principal=None if principal is None else principal.name,
                tls=self._tls_text,
                tenant=options.tenant if principal is None else principal.tenant,
                stream=options.stream,
            )
            self._peer_text = format_peer(origin.helo, origin.client, origin.tls)
        return origin

    def _refused(self, reply: Reply, recipient: str = "", mail_from: str | None = None) -> None:
        if mail_from is None:
            mail = self._server.mail
            mail_from = "" if mail is None or mail.mail_from is None else str(mail.mail_from)
        self._context.intake.refused(self._current_origin(), mail_from, recipient, reply)

    def _on_helo(self, _event: Helo) -> None:
        self._server.accept()
        self._origin = None

    def _on_mail(self, event: MailFrom) -> None:
        context = self._context
        refusal = context.intake.refusal()
        if refusal is None and not self._any_sender:
            refusal = context.access.refuse_sender(
                event.mail_from,
                trusted=self._trusted,
                principal=self._principal,
                can_auth=context.server_limits.auth,
            )
        if refusal is None:
            self._server.accept()
            return
        if refusal is replies.AUTH_REQUIRED and not self._server.offers_auth:
            refusal = replies.TLS_FIRST
        self._refused(refusal, mail_from="" if event.mail_from is None else str(event.mail_from))
        self._server.answer(refusal)

    def _on_rcpt(self, event: RcptTo) -> None:
        refusal = self._recipient_refusal
        if refusal is None:
            self._server.accept()
            return
        self._refused(refusal, str(event.recipient.address))
        self._server.answer(refusal)

    def _on_data(self, _event: DataStart) -> None:
        context = self._context
        self._message_started_at = context.now()
        refusal = context.intake.refusal()
        if refusal is None:
            self._server.accept()
        else:
            self._refused(refusal)
            self._server.answer(refusal)

    def _on_message(self, event: MessageEnd) -> None:
        content = event.content
        if len(content.wire) > THREAD_OCTETS and self._context.spawn(self._take_large(event)):
            return
        header = content.wire[: content.header_octets]
        lower = header.lower()
        depth = self._context.options.limits.mime_depth
        self._take(content, header, lower, is_too_deep=is_nested_deeper(content.wire, lower, depth))

    async def _take_large(self, event: MessageEnd) -> None:
        """As `_take`; what goes through the whole content does so in a thread meanwhile."""
        content = event.content
        header = content.wire[: content.header_octets]
        lower = header.lower()
        depth = self._context.options.limits.mime_depth
        try:
            is_too_deep = await asyncio.to_thread(is_nested_deeper, content.wire, lower, depth)
            if self._server.waiting is event and self._transport is not None:
                self._take(content, header, lower, is_too_deep=is_too_deep)
        except Exception as error:
            self._context.log.error("receive.session_failed", **_where(error))
            self._server.abort(replies.INTERNAL_ERROR)
        self._run()

    def _take(self, content: Content, header: bytes, lower: bytes, *, is_too_deep: bool) -> None:
        context = self._context
        refusal = refuse_header(header, lower, context.options.limits)
        if refusal is None and is_too_deep:
            refusal = replies.TOO_COMPLEX
        mail = self._server.mail
        if refusal is not None or mail is None:
            refusal = refusal or replies.INTERNAL_ERROR
            self._refused(refusal)
            self._server.answer(refusal)
            return
        origin = self._origin or self._current_origin()
        message_id = context.ids.next()
        parameters = mail.parameters
        content = context.tracer.add(
            content, lower, origin, message_id, smtputf8=parameters.smtputf8, peer=self._peer_text
        )
        envelope = Envelope(
            mail.mail_from,
            tuple(self._server.recipients),
            parameters.ret,
            parameters.envid,
            parameters.smtputf8,
        )
        context.intake.submit(
            Submission(message_id, context.clock.wall(), origin, envelope, content), self._stored
        )

    def _stored(self, reply: Reply) -> None:
        """The intake's answer; the client may be gone by now."""
        if isinstance(self._server.waiting, MessageEnd) and self._transport is not None:
            self._server.answer(reply)
            if not self._running:
                self._run()

    def _on_auth(self, event: AuthRequest) -> None:
        if not self._context.spawn(self._authenticate(event)):
            self._server.answer(replies.AUTH_UNAVAILABLE)

    async def _authenticate(self, event: AuthRequest) -> None:
        reply = replies.AUTH_UNAVAILABLE
        try:
            credentials = event.credentials
            principal = await self._context.authenticator.password(credentials.user, credentials.password)
            if principal is None:
                self._auth_failures += 1
                reply = replies.AUTH_FAILED
                self._refused(reply)
            else:
                self._principal = principal
                self._note_grant()
                reply = replies.AUTHENTICATED
        except Exception as error:
            self._context.log.error("receive.auth_failed", **_where(error))
        if self._server.waiting is event and self._transport is not None:
            self._server.answer(reply)
            self._origin = None
            if self._auth_failures >= self._context.options.limits.auth_failures:
                self._server.abort(replies.TOO_MANY_ERRORS)
            self._run()

    def _on_starttls(self, _event: StartTls) -> None:
        if self._context.tls is None:
            self._server.answer(replies.TLS_UNAVAILABLE)
            return
        # From here on octets belong to the handshake, and `start_tls` must be the one to read them.
        self._pause_reading()
        self._server.accept()
        output = self._server.take_output()
        if self._transport is not None:
            self._transport.write(output)
        if not self._context.spawn(self._start_tls(self._context.tls)):
            self.abort()

    async def _start_tls(self, tls: ssl.SSLContext) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=self._context.options.deadlines.handshake_seconds,
            )
        except (OSError, ssl.SSLError) as error:  # a time-out is an OSError too
            self._context.log.info("receive.tls_failed", error=type(error).__name__)
            secured = None
        if secured is None or not self._server.handshaking:
            transport.abort()
            self.connection_lost(None)
            return
        self._transport = secured
        self._reading_paused = False
        self._principal = None
        self._note_grant()
        self._server.tls_started()
        self._note_tls()
        self._renewed_at = self._context.now()

    def _note_tls(self) -> None:
        self._server.tls = True
        self._origin = None
        secured = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        if secured is not None:
            cipher = secured.cipher()
            self._tls_text = f"{secured.version()} {cipher[0] if cipher else 'unknown'}"

    def _on_violation(self, event: Violation) -> None:
        self._refused(event.reply)

    def _on_nothing(self, _event: Reset | Quit) -> None:
        """RSET and QUIT need nothing here: the machine has answered them."""


def _where(error: Exception) -> dict[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "place": place}


def client_key(client: str) -> str:
    """What connections are counted by: the address, or the /64 of an IPv6 one (RFC 6177 §2)."""
    if ":" not in client or client.startswith("::ffff:"):
        return client
    return str(ipaddress.ip_network((client, 64), strict=False))


_HANDLERS: dict[type, Callable[[SmtpSession, Any], None]] = {
    Helo: SmtpSession._on_helo,
    MailFrom: SmtpSession._on_mail,
    RcptTo: SmtpSession._on_rcpt,
    DataStart: SmtpSession._on_data,
    MessageEnd: SmtpSession._on_message,
    AuthRequest: SmtpSession._on_auth,
    StartTls: SmtpSession._on_starttls,
    Violation: SmtpSession._on_violation,
    Reset: SmtpSession._on_nothing,
    Quit: SmtpSession._on_nothing,
}
