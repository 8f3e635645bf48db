"""Who the client of an SMTP session is, and what it may: connection, TLS, AUTH, the grant that follows.

In: the connection and the events of STARTTLS and AUTH. Out: `_origin` for records and trace fields, and the
grant as MAIL and RCPT need it, worked out when it changes and not when it is asked for. Only AUTH and
STARTTLS wait, as tasks of the listener.

Invariant: a client that is counted is counted out exactly once, and its policy closed once; what was granted
before STARTTLS is gone after it.

Standards: RFC 3207 §4.2 (STARTTLS), RFC 4954 §4 (AUTH), RFC 5321 §7.8 (limits).
"""

import asyncio
import ssl
from typing import cast

from msgspec.structs import replace

from outrider.base.errors import where
from outrider.model.ends import Ends
from outrider.model.flow import Origin
from outrider.model.ports import Principal
from outrider.model.reply import Reply
from outrider.receive.access import refuse_tenant
from outrider.receive.clients import client_key
from outrider.receive.session_context import SessionContext
from outrider.receive.session_policy import PolicedSession
from outrider.receive.submitter import Submitter
from outrider.receive.trace import format_peer
from outrider.wire.smtp import replies
from outrider.wire.smtp.server_events import AuthRequest, StartTls


class ClientSession(PolicedSession):
    """See the module."""

    __slots__ = (
        "_any_sender",
        "_auth_failures",
        "_client",
        "_client_key",
        "_counted",
        "_ends",
        "_is_over",
        "_is_unknown",
        "_origin",
        "_peer_text",
        "_principal",
        "_recipient_refusal",
        "_submitter",
        "_tenant",
        "_tls_text",
        "_trusted",
    )

    def __init__(self, context: SessionContext) -> None:
        super().__init__(context)
        self._client = ""
        self._client_key = ""
        self._counted = False
        self._ends: Ends | None = None
        self._is_over = False
        self._is_unknown = False
        self._trusted = False
        self._recipient_refusal: Reply | None = replies.RELAY_DENIED
        self._any_sender = False
        self._tenant = ""
        self._principal: Principal | None = None
        self._submitter = context.anyone
        self._tls_text: str | None = None
        self._origin: Origin | None = None
        self._peer_text = ""
        self._auth_failures = 0

    # The connection

    def set_client(self, client: str | None) -> None:
        """Before the connection is made: what a load balancer says of the client.

        One that it does not know counts and is recorded as the load balancer itself, and is never trusted.
        """
        self._client = client or ""
        self._is_unknown = client is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; TLS, where it is implicit, is already active."""
        context = self._context
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if not self._client:
            if not isinstance(peer, tuple):  # it has gone already, and nobody may pass for a local client
                self.abort()
                return
            self._client = peer[0].partition("%")[0]
        if transport.get_extra_info("ssl_object") is not None:
            self._note_tls()
        self._trusted = not self._is_unknown and context.access.is_trusted(self._client)
        self._note_grant()
        context.sessions.add(self)
        if context.stress.is_on:
            self.tighten()
        self._renewed_at = context.now()
        refusal = self._refuse_connection()
        if refusal is not None:
            context.intake.refused(self._current_origin(), "", "", refusal)
            self._server.abort(refusal)
            self._flush()
        elif context.scripts is None:
            self._welcome()
        else:
            self._ends = self._both_ends()
            self._server.offers = self._ends.offers
            if not self._is_unknown and context.access.may_note(self._client):
                self._server.notes = self._ends.notes
                self._ends.offers["XSETCONTEXT"] = "XSETCONTEXT"
            self._policy = context.scripts.open(self._current_origin(), self._ends)
            self._heed(self._policy.connect(self._current_origin()), self._welcome, self._turn_away)

    def _both_ends(self) -> Ends:
        """For scripts; behind a load balancer the client's port is not known."""
        transport = cast("asyncio.Transport", self._transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        is_direct = isinstance(peer, tuple) and peer[0].partition("%")[0] == self._client
        address, port = (own[0].partition("%")[0], own[1]) if isinstance(own, tuple) else ("", 0)
        return Ends(peer[1] if is_direct else 0, address, port, self._recipient_refusal is None)

    def _welcome(self) -> None:
        seconds = self._context.options.greeting_delay_seconds
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._greet)
        else:
            self._greet()

    def _turn_away(self, reply: Reply) -> None:
        """Scripts want nothing from this client; who closes for the time being says 421 (RFC 5321 §3.8)."""
        if not reply.is_permanent:
            reply = replace(reply, code=421)
        self._refused(reply)
        self._end(reply)

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
        return None if self._trusted else self._refuse_stranger()

    def _refuse_stranger(self) -> Reply | None:
        context = self._context
        options = context.options
        key = self._client_key = client_key(self._client)
        most = options.limits.connections_per_client
        if context.stress.is_on:
            most = min(most, options.stress.connections_per_client)
            if (
                options.stress.refuse_strangers
                and context.inbound is None
                and not context.history.known.has(key, context.now())
            ):
                return replies.UNDER_STRESS
        rate = options.limits.connections_per_minute_per_client
        if rate and not context.history.connections.take(key, rate, context.now()):
            return replies.TOO_FREQUENT
        if not context.clients.enter(key, most):
            return replies.TOO_MANY_CONNECTIONS
        self._counted = True
        return None

    def _is_within_rate(self) -> bool:
        """One more message of this client is within its rate."""
        context = self._context
        rate = context.options.limits.messages_per_minute_per_client
        return not rate or context.history.messages.take(self._client_key, rate, context.now())

    def _has_grant(self) -> bool:
        return self._trusted or self._principal is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        """The connection is gone; a message under way in the intake stays there.

        After a handshake that failed it is told twice, by us and by the transport of TLS.
        """
        context = self._context
        self._transport = None
        context.sessions.discard(self)
        if self._policy is not None and not self._is_over:
            self._policy.close()
        self._is_over = True
        if context.draining and not context.sessions:
            context.emptied.set()
        if self._counted:
            self._counted = False
            context.clients.leave(self._client_key)

    # The grant

    def _note_grant(self) -> None:
        """What each MAIL and RCPT needs of the grant is worked out when the grant changes."""
        if self._context.inbound is not None:  # whoever it is; RCPT then asks for the address
            self._recipient_refusal = replies.NO_SUCH_MAILBOX
            self._any_sender = True
            return
        access, trusted, principal = self._context.access, self._trusted, self._principal
        self._recipient_refusal = access.refuse_recipient(trusted=trusted, principal=principal)
        domains = access.granted_domains(trusted=trusted, principal=principal)
        self._any_sender = domains is not None and "*" in domains
        options = self._context.options
        granted = options.own_tenant if principal is None else principal.tenant
        self._tenant = "" if domains is None else granted
        self._submitter = self._context.anyone if principal is None else Submitter(principal, options.stream)
        if self._ends is not None:
            self._ends.may_relay = self._recipient_refusal is None

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
                tenant=options.own_tenant if principal is None else principal.tenant,
                stream=self._submitter.stream,
                sandbox=principal is not None and principal.is_sandbox,
            )
            self._peer_text = format_peer(origin.helo, origin.client, origin.tls)
        return origin

    def _refused(self, reply: Reply, recipient: str = "", mail_from: str | None = None) -> None:
        if mail_from is None:
            mail = self._server.mail
            mail_from = "" if mail is None or mail.mail_from is None else str(mail.mail_from)
        self._context.intake.refused(self._current_origin(), mail_from, recipient, reply)

    # AUTH and TLS

    def _on_auth(self, event: AuthRequest) -> None:
        if not self._context.spawn(self._authenticate(event)):
            self._server.answer(replies.AUTH_UNAVAILABLE)

    async def _authenticate(self, event: AuthRequest) -> None:
        reply = replies.AUTH_UNAVAILABLE
        try:
            credentials = event.credentials
            principal = await self._context.authenticator.password(
                credentials.user, credentials.password, self._client
            )
            tenant = self._context.options.tenant
            refusal = replies.AUTH_FAILED if principal is None else refuse_tenant(principal, tenant)
            objection = await self._objection(credentials.user, is_valid=refusal is None)
            refusal = refusal or objection
            if refusal is not None:
                self._auth_failures += 1
                reply = refusal
                self._refused(reply)
            else:
                self._principal = principal
                self._note_grant()
                self.tighten()
                if self._client_key:  # the trusted have none and need not be known
                    self._context.history.known.note(self._client_key, self._context.now())
                reply = replies.AUTHENTICATED
        except Exception as error:
            self._context.log.error("receive.auth_failed", **where(error))
        if self._server.waiting is event and self._transport is not None:
            self._server.answer(reply)
            self._origin = None
            if self._auth_failures >= self._context.options.limits.auth_failures:
                self._server.abort(replies.TOO_MANY_ERRORS)
            self._run()

    async def _objection(self, user: str, *, is_valid: bool) -> Reply | None:
        """What scripts have against a login."""
        if self._policy is None:
            return None
        answer = self._policy.auth(self._current_origin(), user, is_valid=is_valid)
        return answer if answer is None or isinstance(answer, Reply) else await answer

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
        self.tighten()
        self._server.tls_started()
        if self._ends is not None and self._server.notes is not None:
            self._ends.notes = self._server.notes
        self._note_tls()
        self._renewed_at = self._context.now()

    def _note_tls(self) -> None:
        self._server.tls = True
        self._origin = None
        secured = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        if secured is not None:
            cipher = secured.cipher()
            self._tls_text = f"{secured.version()} {cipher[0] if cipher else 'unknown'}"
