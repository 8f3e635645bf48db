"""Encoded words, read: the text of a header field as its author meant it.

In: the text of a field. Out: the same with each encoded word decoded.

Theory: readers decode more than the standard allows, within quotes and in the middle of words, and so does
this. Neighbours in one charset are joined before they are decoded, because many writers cut within
characters.

Invariant: `decode_words` returns for whatever it is given, in linear time; no word puts a CR, LF or NUL
into the result.

Standards: RFC 2047 §2 (syntax), RFC 2047 §6.2 (white space between words), RFC 2231 §5 (language).
Writing them is in wire.headers.
"""

import re
from binascii import a2b_qp
from typing import Final

from outrider.wire.message.charsets import decode
from outrider.wire.message.transfer import decode_base64, lone_equals

_WORD: Final = re.compile(r"=\?([^?\s*]{1,64})(?:\*[^?\s]{0,64})?\?([bBqQ])\?([^?]*)\?=")
BREAKS: Final = str.maketrans({"\r": " ", "\n": " ", "\0": " "})
"""For `translate`: what may not come into a value by being encoded."""


def decode_words(text: str) -> str:
    """`text` with its encoded words decoded."""
    if "=?" not in text:
        return text
    out: list[str] = []
    charset = ""
    octets = b""
    at = 0
    for word in _WORD.finditer(text):
        between = text[at : word.start()]
        is_next = at > 0 and not between.strip(" \t\r\n")
        if not is_next or word[1].lower() != charset:
            out.append(decode(octets, charset).translate(BREAKS))
            octets = b""
            charset = word[1].lower()
            if not is_next:
                out.append(between)
        octets += _payload(word[2], word[3])
        at = word.end()
    out += (decode(octets, charset).translate(BREAKS), text[at:])
    return "".join(out)


def _payload(encoding: str, payload: str) -> bytes:
    octets = payload.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(octets)
    return a2b_qp(lone_equals(octets), header=True)
