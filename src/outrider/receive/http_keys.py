"""The field Idempotency-Key: a name that the client gives a request, so that sending it twice does it once.

In: the field's or the line's text. Out: digests of key and request, for whoever remembers them.

Theory: what is remembered is a digest of tenant and key, and a digest of the request's octets with its type
and envelope. So a key may hold what it likes, and a client that repeats a request must repeat it octet for
octet.

Standards: RFC 9651 §3.3.3 (strings in quotes), draft-ietf-httpapi-idempotency-key-header (the field).
"""

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from outrider.receive.http_models import KEY_CHARACTERS
from outrider.receive.problems import Fault, Problem

KEY_FIELD: Final = "idempotency-key"
DIGEST_OCTETS: Final = 16
"""Chosen: 128 bits; a tenant can only collide with itself."""

_KEY: Final = re.compile(r"[!-~]+", re.ASCII)


def parse_key(text: str, pointer: str) -> str:
    """The key, with or without quotes.

    Raises:
        Problem: It is no key.
    """
    key = text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if _is_quoted(text) else text
    if not _KEY.fullmatch(key) or len(key) > KEY_CHARACTERS:
        what = f"is not a key of 1 to {KEY_CHARACTERS} printable ASCII characters"
        raise Problem("bad_parameter", errors=(Fault(pointer, what),))
    return key


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


def key_digest(tenant: str, key: str) -> bytes:
    """What stands for a tenant's key."""
    return blake2b(f"{tenant}\0{key}".encode(), digest_size=DIGEST_OCTETS).digest()


def start_digest(kind: str, envelope: Iterable[str] = ()) -> blake2b:
    """What stands for a request: its type, its envelope where it has one beside the body; add the body."""
    digest = blake2b(digest_size=DIGEST_OCTETS)
    for text in (kind, *envelope):
        octets = text.encode()
        digest.update(b"%d:%b," % (len(octets), octets))
    return digest
