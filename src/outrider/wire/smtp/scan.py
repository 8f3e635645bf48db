"""One look at a block of octets: where the data ends and what is in it.

In: a block that begins at the start of a line and ends in LF. Out: `(end, found)`, where `end` is the index
of the dot of the end-of-data line (or -1) and `found` says what stands before it, as bits.

Theory: what costs in Python is the number of passes. `scan_pure` uses a handful of searches that run in C;
`_scan.c`, built where there is a compiler, does the same in one pass. Both pass the same tests, and
`OUTRIDER_PURE=1` in the environment forces the first.

Invariant: only CR LF `.` CR LF ends data, and `.` CR LF at the start of a block whose line began after CRLF.

Standards: RFC 5321 §2.3.8 (line ends), RFC 5321 §4.5.2 (transparency), RFC 5322 §2.1.1 (998 octets).
"""

import os
from collections.abc import Callable
from io import IncrementalNewlineDecoder
from typing import Any

STRAY = 1  # CR without LF, or LF without CR
NUL = 2
EIGHT_BIT = 4  # octets over 127
DOTTED = 8  # a line begins with a dot
LONG = 16  # a line over LINE_OCTETS

LINE_OCTETS = 998
"""RFC 5322 §2.1.1, without CRLF."""

_CLEAN = (None, "\r\n")  # line ends of octets that have no stray one

Scan = Callable[[bytes, bool, bool], tuple[int, int]]


def scan_pure(block: bytes, after_crlf: bool, plain: bool) -> tuple[int, int]:
    """See the module.

    Args:
        block: Whole lines, each ended by LF.
        after_crlf: True when the octets before `block` ended in CRLF (or there were none).
        plain: True for octets without end-of-data line and dot-stuffing (BDAT): `end` is then -1.
    """
    if after_crlf and not plain and block[:3] == b".\r\n":
        return 0, 0
    end = -1
    found = DOTTED if block[:1] == b"." else 0
    at = block.find(b"\r\n.")
    if at >= 0:
        if plain or block[at + 3 : at + 5] != b"\r\n":
            found = DOTTED
            at = -1 if plain else block.find(b"\r\n.\r\n", at + 3)
        if at >= 0:
            end = at + 2
            block = block[:end]
    text = str(block, "latin-1")
    # Its flags tell which line ends there were (measured at 50 KiB: 20 µs; dropping each CRLF and looking for
    # what is left takes 28, counting 104).
    ends = IncrementalNewlineDecoder(None, translate=False)
    ends.decode(text, final=True)
    if ends.newlines not in _CLEAN:
        found |= STRAY
        if "\n." in text:
            found |= DOTTED
    if not text.isascii():
        found |= EIGHT_BIT
    if "\0" in text:
        found |= NUL
    if _has_long_line(text):
        found |= LONG
    return end, found


def _has_long_line(text: str) -> bool:
    # From the start of a line, the last LF within reach proves all lines up to it short enough, so the walk
    # looks at one line in fourteen or so.
    start, size = 0, len(text)
    reach = LINE_OCTETS + 2
    while size - start > reach:
        last = text.rfind("\n", start, start + reach)
        if last < 0:
            return True
        start = last + 1
    return False


def longest_line(block: bytes) -> int:
    """Octets of the longest line, without its LF."""
    return max(map(len, block.split(b"\n")))


def maybe_compiled(name: str) -> Any | None:
    """A function of the compiled module; None where it is not built, is an older one, or is not wanted."""
    if os.environ.get("OUTRIDER_PURE", "") not in {"", "0"}:
        return None
    try:
        from outrider.wire.smtp import _scan  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        return None
    return getattr(_scan, name, None)


scan: Scan = maybe_compiled("scan") or scan_pure
