"""Attachments and inline parts: octets with a type, a file name or a content id, as parts of a message.

In: an `Attachment` from anybody. Out: the whole part, its fields, the empty line and the content in base64,
or a `FieldError` that names the argument at fault.

Theory: the content is always base64, so nothing in it can look like a boundary, a dot line or a line end. A
file name that is plain ASCII goes into a quoted string, which every reader understands; any other goes
percent-encoded, in sections that fit a line.

Invariant: a reader finds exactly these octets under exactly this name, or there was an error; a name holds no
path, no control character and nothing that reorders what is shown of it.

Standards: RFC 2045 §5.1 (types), RFC 2045 §6.7 (quoted-printable), RFC 2045 §6.8 (base64), RFC 2045 §7
(content ids), RFC 2046 §5.2.1 (message/rfc822 is not encoded), RFC 2183 §2 (dispositions), RFC 2231 §3 and
RFC 2231 §4 (long and foreign file names).
"""

import re
from binascii import b2a_base64, b2a_qp
from typing import Final

import msgspec

from outrider.wire.headers import FOLD_OCTETS, FieldError

FILENAME_CHARACTERS: Final = 255
"""Chosen: what common file systems hold."""

_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}"
    r"(?:; ?[A-Za-z0-9-]{1,32}=[A-Za-z0-9!#$&^_.+-]{1,64}){0,4}",
    re.ASCII,
)
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9._+-]{1,64}(?:@[A-Za-z0-9._-]{1,128})?", re.ASCII)
_UNSAFE_NAME: Final = re.compile(
    "[/\\\\\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
# Paths and controls; zero-width and bidirectional characters make one name look like another (CVE-2009-3376).
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9 !#$&'()+,.;=@\[\]^_`{}~-]{1,60}", re.ASCII)
_ATTRIBUTE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~")
# RFC 2231 §7: attribute-char
_LINE_OCTETS: Final = 57  # 76 characters of base64, RFC 2045 §6.8
_OVER_LONG: Final = re.compile(rb"(?m)^([^\r\n]{74})(?==(?:20|09)\r?$)")
# b2a_qp does not count the two octets by which the white space at the end of a line grows
_BUNCH_OCTETS: Final = _LINE_OCTETS * 1024


class Attachment(msgspec.Struct, frozen=True):
    """What is attached.

    Attributes:
        content: Its octets.
        content_type: Media type, perhaps with parameters.
        filename: Name to save it under; empty is none.
        content_id: Makes it an inline part that the HTML shows as `cid:…`; empty is an attachment.
    """

    content: bytes
    content_type: str
    filename: str = ""
    content_id: str = ""


class Part(msgspec.Struct, frozen=True):
    """A part that is ready to be put between boundaries.

    Attributes:
        octets: Fields, empty line and content; ends in CRLF.
        is_inline: It belongs to the HTML.
    """

    octets: bytes
    is_inline: bool


def format_part(attachment: Attachment, field: str) -> Part:
    """The part; made once and used in any number of messages.

    Args:
        attachment: What is attached.
        field: Name of the argument for errors, such as `attachments/0`.

    Raises:
        FieldError: Something of it cannot be written.
    """
    kind = attachment.content_type
    if not _TYPE.fullmatch(kind):
        raise FieldError(f"{field}/content_type", "is not a media type such as application/pdf")
    top = kind.partition("/")[0].lower()
    if top in ("multipart", "message"):
        raise FieldError(
            f"{field}/content_type", f"{top}/ parts have a structure of their own; send it as raw message"
        )
    name = attachment.filename
    if name:
        _check_filename(name, f"{field}/filename")
    fields = [b"Content-Type: %s\r\n" % kind.encode("ascii")]
    fields.append(b"Content-Transfer-Encoding: base64\r\n")
    content_id = attachment.content_id
    if content_id:
        if not _CONTENT_ID.fullmatch(content_id):
            raise FieldError(f"{field}/content_id", "is not a content id of letters, digits, `.`, `_`, `-`")
        fields.append(b"Content-ID: <%s>\r\n" % content_id.encode("ascii"))
    fields.append(_disposition("inline" if content_id else "attachment", name))
    fields += (b"\r\n", format_base64(attachment.content))
    return Part(b"".join(fields), bool(content_id))


def _check_filename(name: str, field: str) -> None:
    if len(name) > FILENAME_CHARACTERS:
        raise FieldError(field, f"is longer than {FILENAME_CHARACTERS} characters")
    found = _UNSAFE_NAME.search(name)
    if found is not None:
        raise FieldError(field, f"holds U+{ord(found.group()):04X}, which no file name may hold")
    if name.strip(". ") == "" or name != name.strip(" "):
        raise FieldError(field, "is only dots, or begins or ends with a space")


def _disposition(kind: str, name: str) -> bytes:
    """The Content-Disposition field (RFC 2183 §2), its file name by RFC 2231 where it has to be."""
    start = f"Content-Disposition: {kind}"
    if not name:
        return f"{start}\r\n".encode("ascii")
    if _PLAIN_NAME.fullmatch(name):
        return f'{start};\r\n filename="{name}"\r\n'.encode("ascii")
    lines = ";\r\n ".join(extended_parameter("filename", name))
    return f"{start};\r\n {lines}\r\n".encode("ascii")


def extended_parameter(name: str, text: str) -> list[str]:
    """A parameter whose value is any text, in as many sections as it takes (RFC 2231 §3, RFC 2231 §4)."""
    sections: list[str] = []
    section = "UTF-8''"
    room = FOLD_OCTETS - len(f" {name}*99*=;")
    for character in text:
        encoded = "".join(
            chr(octet) if octet in _ATTRIBUTE else f"%{octet:02X}" for octet in character.encode()
        )
        if len(section) + len(encoded) > room:
            sections.append(section)
            section = ""
        section += encoded
    sections.append(section)
    if len(sections) == 1:
        return [f"{name}*={section}"]
    return [f"{name}*{number}*={each}" for number, each in enumerate(sections)]


def format_base64(octets: bytes) -> bytes:
    """Base64 in lines of 76, each ended by CRLF; at least one line end."""
    if not octets:
        return b"\r\n"
    lines: list[bytes] = []
    for start in range(0, len(octets), _BUNCH_OCTETS):
        encoded = b2a_base64(octets[start : start + _BUNCH_OCTETS], newline=False)
        lines += [encoded[at : at + 76] for at in range(0, len(encoded), 76)]
    lines.append(b"")
    return b"\r\n".join(lines)


def format_quoted(octets: bytes) -> bytes:
    """Quoted-printable of text (RFC 2045 §6.7) in lines of at most 76; its CRLF stay line ends."""
    quoted = b2a_qp(octets, quotetabs=False, istext=True)
    if b"=20" in quoted or b"=09" in quoted:
        return _OVER_LONG.sub(rb"\1=\r\n", quoted)
    return quoted
