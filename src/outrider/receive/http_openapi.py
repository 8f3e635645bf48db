"""The OpenAPI document of HTTP injection, made from the models that requests are decoded with.

In: the models, the kinds of problems, and the limits of a listener. Out: one document, served at
`/v1/openapi.json` and written into the manual.

Theory: what a client may send is said once, in the models; what is added here is what no model says: paths,
statuses and media types.

Standards: OpenAPI 3.1.0, JSON Schema 2020-12, RFC 9457 §3 (problems), RFC 6750 §2.1 (bearer keys).
"""

from typing import Any, Final

import msgspec

from outrider.receive.http_models import (
    KEY_CHARACTERS,
    Accepted,
    LineResult,
    MessageRequest,
    MessageStatus,
    ProblemDocument,
)
from outrider.receive.http_options import HttpOptions
from outrider.receive.problems import KINDS, RETRIED
from outrider.receive.problems import MEDIA_TYPE as PROBLEM

VERSION: Final = "1.0.0"
"""Of the interface: the major number is that of the path, fields are only added."""

_MODELS: Final = (MessageRequest, Accepted, LineResult, MessageStatus, ProblemDocument)
_REF: Final = "#/components/schemas/"
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}

Document = dict[str, Any]


def openapi(options: HttpOptions | None = None) -> Document:
    """The document; with a listener's options it names its limits."""
    _, schemas = msgspec.json.schema_components(_MODELS, ref_template=_REF + "{name}")
    for schema in schemas.values():
        schema["description"] = schema.get("description", "").partition("\n\nAttributes:")[0]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outrider: injection by HTTP",
            "version": VERSION,
            "description": _about(options),
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {
            "/v1/messages": {"post": _post_message()},
            "/v1/batches": {"post": _post_batch()},
            "/v1/messages/{id}": {"get": _get_message()},
            "/v1/problems/{code}": {"get": _get_problem()},
            "/v1/openapi.json": {"get": _plain("describe", "This document.")},
            "/healthz": {"get": _plain("health", "200 while the process answers at all.")},
            "/readyz": {"get": _plain("ready", "200 while messages are taken, else 503.", 503)},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`outrider key create` makes one."}
            },
        },
    }


def _about(options: HttpOptions | None) -> str:
    text = "Messages in, answers when they are safe on disk. Every answer that is no success is a problem."
    if options is None:
        return text
    return (
        f"{text} Limits here: {options.message_octets} octets a message or line, {options.recipients} "
        f"recipients a request, {options.attachments} attachments, {options.batch_lines} lines and "
        f"{options.batch_octets} octets a batch, `send_at` up to {options.send_at_seconds} seconds ahead."
    )


def _schema(name: str) -> Document:
    return {"schema": {"$ref": _REF + name}}


def _problems(*statuses: int) -> Document:
    """Responses by status, each with the kinds of problems that have it."""
    found: Document = {}
    for status in statuses:
        kinds = [f"`{code}`: {kind.title}." for code, kind in KINDS.items() if kind.status == status]
        found[str(status)] = {
            "description": " ".join(kinds),
            "content": {PROBLEM: _schema("ProblemDocument")},
        }
        if status in RETRIED:
            found[str(status)]["headers"] = _RETRY_AFTER
    return found


def _parameter(name: str, place: str, text: str, *, is_list: bool = False, **schema: Any) -> Document:
    kind: Document = {"type": "string", **schema}
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": {"type": "array", "items": kind} if is_list else kind,
    }


def _post_message() -> Document:
    key = "Makes the request happen once: the same key with the same request gets the same answer again."
    sender = "For message/rfc822: the envelope's sender, or `<>`. A field, because queries end up in logs."
    recipient = "For message/rfc822: a recipient; may stand several times."
    return {
        "operationId": "injectMessage",
        "summary": "Hand a message in",
        "parameters": [
            _parameter("Idempotency-Key", "header", key, minLength=1, maxLength=KEY_CHARACTERS),
            _parameter("Outrider-Mail-From", "header", sender),
            _parameter("Outrider-Rcpt-To", "header", recipient),
            _parameter("from", "query", "As the field Outrider-Mail-From."),
            _parameter("to", "query", "As the field Outrider-Rcpt-To.", is_list=True),
            _parameter("stream", "query", "For message/rfc822: as `stream` in JSON."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": _schema("MessageRequest"),
                "message/rfc822": {"schema": {"type": "string", "contentMediaType": "message/rfc822"}},
            },
        },
        "responses": {
            "202": {
                "description": "The message is stored; whatever dies, it is delivered or you are told.",
                "headers": {
                    "Location": {
                        "description": "Where its state is told.",
                        "schema": {"type": "string"},
                    },
                    "Outrider-Repeated": {
                        "description": "`true`: this is the answer to an earlier request of the same key.",
                        "schema": {"type": "string"},
                    },
                },
                "content": {"application/json": _schema("Accepted")},
            },
            **_problems(400, 401, 403, 409, 413, 415, 422, 429, 500, 503, 504),
        },
    }


def _post_batch() -> Document:
    return {
        "operationId": "injectBatch",
        "summary": "Hand many messages in, one a line",
        "description": "Each line is a MessageRequest, each result a LineResult, in the order of the lines, "
        "sent as soon as it is known. A line that is wrong costs only itself. An empty line has no result.",
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": _schema("MessageRequest")},
        },
        "responses": {
            "200": {
                "description": "The results, one a line; the connection ends early only if the server fails.",
                "content": {"application/x-ndjson": _schema("LineResult")},
            },
            **_problems(400, 401, 403, 415, 429, 500, 503),
        },
    }


def _get_message() -> Document:
    return {
        "operationId": "getMessage",
        "summary": "What became of a message",
        "parameters": [_parameter("id", "path", "The id from the answer.")],
        "responses": {
            "200": {"description": "Its state.", "content": {"application/json": _schema("MessageStatus")}},
            **_problems(401, 403, 404, 503),
        },
    }


def _get_problem() -> Document:
    return {
        "operationId": "explainProblem",
        "summary": "What a kind of problem means",
        "security": [],
        "parameters": [_parameter("code", "path", "Its `code`.", enum=sorted(KINDS))],
        "responses": {
            "200": {
                "description": "Title, status and advice.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **_problems(404),
        },
    }


def _plain(name: str, text: str, *problems: int) -> Document:
    ok = {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "operationId": name,
        "summary": text,
        "security": [],
        "responses": {"200": ok, **_problems(*problems)},
    }
