"""Long octets in pieces: the result is that of `bytes` for the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base import long_octets
from outrider.base.long_octets import find, line_slices, part, slices


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=4), st.integers(0, 60))
def test_pieces_find_what_the_whole_finds(octets: bytes, pattern: bytes, start: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_octets, "LONG_OCTETS", 7)
        assert find(octets, pattern, start) == (octets.find(pattern, start) if start < len(octets) else -1)
        pieces = list(slices(octets, start, overlap=len(pattern) - 1))
        assert any(pattern in piece for piece in pieces) == (pattern in octets[start:])
        for end in range(start, len(octets) + 1):
            assert part(octets, start, end) == octets[start:end]


@given(st.lists(st.sampled_from([b"a\r\n", b"\n", b"abcdefghij", b"ab"]), max_size=20))
def test_pieces_of_lines_are_the_whole_and_end_in_lines(lines: list[bytes]) -> None:
    octets = b"".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_octets, "LONG_OCTETS", 7)
        pieces = list(line_slices(octets))
    assert b"".join(pieces) == octets
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert all(piece[:-1].rfind(b"\n") < 7 for piece in pieces)
