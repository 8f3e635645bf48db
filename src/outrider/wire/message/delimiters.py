"""Where the parts of a multipart begin and end, and boundaries that are nowhere else.

Theory: a delimiter is a line of two hyphens, the boundary, perhaps two hyphens more, and nothing else but
white space. A line that only begins with it is text: a boundary that begins another one is common, and the
standard's rule that a beginning is enough would cut such a message wrongly. The search is for CRLF, hyphens
and boundary at once, so a body costs one search in C for each time that these stand in it.

Invariant: the cost is linear in the octets; a boundary that was chosen begins no line of any piece.

Standards: RFC 2046 §5.1.1 (delimiters), RFC 2046 §5.1.2 (nesting).
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

BOUNDARY_OCTETS: Final = 70
"""RFC 2046 §5.1.1."""

_MARK: Final = "=_"  # in no encoded text, RFC 2045 §6.7


class Delimiter(NamedTuple):
    """One delimiter line.

    Attributes:
        start: Index of its first hyphen.
        end: Index behind its line end.
        is_close: It ends the multipart.
    """

    start: int
    end: int
    is_close: bool


def find_delimiters(octets: bytes, start: int, end: int, boundary: bytes) -> Iterator[Delimiter]:
    """The delimiter lines in `octets[start:end]`, which begins a line, up to the one that closes."""
    sought = b"\r\n--" + boundary
    width = len(sought) - 2
    line = start if octets.startswith(sought[2:], start, end) else octets.find(sought, start, end) + 2
    while line > 1 or line == start:
        line_end = octets.find(b"\r\n", line, end)
        behind = line_end + 2
        if line_end < 0:
            line_end = behind = end
        rest = octets[line + width : line_end].rstrip(b" \t")
        if rest in (b"", b"--"):
            yield Delimiter(line, behind, bool(rest))
            if rest:
                return
        line = octets.find(sought, line_end, end) + 2


def holds_delimiter(octets: bytes, boundary: bytes) -> bool:
    """True when a line of `octets` is a delimiter of this boundary."""
    return next(find_delimiters(octets, 0, len(octets), boundary), None) is not None


def choose_boundary(pieces: Iterable[bytes]) -> str:
    """A boundary that is in none of the pieces: their digest, so that nobody can write it in advance."""
    kept = list(pieces)
    digest = blake2b(digest_size=15)
    for piece in kept:
        digest.update(piece)
    while True:
        boundary = _MARK + digest.hexdigest()
        mark = b"--" + boundary.encode("ascii")
        if not any(mark in piece for piece in kept):
            return boundary
        digest.update(mark)
