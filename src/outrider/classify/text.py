"""Text that others wrote, made safe to write into a report; and how a report encodes it.

In: remote replies, ORCPT and ENVID values, host names, operators' templates. Out: text without anything
that could end a line, hide itself or reverse the reading order; bounded in length.

Standards: RFC 2047 §2 (encoded words), RFC 6533 §3 (internationalised addresses in 7 bits).
"""

import base64
import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Unicode general categories: controls, formats (bidi marks among them), surrogates, private, unassigned,
# line and paragraph separators.

_WORD_OCTETS = 45
# RFC 2047 §2: an encoded word has at most 75 characters; 45 octets are 60 of base64, plus 12 of frame.

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
