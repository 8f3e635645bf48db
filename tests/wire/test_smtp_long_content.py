"""A long content: in blocks it is what it would be in one piece, however it came."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.flow import Content
from outrider.wire.smtp import content as content_module
from outrider.wire.smtp.content import ContentReader
from outrider.wire.smtp.content_limits import ContentLimits
from outrider.wire.smtp.long_content import LongContent

SHORT_OCTETS = 40
"""Stands for `LONG_OCTETS`, so that every border is met."""

LIMITS = ContentLimits(message_octets=100_000)

LINES = st.lists(
    st.sampled_from(
        [b"", b"A: b", b".", b"..x", b"caf\xc3\xa9: x", b"x" * 30, b"--b", b"Content-Type: multipart/mixed"]
    ),
    max_size=30,
)


def in_blocks(octets: bytes, cuts: list[int], *, by_data: bool) -> Content | LongContent:
    reader = ContentReader(LIMITS)
    borders = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    for start, end in pairwise(borders):
        if by_data:
            reader.feed_data(octets[start:end])
        else:
            reader.feed_chunk(octets[start:end])
    if not by_data:
        reader.finish_chunks()
    found = reader.finish_apart()
    assert isinstance(found, Content | LongContent)
    return found


@given(LINES, st.lists(st.integers(0, 2_000), max_size=8), st.booleans())
def test_the_blocks_are_the_content(lines: list[bytes], cuts: list[int], by_data: bool) -> None:
    if by_data:
        stuffed = [b"." + line if line[:1] == b"." else line for line in lines]
        octets = b"".join(line + b"\r\n" for line in stuffed) + b".\r\n"
    else:
        octets = b"".join(line + b"\r\n" for line in lines)
    whole = in_blocks(octets, [], by_data=by_data)
    assert isinstance(whole, Content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_module, "LONG_OCTETS", SHORT_OCTETS)
        patch.setattr(content_module, "SMALL_OCTETS", 8)
        found = in_blocks(octets, cuts, by_data=by_data)
    if len(whole.wire) <= SHORT_OCTETS:
        assert found == whole
        return
    assert isinstance(found, LongContent)
    assert found.joined() == whole
    assert found.size == len(whole.wire)
    head = found.head
    assert (head.header_octets, head.traits) == (whole.header_octets, whole.traits)
    assert len(head.wire) == min(whole.header_octets, SHORT_OCTETS)
