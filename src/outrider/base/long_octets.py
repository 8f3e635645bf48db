"""Long octets a piece at a time, so that other threads may go on between two pieces.

Theory: most functions of `bytes` hold the interpreter until they return: 25 MiB are copied in 4 ms where the
memory was in use before and in 20 ms where it was not, searched in 5 to 10, turned to lower case in 9. In a
thread that helps nobody, unless it is done in pieces. `bytes.join` of `bytes` (from 1 MiB on), reading,
writing, checksums, compression and encryption let other threads go on.

Invariant: the result is that of the function of `bytes` for the whole.
"""

from collections.abc import Iterator
from typing import Final

LONG_OCTETS: Final = 1 << 20
"""Design: no callback holds a loop over 20 ms. Chosen: the slowest pass over so much takes 1.3 ms (base64 in
JSON), and from here on `bytes.join` lets other threads go on."""


def slices(octets: bytes, start: int = 0, *, overlap: int = 0) -> Iterator[bytes]:
    """`octets[start:]` in pieces of `LONG_OCTETS`, each with the first `overlap` octets of the next one."""
    for at in range(start, len(octets), LONG_OCTETS):
        yield octets[at : at + LONG_OCTETS + overlap]


def line_slices(octets: bytes) -> Iterator[bytes]:
    """`octets` in pieces that end in LF, but perhaps the last one, and hold at most a line more than one."""
    at = 0
    while at < len(octets):
        end = find(octets, b"\n", at + LONG_OCTETS - 1) + 1 or len(octets)
        yield part(octets, at, end)
        at = end


def find(octets: bytes, pattern: bytes, start: int) -> int:
    """As `bytes.find`."""
    beyond = len(pattern) - 1
    for at in range(start, len(octets), LONG_OCTETS):
        found = octets.find(pattern, at, at + LONG_OCTETS + beyond)
        if found >= 0:
            return found
    return -1


def part(octets: bytes, start: int, end: int) -> bytes:
    """`octets[start:end]`."""
    if end - start <= LONG_OCTETS:
        return octets[start:end]
    return b"".join([octets[at : min(at + LONG_OCTETS, end)] for at in range(start, end, LONG_OCTETS)])
