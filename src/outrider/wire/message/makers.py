"""New parts: texts, octets, messages and multiparts, to be put into a tree.

In: what a part is to say. Out: a part without a parent, or an error that says what cannot be written.

Standards: RFC 2045 §5 (types), RFC 2046 §5.1.1 (boundaries), RFC 2046 §5.2.1 (message/rfc822), RFC 2183 §2
(dispositions), RFC 6532 §3.7 (message/global).
"""

import re
from collections.abc import Sequence
from typing import Final

from outrider.wire.headers import LINE_OCTETS, FieldError
from outrider.wire.message import transfer
from outrider.wire.message.charsets import is_utf8
from outrider.wire.message.content import set_decoded, set_text
from outrider.wire.message.delimiters import BOUNDARY_OCTETS, choose_boundary
from outrider.wire.message.limits import DEFAULT, EditError, MessageLimits, check_lines
from outrider.wire.message.parameters import Parametered, format_parametered, parse_parametered
from outrider.wire.message.tree import Part, read_part

_BOUNDARY: Final = re.compile(
    rf"[0-9A-Za-z'()+_,./:=? -]{{0,{BOUNDARY_OCTETS - 1}}}[0-9A-Za-z'()+_,./:=?-]"
).fullmatch
# RFC 2046 §5.1.1: bchars, of which a space may not be the last


def make_part(limits: MessageLimits = DEFAULT) -> Part:
    """A part with no header and no content."""
    return read_part(b"\r\n", limits=limits)


def make_text(text: str, *, media_type: str = "text/plain", charset: str = "", encoding: str = "") -> Part:
    """A text part; charset and encoding as for `content.set_text`."""
    part = make_part()
    set_text(part, text, media_type=media_type, charset=charset, encoding=encoding)
    part.header.delete("MIME-Version")
    return part


def make_binary(
    octets: bytes,
    media_type: str = "application/octet-stream",
    *,
    filename: str = "",
    disposition: str = "",
    content_id: str = "",
    encoding: str = transfer.BASE64,
) -> Part:
    """A part of octets.

    Args:
        octets: Its content.
        media_type: Type, perhaps with parameters.
        filename: Name to save it under; empty is none.
        disposition: `attachment` or `inline`; empty is attachment where there is a file name.
        content_id: Without angle brackets; empty is none.
        encoding: Transfer encoding.

    Raises:
        EditError: The encoding cannot hold the octets.
        FieldError: Something of it cannot be written.
    """
    part = make_part()
    set_decoded(part, octets, media_type=parse_parametered(media_type), encoding=encoding)
    part.header.delete("MIME-Version")
    if disposition or filename:
        value = Parametered(disposition.lower() or "attachment").with_parameter("filename", filename)
        part.header.append("Content-Disposition", format_parametered(value, "Content-Disposition"))
    if content_id:
        part.header.append("Content-ID", f"<{content_id}>")
    return part


def make_multipart(
    subtype: str = "mixed",
    children: Sequence[Part] = (),
    *,
    boundary: str = "",
    parameters: Parametered | None = None,
) -> Part:
    """A multipart of these children.

    Args:
        subtype: `mixed`, `alternative`, `related` …
        children: Parts; each is taken out of where it was.
        boundary: Empty makes one; one that stands in a child is replaced when the message is written.
        parameters: Further parameters of the type, in the value of another.

    Raises:
        FieldError: The boundary or the subtype cannot be written.
    """
    if boundary and not _BOUNDARY(boundary):
        raise FieldError(
            "boundary", f"is not 1 to {BOUNDARY_OCTETS} of the characters that a boundary may have"
        )
    chosen = boundary or choose_boundary([child.octets() for child in children])
    more = parameters.parameters if parameters is not None else ()
    kind = Parametered(f"multipart/{subtype.lower()}", more).with_parameter("boundary", chosen)
    part = make_part()
    part.header.append("Content-Type", format_parametered(kind, "Content-Type"))
    for child in children:
        part.add_last(child)
    return part


def make_message(octets: bytes, *, filename: str = "") -> Part:
    """A part that holds a whole message: as it is, because it is not to be encoded.

    Raises:
        EditError: It holds a NUL, a bare CR or a bare LF, or a line that is too long for any message.
    """
    check_lines(octets, "the message")
    if not transfer.fits_lines(octets):
        raise EditError(f"the message has a line of more than {LINE_OCTETS} octets")
    head = octets.partition(b"\r\n\r\n")[0]
    part = make_part()
    kind = "message/rfc822" if head.isascii() or not is_utf8(head) else "message/global"
    part.set_body(octets)
    part.header.append("Content-Type", kind)
    if filename:
        value = Parametered("attachment", (("filename", filename),))
        part.header.append("Content-Disposition", format_parametered(value, "Content-Disposition"))
    if not octets.isascii():
        part.header.append("Content-Transfer-Encoding", transfer.EIGHT_BIT)
    return part
