"""A signature field as it was read: `DKIM-Signature`, `ARC-Message-Signature`, `ARC-Seal`.

In: a header field from anybody. Out: a `Signature`, or a `SignatureError` with the fault and what is known of
it all the same. And the field without what `b=` holds, which is what it signs of itself.

Invariant: all of the field is read in one pass; what a reader takes from it, others read the same way.

Standards: RFC 6376 §3.5 (tags), RFC 6376 §3.7 (the field's own hash), RFC 6376 §6.1.1 (what is refused),
RFC 8301 §3.1 (rsa-sha1), RFC 8616 §5 (U-labels), RFC 8617 §4.1.2 (ARC-Message-Signature), RFC 8617 §4.1.3
(ARC-Seal).
"""

import base64
import binascii
import re
from typing import Final

import msgspec

from outrider.base.errors import AddressError, RemoteProtocolError
from outrider.model.mailbox import parse_domain
from outrider.wire.dkim.canonical import Canonicalization, relaxed_field
from outrider.wire.dkim.fields import Field
from outrider.wire.dkim.results import Fault, SignatureResult
from outrider.wire.dkim.tags import TagError, parse_tags, unquoted, without_white_space

FIELD_NAME: Final = b"dkim-signature"

FIELD_OCTETS_MAX: Final = 8_192
"""Chosen: a signature by a key of 4096 bits over a long list takes some 2,000."""

ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")

SKEW_SECONDS: Final = 3_600
"""Chosen: clocks of hosts that sign are seldom more than an hour ahead."""

_OWN_B: Final = re.compile(rb"(?:\A|;)[ \t\r\n]*b[ \t\r\n]*=([^;]*)")
_TIME: Final = re.compile(r"[0-9]{1,12}")
_LENGTH: Final = re.compile(r"[0-9]{1,76}")
# RFC 6376 §3.5
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
# wider than host names, because records with underscores exist; what is longer than a name is refused below
_NAME_MAX: Final = 253
_FIELD_NAME: Final = re.compile(r"[!-9<-~]+")


class SignatureError(RemoteProtocolError):
    """A field that is no usable signature; `result` holds what is known of it."""

    def __init__(self, result: SignatureResult) -> None:
        super().__init__(result.reason)
        self.result = result


class Signature(msgspec.Struct, frozen=True):
    """A signature field.

    Attributes:
        known: Its tags, for results; no fault.
        header: Canonicalisation of the header.
        body: Canonicalisation of the body.
        names: `h=` in lower case; empty for ARC-Seal.
        signature: `b=`.
        body_hash: `bh=`; empty for ARC-Seal.
        own: The field itself without what `b=` holds, canonical, without its CRLF.
        tags: All of them.
    """

    known: SignatureResult
    header: Canonicalization
    body: Canonicalization
    names: tuple[bytes, ...]
    signature: bytes
    body_hash: bytes
    own: bytes
    tags: dict[str, str]


def _failed(known: SignatureResult, fault: Fault, reason: str) -> SignatureError:
    return SignatureError(msgspec.structs.replace(known, fault=fault, reason=reason))


def parse_signature(name: bytes, field: Field, *, is_seal: bool = False, is_arc: bool = False) -> Signature:
    """Read a field.

    Args:
        name: Its name in lower case.
        field: The field.
        is_seal: It is an ARC-Seal: no `h=`, no `bh=`, always relaxed.
        is_arc: It is of ARC: `i=` is the number of its set, and there is no `v=`.

    Raises:
        SignatureError: It is none that could be checked.
    """
    known, tags = _known(field.value, is_arc=is_arc)
    _check_needed(known, tags, is_seal=is_seal, is_arc=is_arc)
    header, body = (Canonicalization.RELAXED,) * 2 if is_seal else _canonicalizations(known, tags)
    names = () if is_seal else _signed_names(known, tags)
    return Signature(
        msgspec.structs.replace(
            known, header=str(header), body=str(body), signed_fields=tuple(each.decode() for each in names)
        ),
        header,
        body,
        names,
        _base64(known, tags, "b"),
        b"" if is_seal else _base64(known, tags, "bh"),
        own_octets(name, field, header),
        tags,
    )


def own_octets(name: bytes, field: Field, canonicalization: Canonicalization) -> bytes:
    """The field as it signs itself: without the value of `b=`, canonical, without its CRLF."""
    found = _OWN_B.search(field.value)
    start, end = found.span(1) if found else (len(field.value), len(field.value))
    value = field.value[:start] + field.value[end:]
    if canonicalization is Canonicalization.RELAXED:
        return relaxed_field(name, value)[:-2]
    return field.raw[: len(field.raw) - len(field.value)] + value


