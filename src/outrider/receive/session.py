"""One SMTP session's mail: the rules and the intake.

In: the events of the server machine. Out: submissions handed to the intake, which answers by calling
`_stored`, and answers to the machine. There is no task and no timer per command or message: a session notes
when it would be too late (`deadline_at`) and its listener looks once a second.

Invariant: the client hears a 250 after DATA only with the reply that the intake gave.

Standards: RFC 5321 §4.1.4 (order of commands), RFC 6409 §6 (what a submission must be).
Its bases: `session_transport` (octets and time), `session_client` (who it is and what it may).
"""

import asyncio
from functools import partial

from msgspec.structs import replace

from outrider.base.errors import where
from outrider.model.flow import Content, Envelope, Origin, Submission
from outrider.model.reply import Reply
from outrider.receive.context_field import CONTEXT_FIELD, take_notes
from outrider.receive.nesting import is_nested_deeper, must_be_walked
from outrider.receive.session_client import ClientSession
from outrider.receive.session_context import SessionContext
from outrider.receive.submitter import STREAM_FIELD, Named
from outrider.receive.trace import refuse_header
from outrider.wire.smtp import replies
from outrider.wire.smtp.long_content import LongContent
from outrider.wire.smtp.server_events import (
    AuthRequest,
    ChunkTaken,
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


class SmtpSession(ClientSession):
    """See the module."""

    __slots__ = ("_ready",)

    def __init__(self, context: SessionContext) -> None:
        super().__init__(context)
        self._ready: Submission | None = None

    def _on_helo(self, event: Helo) -> None:
        if self._policy is None:
            self._greeted()
        else:
            answer = self._policy.ehlo(self._current_origin(), event.name)
            self._heed(answer, self._greeted, self._refuse)

    def _greeted(self) -> None:
        self._server.accept()
        self._origin = None

    def _on_mail(self, event: MailFrom) -> None:
        context = self._context
        if self._principal is not None and not self._principal.is_valid:
            self._revoked()
            return
        refusal = context.intake.refusal()
        if self._counted and not self._is_within_rate():
            refusal = refusal or replies.TOO_MANY_MESSAGES
        if refusal is None and self._tenant and context.authenticator.is_shut(self._tenant):
            refusal = replies.TENANT_DISABLED
        if refusal is None and not self._any_sender:
            refusal = context.access.refuse_sender(
                event.mail_from,
                trusted=self._trusted,
                principal=self._principal,
                can_auth=context.server_limits.auth,
            )
        if refusal is None:
            if self._policy is None:
                self._server.accept()
            else:
                answer = self._policy.mail_from(self._current_origin(), event.mail_from)
                if answer is None:
                    self._server.accept()
                else:
                    self._heed(answer, self._server.accept, partial(self._refuse_mail, event))
            return
        if refusal is replies.AUTH_REQUIRED and not self._server.offers_auth:
            refusal = replies.TLS_FIRST
        self._refuse_mail(event, refusal)

    def _refuse_mail(self, event: MailFrom, refusal: Reply) -> None:
        self._refused(refusal, mail_from="" if event.mail_from is None else str(event.mail_from))
        self._server.answer(refusal)

    def _on_rcpt(self, event: RcptTo) -> None:
        refusal = self._recipient_refusal
        if refusal is None:
            if self._policy is None:
                self._server.accept()
            else:
                answer = self._policy.rcpt_to(self._current_origin(), event.recipient)
                if answer is None:
                    self._server.accept()
                else:
                    self._heed(answer, self._server.accept, partial(self._refuse_rcpt, event))
            return
        inbound = self._context.inbound
        if inbound is not None and inbound.purpose_of(event.recipient.address) is not None:
            self._server.accept()
            return
        self._refuse_rcpt(event, refusal)

    def _refuse_rcpt(self, event: RcptTo, refusal: Reply) -> None:
        self._refused(refusal, str(event.recipient.address))
        self._server.answer(refusal)

    def _on_data(self, _event: DataStart) -> None:
        context = self._context
        self._message_started_at = context.now()
        refusal = context.intake.refusal()
        if refusal is not None:
            self._refuse(refusal)
        elif self._policy is None:
            self._server.accept()
        else:
            answer = self._policy.rcpt_list(self._current_origin(), self._server.recipients)
            if answer is None:
                self._server.accept()
            else:
                self._heed(answer, self._server.accept, self._refuse)

    def _refuse(self, refusal: Reply) -> None:
        self._refused(refusal)
        self._server.answer(refusal)

    def _on_message(self, event: MessageEnd) -> None:
        content = event.content
        if isinstance(content, LongContent):
            self._on_long(event, content)
            return
        header = content.wire[: content.header_octets]
        lower = header.lower()
        depth = self._context.options.limits.mime_depth
        is_costly = must_be_walked(content.wire, lower, depth)
        if is_costly and self._context.spawn(self._take_nested(event, content, header, lower)):
            return
        self._take(
            content,
            header,
            lower,
            is_too_deep=is_costly and is_nested_deeper(content.wire, lower, depth),
        )

    async def _take_nested(self, event: MessageEnd, content: Content, header: bytes, lower: bytes) -> None:
        """As `_take`; the walk through the content is in a thread meanwhile."""
        depth = self._context.options.limits.mime_depth
        try:
            is_too_deep = await asyncio.to_thread(is_nested_deeper, content.wire, lower, depth)
            if self._server.waiting is event and self._transport is not None:
                self._take(content, header, lower, is_too_deep=is_too_deep)
        except Exception as error:
            self._context.log.error("receive.session_failed", **where(error))
            self._server.abort(replies.INTERNAL_ERROR)
        self._run()

    def _on_long(self, event: MessageEnd, content: LongContent) -> None:
        """As `_take` for a long content: its header section is judged, then all is joined in a thread."""
        head = content.head
        if head.header_octets > self._context.options.limits.header_octets:
            self._refuse(replies.HEADER_TOO_BIG)
            return
        if head.header_octets > len(head.wire):  # who allows that much of a header has it copied here
            head = content.joined()
            content = LongContent(head, (), content.size)
        header = head.wire[: head.header_octets]
        ready = self._checked(head, header, header.lower(), is_too_deep=False)
        if ready is not None and not self._context.spawn(self._take_long(event, content, header, ready)):
            self._end(replies.SHUTTING_DOWN)

    async def _take_long(
        self, event: MessageEnd, content: LongContent, header: bytes, ready: Submission
    ) -> None:
        """Join and look through in a thread what `ready` has the head of; then hand it in."""
        lower = header.lower()
        depth = self._context.options.limits.mime_depth
        start = len(ready.content.wire) - len(content.head.wire)  # of what the client sent, behind our trace

        def joined() -> Content | None:
            whole = content._replace(head=ready.content).joined()
            return None if is_nested_deeper(whole.wire, lower, depth, max(start, 0)) else whole

        try:
            whole = await asyncio.to_thread(joined)
            if self._server.waiting is event and self._transport is not None:
                if whole is None:
                    self._refuse(replies.TOO_COMPLEX)
                else:
                    self._hand_in(replace(ready, content=whole))
        except Exception as error:
            self._context.log.error("receive.session_failed", **where(error))
            self._server.abort(replies.INTERNAL_ERROR)
        self._run()

    def _take(self, content: Content, header: bytes, lower: bytes, *, is_too_deep: bool) -> None:
        ready = self._checked(content, header, lower, is_too_deep=is_too_deep)
        if ready is not None:
            self._hand_in(ready)

    def _hand_in(self, submission: Submission) -> None:
        if self._policy is None:
            self._context.intake.submit(submission, self._stored)
        else:
            self._ready = submission
            self._context.turn.add(self._hand_in_ready)

    def _hand_in_ready(self) -> None:
        submission, self._ready = self._ready, None
        if submission is None:
            return
        try:
            self._context.intake.submit(submission, self._stored, self._policy)
        except Exception as error:
            self._context.log.error("receive.session_failed", **where(error))
            self._server.abort(replies.INTERNAL_ERROR)
            self._run()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what came whole is handed in, and what is with the intake stays there."""
        self._transport = None
        self._hand_in_ready()
        super().connection_lost(exc)

    def _checked(
        self, content: Content, header: bytes, lower: bytes, *, is_too_deep: bool
    ) -> Submission | None:
        """The submission with its trace fields; None: the client was answered."""
        context = self._context
        refusal = refuse_header(header, lower, context.options.limits)
        if refusal is None and is_too_deep:
            refusal = replies.TOO_COMPLEX
        mail = self._server.mail
        if refusal is not None or mail is None:
            self._refuse(refusal or replies.INTERNAL_ERROR)
            return None
        origin = self._origin or self._current_origin()
        notes: tuple[tuple[str, str], ...] = ()
        if CONTEXT_FIELD in lower and context.inbound is None:
            noted = take_notes(content, header, lower)
            if isinstance(noted, Reply):
                self._refuse(noted)
                return None
            notes, content = noted
            header = content.wire[: content.header_octets]
            lower = header.lower()
        if self._principal is not None or (STREAM_FIELD in lower and context.inbound is None):
            submitted = self._submitted(content, header, lower, origin)
            if submitted is None:
                return None
            content, lower, origin = submitted
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
        return Submission(message_id, context.clock.wall(), origin, envelope, content, notes=notes)

    def _submitted(
        self, content: Content, header: bytes, lower: bytes, origin: Origin
    ) -> tuple[Content, bytes, Origin] | None:
        """What the header says of author and stream is allowed: what goes on. None: it was answered."""
        if self._principal is not None and not self._principal.is_valid:
            self._revoked()
            return None
        submitter = self._submitter
        refusal = submitter.refuse_author(header, lower) if submitter.is_bound else None
        if refusal is None:
            if STREAM_FIELD not in lower:
                return content, lower, origin
            named = submitter.take_stream(content, header, lower)
            if isinstance(named, Named):
                content = named.content
                lower = content.wire[: content.header_octets].lower()
                return content, lower, replace(origin, stream=named.stream)
            refusal = named
        self._refused(refusal)
        self._server.answer(refusal)
        return None

    def _revoked(self) -> None:
        """The credentials of the session are not what they were: its end."""
        self._refused(replies.CREDENTIALS_CHANGED)
        self._server.abort(replies.CREDENTIALS_CHANGED)

    def _stored(self, reply: Reply) -> None:
        """The intake's answer; the client may be gone by now."""
        if isinstance(self._server.waiting, MessageEnd) and self._transport is not None:
            self._server.answer(reply)
            if not self._running:
                self._run()

    def _on_violation(self, event: Violation) -> None:
        self._refused(event.reply)

    def _on_nothing(self, _event: Reset | ChunkTaken | Quit) -> None:
        """RSET, QUIT and a chunk in the midst need nothing here: the machine has answered them."""


SmtpSession.handlers = {
    Helo: SmtpSession._on_helo,
    MailFrom: SmtpSession._on_mail,
    RcptTo: SmtpSession._on_rcpt,
    DataStart: SmtpSession._on_data,
    MessageEnd: SmtpSession._on_message,
    AuthRequest: SmtpSession._on_auth,
    StartTls: SmtpSession._on_starttls,
    Violation: SmtpSession._on_violation,
    Reset: SmtpSession._on_nothing,
    ChunkTaken: SmtpSession._on_nothing,
    Quit: SmtpSession._on_nothing,
}
