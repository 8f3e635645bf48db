"""Canonicalisation: the form of header fields and body that a signature is computed over.

In: octets with CRLF line ends, dots *not* stuffed (`message.Parts` gives them). Out: the canonical octets.

Theory: no regular expression walks over a body. White space is reduced by searching for what is to be changed
first (`in` runs at the speed of memchr) and by splitting at double spaces, which makes one object for each
run instead of one for each word; a usual body costs three searches and no copy. Work is linear in the size:
a run of a megabyte of spaces is half a megabyte of empty strings that are one object.

Invariant: both forms are idempotent; the relaxed form of a body holds no tab, no two spaces together, no
space before CRLF and no empty line at its end.

Standards: RFC 6376 §3.4.1 (simple header), RFC 6376 §3.4.2 (relaxed header), RFC 6376 §3.4.3 (simple body),
RFC 6376 §3.4.4 (relaxed body).
Not here: the compiled form of the relaxed body, which takes one pass (`wire.smtp._scan`).
"""

import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from outrider.wire.smtp.scan import maybe_compiled

CHUNK_OCTETS: Final = 1 << 18
"""Chosen: splitting takes at most some 14 octets of memory for each octet; larger bodies go in pieces."""


class Canonicalization(StrEnum):
    """The two algorithms of RFC 6376 §3.4."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def simple_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.3: empty lines at the end become one CRLF; so does an empty body."""
    return body.rstrip(b"\r\n") + b"\r\n"


def relaxed_body_pure(body: bytes) -> bytes:
    """RFC 6376 §3.4.4: white space reduced, and none at the end of lines; empty lines at the end dropped.

    Args:
        body: Without CR and LF but CRLF, as a `Content` has it.
    """
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    if b"  " in body:
        body = _single_spaces(body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    body = body.rstrip(b"\r\n")
    if body[-1:] == b" ":  # a last line without CRLF
        body = body[:-1].rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2: a header field in relaxed form, with its CRLF.

    Args:
        name: In lower case, without white space.
        value: What follows the colon, folded as it came, without the last CRLF.
    """
    if b"\x0b" not in value and b"\x0c" not in value:
        # split() takes these two for white space as well, which RFC 5234 §B.1 does not
        return b"%b:%b\r\n" % (name, b" ".join(value.split()))
    value = value.replace(b"\r\n", b"").replace(b"\t", b" ")
    return b"%b:%b\r\n" % (name, _single_spaces(value).strip(b" "))


def _single_spaces(octets: bytes) -> bytes:
    if len(octets) <= CHUNK_OCTETS:
        return _single_spaces_of_chunk(octets)
    chunks = [
        _single_spaces_of_chunk(octets[start : start + CHUNK_OCTETS])
        for start in range(0, len(octets), CHUNK_OCTETS)
    ]
    joined = b"".join(chunks)
    while b"  " in joined:  # where chunks met; each turn halves what a run over many chunks left
        joined = joined.replace(b"  ", b" ")
    return joined


def _single_spaces_of_chunk(octets: bytes) -> bytes:
    single = b" ".join(filter(None, octets.split(b"  ")))
    if b"  " in single:  # runs of odd length
        single = single.replace(b"  ", b" ")
    if octets[:1] == b" " and single[:1] != b" ":
        single = b" " + single
    if octets[-1:] == b" " and single[-1:] != b" ":
        single += b" "
    return single


relaxed_body: Callable[[bytes], bytes] = maybe_compiled("relaxed") or relaxed_body_pure
"""The compiled form where it is built, else `relaxed_body_pure`; both pass the same tests."""

BODY: Final[Mapping[Canonicalization, Callable[[bytes], bytes]]] = MappingProxyType(
    {Canonicalization.SIMPLE: simple_body, Canonicalization.RELAXED: relaxed_body}
)
"""The body algorithms by name."""


def digest_of(canonical: bytes, octets: int | None = None) -> bytes:
    """SHA-256 of a canonical body, or of its first `octets` (RFC 6376 §3.7).

    Raises:
        ValueError: It has fewer than `octets`.
    """
    if octets is None:
        return hashlib.sha256(canonical).digest()
    if octets > len(canonical):
        raise ValueError(f"{octets} octets of a body of {len(canonical)}")
    return hashlib.sha256(memoryview(canonical)[:octets]).digest()
