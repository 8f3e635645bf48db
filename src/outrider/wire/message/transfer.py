"""Content transfer encodings: how octets travel in lines of text.

Theory: what others wrote is read as far as it goes: stray characters in base64 are skipped and a missing
end is supplied, an escape of quoted-printable that is none stays as it is, spaces that a gateway put before
line ends go.

Invariant: `decode` returns for whatever it is given; `decode(encode(x, e), e) == x` for base64 and
quoted-printable and any octets; what `encode` returns has lines of at most 76 octets, ended by CRLF, ASCII
only.

Standards: RFC 2045 §6.7 (quoted-printable), RFC 2045 §6.8 (base64).
"""

from binascii import Error as BinasciiError
from binascii import a2b_base64, a2b_qp, b2a_qp
from typing import Final

from outrider.wire.headers import LINE_OCTETS
from outrider.wire.mime_parts import format_base64, format_quoted

BASE64: Final = "base64"
QUOTED_PRINTABLE: Final = "quoted-printable"
SEVEN_BIT: Final = "7bit"
EIGHT_BIT: Final = "8bit"
BINARY: Final = "binary"

IDENTITY: Final = frozenset((SEVEN_BIT, EIGHT_BIT, BINARY, ""))
"""RFC 2045 §6.2: names of what is no encoding."""

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_STRAY: Final = bytes(octet for octet in range(256) if octet not in _ALPHABET)


def decode(body: bytes, encoding: str) -> bytes:
    """What `body` says; an unknown encoding is taken for none."""
    if encoding == BASE64:
        return decode_base64(body)
    if encoding == QUOTED_PRINTABLE:
        return decode_quoted(body)
    return body


def decode_base64(encoded: bytes) -> bytes:
    """The octets up to where padding ends them; characters that are no base64 are skipped."""
    try:
        return a2b_base64(encoded)
    except BinasciiError:  # cut off
        kept = encoded.translate(None, _STRAY).lstrip(b"=").partition(b"=")[0]
    if len(kept) % 4 == 1:  # six bits, which are no octet
        kept = kept[:-1]
    return a2b_base64(kept + b"=" * (-len(kept) % 4))


def decode_quoted(encoded: bytes) -> bytes:
    """The octets; white space at the ends of lines does not count."""
    if b" \r\n" in encoded or b"\t\r\n" in encoded or encoded[-1:] in (b" ", b"\t"):
        encoded = b"\r\n".join([line.rstrip(b" \t") for line in encoded.split(b"\r\n")])
    return a2b_qp(lone_equals(encoded))


def lone_equals(encoded: bytes) -> bytes:
    """Quoted-printable in which no `=` begins an escape that is none because another `=` follows.

    `a2b_qp` would take the two for one.
    """
    while b"==" in encoded:  # two turns at most
        encoded = encoded.replace(b"==", b"=3D=")
    return encoded


def encode(octets: bytes, encoding: str) -> bytes:
    """`octets` as a body; those of quoted-printable keep their CRLF as line ends.

    No line end is put behind the last line.
    """
    if encoding == BASE64:
        return format_base64(octets).removesuffix(b"\r\n")
    if encoding == QUOTED_PRINTABLE:
        return encode_quoted(octets)
    return octets


def encode_quoted(octets: bytes) -> bytes:
    """Quoted-printable; a CR or LF that is no line end is escaped."""
    lines = octets.split(b"\r\n")
    if octets.count(b"\r") == octets.count(b"\n") == len(lines) - 1:
        quoted = format_quoted(octets)
    else:
        quoted = b"\n".join([b2a_qp(line, quotetabs=False, istext=False) for line in lines])
    return quoted.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def fits_lines(octets: bytes) -> bool:
    """True when `octets` may be a body of 8bit, or of 7bit if they are ASCII."""
    ends = octets.count(b"\r\n")
    if octets.count(b"\r") != ends or octets.count(b"\n") != ends or b"\0" in octets:
        return False
    return len(octets) <= LINE_OCTETS or max(map(len, octets.split(b"\r\n"))) <= LINE_OCTETS


def can_carry(octets: bytes, encoding: str) -> bool:
    """True when a body of this encoding can hold these octets in a message."""
    if encoding in (BASE64, QUOTED_PRINTABLE):
        return True
    if encoding in (SEVEN_BIT, ""):
        return octets.isascii() and fits_lines(octets)
    return encoding == EIGHT_BIT and fits_lines(octets)


def shorter_encoding(octets: bytes) -> str:
    """Quoted-printable or base64, whichever makes less of `octets`."""
    return QUOTED_PRINTABLE if len(encode_quoted(octets)) <= len(octets) * 4 // 3 else BASE64


Edit = tuple[int, int, bytes]
"""Octets from one index up to another are to be these."""


def apply_edits(octets: bytes, edits: list[Edit]) -> bytes:
    """`octets` with all edits, which are in order and do not overlap."""
    out: list[bytes] = []
    at = 0
    for start, end, replacement in edits:
        out += (octets[at:start], replacement)
        at = end
    out.append(octets[at:])
    return b"".join(out)


def edit_quoted(encoded: bytes, edits: list[Edit]) -> bytes:
    """A quoted-printable body with edits of what it says; lines that no edit touches stay as they are."""
    lines = _quoted_lines(encoded)
    said = [decode_quoted(line) for line in lines]
    decoded = b"\r\n".join(said)
    if decoded != decode_quoted(encoded):
        return encode_quoted(apply_edits(decode_quoted(encoded), edits))
    out: list[bytes] = []
    line = start = 0  # the next line, and where it begins in `decoded`
    index = 0
    while index < len(edits):
        while edits[index][0] >= start + len(said[line]) + 2:
            out.append(lines[line])
            start += len(said[line]) + 2
            line += 1
        run: list[Edit] = []
        stop = start + len(said[line])  # the line end of the last line that the run touches
        line += 1
        while index < len(edits) and edits[index][0] < stop + 2:
            while edits[index][1] > stop and line < len(lines):
                stop += 2 + len(said[line])
                line += 1
            run.append((edits[index][0] - start, edits[index][1] - start, edits[index][2]))
            index += 1
        out.append(encode_quoted(apply_edits(decoded[start:stop], run)))
        start = stop + 2
    return b"\r\n".join(out + lines[line:])


def _quoted_lines(encoded: bytes) -> list[bytes]:
    """The lines of what is said, each with its soft line breaks."""
    lines: list[bytes] = []
    open_lines: list[bytes] = []
    for line in encoded.split(b"\r\n"):
        open_lines.append(line)
        if line.rstrip(b" \t")[-1:] != b"=":
            lines.append(b"\r\n".join(open_lines))
            open_lines = []
    if open_lines:
        lines.append(b"\r\n".join(open_lines))
    return lines
