"""What a part says: its octets and text decoded, and others put in their place.

Theory: reading never fails, whatever encoding or charset a part claims. Writing keeps the charset and the
transfer encoding that the part has as long as they can hold what is written; else the charset becomes
UTF-8, and the encoding the shorter one of quoted-printable and base64. 8bit is kept or asked for, never
chosen, because it is not known here what the next server takes.

Invariant: reading gives what was written; a text only has its line ends changed to CRLF.

Standards: RFC 2045 §6 (encodings), RFC 2045 §6.4 (encodings of containers), RFC 2046 §4.1 (text).
"""

from typing import Final

from outrider.wire.headers import FieldError
from outrider.wire.message import transfer
from outrider.wire.message.charsets import decode, is_known, maybe_encode
from outrider.wire.message.limits import EditError, crlf
from outrider.wire.message.parameters import Parametered, writable
from outrider.wire.message.tree import Part

_ENCODINGS: Final = frozenset(
    (transfer.SEVEN_BIT, transfer.EIGHT_BIT, transfer.QUOTED_PRINTABLE, transfer.BASE64)
)


def is_text(part: Part) -> bool:
    """True for a leaf of type text."""
    return part.media_type.startswith("text/")


def decoded(part: Part) -> bytes:
    """The octets that a leaf stands for, its transfer encoding undone; those of a container as they are."""
    return part.body() if part.is_container else transfer.decode(part.body(), part.transfer_encoding)


def maybe_text(part: Part) -> str | None:
    """The text of a text part, line ends as they are in it; None for any other part."""
    return decode(decoded(part), part.charset) if is_text(part) else None


def texts(part: Part, *, attachments: bool = True) -> list[str]:
    """The texts of all text parts from this one on down, in order; attached ones too, if wished."""
    found = []
    for each in part.walk():
        if attachments or not each.is_attachment:
            text = maybe_text(each)
            if text is not None:
                found.append(text)
    return found


def set_text(part: Part, text: str, *, media_type: str = "", charset: str = "", encoding: str = "") -> None:
    """Make the part a text part that says `text`; children are gone.

    Args:
        part: The part.
        text: Its line ends become CRLF.
        media_type: `text/…`; empty keeps the part's own if it is a text, and is text/plain otherwise.
        charset: Charset to write; empty keeps the part's own as long as it has all characters.
        encoding: Transfer encoding to write; empty keeps the part's own as long as it can hold the text.

    Raises:
        EditError: The text cannot be written in the charset or the encoding that was asked for.
        FieldError: The type cannot be written.
    """
    text = crlf(text)
    own = part.content_type if is_text(part) else Parametered("text/plain")
    if media_type and media_type.lower() != own.value:
        own = Parametered(media_type.lower())
    if not own.value.startswith("text/"):
        raise FieldError("Content-Type", "of a text is text/…")
    octets, charset = _octets(text, charset, part.charset if is_text(part) else "")
    encoding = _encoding(octets, encoding, part.transfer_encoding)
    kind = own.with_parameter("charset", charset)
    if kind != part.content_type and not media_type:
        kind = writable(kind, "text/plain")
    put(part, octets, kind, encoding)


def set_decoded(
    part: Part, octets: bytes, *, media_type: Parametered | None = None, encoding: str = ""
) -> None:
    """Make the part a leaf that stands for `octets`; children are gone.

    Args:
        part: The part.
        octets: Any octets.
        media_type: Its type; None keeps the part's own.
        encoding: Transfer encoding to write; empty keeps the part's own if it can hold them, else base64.

    Raises:
        EditError: The encoding that was asked for cannot hold the octets.
    """
    kind = part.content_type if media_type is None else media_type
    if kind.value.startswith("multipart/"):
        raise EditError("a multipart is made of parts, not of octets")
    if not encoding and not transfer.can_carry(octets, part.transfer_encoding):
        encoding = transfer.BASE64
    put(part, octets, kind, _encoding(octets, encoding, part.transfer_encoding))


def put(part: Part, octets: bytes, kind: Parametered, encoding: str) -> None:
    """Body and header fields of a leaf that stands for `octets`."""
    encoded = transfer.encode(octets, encoding)
    if kind != part.content_type or "content-type" not in part.header:
        part.set_content_type(kind)
    part.set_transfer_encoding(encoding)
    part.set_body(encoded)
    if not encoded.isascii():
        part.allow_eight_bits()


def _octets(text: str, charset: str, own: str) -> tuple[bytes, str]:
    if charset:
        octets = maybe_encode(text, charset)
        if octets is None:
            reason = "lacks a character of the text" if is_known(charset) else "is none that mail uses"
            raise EditError(f"the charset {charset!r} {reason}")
        return octets, charset
    if own and (octets := maybe_encode(text, own)) is not None:
        return octets, own
    try:
        octets = text.encode()
    except UnicodeEncodeError as error:
        raise EditError("the text holds half of a surrogate pair, which is not a character") from error
    return octets, "us-ascii" if octets.isascii() else "utf-8"


def _encoding(octets: bytes, asked: str, own: str) -> str:
    if asked:
        if asked.lower() not in _ENCODINGS:
            raise EditError(f"the transfer encoding {asked!r} is none of {', '.join(sorted(_ENCODINGS))}")
        if not transfer.can_carry(octets, asked.lower()):
            raise EditError(f"the transfer encoding {asked} cannot hold what is to be written")
        return asked.lower()
    if transfer.can_carry(octets, own):
        return own
    return transfer.shorter_encoding(octets)