def _known(value: bytes, *, is_arc: bool) -> tuple[SignatureResult, dict[str, str]]:
    empty = SignatureResult(fault=Fault.NONE)
    if len(value) > FIELD_OCTETS_MAX:
        raise _failed(empty, Fault.SYNTAX, f"the field is longer than {FIELD_OCTETS_MAX} octets")
    try:
        tags = parse_tags(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise _failed(empty, Fault.SYNTAX, "the field is no UTF-8") from None
    except TagError as error:
        raise _failed(empty, Fault.SYNTAX, error.message) from error
    domain = _a_labels(tags.get("d", ""))
    instance = tags.get("i", "") if is_arc else ""
    known = SignatureResult(
        fault=Fault.NONE,
        domain=domain,
        selector=_a_labels(tags.get("s", "")),
        identity="" if is_arc else _identity(tags["i"]) if "i" in tags else f"@{domain}",
        algorithm=tags.get("a", "").lower(),
        signature=without_white_space(tags.get("b", "")),
        instance=int(instance) if _TIME.fullmatch(instance) else 0,
    )
    for name, attribute in (("t", "signed_time"), ("x", "expiry_time"), ("l", "body_octets")):
        if name in tags:
            shape = _LENGTH if name == "l" else _TIME
            if not shape.fullmatch(tags[name]):
                raise _failed(known, Fault.SYNTAX, f"{name}= is no number")
            known = msgspec.structs.replace(known, **{attribute: int(tags[name])})
    return known, tags


def _a_labels(name: str) -> str:
    """A domain or selector in lower case, U-labels as A-labels; as it is where it is no such name."""
    if name.isascii():
        return name.lower()
    try:
        return parse_domain(name)
    except AddressError:
        return name


def _identity(value: str) -> str:
    """What `i=` says, its domain in A-labels."""
    identity = unquoted(value)
    local, at, host = identity.rpartition("@")
    return identity if host.isascii() else f"{local}{at}{_a_labels(host)}"


def _check_needed(known: SignatureResult, tags: dict[str, str], *, is_seal: bool, is_arc: bool) -> None:
    needed = ["a", "b", "d", "s"] + ([] if is_seal else ["bh", "h"]) + (["i"] if is_arc else ["v"])
    missing = [f"{name}=" for name in needed if not tags.get(name)]
    if missing:
        raise _failed(known, Fault.SYNTAX, f"{', '.join(missing)} missing or empty")
    if not is_arc and tags["v"] != "1":
        raise _failed(known, Fault.SYNTAX, f"v={tags['v'][:20]} is not known")
    for name, value in (("d", known.domain), ("s", known.selector)):
        is_name = _NAME.fullmatch(value) and (name == "s" or "." in value)
        if not is_name or len(known.domain) + len(known.selector) > _NAME_MAX - 12:
            raise _failed(known, Fault.SYNTAX, f"{name}= is no name")
    if known.algorithm in {"rsa-sha1", "rsa"}:
        raise _failed(known, Fault.OLD_ALGORITHM, f"{known.algorithm} must not be relied on (RFC 8301 §3.1)")
    if known.algorithm not in ALGORITHMS:
        raise _failed(known, Fault.ALGORITHM, f"a={known.algorithm[:40]} is not known")
    if is_arc:
        return
    if "q" in tags and "dns/txt" not in {word.strip().lower() for word in tags["q"].split(":")}:
        raise _failed(known, Fault.SYNTAX, "q= offers no way to the key that is known")
    host = known.identity.rpartition("@")[2].lower()
    is_below = host.endswith(f".{known.domain}") and _NAME.fullmatch(host)
    if "@" not in known.identity or (host != known.domain and not is_below):
        raise _failed(known, Fault.IDENTITY, "i= is not of d= or of a subdomain of it")


def _canonicalizations(
    known: SignatureResult, tags: dict[str, str]
) -> tuple[Canonicalization, Canonicalization]:
    header, slash, body = tags.get("c", "simple").lower().partition("/")
    try:
        return Canonicalization(header), Canonicalization(body if slash else "simple")
    except ValueError:
        raise _failed(known, Fault.SYNTAX, f"c={tags['c'][:40]} is not known") from None


def _signed_names(known: SignatureResult, tags: dict[str, str]) -> tuple[bytes, ...]:
    names = [name.strip(" \t\r\n").lower() for name in tags["h"].split(":")]
    if not all(name.isascii() and _FIELD_NAME.fullmatch(name) for name in names):
        raise _failed(known, Fault.SYNTAX, "h= is no list of field names")
    return tuple(name.encode("ascii") for name in names)


def _base64(known: SignatureResult, tags: dict[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(without_white_space(tags[name]).encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise _failed(known, Fault.SYNTAX, f"{name}= is not Base64") from None
