"""Text that others wrote, made safe to write into a report; and the few encodings that a report needs.

In: remote replies, ORCPT and ENVID values, host names, operators' templates. Out: text without anything
that could end a line, hide itself or reverse the reading order; bounded in length.

Standards: RFC 2047 §2 (encoded words), RFC 6533 §3 (internationalised addresses in 7 bits),
RFC 5322 §3.3 (dates), RFC 2045 §6.7 (quoted-printable), RFC 2045 §6.8 (base64).
"""

import base64
import binascii
import unicodedata
from datetime import UTC, datetime

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Unicode general categories: controls, formats (bidi marks among them), surrogates, private, unassigned,
# line and paragraph separators.

_WORD_OCTETS = 45
# RFC 2047 §2: an encoded word has at most 75 characters; 45 octets are 60 of base64, plus 12 of frame.

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

CUT_MARK = "..."


def clean(text: str, limit: int) -> str:
    """One line of visible text: hidden characters become spaces, runs of space one, at most `limit` long."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(" " if unicodedata.category(char) in _HIDDEN else char for char in text[: limit * 2])
    text = " ".join(text[: limit * 2].split())
    return text if len(text) <= limit else text[: limit - len(CUT_MARK)] + CUT_MARK


def clean_ascii(text: str, limit: int) -> str:
    """As `clean`, with `?` for what is not ASCII."""
    return clean(text, limit).encode("ascii", "replace").decode("ascii")


def encoded_words(text: str) -> str:
    """`text` as RFC 2047 encoded words, folded; plain ASCII stays as it is."""
    if text.isascii():
        return text
    words: list[str] = []
    chunk = b""
    for char in text:
        octets = char.encode("utf-8", "replace")
        if len(chunk) + len(octets) > _WORD_OCTETS:
            words.append(_encoded_word(chunk))
            chunk = b""
        chunk += octets
    words.append(_encoded_word(chunk))
    return "\r\n ".join(words)


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(octets).decode('ascii')}?="


def phrase(text: str) -> str:
    """A display name: a quoted string, or encoded words (RFC 5322 §3.2.5)."""
    if not text.isascii():
        return encoded_words(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def utf8_address_ascii(address: str) -> str:
    """An internationalised address in 7 bits (utf-8-addr-xtext, RFC 6533 §3)."""
    return "".join(
        char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):X}}}" for char in address
    )


def date(unix_seconds: float) -> str:
    """A date-time in UTC, as in `Date` (RFC 5322 §3.3)."""
    at = datetime.fromtimestamp(unix_seconds, UTC)
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} +0000"


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76 characters, ended by CRLF."""
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def quoted_printable(octets: bytes) -> bytes:
    """Quoted-printable of text whose lines end with CRLF."""
    return b"".join(
        binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") + b"\r\n"
        for line in octets.removesuffix(b"\r\n").split(b"\r\n")
    )
