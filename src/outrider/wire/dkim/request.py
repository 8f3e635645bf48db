"""What is asked of the signer: whose signature, with which key, over which fields.

In: names from configuration and policy. Out: a value that can be stored with a message, because it names its
key instead of holding it. What could not be signed, or would say something else than was meant, is refused
when the request is made.

Standards: RFC 6376 §3.5 (tags), RFC 6376 §5.4 (which fields), RFC 6376 §8.15 (oversigning).
"""

import re
from typing import Final

import msgspec

from outrider.base.errors import LocalProtocolError
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.tags import quoted

SIGNED_FIELDS: Final = (
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-id",
    "content-description",
    "resent-from",
    "resent-date",
    "resent-to",
    "resent-cc",
    "sender",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
    "feedback-id",
)
"""RFC 6376 §5.4.1, with what RFC 8058 §4 asks for one-click unsubscribing, and the feedback loops' field."""

OVERSIGNED_FIELDS: Final = (
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "sender",
)
"""RFC 6376 §8.15: what readers are shown, or what decides how a body is read, so that none can be added."""

UNSIGNED_FIELDS: Final = frozenset(
    {
        "return-path",
        "received",
        "dkim-signature",
        "comments",
        "keywords",
        "bcc",
        "authentication-results",
        "arc-authentication-results",
        "arc-message-signature",
        "arc-seal",
    }
)
"""RFC 6376 §5.4.1, RFC 8617 §4.1.2: they are changed or removed on the way; signing them breaks the
signature."""

IDENTITY_OCTETS_MAX: Final = 320
"""RFC 5321 §4.5.3.1: 64 of a local part, `@`, 255 of a domain; it stands on one line of the field, quoted."""

NAME_OCTETS_MAX: Final = 253
"""RFC 1035 §2.3.4: 255 on the wire, with the lengths of the first label and of the root."""

FIELDS_MAX: Final = 64
"""Chosen: twice what anybody signs."""

EXPIRY_SECONDS_MAX: Final = 366 * 86_400
"""Chosen: no message is on its way for a year."""

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_FIELD_NAME: Final = re.compile(r"[!-9<-~]{1,76}")
# RFC 5322 §2.2 without `;` (0x3B), which ends the tag


class RequestError(LocalProtocolError, ValueError):
    """A request that cannot be served; the message begins with the name of the argument at fault."""


class SignRequest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One signature.

    The algorithm is that of the key. There is no `l=`, on purpose: whoever may add to a body may replace it
    (RFC 6376 §8.2).

    Attributes:
        domain: `d=`, A-labels.
        selector: `s=`.
        key: Name of the private key; see `signer.Keys`.
        identity: `i=`, such as `@news.example.test`; of `domain` or below it. Empty leaves it out.
        header: Canonicalisation of the header.
        body: Canonicalisation of the body.
        fields: Names to sign, in lower case; those that a message has are signed, all of them.
        oversigned: Names that are listed once more than they occur, so that nobody can add another one.
        expiry_seconds: `x=` is so much after `t=`; 0 leaves it out.
        allow_short_key: Sign with RSA keys of 1024 to 2047 bits too.

    Raises:
        RequestError: See there.
    """

    domain: str
    selector: str
    key: str
    identity: str = ""
    header: Canonicalization = Canonicalization.RELAXED
    body: Canonicalization = Canonicalization.RELAXED
    fields: tuple[str, ...] = SIGNED_FIELDS
    oversigned: tuple[str, ...] = OVERSIGNED_FIELDS
    expiry_seconds: int = 0
    allow_short_key: bool = False

    def __post_init__(self) -> None:
        if not is_domain(self.domain):
            raise RequestError("domain: is not a domain name in A-labels", domain=self.domain)
        if not _HOST.fullmatch(self.selector):
            raise RequestError("selector: is not made of DNS labels", selector=self.selector)
        if len(f"{self.selector}._domainkey.{self.domain}") > NAME_OCTETS_MAX:
            raise RequestError(f"selector: its name with the domain is longer than {NAME_OCTETS_MAX} octets")
        if not self.key:
            raise RequestError("key: is empty")
        if self.identity:
            _check_identity(self.identity, self.domain)
        if self.fields != SIGNED_FIELDS:
            check_fields("fields", self.fields)
        if self.oversigned != OVERSIGNED_FIELDS:
            check_fields("oversigned", self.oversigned)
        if not 0 <= self.expiry_seconds <= EXPIRY_SECONDS_MAX:
            raise RequestError(f"expiry_seconds: must be from 0 to {EXPIRY_SECONDS_MAX}")


def is_domain(text: str) -> bool:
    """True for a domain name in A-labels, as `d=` holds it."""
    return _HOST.fullmatch(text) is not None


def _check_identity(identity: str, domain: str) -> None:
    if len(quoted(identity)) > IDENTITY_OCTETS_MAX:
        raise RequestError(f"identity: is longer than {IDENTITY_OCTETS_MAX} octets as `i=` quotes it")
    _, at, host = identity.rpartition("@")
    host = host.lower()
    if not at or not _HOST.fullmatch(host):
        raise RequestError("identity: must be `@domain` or an address")
    if host != domain.lower() and not host.endswith(f".{domain.lower()}"):
        raise RequestError("identity: must be of the signing domain or of one below it (RFC 6376 §3.5)")


def check_fields(argument: str, names: tuple[str, ...]) -> None:
    """Refuse names that cannot or must not be signed.

    Raises:
        RequestError: Begins with `argument`.
    """
    if len(names) > FIELDS_MAX:
        raise RequestError(f"{argument}: more than {FIELDS_MAX} names")
    for name in names:
        if not _FIELD_NAME.fullmatch(name) or name != name.lower():
            raise RequestError(f"{argument}: {name!r} is not a field name in lower case")
        if name in UNSIGNED_FIELDS:
            raise RequestError(f"{argument}: {name} changes on the way and must not be signed")
    if len(set(names)) != len(names):
        raise RequestError(f"{argument}: a name stands there twice")
