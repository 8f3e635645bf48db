"""HTTP injection: requests in, submissions out, and the answer only when the message is safe.

`POST /v1/messages` takes a message as `message/rfc822` with its envelope in parameters, or as JSON;
`GET /v1/messages/{id}` tells what became of it; `/healthz` and `/readyz` are for whoever watches the server.
Every answer that is not a success is a problem document.

Theory: an injected message goes the way of SMTP mail: the same reader and limits for raw content, the same
trace fields, the same rule who may send as whom (a key's sender domains), the same intake. Nothing is done
without a valid key, and no body is read for a request that is refused anyway.

Invariant: 202 is sent only after the intake has answered 250, which it does only when the message is durable.

Standards: RFC 9110 §15.3.3 (202), RFC 6750 §2.1 (bearer keys), RFC 9457 §3 (problems), RFC 3848 §2 (`with`).
Not here: limits of the connection (net.http), idempotency keys, attachments.
"""

import asyncio
from functools import partial
from typing import Final, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outrider.base.clock import Clock
from outrider.base.errors import AddressError
from outrider.base.ids import IdSource, MessageId, is_message_id
from outrider.base.log import Log
from outrider.model.address import Address
from outrider.model.flow import Content, Envelope, Origin, Recipient, Submission, Traits
from outrider.model.mailbox import parse_mailbox
from outrider.model.ports import Authenticator, Intake, Principal
from outrider.model.reply import Reply
from outrider.receive.access import domain_allowed
from outrider.receive.http_answers import JSON, encode, exception_handlers, explain, healthy
from outrider.receive.http_models import Accepted, StateLookup, parse_request
from outrider.receive.http_options import HttpOptions
from outrider.receive.nesting import is_nested_deeper
from outrider.receive.problems import Fault, Problem, problem_of
from outrider.receive.trace import Tracer, format_date, format_peer, refuse_header
from outrider.wire.headers import FieldError
from outrider.wire.mime import Draft, write_message
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import ContentReader, stuff_plain

_RAW: Final = "message/rfc822"

_THREAD_OCTETS: Final = 1 << 20
# A body over this is worked on in a thread: design, no callback holds a loop over 20 ms.

_DISCARD_FACTOR: Final = 2
# Chosen: a body up to twice the limit is read to its end, so that the client hears 413 rather than a reset.

MAIL_FROM_FIELD: Final = "outrider-mail-from"
RCPT_TO_FIELD: Final = "outrider-rcpt-to"


def build_app(
    options: HttpOptions,
    *,
    hostname: str,
    intake: Intake,
    authenticator: Authenticator,
    lookup: StateLookup,
    ids: IdSource,
    clock: Clock,
    log: Log,
) -> Starlette:
    """The application of one HTTP listener, for `net.http.HttpServer(app, options.http_limits, …)`.

    Args:
        options: Of the listener.
        hostname: Name of the server in Received and Message-ID.
        intake: Takes the submissions.
        authenticator: Checks the keys.
        lookup: Knows what became of messages.
        ids: Makes message ids.
        clock: Gives the times.
        log: Told what took too long; failures of a handler are told by net.http.
    """
    injection = _Injection(options, hostname, intake, authenticator, lookup, ids, clock, log)
    return Starlette(
        routes=[
            Route("/v1/messages", injection.post, methods=["POST"]),
            Route("/v1/messages/{message_id}", injection.get, methods=["GET"]),
            Route("/v1/problems/{code}", explain, methods=["GET"]),
            Route("/healthz", healthy, methods=["GET"]),
            Route("/readyz", injection.ready, methods=["GET"]),
        ],
        exception_handlers=exception_handlers(options.retry_after_seconds),
    )


class _Transaction(NamedTuple):
    """Who sends what to whom, before there is a content."""

    origin: Origin
    mail_from: Address | None
    recipients: tuple[Address, ...]


