"""Frames and segment headers: what was written is read, anything else is not taken for it."""

import struct

import pytest
from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.changes import Change, Forgotten, Moved, entry_id
from outrider.spool.frames import (
    FORMAT,
    FRAME_HEADER,
    HEADER_COPY,
    HEADER_REGION,
    TYPE_CHANGES,
    TYPE_SEAL,
    FormatError,
    SegmentHeader,
    content_length,
    decode_changes,
    decode_seals,
    encode,
    encode_seals,
    find_content,
    format_header,
    format_segment_header,
    is_whole,
    parse_header,
    parse_segment_header,
    payload_checksum,
)
from tests.spool.samples import finished, stored

SALT = b"8 octets"
HEADER = SegmentHeader(3, 7, 1_000, SALT)


def frame(offset: int = 4_096, content: bytes = b"body\r\n", salt: bytes = SALT) -> bytes:
    changes = encode([stored(entry_id(3, 0), content)])
    crc, length = payload_checksum(changes, [[content[:3], content[3:]]])
    return format_header(salt, offset, TYPE_CHANGES, len(changes), length, crc) + changes + content


def test_a_frame_is_read_where_it_was_written() -> None:
    octets = frame()
    header = parse_header(octets, SALT, 4_096)
    assert header is not None
    assert header.length == len(octets)
    payload = octets[FRAME_HEADER:]
    assert is_whole(header, payload)
    changes = decode_changes(payload, header)
    assert changes == [stored(entry_id(3, 0), b"body\r\n")]
    assert content_length(changes) == 6
    assert payload[header.list_length :] == b"body\r\n"


@pytest.mark.parametrize(
    ("salt", "offset", "start"), [(b"another!", 4_096, 0), (SALT, 4_097, 0), (SALT, 4_096, 1), (SALT, 0, 0)]
)
def test_an_image_of_a_frame_is_no_frame_elsewhere(salt: bytes, offset: int, start: int) -> None:
    assert parse_header(frame(), salt, offset, start) is None


@given(st.integers(0, FRAME_HEADER - 1), st.integers(0, 7))
def test_no_flipped_bit_of_a_header_passes(place: int, bit: int) -> None:
    octets = bytearray(frame())
    octets[place] ^= 1 << bit
    assert parse_header(bytes(octets), SALT, 4_096) is None


@given(st.data(), st.integers(0, 7))
def test_no_flipped_bit_of_a_payload_passes(data: st.DataObject, bit: int) -> None:
    octets = bytearray(frame())
    octets[data.draw(st.integers(FRAME_HEADER, len(octets) - 1))] ^= 1 << bit
    header = parse_header(bytes(octets), SALT, 4_096)
    assert header is not None
    assert not is_whole(header, bytes(octets[FRAME_HEADER:]))


@pytest.mark.parametrize("length", range(FRAME_HEADER))
def test_a_cut_header_is_no_header(length: int) -> None:
    assert parse_header(frame()[:length], SALT, 4_096) is None


def test_a_newer_programs_frame_is_refused_not_misread() -> None:
    octets = frame()
    header = parse_header(octets, SALT, 4_096)
    assert header is not None
    payload = octets[FRAME_HEADER:]
    for newer in (header._replace(flags=4), header._replace(flags=7), header._replace(kind=9)):
        with pytest.raises(FormatError, match="newer"):
            decode_changes(payload, newer)
    unknown = encode([[99, 1, 2]])
    with pytest.raises(FormatError, match="newer"):
        decode_changes(unknown, header._replace(list_length=len(unknown)))


def test_a_segment_header_is_read_from_either_copy() -> None:
    region = format_segment_header(HEADER)
    assert len(region) == HEADER_REGION
    assert parse_segment_header(region) == HEADER
    assert parse_segment_header(bytes(HEADER_COPY) + region[HEADER_COPY:]) == HEADER
    assert parse_segment_header(region[:HEADER_COPY]) == HEADER
    assert parse_segment_header(bytes(HEADER_REGION)) is None
    assert parse_segment_header(b"") is None


def test_a_newer_segment_is_refused() -> None:
    region = format_segment_header(HEADER)
    newer = bytearray(region)
    newer[8:10] = (FORMAT + 1).to_bytes(2, "little")
    assert parse_segment_header(bytes(newer)) == HEADER, "one flipped copy is damage, not a newer format"
    start = bytes(newer[:36])
    one = start + struct.pack("<I", value(start))
    with pytest.raises(FormatError, match="start the newer version"):
        parse_segment_header(one)


def test_seals_come_back() -> None:
    seals = [(0, 5_000), (4, 4_096)]
    assert decode_seals(encode_seals(seals)) == seals
    assert TYPE_SEAL != TYPE_CHANGES


def test_contents_are_found_in_their_order() -> None:
    one, two = stored(entry_id(1, 0), b"one", ["a.example", "b.example"]), stored(entry_id(2, 5), b"two!")
    changes: list[Change] = [finished(entry_id(9, 9)), one, Forgotten((1,)), Moved(two, ())]
    assert find_content(changes, entry_id(1, 1)) == (one, 0)
    assert find_content(changes, entry_id(2, 5)) == (two, 3)
    assert find_content(changes, entry_id(1, 2)) is None
    assert content_length(changes) == 7
