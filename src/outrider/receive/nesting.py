"""How deeply a message is nested, counted without parsing it where that is possible.

Theory: each level of nesting needs a boundary line or a `message/` type, so their number bounds the depth;
only a message with more of them than the limit allows is walked, iteratively, line by line.

Invariant: the cost is linear in the message, whatever is in it and however deep it is; the stack is at
most `limit + 1` deep.

Standards: RFC 2046 §5.1.1 (multipart), RFC 2046 §5.2.1 (message/rfc822).
"""

import re
from collections import Counter

from outrider.base.long_octets import LONG_OCTETS, find, slices

_TYPE = re.compile(
    rb"^content-type[ \t]*:[ \t\r\n]*(multipart|message)/([^;\s]*)", re.IGNORECASE | re.MULTILINE
)
_FIELD = re.compile(rb"^content-type", re.IGNORECASE | re.MULTILINE)
_FIELD_OCTETS = len(b"content-type")
_SEARCH_OCTETS = 1 << 18
# chosen: a quarter of what is long, because a pattern takes some 4 ms for it
_BOUNDARY = re.compile(rb";\s*boundary\s*=\s*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)


def is_nested_deeper(wire: bytes, lower_header: bytes, limit: int, start: int = 0) -> bool:
    """True when the message, from `start` on, has more than `limit` levels of multipart and message parts."""
    return must_be_walked(wire, lower_header, limit) and _walk(wire, limit, start)


def must_be_walked(wire: bytes, lower_header: bytes, limit: int) -> bool:
    """True when counting does not show that it is shallow; the walk takes up to 130 ms a MiB (measured)."""
    if b"multipart/" not in lower_header and b"message/" not in lower_header:
        return False
    return _boundaries(wire) + _messages(wire) > limit


class _Levels:
    """Boundaries of the open levels, empty for message/; `ends` counts the lines that begin or end a part."""

    __slots__ = ("boundaries", "ends")

    def __init__(self) -> None:
        self.boundaries: list[bytes] = []
        self.ends: Counter[bytes] = Counter()

    def open(self, boundary: bytes) -> None:
        self.boundaries.append(boundary)
        if boundary:
            self.ends[boundary] += 1
            self.ends[boundary + b"--"] += 1

    def cut(self, depth: int) -> None:
        """Leave all levels from `depth` on."""
        for boundary in self.boundaries[depth:]:
            if boundary:
                self.ends[boundary] -= 1
                self.ends[boundary + b"--"] -= 1
        del self.boundaries[depth:]

    def begins_part(self, line: bytes) -> bool:
        """True when `line` begins a part; levels that it leaves are gone.

        Each level that is looked at in vain is left here, and each was opened by a header, so all looking
        together costs no more than the message is long.
        """
        if not self.ends.get(line):
            return False
        for depth in range(len(self.boundaries) - 1, -1, -1):
            boundary = self.boundaries[depth]
            if boundary and line == boundary:
                self.cut(depth + 1)
                return True
            if boundary and line == boundary + b"--":
                self.cut(depth)
                return False
        return False


def _boundaries(wire: bytes) -> int:
    """Lines that may be boundaries."""
    if len(wire) <= LONG_OCTETS:
        return wire.count(b"\n--")
    return sum(piece.count(b"\n--") for piece in slices(wire, overlap=len(b"\n--") - 1))


def _messages(wire: bytes) -> int:
    """How often `message/` is in it, whatever its case."""
    return sum(piece.lower().count(b"message/") for piece in slices(wire, overlap=len(b"message/") - 1))


def _walk(wire: bytes, limit: int, at: int) -> bool:
    """Depth by open boundaries; a header block follows each boundary line and each message/ header."""
    levels = _Levels()
    while True:
        end = find(wire, b"\r\n\r\n", at)
        end_of_header = end + 2 if end >= 0 else len(wire)
        found = _type_in(wire, at, end_of_header)
        at = end + 4 if end >= 0 else len(wire)
        if found is not None and found[1].lower() == b"message":
            levels.open(b"")
        elif found is not None:
            near = min(end_of_header, found.end() + LONG_OCTETS)
            boundary = _BOUNDARY.search(wire, found.end(), near)
            levels.open(b"--" + (boundary[1] or boundary[2]) if boundary else b"")
        if len(levels.boundaries) > limit:
            return True
        if found is None or found[1].lower() != b"message":
            at = _next_part(wire, at, levels)
        if at < 0 or at >= len(wire):
            return False


def _type_in(wire: bytes, start: int, end: int) -> "re.Match[bytes] | None":
    """The Content-Type of a nested part between `start` and `end`; a piece at a time where that is far.

    A type or boundary more than `LONG_OCTETS` behind its field's name is none; no header section of a message
    may be so long.
    """
    for at in range(start, end, _SEARCH_OCTETS):
        for field in _FIELD.finditer(wire, at, min(end, at + _SEARCH_OCTETS + _FIELD_OCTETS - 1)):
            found = _TYPE.match(wire, field.start(), min(end, field.start() + LONG_OCTETS))
            if found is not None:
                return found
    return None


def _next_part(wire: bytes, at: int, levels: _Levels) -> int:
    """Start of the next part's header; -1 at the end."""
    at -= 2
    while True:
        at = find(wire, b"\r\n--", at)
        if at < 0:
            return -1
        end = wire.find(b"\r\n", at + 2)
        if end < 0:
            return -1  # the line has no end, so there is no part behind it
        if levels.begins_part(wire[at + 2 : end].rstrip(b" \t")):
            return end + 2
        at = end
