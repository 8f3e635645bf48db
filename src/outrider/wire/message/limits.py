"""What reading a message may cost, and how it fails.

`MessageLimitError` says which bound a message is beyond; the message itself is unchanged then. `EditError`
says that an edit was asked for that no message can hold.
"""

import re
from typing import Final

import msgspec

from outrider.base.errors import LocalProtocolError, OutriderError


class MessageLimits(msgspec.Struct, frozen=True):
    """Bounds of one message.

    Attributes:
        depth: Levels of parts, the message itself included; at most 250, because writing recurs.
        parts: Parts in the whole tree.
        header_octets: Length of one header section.
        fields: Fields in one header section.
    """

    depth: int = 100
    # chosen: as deep as a receiver lets pass (Postfix's mime_nesting_limit)
    parts: int = 20_000
    # chosen: some 20 MB of memory for a message that is nothing but parts (measured)
    header_octets: int = 2 << 20
    # chosen: well beyond what a listener takes, so that only the absurd is refused
    fields: int = 20_000
    # chosen: as header_octets


DEFAULT: Final = MessageLimits()


class MessageLimitError(OutriderError):
    """A message is beyond a bound of `MessageLimits`; `limit` names it."""

    def __init__(self, limit: str, most: int) -> None:
        super().__init__(f"the message is beyond the limit of {limit.replace('_', ' ')}: {most}", limit=limit)
        self.limit = limit


class EditError(LocalProtocolError):
    """What was asked for cannot be written into a message; the message is unchanged."""


def check_lines(octets: bytes, what: str) -> bytes:
    """`octets`, whose line ends are all CRLF and which hold no NUL (RFC 5322 §2.3).

    Raises:
        EditError: They are not; it names `what`.
    """
    if b"\0" in octets:
        raise EditError(f"{what} holds a NUL, which no message may hold")
    ends = octets.count(b"\r\n")
    if octets.count(b"\r") != ends or octets.count(b"\n") != ends:
        raise EditError(f"{what} holds a bare CR or LF; lines end in CRLF")
    return octets


_LINE_END: Final = re.compile(rb"\r\n?|\n")


def with_crlf(octets: bytes) -> bytes:
    """As `crlf`, for octets."""
    ends = octets.count(b"\r\n")
    if octets.count(b"\r") == ends and octets.count(b"\n") == ends:
        return octets
    return _LINE_END.sub(b"\r\n", octets)


def crlf(text: str) -> str:
    """`text` with each line end, be it LF, CR or CRLF, written as CRLF."""
    if "\n" not in text and "\r" not in text:
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
