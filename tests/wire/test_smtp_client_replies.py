"""The reply reader: what it gives, and what hostile peers cannot make it do."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp.client_replies import (
    LINE_MAX,
    LINE_OCTETS_MAX,
    LINES_MAX,
    REPLY_LINES_MAX,
    ReplyMemo,
    ReplyReader,
)


def _read(*pieces: bytes) -> tuple[list[Reply], bool]:
    reader = ReplyReader()
    replies = [reply for piece in pieces for reply in reader.feed(piece)]
    return replies, reader.fault is not None


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250 Ok\r\n", Reply(250, None, ("Ok",))),
        (b"250\r\n", Reply(250, None, ("",))),
        (b"250 Ok\n", Reply(250, None, ("Ok",))),
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", ("Ok",))),
        (b"250 2.1.0\r\n", Reply(250, "2.1.0", ("",))),
        (b"550 5.1.1 <x> unknown\r\n", Reply(550, "5.1.1", ("<x> unknown",))),
        (b"550 4.1.1 class differs\r\n", Reply(550, None, ("4.1.1 class differs",))),
        (b"550 5.1.1000 no code\r\n", Reply(550, None, ("5.1.1000 no code",))),
        (
            b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n",
            Reply(550, "5.7.1", ("one", "two", "three")),
        ),
        (b"550-5.7.1 one\r\n550 two\r\n", Reply(550, "5.7.1", ("one", "two"))),
        (b"250 gr\xc3\xbc\xc3\x9fe\r\n", Reply(250, None, ("grüße",))),
        (b"250 \xff\r\n", Reply(250, None, ("\N{REPLACEMENT CHARACTER}",))),
        (
            b"250 a\tb\x00c\x1b[31m\r\n",
            Reply(250, None, ("a b\ufffdc\ufffd[31m",)),
        ),
        (b"250 a\rb\r\n", Reply(250, None, ("a\N{REPLACEMENT CHARACTER}b",))),
        ("250 a\u202eb\u2028\r\n".encode(), Reply(250, None, ("a\ufffdb\ufffd",))),
    ],
)
def test_a_reply_is_read(octets: bytes, reply: Reply) -> None:
    assert _read(octets) == ([reply], False)
    assert _read(*[octets[at : at + 1] for at in range(len(octets))]) == ([reply], False)
    assert _read(octets + octets) == ([reply, reply], False)


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 Ok\r\n",
        b"2500 Ok\r\n",
        b"250_Ok\r\n",
        b"150 Wait\r\n",
        b"650 What\r\n",
        b"\x00250 Ok\r\n",
        b"250-one\r\n550 two\r\n",
        b"250-one\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x16\x03\x01\x02\x00\n",
        b"2\xb250 Ok\r\n",
        b"250 " + b"x" * LINE_MAX + b"\r\n",
        b"x" * (LINE_MAX + 1),
        b"250-x\r\n" * REPLY_LINES_MAX,
        (b"250-" + b"x" * 1900 + b"\r\n") * 40,
    ],
)
def test_what_is_no_reply_is_a_fault_and_the_reply_before_it_counts(octets: bytes) -> None:
    good = Reply(250, None, ("Ok",))
    assert _read(b"250 Ok\r\n" + octets + b"250 Ok\r\n250 Ok\r\n") == ([good], True)
    assert _read(b"250 Ok\r\n", *[octets[at : at + 1] for at in range(len(octets))], b"250 Ok\r\n") == (
        [good],
        True,
    )


def test_a_line_that_never_ends_is_not_kept() -> None:
    reader = ReplyReader()
    for _ in range(LINE_MAX):
        assert reader.feed(b"2 ") == []
    assert reader.fault is not None
    assert reader._rest == b""


_texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)


@given(
    st.lists(
        st.builds(
            Reply, st.integers(200, 599), st.none(), st.lists(_texts, min_size=1, max_size=4).map(tuple)
        ).filter(lambda reply: not any(line[:1] in "245" for line in reply.lines)),
        max_size=5,
    ),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_replies_survive_the_wire_however_they_are_split(replies: list[Reply], cuts: list[int]) -> None:
    octets = b"".join(map(format_reply, replies))
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    assert _read(*[octets[a:b] for a, b in pairwise(edges)]) == (replies, False)


@given(st.lists(st.binary(max_size=80)))
def test_whatever_comes_texts_are_printable(pieces: list[bytes]) -> None:
    for reply in _read(*pieces)[0]:
        assert reply.text.isprintable()
        assert 200 <= reply.code < 600


@given(
    st.lists(
        st.sampled_from(
            [
                b"250 2.1.0 Ok\r\n",
                b"250 Ok\n",
                b"250-one\r\n250 two\r\n",
                b"550-a\r\n",
                b"250 two\r\n",
                b"354 x\r\n",
            ]
        ),
        max_size=12,
    )
)
def test_what_other_connections_read_changes_nothing(lines: list[bytes]) -> None:
    memo = ReplyMemo()
    for _ in range(2):
        alone, shared = ReplyReader(), ReplyReader(memo)
        assert [shared.feed(line) for line in lines] == [alone.feed(line) for line in lines]
        assert str(shared.fault) == str(alone.fault)


def test_replies_that_never_come_again_do_not_fill_the_memory() -> None:
    memo = ReplyMemo()
    reader = ReplyReader(memo)
    for number in range(3 * LINES_MAX):
        reader.feed(b"250 2.0.0 Ok: queued as %d\r\n" % number)
        assert len(memo) <= LINES_MAX
    reader.feed(b"250 " + bytes(LINE_OCTETS_MAX).replace(b"\0", b"x") + b"\r\n")
    assert len(memo) <= LINES_MAX
    assert reader.fault is None
