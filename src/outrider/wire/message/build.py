"""A whole message out of fields, alternatives of one text, and attachments.

In: what it is to say. Out: its octets, of the structure mixed(alternative(parts), attachments), or an error
that says what cannot be written.

Theory: nothing is left out for being alone, so who reads such messages finds each thing at the same place.
Values of fields may be octets, which stand as they are; a text goes out in the charset that its type names.

Standards: RFC 2046 §5.1.3 (mixed), RFC 2046 §5.1.4 (alternative), RFC 2046 §5.2.1 (message/rfc822).
Not here: drafts of the HTTP interface (wire.mime), which have fields of their own for each thing.
"""

from collections.abc import Sequence

import msgspec

from outrider.wire.message import transfer
from outrider.wire.message.header import Header, Value
from outrider.wire.message.limits import EditError, check_lines
from outrider.wire.message.makers import make_binary, make_message, make_multipart, make_text
from outrider.wire.message.parameters import parse_parametered
from outrider.wire.message.tree import Part

MESSAGE_NAME = "Attached Message"
"""Name of a message that is attached, as Momentum gives it."""


class Attached(msgspec.Struct, frozen=True):
    """One attachment.

    Attributes:
        content: Its octets; a whole message where `is_message`.
        media_type: Type, perhaps with parameters.
        name: File name; empty is none.
        fields: Further fields, whole lines ended by CRLF.
        encoding: Transfer encoding.
        is_message: `content` is a message: type, name, fields and encoding do not count.
    """

    content: bytes
    media_type: str = "application/octet-stream"
    name: str = ""
    fields: bytes = b""
    encoding: str = transfer.BASE64
    is_message: bool = False


def build_message(
    fields: Sequence[tuple[str, Value]],
    parts: Sequence[tuple[str, str]],
    attachments: Sequence[Attached] = (),
) -> bytes:
    """The message.

    Args:
        fields: Names and values in order; those that describe the body are made here.
        parts: Types, perhaps with charset, and texts; the last is the one that readers like best. A text of a
            type without a charset goes out in quoted-printable, any other in base64.
        attachments: What follows the text.

    Raises:
        FieldError: A name, a value or a type cannot be written.
        EditError: A text cannot be written in its charset, or an attached message is none.
    """
    alternatives = make_multipart("alternative", [_alternative(kind, text) for kind, text in parts])
    mixed = make_multipart("mixed", [alternatives, *map(_attachment, attachments)])
    header = Header()
    for name, value in fields:
        header.append(name, value)
    header.replace("MIME-Version", ["1.0"])
    header.replace("Content-Type", mixed.header.get_raw("Content-Type"))
    header.delete("Content-Transfer-Encoding")
    for value in mixed.header.get_raw("Content-Transfer-Encoding"):
        header.append("Content-Transfer-Encoding", value)
    return b"%s\r\n%s\r\n" % (header.octets(), mixed.body())


def _alternative(kind: str, text: str) -> Part:
    found = parse_parametered(kind)
    charset = found.get("charset")
    if not found.value.startswith("text/"):
        return make_binary(text.encode("utf-8", "replace"), kind)
    encoding = transfer.BASE64 if charset else transfer.QUOTED_PRINTABLE
    part = make_text(text, media_type=found.value, charset=charset, encoding=encoding)
    for name, value in found.parameters:
        if name != "charset":
            part.set_content_type(part.content_type.with_parameter(name, value))
    part.header.delete("MIME-Version")
    return part


def _attachment(attached: Attached) -> Part:
    if attached.is_message:
        part = make_message(attached.content)
        part.set_content_type(part.content_type.with_parameter("name", MESSAGE_NAME))
        part.header.delete("MIME-Version")
        return part
    part = make_binary(
        attached.content, attached.media_type, filename=attached.name, encoding=attached.encoding
    )
    if attached.name:
        part.set_content_type(part.content_type.with_parameter("name", attached.name))
        part.header.delete("MIME-Version")
    if attached.fields:
        further = Header(check_lines(attached.fields, "the fields of an attachment"))
        for place, name in enumerate(further.names()):
            if not name:
                raise EditError("the fields of an attachment hold a line that is no field")
            part.header.append(name, further.raw_at(place))
    return part
