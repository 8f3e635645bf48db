"""Puts an `Authentication-Results` field on a message, and takes off those that claim to be ours.

In: a content in wire form. Out: the same with one field more at its top, and without fields of that name that
somebody else wrote under our name: whoever reads ours later, as a filter of a mailbox, must not find forged
ones beside it, nor any whose version he does not know.

Invariant: nothing but whole fields of that name is taken out; every other octet stays as it was.

Standards: RFC 8601 §2.2 (the name of who checked stands first), RFC 8601 §5 (forged ones are removed),
RFC 5322 §3.2.2 (comments), RFC 5322 §3.2.4 (quoted strings).
"""

import re
from collections.abc import Sequence
from typing import Final

from outrider.base.errors import AddressError
from outrider.model.flow import Content
from outrider.model.mailbox import parse_domain
from outrider.wire.dkim.authentication_results import Checked, format_results
from outrider.wire.smtp.content import checked

_FIELD: Final = re.compile(rb"(?mi)^authentication-results[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_IN_COMMENT: Final = re.compile(r"[()\\]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_NAME: Final = re.compile(r"[^\s;()\"/]+")
_DIGITS: Final = re.compile(r"[0-9]+")

_DIGITS_MAX: Final = 9
# chosen: no version is as long

VERSION: Final = 1
"""RFC 8601 §2.2: of the field."""


def with_results(content: Content, authserv_id: str, checks: Sequence[Checked]) -> Content:
    """The content with the field at its top and without those that claim the same name.

    A field whose name cannot be read is taken off too, because another reader may find ours in it; so is one
    of another version (RFC 8601 §5).

    Args:
        content: The message.
        authserv_id: Who checked, usually our host name.
        checks: What came of it.

    Raises:
        LocalProtocolError: `authserv_id` is no such name.
    """
    ours = format_results(authserv_id, checks)
    header, rest = content.wire[: content.header_octets], content.wire[content.header_octets :]
    kept = _FIELD.sub(lambda found: b"" if _is_claimed(found[1], authserv_id) else found[0], header)
    if kept == header:
        return Content(ours + content.wire, content.traits, content.header_octets + len(ours))
    return checked(ours + kept + rest)


def _is_claimed(value: bytes, authserv_id: str) -> bool:
    """True for a field of our name, of none that can be read, or of a version that nobody here knows."""
    name, version = claim(value.decode("utf-8", "replace"))
    return not name or version != VERSION or _canonical(name) == _canonical(authserv_id)


def _canonical(name: str) -> str:
    """A name as others compare it: U-labels and A-labels are the same (RFC 8601 §5)."""
    name = name.lower().rstrip(".")
    if name.isascii() and "xn--" not in name:
        return name
    try:
        return parse_domain(name)
    except AddressError:
        return name


def claim(value: str) -> tuple[str, int]:
    """Who checked, as the value of a field claims, empty where it cannot be read; and the field's version."""
    place = _after_comments(value, 0)
    quoted = _QUOTED.match(value, place)
    found = quoted or _NAME.match(value, place)
    if found is None:
        return "", VERSION
    name = found[0] if quoted is None else _PAIR.sub(r"\1", quoted[1]).strip()
    version = _DIGITS.match(value, _after_comments(value, found.end()))
    return name, VERSION if version is None else int(version[0][:_DIGITS_MAX])


def _after_comments(value: str, place: int) -> int:
    """The place of the first character from `place` on that is neither space nor in a comment."""
    depth = 0
    while True:
        if not depth:
            place = _SPACE.match(value, place).end()  # type: ignore[union-attr]  # it matches always
            if value[place : place + 1] != "(":
                return place
        found = _IN_COMMENT.search(value, place)
        if found is None:
            return len(value)
        place = found.end() + (found[0] == "\\")
        depth += {"(": 1, ")": -1}.get(found[0], 0)
