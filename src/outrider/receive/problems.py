"""Problems: what an HTTP client hears when something is not done.

Each kind is declared once in `KINDS`; its `code` never changes its meaning. `problem_of` maps an SMTP reply,
which is what the rest of the server answers with, to a problem.

Standards: RFC 9457 §3 (problem details), RFC 6901 §3 (pointers), RFC 9110 §15 (status), RFC 6585 §4 (429),
RFC 9110 §10.2.3 (Retry-After), RFC 6750 §3 (WWW-Authenticate).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from outrider.model.reply import Reply
from outrider.wire.smtp import replies

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "/v1/problems/"


class Kind(NamedTuple):
    """A kind of problem: status, title, and what to do about it."""

    status: int
    title: str
    advice: str


KINDS: Final[dict[str, Kind]] = {
    "bad_json": Kind(400, "The body is not valid JSON", "Send one JSON object in UTF-8."),
    "bad_parameter": Kind(400, "A parameter is wrong", "See `errors` for which and why."),
    "no_key": Kind(401, "A key is needed", "Send `Authorization: Bearer <key>` with a key that is valid."),
    "sender_denied": Kind(403, "The sender is not allowed", "Send as a domain that the key may use."),
    "stream_denied": Kind(
        403, "The stream is not allowed", "Name one of the key's streams, or none for the key's own."
    ),
    "tenant_denied": Kind(
        403, "The key is another tenant's", "Use a listener of the key's tenant, or a key of this listener's."
    ),
    "scope_denied": Kind(403, "The key may not do this", "Use a key with the scope that `detail` names."),
    "refused": Kind(
        403, "The message was refused by policy", "See `detail`; sending it again will not help."
    ),
    "not_found": Kind(404, "There is no such thing", "Check the path and the id; ids are forgotten in time."),
    "method_not_allowed": Kind(405, "The method is not allowed here", "See the Allow field."),
    "in_flight": Kind(
        409, "A request with this key is under way", "Wait as Retry-After says, then send the same again."
    ),
    "too_big": Kind(413, "The message is too big", "Make it smaller, or have the limit raised."),
    "unsupported_type": Kind(
        415, "The media type is not supported", "Send application/json or message/rfc822."
    ),
    "key_reused": Kind(
        422, "The key was used for another request", "Use a new Idempotency-Key for each message."
    ),
    "invalid": Kind(422, "The message cannot be accepted as it is", "See `errors` for what is wrong where."),
    "bad_content": Kind(422, "The content cannot be accepted", "See `detail`."),
    "too_many": Kind(429, "Too much at once", "Wait as Retry-After says, then go on more slowly."),
    "internal": Kind(500, "The server failed", "Try again; if it stays, see the server's log."),
    "not_in_time": Kind(
        504,
        "The message was not stored in time",
        "It may be stored yet: send it again only under the same Idempotency-Key.",
    ),
    "unavailable": Kind(503, "The server takes nothing now", "Try again after the time in Retry-After."),
}
"""All kinds; the manual's page is generated from here."""


RETRIED: Final = frozenset((409, 429, 503, 504))
"""Statuses that say Retry-After (RFC 9110 §10.2.3)."""


class Fault(msgspec.Struct, frozen=True):
    """One of several things that are wrong.

    Attributes:
        pointer: JSON pointer into the body, or the name of a parameter.
        detail: What is wrong with it.
    """

    pointer: str
    detail: str


NO_FIELDS: Final[Mapping[str, str]] = {}


def challenge(error: str = "", scope: str = "") -> dict[str, str]:
    """What tells a client how to ask (RFC 6750 §3); the error only where there was a key."""
    parameters = {"realm": "outrider", "error": error, "scope": scope}
    said = ", ".join([f'{name}="{value}"' for name, value in parameters.items() if value])
    return {"www-authenticate": f"Bearer {said}"}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Ends the handling of a request with a problem document.

    Args:
        code: Key of `KINDS`.
        detail: What happened this time; empty when there is no more to say than the title.
        errors: Single faults.
        reply: The SMTP reply it comes from.
        retry_after_seconds: When to try again, where that is known; else the listener's option says it.
        fields: Header fields of the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        errors: tuple[Fault, ...] = (),
        reply: Reply | None = None,
        retry_after_seconds: int | None = None,
        fields: Mapping[str, str] = NO_FIELDS,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail
        self.errors = errors
        self.reply = reply
        self.retry_after_seconds = retry_after_seconds
        self.fields = fields

    def retry_after(self, default_seconds: int) -> int:
        """Seconds for Retry-After; 0 where trying again is no help."""
        if self.kind.status not in RETRIED:
            return 0
        return default_seconds if self.retry_after_seconds is None else self.retry_after_seconds

    def document(self, retry_after_seconds: int = 0) -> bytes:
        """The problem as JSON (RFC 9457 §3.1)."""
        return msgspec.json.encode(self.members(retry_after_seconds))

    def members(self, retry_after_seconds: int = 0) -> dict[str, object]:
        """What the document says; see `http_models.ProblemDocument`."""
        document: dict[str, object] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.kind.title,
            "status": self.kind.status,
            "code": self.code,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = self.errors
        if self.reply is not None:
            document["smtp"] = str(self.reply)
        if retry_after_seconds:
            document["retry_after"] = retry_after_seconds
        return document


def pointer_of(*parts: str | int) -> str:
    """The JSON pointer of a place (RFC 6901 §3)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


_BY_REPLY: Final = {
    replies.SENDER_DENIED: "sender_denied",
    replies.OTHER_TENANT: "tenant_denied",
    replies.MESSAGE_TOO_BIG: "too_big",
    replies.HEADER_TOO_BIG: "bad_content",
    replies.TOO_MANY_HEADERS: "bad_content",
    replies.TOO_COMPLEX: "bad_content",
    replies.LINE_TOO_LONG: "bad_content",
    replies.STRAY_LINE_END: "bad_content",
    replies.NUL_IN_MESSAGE: "bad_content",
    replies.TOO_MANY_HOPS: "bad_content",
    replies.NEEDS_SMTPUTF8: "bad_content",
}


def problem_of(reply: Reply) -> Problem:
    """The problem that a reply other than a positive one is to an HTTP client."""
    code = _BY_REPLY.get(reply)
    if code is None:
        if reply.is_transient:
            # X.7.x and X.5.3 are about how much is asked, not about us (RFC 3463 §3.6, RFC 3463 §3.8).
            enhanced = reply.enhanced or ""
            code = "too_many" if enhanced.startswith("4.7.") or enhanced == "4.5.3" else "unavailable"
        else:
            code = "too_big" if reply.code == 552 else "refused"
    return Problem(code, reply.text, reply=reply)
