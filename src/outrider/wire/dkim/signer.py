"""The signer: a content and what is asked for in, the fields to put before it out.

Theory: what a message costs is its body, so that is canonicalised and hashed once for each canonicalisation,
and each header field once, however many signatures are made. The rest of a signature is a text of half a
kilobyte and the private key's own work (RSA-2048: 250 µs, Ed25519: 35 µs), which is done in place: a thread
costs more than it saves (measured).

Invariant: what is signed is what was there: each field in the list once for each time that it occurs, and
once more where it is oversigned. A message without From, or with two, is not signed, because the signature
would vouch for what a reader cannot tell.

Standards: RFC 6376 §3.5 (the field), RFC 6376 §3.7 (what is hashed), RFC 6376 §5 (signers), RFC 5322 §3.6
(one From), RFC 8301 §3.2 (key sizes).
"""

from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from outrider.model.flow import Content
from outrider.wire.dkim.canonical import Canonicalization, relaxed_field
from outrider.wire.dkim.keys import RSA_BITS_MIN, RSA_SIGN_BITS, SigningKey
from outrider.wire.dkim.listing import LINE_OCTETS, UnsignableError, list_fields
from outrider.wire.dkim.message import Parts
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.tags import quoted

FIELD: Final = b"DKIM-Signature"
"""As it is written."""


class Keys(Protocol):
    """Gives private keys by name; keeps them parsed."""

    def get(self, name: str) -> SigningKey:
        """The key.

        Raises:
            KeyAbsentError: There is no such key.
            ConfigError: It cannot be used.
        """
        ...


def sign(content: Content, requests: Sequence[SignRequest], keys: Keys, now: float) -> bytes:
    """The signature fields to put before `content`, each ended by CRLF; empty without requests.

    Args:
        content: The message as it will leave; nothing may be changed after.
        requests: One for each signature.
        keys: Where the keys are.
        now: Unix seconds, for `t=` and `x=`.

    Raises:
        UnsignableError: No From or several, too many fields to list, or a key that is too short.
        KeyAbsentError: A key is not there.
        ConfigError: A key cannot be used.
    """
    if not requests:
        return b""
    parts = Parts(content)
    authors = parts.count(b"from")
    if authors != 1:
        raise UnsignableError(
            f"the message has {authors} From fields, and only one with exactly one is signed", authors=authors
        )
    return b"".join([_signature(parts, request, keys.get(request.key), int(now)) for request in requests])


def check_key(key: SigningKey, request: SignRequest) -> None:
    """Refuse an RSA key that is too short.

    Raises:
        UnsignableError: See RFC 8301 §3.2.
    """
    if key.algorithm != "rsa-sha256" or key.bits >= RSA_SIGN_BITS:
        return
    why = short_key_fault(key, is_allowed=request.allow_short_key)
    if why:
        raise UnsignableError(
            f"the key of {request.selector}._domainkey.{request.domain} {why}", bits=key.bits
        )


def short_key_fault(key: SigningKey, *, is_allowed: bool) -> str:
    """What is wrong with the size of a key, as the end of a sentence; empty where nothing is.

    Args:
        key: Of any kind.
        is_allowed: Short RSA keys may sign.
    """
    if key.algorithm != "rsa-sha256" or key.bits >= RSA_SIGN_BITS:
        return ""
    if key.bits < RSA_BITS_MIN:
        return f"has {key.bits} bits: no receiver takes it; make a new one"
    return "" if is_allowed else f"has {key.bits} bits: make one of {RSA_SIGN_BITS}, or set allow_short_key"


class _Opening(NamedTuple):
    """A signature field up to `bh=`, behind its name and colon.

    Attributes:
        value: As it stands in the message.
        relaxed: In relaxed form, its name and colon before it.
    """

    value: bytes
    relaxed: bytes


@lru_cache(maxsize=256)
def _opening(request: SignRequest, algorithm: str, tag: bytes, now: int) -> _Opening:
    """What all messages of a second share that are signed alike and have the same fields."""
    identity = f" i={quoted(request.identity)};" if request.identity else ""
    expiry = f" x={now + request.expiry_seconds};" if request.expiry_seconds else ""
    value = (
        f" v=1; a={algorithm}; c={request.header}/{request.body}; q=dns/txt;\r\n"
        f"\td={request.domain};\r\n\ts={request.selector};{identity}\r\n\tt={now};{expiry}\r\n"
    ).encode("ascii") + tag
    return _Opening(value, own_form(FIELD, value, Canonicalization.RELAXED))


def _signature(parts: Parts, request: SignRequest, key: SigningKey, now: int) -> bytes:
    check_key(key, request)
    listing = list_fields(parts.counts, request)
    opening = _opening(request, key.algorithm, listing.tag, now)
    digest = b2a_base64(parts.body_digest(request.body), newline=False)
    value = b"%b\tbh=%b;\r\n\tb=" % (opening.value, digest)
    own = (
        b"%b bh=%b; b=" % (opening.relaxed, digest)
        if request.header is Canonicalization.RELAXED
        else own_form(FIELD, value, request.header)
    )
    return signed_field(FIELD, value, own, parts.canonical_all(listing.picks, request.header), key)


def own_form(name: bytes, value: bytes, canonicalization: Canonicalization) -> bytes:
    """A signature field as it signs itself: canonical, without CRLF (RFC 6376 §3.7).

    Args:
        name: Of the field.
        value: All of it up to `b=`, which stands last.
        canonicalization: Of the header.
    """
    if canonicalization is Canonicalization.SIMPLE:
        return b"%b:%b" % (name, value)
    return relaxed_field(name.lower(), value)[:-2]


def signed_field(name: bytes, value: bytes, own: bytes, fields: bytes, key: SigningKey) -> bytes:
    """A signature field, complete, ended by CRLF.

    Args:
        name: Of the field.
        value: All of it up to `b=`, which stands last.
        own: What `own_form` makes of both.
        fields: Those that `h=` selects, canonical.
        key: To sign with.
    """
    return b"%b:%b%b\r\n" % (name, value, folded_base64(key.sign(fields + own)))


def folded_base64(octets: bytes) -> bytes:
    """Base64 in lines that are folded by a tab."""
    encoded = b2a_base64(octets, newline=False)
    return b"\r\n\t".join(
        [encoded[start : start + LINE_OCTETS] for start in range(0, len(encoded), LINE_OCTETS)]
    )
