"""Find and replace in the octets of a part, in its body, or in what its texts say.

In: a part and a *finder*: a function that takes a subject and an index and gives the first match from there
on, or None, as the `search` of a compiled pattern does. Out: the match, or how often something was
replaced.

Theory: what a pattern may cost is the finder's affair; here the number of matches and the growth of the
message are bounded. A replacement in a text goes back in the text's own charset and transfer encoding if
they can hold it; of a body in quoted-printable only the lines that were touched are written anew.

Invariant: what no match touches is the octets that it was, as far as its encoding allows (base64 is written
anew), and nothing at all changes where nothing matches.

Standards: RFC 2045 §6 (encodings).
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec

from outrider.wire.message import transfer
from outrider.wire.message.charsets import Reading
from outrider.wire.message.content import decoded, is_text, maybe_text, put, set_text
from outrider.wire.message.limits import EditError, crlf
from outrider.wire.message.tree import Part

Subject = TypeVar("Subject", str, bytes)


class Found(Protocol):
    """A match; that of `re` is one."""

    def start(self) -> int:
        """Index where it begins."""

    def end(self) -> int:
        """Index behind it."""


MatchType = TypeVar("MatchType", bound=Found)
Finder = Callable[[Subject, int], MatchType | None]
"""Gives the first match at or behind an index."""

Writer = Callable[[MatchType], Subject]
"""Gives what is to stand in the place of a match."""


class Bound(msgspec.Struct, frozen=True):
    """What replacing may do.

    Attributes:
        matches: So many at most.
        octets: Length at most of what comes out, in characters for a text.
    """

    matches: int = 100_000  # chosen: a message that has more of them is an attack or a mistake
    octets: int = 64 << 20  # chosen: larger than any message that a listener takes


DEFAULT_BOUND: Final = Bound()


def find_raw(part: Part, find: "Finder[bytes, MatchType]") -> MatchType | None:
    """The first match in header and body, as they stand in the message."""
    return find(part.octets(), 0)


def find_body(part: Part, find: "Finder[bytes, MatchType]") -> MatchType | None:
    """The first match in the body, transfer encoding as it is."""
    return find(part.body(), 0)


def find_text(part: Part, find: "Finder[str, MatchType]") -> MatchType | None:
    """The first match in what the text parts from this one on down say; each is searched for itself."""
    for each in part.walk():
        text = maybe_text(each)
        if text is not None:
            match = find(text, 0)
            if match is not None:
                return match
    return None


def replace_raw(
    part: Part,
    find: "Finder[bytes, MatchType]",
    write: "Writer[MatchType, bytes]",
    bound: Bound = DEFAULT_BOUND,
    tidy: Callable[[bytes], bytes] = bytes,
) -> int:
    """Replace each match in header and body; the part is read anew.

    Args:
        part: The part.
        find: Finds matches.
        write: Gives what is to stand in their place.
        bound: What that may come to.
        tidy: Is given the result, as `limits.with_crlf`.

    Returns:
        How many there were.

    Raises:
        EditError: The result would hold a NUL, a bare CR or a bare LF, or is beyond the bound.
    """
    octets = part.octets()
    edits = _edits(octets, find, write, bound)
    if edits:
        part.set_octets(tidy(transfer.apply_edits(octets, edits)))
    return len(edits)


def replace_body(
    part: Part,
    find: "Finder[bytes, MatchType]",
    write: "Writer[MatchType, bytes]",
    bound: Bound = DEFAULT_BOUND,
    tidy: Callable[[bytes], bytes] = bytes,
) -> int:
    """Replace each match in the body, transfer encoding as it is; see `replace_raw`."""
    octets = part.body()
    edits = _edits(octets, find, write, bound)
    if edits:
        part.set_body(tidy(transfer.apply_edits(octets, edits)))
    return len(edits)


def replace_text(
    part: Part, find: "Finder[str, MatchType]", write: "Writer[MatchType, str]", bound: Bound = DEFAULT_BOUND
) -> int:
    """Replace each match in what the text parts from this one on down say.

    Returns:
        How many there were.

    Raises:
        EditError: The result is beyond the bound, or holds half of a character.
    """
    count = 0
    for each in list(part.walk()):
        if is_text(each):
            count += _replace_in(each, find, write, bound)
    return count


def _replace_in(
    part: Part, find: "Finder[str, MatchType]", write: "Writer[MatchType, str]", bound: Bound
) -> int:
    octets = decoded(part)
    reading = Reading(octets, part.charset)
    edits = [(at, end, crlf(written)) for at, end, written in _edits(reading.text, find, write, bound)]
    if not edits:
        return 0
    exact = _in_octets(reading, edits)
    if exact is None:
        _rewrite(part, reading.text, edits)
    else:
        _apply(part, octets, exact)
    return len(edits)


def _edits(
    subject: Subject, find: "Finder[Subject, MatchType]", write: "Writer[MatchType, Subject]", bound: Bound
) -> "list[tuple[int, int, Subject]]":
    """The places of all matches, and what is to stand there; none overlap."""
    edits: list[tuple[int, int, Subject]] = []
    size = len(subject)
    at = 0
    while at <= len(subject):
        match = find(subject, at)
        if match is None:
            break
        start, end = match.start(), match.end()
        replacement = write(match)
        size += len(replacement) - (end - start)
        if len(edits) >= bound.matches:
            raise EditError(f"there are more than {bound.matches} matches to replace")
        if size > bound.octets:
            raise EditError(f"replacing would make more than {bound.octets} octets")
        edits.append((start, end, replacement))
        at = end if end > start else end + 1
    return edits


def _in_octets(reading: Reading, edits: list[tuple[int, int, str]]) -> list[transfer.Edit] | None:
    """The edits as edits of the octets; None where the charset cannot have them."""
    if not reading.is_exact:
        return None
    exact: list[transfer.Edit] = []
    at = read = 0
    for start, end, text in edits:
        replacement = reading.maybe_encode(text)
        if replacement is None:
            return None
        begin = read + len(reading.octets(at, start))
        read = begin + len(reading.octets(start, end))
        at = end
        exact.append((begin, read, replacement))
    return exact


def _rewrite(part: Part, text: str, edits: list[tuple[int, int, str]]) -> None:
    """The whole text anew, in its charset if that has all characters, else in UTF-8."""
    out: list[str] = []
    at = 0
    for start, end, replacement in edits:
        out += (text[at:start], replacement)
        at = end
    out.append(text[at:])
    set_text(part, "".join(out))


def _apply(part: Part, octets: bytes, edits: list[transfer.Edit]) -> None:
    encoding = part.transfer_encoding
    if encoding == transfer.QUOTED_PRINTABLE:
        part.set_body(transfer.edit_quoted(part.body(), edits))
        return
    edited = transfer.apply_edits(octets, edits)
    if not transfer.can_carry(edited, encoding):
        encoding = transfer.shorter_encoding(edited)
    put(part, edited, part.content_type, encoding)
