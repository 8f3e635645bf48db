"""Header fields by name, in each version: as the rules say, whatever the octets."""

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outrider.wire.dkim.fields import ByName, Field, fields_pure
from tests.wire.conftest import load_compiled

Fields = Callable[[bytes], ByName]
VERSIONS: dict[str, Fields | None] = {"pure": fields_pure, "compiled": load_compiled("fields")}


@pytest.fixture(scope="module", params=VERSIONS)
def fields(request: pytest.FixtureRequest) -> Fields:
    """Each version."""
    function = VERSIONS[request.param]
    if function is None:
        pytest.skip("needs a C compiler and the headers of Python")
    return function


def slow_fields(header: bytes) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Line by line, in the order of the message."""
    found: list[list[bytes]] = []
    is_open = False  # whether the line before was a field, or continued one
    for line in header.split(b"\n"):
        whole, is_ended = line.removesuffix(b"\r"), line.endswith(b"\r")
        if line[:1] in {b" ", b"\t"} and is_open:
            cut = whole.partition(b"\r")[0]
            found[-1][0] += b"\r\n" + cut
            found[-1][2] += b"\r\n" + cut
            is_open = is_ended and cut == whole
            continue
        name, colon, value = whole.partition(b":")
        bare = name.rstrip(b" \t")
        cut = value.partition(b"\r")[0]
        is_field = bool(colon and re.fullmatch(rb"[!-~]+", bare))
        if is_field:
            found.append([name + colon + cut, bare, cut])
        is_open = is_field and is_ended and cut == value
    return [(raw, name, value, _relaxed(name, value)) for raw, name, value in found]


def _relaxed(name: bytes, value: bytes) -> bytes:
    """RFC 6376 §3.4.2."""
    reduced = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.lower() + b":" + reduced + b"\r\n"


def test_a_message(fields: Fields) -> None:
    header = b"To: a\r\nno field\r\n of its own\r\nSubject :  B\t\r\n\t c  d \r\nTO:\r\nX\xe4: 1\r\nLast:x"
    assert fields(header) == {
        b"to": [(b"To: a", b"To", b" a", b"to:a\r\n"), (b"TO:", b"TO", b"", b"to:\r\n")],
        b"subject": [(b"Subject :  B\t\r\n\t c  d ", b"Subject", b"  B\t\r\n\t c  d ", b"subject:B c d\r\n")],
        b"last": [(b"Last:x", b"Last", b"x", b"last:x\r\n")],
    }


PIECES = (b"A", b"b-9", b":", b" ", b"\t", b"\r\n", b"\r\n ", b"\r", b"\n", b"\v", b"\f", b"\xff", b"\0")


@given(st.lists(st.sampled_from((*PIECES, b"~!", b"\x7f", b".")), max_size=16).map(b"".join))
@example(b"")
@example(b"A")
@example(b"A:\r\n")
@example(b"A:\r\n ")
@example(b"A:\r\n\t\r\n b\r\nA :\x0b c \x0c\r\n")
def test_fields_are_what_the_rules_say(fields: Fields, header: bytes) -> None:
    by_name = fields(header)
    slow = slow_fields(header)
    assert list(by_name) == list(dict.fromkeys(name.lower() for _, name, _, _ in slow))
    for name, found in by_name.items():
        assert found == [field for field in slow if field[1].lower() == name]
        assert Field._make(found[0]).relaxed == found[0][3]


def test_an_argument_of_another_type_is_refused(fields: Fields) -> None:
    with pytest.raises(TypeError):
        fields("A: b\r\n")  # type: ignore[arg-type]


def test_a_long_header_gives_all_its_fields(fields: Fields) -> None:
    header = b"".join(b"X-%d: %b\r\n" % (each % 100, b" \t" * 50 + b"end") for each in range(10_000))
    by_name = fields(header)
    assert [len(found) for found in by_name.values()] == [100] * 100
    assert {field[3] for found in by_name.values() for field in found} == {
        b"x-%d:end\r\n" % each for each in range(100)
    }
