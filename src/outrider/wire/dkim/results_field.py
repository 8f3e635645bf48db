"""Puts an `Authentication-Results` field on a message, and takes off those that claim to be ours.

In: a content in wire form. Out: the same with one field more at its top, and without fields of that name that
somebody else wrote under our name: whoever reads ours later, as a filter of a mailbox, must not find forged
ones beside it.

Invariant: nothing but whole fields of that name is taken out; every other octet stays as it was.

Standards: RFC 8601 §2.2 (the name of who checked stands first), RFC 8601 §5 (forged ones are removed),
RFC 5322 §3.2.2 (comments), RFC 5322 §3.2.4 (quoted strings).
"""

import re
from collections.abc import Sequence
from typing import Final

from outrider.model.flow import Content
from outrider.wire.dkim.authentication_results import Checked, format_results
from outrider.wire.smtp.content import checked

_FIELD: Final = re.compile(rb"(?mi)^authentication-results[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_IN_COMMENT: Final = re.compile(r"[()\\]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_NAME: Final = re.compile(r"[^\s;()\"/]+")


def with_results(content: Content, authserv_id: str, checks: Sequence[Checked]) -> Content:
    """The content with the field at its top and without those that claim the same name.

    A field whose name cannot be read is taken off too, because another reader may find ours in it.

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
    """True for a field of our name, or of none that can be read."""
    name = claimed_name(value.decode("utf-8", "replace"))
    return not name or name.lower().rstrip(".") == authserv_id.lower().rstrip(".")


def claimed_name(value: str) -> str:
    """The name of who checked, as the value of a field claims; empty where it cannot be read."""
    place = _after_comments(value)
    quoted = _QUOTED.match(value, place)
    if quoted is not None:
        return _PAIR.sub(r"\1", quoted[1])
    name = _NAME.match(value, place)
    return "" if name is None else name[0]


def _after_comments(value: str) -> int:
    """The place of the first character that is neither space nor in a comment."""
    place = depth = 0
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
