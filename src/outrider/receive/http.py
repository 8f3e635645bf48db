"""HTTP injection: requests in, submissions out, and the answer only when the message is safe.

`POST /v1/messages` takes a message as `message/rfc822` with its envelope in parameters, or as JSON; `POST
/v1/batches` takes many as JSON lines; `GET /v1/messages/{id}` tells what became of one; `/v1/openapi.json`
describes it all; `/healthz` and `/readyz` are for whoever watches the server. Every answer that is not a
success is a problem document.

Theory: nothing is done without a valid key, and no body is read for a request that is refused anyway. What a
request becomes is `http_inject`'s; here are the doors: who asks, in which form, and what the answer looks
like.

Invariant: 202 is sent only after the intake has answered 250, which it does only when the message is durable.

Standards: RFC 9110 §15.3.3 (202), RFC 6750 §2.1 (bearer keys), RFC 9457 §3 (problems), RFC 3848 §2 (`with`).
Not here: limits of the connection (net.http).
"""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.base.ids import IdSource, is_message_id
from outrider.base.log import Log
from outrider.model.flow import HTTP, Content, Origin, Recipient
from outrider.model.ports import Authenticator, InjectionIntake, Principal, Reservations
from outrider.model.reply import Reply
from outrider.receive.access import refuse_tenant
from outrider.receive.clients import ClientCounts
from outrider.receive.context_field import CONTEXT_FIELD, take_notes
from outrider.receive.http_answers import JSON, encode, exception_handlers, explain, healthy
from outrider.receive.http_batch import MEDIA_TYPE as NDJSON
from outrider.receive.http_batch import Batch
from outrider.receive.http_envelope import STREAM_PARAMETER, envelope_of, only, query_of, stream_of
from outrider.receive.http_inject import THREAD_OCTETS, Injector, Sender, Taken, Transaction
from outrider.receive.http_keys import KEY_FIELD, parse_key, start_digest
from outrider.receive.http_limits import KeyLimits, KeyRates
from outrider.receive.http_models import Accepted, StateLookup
from outrider.receive.http_openapi import openapi
from outrider.receive.http_options import HttpOptions
from outrider.receive.http_parse import parse_request
from outrider.receive.nesting import is_nested_deeper, must_be_walked
from outrider.receive.problems import Fault, Problem, challenge, problem_of
from outrider.receive.submitter import STREAM_FIELD, Submitter
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import ContentReader
from outrider.wire.smtp.long_content import LongContent

_RAW: Final = "message/rfc822"

_DISCARD_FACTOR: Final = 2
# Chosen: a body up to twice the limit is read to its end, so that the client hears 413 rather than a reset.

REPEATED_FIELD: Final = "outrider-repeated"

_accepted: Final = msgspec.json.Decoder(Accepted)


class Shared(NamedTuple):
    """What the listener of one process shares with those of others.

    Attributes:
        reservations: Knows the idempotency keys.
        counts: Requests under way by key.
        rates: Recipients by key.
    """

    reservations: Reservations
    counts: ClientCounts
    rates: KeyRates


