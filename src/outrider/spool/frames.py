"""The octets of segments and frames.

A segment begins with two copies of its header, `HEADER_REGION` octets in all; frames follow without gaps,
zeros after the last. A frame is a header of 24 octets, a MessagePack list of changes, and the contents of its
`Stored` and `Moved` in order.

Theory: the header's checksum also covers the segment's random salt and the frame's own offset. An image of a
frame inside a mail's content, or a frame copied to another place, therefore never passes for a frame, and a
search for the next frame after damage may look at every octet.

Invariant: `parse_header` returns a header only for octets that were written as the frame at this offset of
this segment.
Standards: RFC 3385 §4 (why CRC-32C), MessagePack.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from google_crc32c import extend, value

from outrider.base.errors import SpoolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.changes import Change, Moved, Stored

FORMAT = 3
# raised with every change that an older program would misread; see docs/explanation/spool-format.md
SEGMENT_MAGIC = b"OUTSEG\x1a\n"  # chosen: text, then an octet that stops `cat`, then a line end
FRAME_MAGIC = b"\xf5OF\x1a"  # chosen: 0xF5 never occurs in UTF-8 text (RFC 3629 §3)
HEADER_REGION = 4096  # chosen: one page, so that frames never share a page with the headers
HEADER_COPY = 2048  # second copy in another sector, because one flipped octet must not cost a segment

_SEGMENT = struct.Struct("<8sHHIIQ8sI")
_FRAME = struct.Struct("<4sBBHIII")
_PLACE = struct.Struct("<Q")
_CRC = struct.Struct("<I")
FRAME_HEADER = _FRAME.size + _CRC.size
LENGTH_MAX = (1 << 32) - 1 - FRAME_HEADER

TYPE_CHANGES = 1
TYPE_SEAL = 2
FLAG_ZSTD = 1  # payload compressed; see `codec`
FLAG_ENCRYPTED = 2  # payload encrypted, after it was compressed
FLAGS = FLAG_ZSTD | FLAG_ENCRYPTED

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_changes_decoder = msgspec.msgpack.Decoder(list[Change])
_seals_decoder = msgspec.msgpack.Decoder(list[tuple[int, int]])


class FrameDamagedError(SpoolError):
    """The octets at this place are not the frame that was written there."""


class FrameGoneError(SpoolError):
    """The segment is no longer there: its live content was moved; ask for the entry's new place."""


class FormatError(SpoolError):
    """Written by a newer program; run that one."""


class SegmentHeader(NamedTuple):
    """Facts of a segment, fixed when it is made.

    Attributes:
        log: Number of the log.
        segment: Number of the segment in it.
        first_sequence: Entries of the log with a lower number were reserved before the segment was made.
        salt: 8 random octets that bind frames to this segment.
    """

    log: int
    segment: int
    first_sequence: int
    salt: bytes


class FrameHeader(NamedTuple):
    """A frame's header: type, flags, octets of change list and of payload, checksum of the payload.

    The change list's octets are those before compression, the payload's those that are stored.
    """

    kind: int
    flags: int
    list_length: int
    payload_length: int
    payload_crc: int

    @property
    def length(self) -> int:
        """Octets of the whole frame."""
        return FRAME_HEADER + self.payload_length


def format_segment_header(header: SegmentHeader) -> bytes:
    """The header region, both copies."""
    start = _SEGMENT.pack(
        SEGMENT_MAGIC, FORMAT, 0, header.log, header.segment, header.first_sequence, header.salt, 0
    )[:-4]
    one = (start + _CRC.pack(value(start))).ljust(HEADER_COPY, b"\0")
    return one.ljust(HEADER_COPY, b"\0") + one.ljust(HEADER_REGION - HEADER_COPY, b"\0")


def parse_segment_header(region: bytes) -> SegmentHeader | None:
    """The header from the first `HEADER_REGION` octets of a segment; None when neither copy is whole.

    Raises:
        FormatError: The segment is of a newer format.
    """
    for start in (0, HEADER_COPY):
        octets = region[start : start + _SEGMENT.size]
        if len(octets) < _SEGMENT.size:
            continue
        magic, version, _, log, segment, first_sequence, salt, crc = _SEGMENT.unpack(octets)
        if magic != SEGMENT_MAGIC or crc != value(octets[:-4]):
            continue
        if version > FORMAT:
            raise FormatError(
                f"segment {segment} of log {log} has format {version}, this program knows {FORMAT}: "
                "start the newer version again, or drain the spool with it first"
            )
        return SegmentHeader(log, segment, first_sequence, salt)
    return None