class _Injection:
    """The handlers and what they share."""

    def __init__(
        self,
        options: HttpOptions,
        hostname: str,
        intake: Intake,
        authenticator: Authenticator,
        lookup: StateLookup,
        ids: IdSource,
        clock: Clock,
        log: Log,
    ) -> None:
        self._options = options
        self._hostname = hostname
        self._intake = intake
        self._authenticator = authenticator
        self._lookup = lookup
        self._ids = ids
        self._clock = clock
        self._log = log
        self._limits = options.receive_limits
        self._content_limits = options.content_limits
        self._tracer = Tracer(
            hostname, clock, add_message_id=options.add_message_id, add_date=options.add_date
        )

    async def post(self, request: Request) -> Response:
        """Take a message in."""
        refusal = self._intake.refusal()
        if refusal is not None:
            self._intake.refused(self._origin(request, None), "", "", refusal)
            raise problem_of(refusal)
        principal = await self._principal(request)
        origin = self._origin(request, principal)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == JSON:
            submission = await self._from_json(request, origin, principal)
        elif media_type == _RAW:
            submission = await self._from_raw(request, origin, principal)
        else:
            raise Problem("unsupported_type")
        reply = await self._submitted(submission)
        if not reply.is_positive:
            raise problem_of(reply)
        accepted = Accepted(submission.message_id, len(submission.envelope.recipients))
        return Response(
            encode(accepted),
            202,
            headers={"location": f"/v1/messages/{submission.message_id}"},
            media_type=JSON,
        )

    async def get(self, request: Request) -> Response:
        """Tell what became of a message, to the tenant whose it is."""
        principal = await self._principal(request)
        message_id = request.path_params["message_id"]
        states = await self._lookup.lookup(message_id) if is_message_id(message_id) else None
        own = [state for state in states or () if state.tenant == principal.tenant]
        if not own:  # the same answer for what is not there and what is somebody else's
            raise Problem("not_found")
        shown = [msgspec.to_builtins(state) for state in own]
        for state in shown:
            del state["tenant"]
        return Response(encode({"id": message_id, "recipients": shown}), media_type=JSON)

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """200 while messages are taken, else 503."""
        refusal = self._intake.refusal()
        if refusal is not None:
            raise problem_of(refusal)
        return Response(encode({"status": "ready"}), media_type=JSON)

    async def _principal(self, request: Request) -> Principal:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            self._intake.refused(self._origin(request, None), "", "", replies.AUTH_REQUIRED)
            raise Problem("no_key")
        principal = await self._authenticator.api_key(key)
        if principal is None:
            self._intake.refused(self._origin(request, None), "", "", replies.AUTH_FAILED)
            raise Problem("no_key", "The key is not valid.")
        return principal

    def _origin(self, request: Request, principal: Principal | None) -> Origin:
        client = request.client
        return Origin(
            self._options.name,
            "HTTPS" if request.url.scheme == "https" else "HTTP",
            client.host if client is not None and client.host else "127.0.0.1",  # a Unix socket is local
            "",
            None if principal is None else principal.name,
            None,
            "default" if principal is None else principal.tenant,
            self._options.stream,
        )

    async def _from_json(self, request: Request, origin: Origin, principal: Principal) -> Submission:
        body = await self._body(request, origin)
        is_large = len(body) > _THREAD_OCTETS
        parsed = await asyncio.to_thread(parse_request, body) if is_large else parse_request(body)
        transaction = _Transaction(origin, parsed.mail_from, parsed.recipients)
        self._check(transaction, principal, "/from", "/to")
        message_id = self._ids.next()
        now = self._clock.wall()
        write = partial(
            _written,
            parsed.draft,
            message_id=f"{message_id}@{self._hostname}",
            date=format_date(now),
            boundary=f"=_{message_id}",
            eight_bit=self._options.text_encoding == "8bit",
        )
        content = await asyncio.to_thread(write) if is_large else write()
        return self._complete(transaction, content, message_id, now)

    async def _from_raw(self, request: Request, origin: Origin, principal: Principal) -> Submission:
        transaction = _Transaction(origin, *_envelope_of(request))
        self._check(transaction, principal, "from", "to")
        reader = ContentReader(self._content_limits)
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self._options.message_octets:
                reader.feed_chunk(chunk)
            elif size > _DISCARD_FACTOR * self._options.message_octets:
                break
        if size > self._options.message_octets:
            raise self._refused(transaction, replies.MESSAGE_TOO_BIG)
        if size == 0:
            raise Problem("bad_content", "The message is empty.")
        reader.finish_chunks()
        content = reader.finish()
        if isinstance(content, Reply):
            raise self._refused(transaction, content)
        header = content.wire[: content.header_octets]
        question = partial(is_nested_deeper, content.wire, header.lower(), self._limits.mime_depth)
        is_large = len(content.wire) > _THREAD_OCTETS
        if await asyncio.to_thread(question) if is_large else question():
            raise self._refused(transaction, replies.TOO_COMPLEX)
        return self._complete(transaction, content, self._ids.next(), self._clock.wall())

    def _check(self, transaction: _Transaction, principal: Principal, sender: str, recipients: str) -> None:
        """The rule of SMTP: a principal sends as its own domains, or with the null reverse-path.

        `sender` and `recipients` are where faults point to.
        """
        mail_from = transaction.mail_from
        if mail_from is not None and not domain_allowed(mail_from.domain, principal.sender_domains):
            self._intake.refused(transaction.origin, str(mail_from), "", replies.SENDER_DENIED)
            fault = Fault(sender, "the key may not send as this domain")
            raise Problem("sender_denied", replies.SENDER_DENIED.text, (fault,), replies.SENDER_DENIED)
        if len(transaction.recipients) > self._options.recipients:
            self._refused(transaction, replies.TOO_MANY_RECIPIENTS)
            raise Problem(
                "invalid", errors=(Fault(recipients, f"more than {self._options.recipients} recipients"),)
            )

    def _complete(
        self, transaction: _Transaction, content: Content, message_id: MessageId, now: float
    ) -> Submission:
        """The submission, after the checks that both forms share."""
        origin, mail_from, recipients = transaction
        header = content.wire[: content.header_octets]
        lower = header.lower()
        reply = refuse_header(header, lower, self._limits)
        if reply is None and len(content.wire) > self._options.message_octets:
            reply = replies.MESSAGE_TOO_BIG
        if reply is not None:
            raise self._refused(transaction, reply)
        smtputf8 = (
            bool(content.traits & Traits.HEADER_UTF8)
            or (mail_from is not None and mail_from.needs_smtputf8)
            or any(address.needs_smtputf8 for address in recipients)
        )
        peer = format_peer(origin.helo, origin.client, origin.tls)
        traced = self._tracer.add(content, lower, origin, message_id, smtputf8=False, peer=peer)
        envelope = Envelope(mail_from, tuple(map(Recipient, recipients)), smtputf8=smtputf8)
        return Submission(message_id, now, origin, envelope, traced)

    def _refused(self, transaction: _Transaction, reply: Reply) -> Problem:
        mail_from = transaction.mail_from
        sender = "<>" if mail_from is None else str(mail_from)
        self._intake.refused(transaction.origin, sender, str(transaction.recipients[0]), reply)
        return problem_of(reply)

    async def _body(self, request: Request, origin: Origin) -> bytes:
        """The whole body of a JSON request, or the problem that it is too big."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self._options.message_octets:
                chunks.append(chunk)
            else:
                chunks.clear()
                if size > _DISCARD_FACTOR * self._options.message_octets:
                    break
        if size > self._options.message_octets:
            self._intake.refused(origin, "", "", replies.MESSAGE_TOO_BIG)
            raise Problem("too_big", f"The limit is {self._options.message_octets} octets.")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _submitted(self, submission: Submission) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._intake.submit(submission, partial(_settle, future))
        if future.done():
            return future.result()
        try:
            async with asyncio.timeout(self._options.answer_seconds):
                return await future
        except TimeoutError:
            self._log.error("http.not_stored_in_time", message_id=submission.message_id)
            return replies.SPOOL_FAILED


def _written(draft: Draft, *, message_id: str, date: str, boundary: str, eight_bit: bool) -> Content:
    try:
        return stuff_plain(
            write_message(draft, message_id=message_id, date=date, boundary=boundary, eight_bit=eight_bit)
        )
    except FieldError as error:
        raise Problem("invalid", errors=(Fault("/" + error.field, error.reason),)) from error


def _settle(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():  # the client may have gone, or we have given up waiting
        future.set_result(reply)


def _envelope_of(request: Request) -> tuple[Address | None, tuple[Address, ...]]:
    """The envelope from fields `Outrider-Mail-From` and `Outrider-Rcpt-To`, or from the query.

    Addresses in a query end up in the logs of proxies, so fields are the better place.
    """
    faults: list[Fault] = []
    senders = _values(request, MAIL_FROM_FIELD, "from", faults)
    if len(senders) != 1:
        faults.append(Fault("from", "exactly one sender is needed; `<>` is the null sender"))
    mail_from = None
    if senders and senders[0] not in ("", "<>"):
        mail_from = _parse(senders[0], "from", faults)
    given = _values(request, RCPT_TO_FIELD, "to", faults)
    if not given:
        faults.append(Fault("to", "at least one recipient is needed"))
    found = [_parse(text, f"to/{number}", faults) for number, text in enumerate(given)]
    if faults:
        raise Problem("bad_parameter", errors=tuple(faults))
    return mail_from, tuple(dict.fromkeys(address for address in found if address is not None))


def _values(request: Request, field: str, parameter: str, faults: list[Fault]) -> list[str]:
    """The values of a field, or else of a query parameter; both together are a fault."""
    name = field.encode("ascii")
    raw = [value for key, value in request.headers.raw if key == name]
    query = request.query_params.getlist(parameter)
    if raw and query:
        faults.append(Fault(parameter, f"stands in the query and in the field {field}; use one"))
    try:
        return [value.decode() for value in raw] if raw else query
    except UnicodeDecodeError:
        faults.append(Fault(parameter, f"the field {field} is not UTF-8"))
        return []


def _parse(text: str, parameter: str, faults: list[Fault]) -> Address | None:
    bare = text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
    try:
        return parse_mailbox(bare, smtputf8=True)
    except AddressError as error:
        faults.append(Fault(parameter, error.message))
        return None
