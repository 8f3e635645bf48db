"""Content in wire form: the DATA and BDAT reader, stuffing, and the octet scan in both its versions."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Content, Traits
from outrider.model.reply import Reply
from outrider.wire.smtp import replies, scan
from outrider.wire.smtp.content import (
    ContentReader,
    normalise_plain,
    stuff_plain,
    unstuff,
)
from outrider.wire.smtp.content_limits import ContentLimits
from tools import build_scan

PIECES = [b"\r\n", b".", b"\n", b"\r", b"\0", b"a", b"..", b"\r\n.\r\n", b"\xff", b"b: c", b"\r\n\r\n"]
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
CLEAN = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"b: c", b"\xe4", b"..x"]), max_size=14).map(b"".join)
pytestmark = pytest.mark.usefixtures("each_scan")


def slow_scan(block: bytes, after_crlf: bool, plain: bool) -> tuple[int, int]:
    """The definition, as regular expressions."""
    end = -1
    if not plain:
        found = re.search(rb"(?:\A|(?<=\r\n))\.\r\n" if after_crlf else rb"(?<=\r\n)\.\r\n", block)
        if found:
            end = found.start()
            block = block[:end]
    bits = 0
    if re.search(rb"\r(?!\n)|(?<!\r)\n", block):
        bits |= scan.STRAY
    if b"\0" in block:
        bits |= scan.NUL
    if not block.isascii():
        bits |= scan.EIGHT_BIT
    if re.search(rb"(?:\A|\n)\.", block):
        bits |= scan.DOTTED
    if any(len(line) > scan.LINE_OCTETS + 1 for line in block.split(b"\n")):
        bits |= scan.LONG
    return end, bits


@given(block=HOSTILE, after_crlf=st.booleans(), plain=st.booleans())
def test_scan_is_its_definition(each_scan: scan.Scan, block: bytes, after_crlf: bool, plain: bool) -> None:
    block += b"\n"
    assert each_scan(block, after_crlf, plain) == slow_scan(block, after_crlf, plain)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("octets", [997, 998, 999, 1000, 5000])
@pytest.mark.parametrize("before", [0, 1, 13, 500])
def test_scan_finds_long_lines(each_scan: scan.Scan, octets: int, before: int, plain: bool) -> None:
    block = b"y" * before + b"\r\n" + b"x" * octets + b"\r\n" + b"z\r\n" * before
    assert bool(each_scan(block, True, plain)[1] & scan.LONG) is (octets > 998)


def read_data(octets: bytes, cuts: list[int], limits: ContentLimits) -> tuple[int, Content | Reply | None]:
    """Where the data ended in `octets` fed in pieces, and what came of it; -1 when it did not end."""
    reader = ContentReader(limits)
    borders = [0, *sorted(cut for cut in cuts if 0 < cut < len(octets)), len(octets)]
    for start, stop in itertools.pairwise(borders):
        end = reader.feed_data(octets[start:stop])
        if end >= 0:
            return start + end, reader.finish()
    return -1, None


def true_end(octets: bytes) -> int:
    """RFC 5321 §4.5.2 and nothing else: behind CRLF.CRLF, or behind a first line `.`."""
    if octets.startswith(b".\r\n"):
        return 3
    at = octets.find(b"\r\n.\r\n")
    return -1 if at < 0 else at + 5


@given(octets=HOSTILE, cuts=st.lists(st.integers(0, 60), max_size=6), normalise=st.booleans())
def test_only_crlf_dot_crlf_ends_data(octets: bytes, cuts: list[int], normalise: bool) -> None:
    for limits in (ContentLimits(normalise=normalise), ContentLimits(10, 5, normalise)):
        end, _ = read_data(octets, cuts, limits)
        assert end == true_end(octets)


@settings(max_examples=300)
@given(octets=HOSTILE, cuts=st.lists(st.integers(0, 60), max_size=6), normalise=st.booleans())
@example(octets=b"a\n.b", cuts=[2], normalise=True)
@example(octets=b"a\n..b", cuts=[2], normalise=True)
@example(octets=b"a\n.", cuts=[2], normalise=True)
def test_splitting_changes_nothing(octets: bytes, cuts: list[int], normalise: bool) -> None:
    octets += b"\r\n.\r\n"
    for limits in (ContentLimits(normalise=normalise), ContentLimits(24, 1000, normalise)):
        _, whole = read_data(octets, [], limits)
        _, pieces = read_data(octets, cuts, limits)
        _, singles = read_data(octets, list(range(len(octets))), limits)
        if isinstance(whole, Content):
            assert pieces == singles == whole
        else:
            # Which of several faults is named may depend on the order in which they are seen.
            assert isinstance(pieces, Reply)
            assert isinstance(singles, Reply)


def assert_clean(content: Content) -> None:
    wire = content.wire
    assert wire.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", wire)
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert bool(re.search(rb"(?:\A|\n)\.", wire)) is bool(content.traits & Traits.DOTTED)
    assert wire.isascii() is not bool(content.traits & Traits.EIGHT_BIT)
    assert stuff_plain(unstuff(content)) == content
    header = wire[: content.header_octets]
    assert b"\r\n\r\n" not in header
    assert header in (b"", wire) or wire[content.header_octets : content.header_octets + 2] == b"\r\n"


@given(octets=HOSTILE, normalise=st.booleans())
def test_what_is_taken_is_clean(octets: bytes, normalise: bool) -> None:
    _, content = read_data(octets + b"\r\n.\r\n", [], ContentLimits(normalise=normalise))
    if isinstance(content, Reply):
        assert not normalise
        assert content in (replies.STRAY_LINE_END, replies.NUL_IN_MESSAGE)
    else:
        assert content is not None
        assert_clean(content)


@given(plain=CLEAN)
def test_stuffing_and_back(plain: bytes) -> None:
    try:
        content = stuff_plain(plain)
    except LocalProtocolError:
        assert re.search(rb"\r(?!\n)|(?<!\r)\n", plain)
        return
    assert_clean(content)
    assert unstuff(content) == (plain if plain.endswith(b"\r\n") else plain + b"\r\n")


@pytest.mark.parametrize("plain", [b"a\nb", b"a\rb", b"a\r", b"a\0", b"\n", b"a\n\r\n"])
def test_stuffing_refuses(plain: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        stuff_plain(plain)
    assert_clean(normalise_plain(plain))


@given(chunks=st.lists(HOSTILE, min_size=1, max_size=5), cut=st.integers(1, 7))
def test_chunks_are_plain_octets(chunks: list[bytes], cut: int) -> None:
    plain = b"".join(chunks)
    reader = ContentReader()
    for chunk in chunks:
        for start in range(0, len(chunk), cut):
            reader.feed_chunk(chunk[start : start + cut])
    reader.finish_chunks()
    content = reader.finish()
    try:
        expected: Content | None = stuff_plain(plain)
    except LocalProtocolError:
        expected = None
    if expected is None:
        assert isinstance(content, Reply)
    else:
        assert content == expected


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_size_limit_is_exact(excess: int) -> None:
    body = b"x" * (58 + excess) + b"\r\n"
    limits = ContentLimits(message_octets=60, line_octets=100)
    for cuts in ([], [5], list(range(80))):
        end, content = read_data(body + b".\r\nQUIT", cuts, limits)
        assert end == len(body) + 3
        if excess > 0:
            assert content == replies.MESSAGE_TOO_BIG
        else:
            assert isinstance(content, Content)
            assert content.wire == body


@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("normalise", [False, True])
def test_line_limit_is_exact(excess: int, normalise: bool) -> None:
    body = b"x" * (2000 + excess) + b"\r\n"
    limits = ContentLimits(line_octets=2000, normalise=normalise)
    for cuts in ([], [5], [1990], list(range(2100))):
        _, content = read_data(body + b".\r\n", cuts, limits)
        assert (content == replies.LINE_TOO_LONG) is (excess > 0)


@pytest.mark.parametrize(
    "piece", [b"x" * 65_536, b"x\n" * 32_768, b"\r" * 65_536, (b"y" * 70 + b"\r\n") * 900]
)
@pytest.mark.parametrize("normalise", [False, True])
def test_an_endless_message_costs_constant_memory(piece: bytes, normalise: bool) -> None:
    limits = ContentLimits(message_octets=200_000, line_octets=1000, normalise=normalise)
    reader = ContentReader(limits)
    for _ in range(100):
        assert reader.feed_data(piece) == -1
    held = sum(map(len, reader._blocks)) + len(reader._tail)
    assert reader.fault is not None
    assert held < 1100
    assert reader.feed_data(b"\r\n.\r\n") == 5
    assert isinstance(reader.finish(), Reply)


def test_traits() -> None:
    content = stuff_plain("Subject: é\r\n\r\n.x\r\n".encode() + b"y" * 999 + b"\r\n")
    assert content.traits == Traits.EIGHT_BIT | Traits.HEADER_UTF8 | Traits.DOTTED | Traits.LONG_LINES
    assert content.header_octets == len("Subject: é\r\n".encode())
    assert stuff_plain("a: b\r\n\r\né".encode()).traits == Traits.EIGHT_BIT
    assert stuff_plain(b"\r\nno header\r\n").header_octets == 0
    assert stuff_plain(b"a: b").header_octets == 6
    assert stuff_plain(b"").wire == b"\r\n"


@pytest.mark.parametrize("pure", ["1", "0", ""])
def test_the_environment_can_force_the_pure_version(monkeypatch: pytest.MonkeyPatch, pure: str) -> None:
    monkeypatch.setenv("OUTRIDER_PURE", pure)
    assert scan.maybe_compiled("scan") is None or pure != "1"
    assert scan.maybe_compiled("of another version") is None


def test_no_compiler_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert build_scan.build(tmp_path) is None
    assert not list(tmp_path.iterdir())