def format_header(
    salt: bytes,
    offset: int,
    kind: int,
    list_length: int,
    payload_length: int,
    payload_crc: int,
    flags: int = 0,
) -> bytes:
    """The header of the frame at `offset` of the segment with `salt`."""
    start = _FRAME.pack(FRAME_MAGIC, kind, flags, 0, list_length, payload_length, payload_crc)
    return start + _CRC.pack(value(salt + _PLACE.pack(offset) + start))


def parse_header(octets: bytes, salt: bytes, offset: int, start: int = 0) -> FrameHeader | None:
    """The frame header at `octets[start:]`, which is `offset` in its segment; None when there is none."""
    end = start + _FRAME.size
    if octets[start : start + 4] != FRAME_MAGIC or len(octets) < end + 4:
        return None
    head = octets[start:end]
    if _CRC.unpack_from(octets, end)[0] != value(salt + _PLACE.pack(offset) + head):
        return None
    _, kind, flags, _, list_length, payload_length, payload_crc = _FRAME.unpack(head)
    if not flags and list_length > payload_length:
        return None
    return FrameHeader(kind, flags, list_length, payload_length, payload_crc)


def payload_checksum(changes: bytes, contents: Sequence[Sequence[bytes]]) -> tuple[int, int]:
    """(checksum, octets) of a change list and the contents behind it."""
    crc = value(changes)
    length = len(changes)
    for content in contents:
        for chunk in content:
            crc = extend(crc, chunk)
            length += len(chunk)
    return crc, length


def prompt_checksum(changes: bytes, contents: Sequence[Sequence[bytes]]) -> tuple[int | None, int]:
    """As `payload_checksum`; of a long payload the checksum is None, for a thread to make."""
    crc = value(changes)
    length = len(changes)
    for content in contents:
        for chunk in content:
            length += len(chunk)
            if length <= LONG_OCTETS:
                crc = extend(crc, chunk)
    return (crc if length <= LONG_OCTETS else None), length


def is_whole(header: FrameHeader, payload: bytes) -> bool:
    """True when `payload` is what was written behind `header`."""
    return len(payload) == header.payload_length and value(payload) == header.payload_crc


def refuse_newer(header: FrameHeader) -> None:
    """Refuse a frame that only a newer program can read.

    Raises:
        FormatError: It is one.
    """
    if header.flags & ~FLAGS or header.kind != TYPE_CHANGES:
        raise FormatError(
            f"frame of type {header.kind}, flags {header.flags:#x} is of a newer program: start that one"
        )


def decode_changes(payload: bytes, header: FrameHeader) -> list[Change]:
    """The change list of a whole frame, whose payload was decoded if it has flags.

    Raises:
        FormatError: Flags or changes that a newer program wrote.
    """
    refuse_newer(header)
    try:
        return _changes_decoder.decode(memoryview(payload)[: header.list_length])
    except msgspec.DecodeError as error:
        raise FormatError(
            f"change list of a whole frame cannot be read ({error}): start the newer program"
        ) from error


def encode_seals(seals: Sequence[tuple[int, int]]) -> bytes:
    """Payload of a seal: for each (segment, end), the segment is valid up to `end` and no further."""
    return encode(seals)


def decode_seals(payload: bytes) -> list[tuple[int, int]]:
    """The (segment, end) pairs of a seal."""
    return _seals_decoder.decode(payload)


def content_length(changes: Iterable[Change]) -> int:
    """Octets of content behind a change list."""
    return sum(
        change.size if isinstance(change, Stored) else change.stored.size
        for change in changes
        if isinstance(change, Stored | Moved)
    )


def find_content(changes: Sequence[Change], entry: int) -> tuple[Stored, int] | None:
    """The message of the frame that holds `entry` and where its content starts behind the change list."""
    start = 0
    for change in changes:
        if isinstance(change, Stored):
            stored = change
        elif isinstance(change, Moved):
            stored = change.stored
        else:
            continue
        if 0 <= entry - stored.first_entry < len(stored.deliveries):
            return stored, start
        start += stored.size
    return None
