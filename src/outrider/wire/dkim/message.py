"""A message as signatures see it: its header fields by name, and its body, dots unstuffed.

In: a `Content` in wire form. Out: fields as they came and in relaxed form (`fields`), and the digest of the
body. The body is made canonical once for each canonicalisation, however many signatures there are and however
many lengths they name.

Standards: RFC 5321 §4.5.2 (transparency).
"""

from collections.abc import Iterable
from typing import Final

from outrider.model.flow import Content, Traits
from outrider.wire.dkim.canonical import BODY, Canonicalization, digest_of
from outrider.wire.dkim.fields import Field, fields_of

_DOTTED: Final = int(Traits.DOTTED)
# plain: operators of IntFlag cost half a microsecond each

Counts = tuple[tuple[bytes, int], ...]
"""Names of fields, in lower case, and how many there are of each."""

Picks = tuple[tuple[bytes, int], ...]
"""Fields, each by its name in lower case and its place among those of the name."""


class Parts:
    """See the module; one for each message, thrown away after use."""

    __slots__ = ("_bodies", "_body", "_digests", "_fields")

    def __init__(self, content: Content) -> None:
        header_octets = content.header_octets
        header, body = content.wire[:header_octets], content.wire[header_octets + 2 :]
        if int(content.traits) & _DOTTED:
            header, body = _unstuffed(header), _unstuffed(body)
        self._body = body
        self._fields = fields_of(header)
        self._bodies: dict[Canonicalization, bytes] = {}
        self._digests: dict[tuple[Canonicalization, int | None], bytes] = {}

    def fields(self, name: bytes) -> list[Field]:
        """The fields of a name (in lower case), first in the message first."""
        return [Field._make(field) for field in self._fields.get(name, ())]

    def count(self, name: bytes) -> int:
        """How many fields have a name (in lower case)."""
        return len(self._fields.get(name, ()))

    @property
    def counts(self) -> Counts:
        """Names, in lower case, and how many fields have each, in the order of the message."""
        return tuple([(name, len(fields)) for name, fields in self._fields.items()])

    def canonical_all(self, picks: Picks, canonicalization: Canonicalization) -> bytes:
        """These fields, canonical, each with its CRLF, one behind the other."""
        fields = self._fields
        if canonicalization is Canonicalization.SIMPLE:
            return b"".join([fields[name][place][0] + b"\r\n" for name, place in picks])
        return b"".join([fields[name][place][3] for name, place in picks])

    def body_digest(self, canonicalization: Canonicalization, octets: int | None = None) -> bytes:
        """SHA-256 of the canonical body, or of its first `octets`.

        Raises:
            ValueError: The canonical body has fewer than `octets`.
        """
        key = (canonicalization, octets)
        found = self._digests.get(key)
        if found is None:
            canonical = self._bodies.get(canonicalization)
            if canonical is None:
                canonical = self._bodies[canonicalization] = BODY[canonicalization](self._body)
            found = self._digests[key] = digest_of(canonical, octets)
        return found


def _unstuffed(wire: bytes) -> bytes:
    if b"\r\n." in wire:
        wire = wire.replace(b"\r\n.", b"\r\n")
    return wire[1:] if wire[:1] == b"." else wire


def pick(names: Iterable[bytes], counts: Counts) -> Picks:
    """The fields that a list of names selects (RFC 6376 §5.4.2).

    A name that occurs n times takes the last n fields of that name, the last one first; where there are no
    more, it takes nothing, and so promises that there are none.

    Args:
        names: In lower case, in the order of the signature.
        counts: Of the message.
    """
    left = dict(counts)
    chosen = []
    for name in names:
        place = left.get(name, 0) - 1
        if place >= 0:
            left[name] = place
            chosen.append((name, place))
    return tuple(chosen)