def build_app(
    options: HttpOptions,
    *,
    hostname: str,
    intake: InjectionIntake,
    authenticator: Authenticator,
    lookup: StateLookup,
    shared: Shared,
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
        shared: What is exact over all processes.
        ids: Makes message ids.
        clock: Gives the times.
        log: Told what took too long; failures of a handler are told by net.http.
    """
    limits = KeyLimits(options.key_requests, shared.counts, shared.rates)
    injector = Injector(options, hostname, intake, shared.reservations, limits, ids, clock, log)
    injection = _Injection(injector, authenticator, lookup, log)
    app = Starlette(
        routes=[
            Route("/v1/messages", injection.post, methods=["POST"]),
            Route("/v1/batches", injection.batch, methods=["POST"]),
            Route("/v1/messages/{message_id}", injection.get, methods=["GET"]),
            Route("/v1/openapi.json", injection.describe, methods=["GET"]),
            Route("/v1/problems/{code}", explain, methods=["GET"]),
            Route("/healthz", healthy, methods=["GET"]),
            Route("/readyz", injection.ready, methods=["GET"]),
        ],
        exception_handlers=exception_handlers(options.retry_after_seconds),
    )
    app.router.redirect_slashes = False  # to whatever Host says; a path with a slash more is another one
    return app


class _Injection:
    """The handlers and what they share."""

    def __init__(
        self, injector: Injector, authenticator: Authenticator, lookup: StateLookup, log: Log
    ) -> None:
        self._injector = injector
        self._options = injector.options
        self._intake = injector.intake
        self._authenticator = authenticator
        self._lookup = lookup
        self._log = log
        self._content_limits = self._options.content_limits
        self._description = encode(openapi(self._options))

    async def post(self, request: Request) -> Response:
        """Take a message in."""
        sender = await self._enter(request)
        try:
            origin = self._origin(request, sender.principal, sender.submitter.stream)
            key = parse_key(only(request, KEY_FIELD), KEY_FIELD) if KEY_FIELD in request.headers else None
            media_type = _media_type(request)
            self._refuse_announced(request, origin)
            if media_type == JSON:
                body = await self._body(request, origin)
                is_large = len(body) > THREAD_OCTETS
                parse = partial(parse_request, body, self._options.attachments)
                parsed = await asyncio.to_thread(parse) if is_large else parse()
                taken = await self._injector.take_json(parsed, body, origin, sender, key)
            elif media_type == _RAW:
                taken = await self._from_raw(request, origin, sender, key)
            else:
                what = "A message is application/json or message/rfc822."
                raise Problem("unsupported_type", what, fields={"accept": f"{JSON}, {_RAW}"})
        finally:
            self._injector.limits.leave(sender.counted)
        headers = {"location": f"/v1/messages/{_accepted.decode(taken.answer).id}"}
        if taken.is_repeated:
            headers[REPEATED_FIELD] = "true"
        return Response(taken.answer, 202, headers=headers, media_type=JSON)

    async def batch(self, request: Request) -> Response:
        """Take many messages in, a line each."""
        sender = await self._enter(request)
        try:
            _check_batch(request)
            origin = self._origin(request, sender.principal, sender.submitter.stream)
            batch = Batch(self._injector, origin, sender, self._log)
            chunks = request.stream()
            # the first chunk before the response, so that a client that expects 100 hears it
            first = await anext(chunks)
        except BaseException:
            self._injector.limits.leave(sender.counted)
            raise
        return _BatchResponse(batch, first, chunks, partial(self._injector.limits.leave, sender.counted))

    async def get(self, request: Request) -> Response:
        """Tell what became of a message, to the tenant whose it is."""
        principal = await self._principal(request, "status")
        message_id = request.path_params["message_id"]
        states = await self._lookup.lookup(message_id) if is_message_id(message_id) else None
        own = [state for state in states or () if state.tenant == principal.tenant]
        if not own:  # the same answer for what is not there and what is somebody else's
            raise Problem("not_found")
        shown = [msgspec.to_builtins(state) for state in own]
        for state in shown:
            del state["tenant"]
        return Response(encode({"id": message_id, "recipients": shown}), media_type=JSON)

    async def describe(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """The OpenAPI document."""
        return Response(self._description, media_type=JSON)

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """200 while messages are taken, else 503."""
        refusal = self._intake.refusal()
        if refusal is not None:
            raise problem_of(refusal)
        return Response(encode({"status": "ready"}), media_type=JSON)

    async def _enter(self, request: Request) -> Sender:
        """Who injects; from now on one request of its key is under way."""
        refusal = self._intake.refusal()
        if refusal is not None:
            self._intake.refused(self._origin(request, None, self._options.stream), "", "", refusal)
            raise problem_of(refusal)
        principal = await self._principal(request, "inject")
        sender = Sender(principal, Submitter(principal, self._options.stream))
        if not self._injector.limits.enter(sender.counted):
            what = f"The key may have {self._options.key_requests} requests under way."
            raise Problem("too_many", what, retry_after_seconds=1)
        return sender

    async def _principal(self, request: Request, scope: str) -> Principal:
        scheme, _, key = only(request, "authorization").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            self._refused(request, replies.AUTH_REQUIRED)
            raise Problem("no_key")
        try:
            principal = await self._authenticator.api_key(key, _client(request))
        except UnavailableError as error:
            raise Problem("unavailable", "Keys cannot be checked now.") from error
        if principal is None:
            self._refused(request, replies.AUTH_FAILED)
            raise Problem("no_key", "The key is not valid.", fields=challenge("invalid_token"))
        refusal = refuse_tenant(principal, self._options.tenant)
        if refusal is not None:
            self._refused(request, refusal)
            raise problem_of(refusal)
        if scope not in principal.scopes:
            fields = challenge("insufficient_scope", scope)
            raise Problem("scope_denied", f"The key lacks the scope {scope}.", fields=fields)
        return principal

    def _refused(self, request: Request, reply: Reply) -> None:
        self._intake.refused(self._origin(request, None, self._options.stream), "", "", reply)

    def _origin(self, request: Request, principal: Principal | None, stream: str) -> Origin:
        return Origin(
            self._options.name,
            HTTP,
            _client(request),
            "",
            None if principal is None else principal.name,
            None,
            self._options.own_tenant if principal is None else principal.tenant,
            stream,
            sandbox=principal is not None and principal.is_sandbox,
        )

    async def _from_raw(self, request: Request, origin: Origin, sender: Sender, key: str | None) -> Taken:
        query = query_of(request)
        mail_from, addresses = envelope_of(request, query)
        transaction = Transaction(origin, mail_from, tuple(map(Recipient, addresses)))
        self._injector.check(origin, sender, mail_from, len(addresses), addresses[0], ("from", "to"))
        stream = stream_of(query)
        origin = self._injector.with_stream(origin, sender, stream, STREAM_PARAMETER)
        reader = ContentReader(self._content_limits)
        digest = start_digest("raw", (str(mail_from), stream or "", *map(str, addresses)))
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self._options.message_octets:
                reader.feed_chunk(chunk)
                if key is not None:
                    digest.update(chunk)
            elif size > _DISCARD_FACTOR * self._options.message_octets:
                break
        if size > self._options.message_octets:
            raise self._injector.refused(transaction, replies.MESSAGE_TOO_BIG)
        if size == 0:
            raise Problem("bad_content", "The message is empty.")
        reader.finish_chunks()
        content = reader.finish_apart()
        if isinstance(content, Reply):
            raise self._injector.refused(transaction, content)
        transaction = transaction._replace(origin=origin)
        return await self._raw_content(transaction, content, sender, key, digest.digest())

    async def _raw_content(
        self,
        transaction: Transaction,
        content: Content | LongContent,
        sender: Sender,
        key: str | None,
        digest: bytes,
    ) -> Taken:
        """The checks of what a raw message holds."""
        head = content.head if isinstance(content, LongContent) else content
        if head.header_octets > self._options.header_octets:
            raise self._injector.refused(transaction, replies.HEADER_TOO_BIG)
        if isinstance(content, LongContent) and head.header_octets > len(head.wire):
            head = content.joined()  # who allows that much of a header has it copied here
            content = LongContent(head, (), content.size)
        header = head.wire[: head.header_octets]
        lower = header.lower()
        depth = self._options.mime_depth
        if (
            isinstance(content, Content)
            and must_be_walked(content.wire, lower, depth)
            and await asyncio.to_thread(is_nested_deeper, content.wire, lower, depth)
        ):
            raise self._injector.refused(transaction, replies.TOO_COMPLEX)
        if CONTEXT_FIELD in lower:
            noted = take_notes(head, header, lower)
            if isinstance(noted, Reply):
                raise self._injector.refused(transaction, noted)
            content = _with_head(content, head, noted.content)
            head = noted.content
            header = head.wire[: head.header_octets]
            lower = header.lower()
            transaction = transaction._replace(notes=noted.notes)
        if STREAM_FIELD in lower:
            named = sender.submitter.take_stream(head, header, lower)
            if isinstance(named, Reply):
                raise self._injector.refused(transaction, named)
            content = _with_head(content, head, named.content)
            origin = msgspec.structs.replace(transaction.origin, stream=named.stream)
            transaction = transaction._replace(origin=origin)
        return await self._injector.take_raw(transaction, content, sender, key, digest)

    def _refuse_announced(self, request: Request, origin: Origin) -> None:
        """A client that asks first is told at once, and sends nothing (RFC 9110 §10.1.1)."""
        length = request.headers.get("content-length", "")
        if "expect" in request.headers and length and int(length) > self._options.message_octets:
            raise self._too_big(origin)

    def _too_big(self, origin: Origin) -> Problem:
        self._intake.refused(origin, "", "", replies.MESSAGE_TOO_BIG)
        return Problem("too_big", f"The limit is {self._options.message_octets} octets.")

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
            raise self._too_big(origin)
        if len(chunks) == 1:
            return chunks[0]
        is_large = size > THREAD_OCTETS
        return await asyncio.to_thread(b"".join, chunks) if is_large else b"".join(chunks)


def _with_head(content: Content | LongContent, old: Content, new: Content) -> Content | LongContent:
    """A content whose head is another now."""
    if isinstance(content, LongContent):
        return content._replace(head=new, size=content.size - len(old.wire) + len(new.wire))
    return new


class _BatchResponse(Response):
    """Streams results while the request is still being read."""

    def __init__(self, batch: Batch, first: bytes, rest: AsyncIterator[bytes], leave: Any) -> None:
        super().__init__(status_code=200, media_type=NDJSON)
        self._batch = batch
        self._first = first
        self._rest = rest
        self._leave = leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        try:
            start: MutableMapping[str, Any] = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": [(b"content-type", NDJSON.encode("ascii"))],
            }
            await send(start)
            await self._batch.run(self._body(), send)
        finally:
            self._leave()

    async def _body(self) -> AsyncIterator[bytes]:
        yield self._first
        try:
            async for chunk in self._rest:
                yield chunk
        except ClientDisconnect as error:
            raise ConnectionResetError from error


def _check_batch(request: Request) -> None:
    if _media_type(request) not in (NDJSON, "application/ndjson", "application/jsonl"):
        raise Problem("unsupported_type", "A batch is application/x-ndjson.", fields={"accept": NDJSON})
    if KEY_FIELD in request.headers:
        what = "a batch has no key of its own: give each line its `idempotency_key`"
        raise Problem("bad_parameter", errors=(Fault(KEY_FIELD, what),))


def _media_type(request: Request) -> str:
    if only(request, "content-encoding", "identity").strip().lower() not in ("", "identity"):
        what = "Content is not decoded here: send it without Content-Encoding."
        raise Problem("unsupported_type", what, fields={"accept-encoding": "identity"})
    return only(request, "content-type").partition(";")[0].strip().lower()


def _client(request: Request) -> str:
    client = request.client
    return client.host if client is not None and client.host else "127.0.0.1"  # a Unix socket is local
