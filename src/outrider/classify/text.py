"""Text that others wrote, made safe to write into a report.

In: remote replies, ORCPT and ENVID values, host names. Out: text without anything that could end a line, hide
itself or reverse the reading order; bounded in length.

Standards: RFC 6533 §3 (internationalised addresses in 7 bits).
"""

import unicodedata

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Unicode general categories: controls, formats (bidi marks among them), surrogates, private, unassigned,
# line and paragraph separators.

CUT_MARK = "..."


def clean(text: str, limit: int) -> str:
    """One line of visible text: hidden characters become spaces, runs of space one, at most `limit` long."""
    text = " ".join(visible(text[: limit * 2]).split())
    return text if len(text) <= limit else text[: limit - len(CUT_MARK)] + CUT_MARK


def visible(text: str) -> str:
    """`text` with a space for each hidden character; what is in it keeps its length."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if unicodedata.category(char) in _HIDDEN else char for char in text)


def cut(text: str, limit: int) -> str:
    """`text`, at most `limit` octets of UTF-8 long; a mark stands for what was cut off."""
    octets = text.encode("utf-8", "replace")
    if len(octets) <= limit:
        return text
    return octets[: limit - len(CUT_MARK)].decode("utf-8", "ignore") + CUT_MARK


def clean_ascii(text: str, limit: int) -> str:
    """As `clean`, with `?` for what is not ASCII."""
    return clean(text, limit).encode("ascii", "replace").decode("ascii")


def utf8_address_ascii(address: str) -> str:
    """An internationalised address in 7 bits (utf-8-addr-xtext, RFC 6533 §3)."""
    return "".join(
        char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):X}}}" for char in address
    )
