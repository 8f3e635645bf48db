"""Canonicalisation: the standard's examples, a table of edges, and the rules written out slowly."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.dkim.canonical import CHUNK_OCTETS, relaxed_body_pure, relaxed_field, simple_body
from outrider.wire.dkim.message import Parts
from outrider.wire.smtp.content import stuff_plain
from tests.wire.conftest import load_compiled

Body = Callable[[bytes], bytes]
VERSIONS: dict[str, Body | None] = {"pure": relaxed_body_pure, "compiled": load_compiled("relaxed")}


@pytest.fixture(scope="module", params=VERSIONS)
def relaxed_body(request: pytest.FixtureRequest) -> Body:
    """Each version of the relaxed body."""
    function = VERSIONS[request.param]
    if function is None:
        pytest.skip("needs a C compiler and the headers of Python")
    return function


def slow_relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4, word by word."""
    lines = [re.sub(rb"[ \t]+", b" ", line) for line in body.split(b"\r\n")]
    lines = [line.removesuffix(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def slow_relaxed_field(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2, word by word."""
    unfolded = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b""))
    return name + b":" + unfolded.strip(b" ") + b"\r\n"


def test_the_examples_of_the_standard(relaxed_body: Body) -> None:
    # RFC 6376 §3.4.5
    parts = Parts(stuff_plain(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"))
    (a,), (b,) = parts.fields(b"a"), parts.fields(b"b")
    assert relaxed_field(b"a", a.value) == b"a:X\r\n"
    assert relaxed_field(b"b", b.value) == b"b:Y Z\r\n"
    assert (a.raw, b.raw) == (b"A: X", b"B : Y\t\r\n\tZ  ")
    body = b" C \r\nD \t E\r\n\r\n\r\n"
    assert relaxed_body(body) == b" C\r\nD E\r\n"
    assert simple_body(body) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n", b"\r\n", b""),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n", b"a\r\n"),
        (b"a \r\n \t \r\n\r\n", b"a \r\n \t \r\n", b"a\r\n"),
        (b" \r\n", b" \r\n", b""),
        (b" \t ", b" \t \r\n", b""),
        (b"\r\na", b"\r\na\r\n", b"\r\na\r\n"),
        (b"  a   b    c\r\n", b"  a   b    c\r\n", b" a b c\r\n"),
        (b"a \t\r\n\r\n  b", b"a \t\r\n\r\n  b\r\n", b"a\r\n\r\n b\r\n"),
        (b"a\x0b \x0cb\r\n", b"a\x0b \x0cb\r\n", b"a\x0b \x0cb\r\n"),
        (b"a\r\n\r\nb  ", b"a\r\n\r\nb  \r\n", b"a\r\n\r\nb\r\n"),
        (b"a\r\n \r\n\t", b"a\r\n \r\n\t\r\n", b"a\r\n"),
    ],
)
def test_bodies(relaxed_body: Body, body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert simple_body(body) == simple
    assert relaxed_body(body) == relaxed == slow_relaxed_body(body)


@pytest.mark.parametrize(
    ("value", "relaxed"),
    [
        (b"", b"n:\r\n"),
        (b" ", b"n:\r\n"),
        (b"\r\n\t", b"n:\r\n"),
        (b" a\r\n b", b"n:a b\r\n"),
        (b"\ta \t\r\n \t b\t", b"n:a b\r\n"),
        (b" a\x0b b\x0c ", b"n:a\x0b b\x0c\r\n"),
        (b" a:b ", b"n:a:b\r\n"),
        (b" \xc3\xa4  \xff", b"n:\xc3\xa4 \xff\r\n"),
    ],
)
def test_fields(value: bytes, relaxed: bytes) -> None:
    assert relaxed_field(b"n", value) == relaxed == slow_relaxed_field(b"n", value)


PIECES = st.sampled_from(
    [b" ", b"  ", b"   ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"bc", b"\x0b", b"\xa0", b" " * 40]
)


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_the_relaxed_body_is_what_the_rules_say_and_stays_it(relaxed_body: Body, body: bytes) -> None:
    canonical = relaxed_body(body)
    assert canonical == slow_relaxed_body(body)
    assert relaxed_body(canonical) == canonical
    assert simple_body(simple_body(body)) == simple_body(body)


@given(st.lists(PIECES.filter(lambda piece: b"\r" not in piece), max_size=40).map(b"".join))
def test_the_relaxed_field_is_what_the_rules_say(value: bytes) -> None:
    folded = value.replace(b"a", b"a\r\n ")
    assert relaxed_field(b"n", folded) == slow_relaxed_field(b"n", folded)


@pytest.mark.parametrize("around", [b" ", b"x", b"\t", b"  "])
@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_large_bodies_go_in_pieces_whose_borders_leave_no_trace(
    relaxed_body: Body, around: bytes, shift: int
) -> None:
    body = b"x" * (CHUNK_OCTETS + shift) + around * 3 + b"y  z" * (CHUNK_OCTETS // 2) + b" \r\n"
    assert relaxed_body(body) == slow_relaxed_body(body)


@pytest.mark.parametrize(
    "body",
    [
        b" " * 1_000_000 + b"\r\n",
        b"x" + b" " * 1_000_000 + b"y\r\n",
        b"x" + b"\t " * 500_000 + b"\r\n",
        b"\r\n" * 500_000,
        b" \r\n" * 300_000,
        b"x  " * 300_000 + b"\r\n",
        (b"x" * 500 + b" " * 500) * 1000 + b"\r\n",
    ],
    ids=["spaces", "run", "tabs", "empty", "blank", "pairs", "mixed"],
)
def test_hostile_bodies_take_no_time(relaxed_body: Body, body: bytes) -> None:
    # a quadratic way takes minutes here, which the time-out of the test ends
    canonical = relaxed_body(body)
    assert b"  " not in canonical
    assert len(simple_body(body)) <= len(body) + 2
    assert len(canonical) <= len(body)
