"""How deeply a message is nested: exact at the limit, and cheap for bombs."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from outrider.receive.nesting import is_nested_deeper
from outrider.wire.smtp import replies

BOMB = 400_000


def multiparts(levels: int, *, closed: bool = True, quoted: bool = True) -> bytes:
    quote = b'"' if quoted else b""
    opening = b"".join(
        b"Content-Type: multipart/mixed;\r\n boundary=%sb%d%s\r\n\r\npreamble\r\n--b%d\r\n"
        % (quote, level, quote, level)
        for level in range(levels)
    )
    ending = (
        b"".join(b"\r\n--b%d--\r\nepilogue" % level for level in reversed(range(levels))) if closed else b""
    )
    return opening + b"Content-Type: text/plain\r\n\r\nleaf" + ending + b"\r\n"


def messages(levels: int) -> bytes:
    return b"CONTENT-TYPE: Message/RFC822\r\n\r\n" * levels + b"Subject: leaf\r\n\r\nx\r\n"


def deeper(message: bytes, limit: int) -> bool:
    header = message[: message.find(b"\r\n\r\n") + 2]
    return is_nested_deeper(message, header.lower(), limit)


@pytest.mark.parametrize("levels", [1, 2, 5, 30])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
def test_multiparts_are_counted(levels: int, closed: bool, quoted: bool) -> None:
    message = multiparts(levels, closed=closed, quoted=quoted)
    assert not deeper(message, levels)
    assert deeper(message, levels - 1)


@pytest.mark.parametrize("levels", [1, 2, 30])
def test_messages_are_counted(levels: int) -> None:
    assert not deeper(messages(levels), levels)
    assert deeper(messages(levels), levels - 1)


def test_mixed_levels_are_counted() -> None:
    inner = messages(3) + b"\r\n--b4--\r\n"
    message = multiparts(5, closed=False).replace(b"Content-Type: text/plain\r\n\r\nleaf", inner)
    assert deeper(message, 7)
    assert not deeper(message, 8)


def test_siblings_are_not_depth() -> None:
    part = b"\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n"
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 500 + b"\r\n--b--\r\n"
    assert not deeper(message, 2)
    assert deeper(message, 1)


def test_what_looks_like_a_part_in_text_is_none() -> None:
    text = b"Subject: x\r\n\r\n" + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 500
    assert not deeper(text, 1)


@pytest.mark.parametrize(
    "bomb",
    [
        multiparts(5000),
        messages(20_000),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * (BOMB // 7),
        b"Content-Type: multipart/mixed\r\n\r\n" + b"--\r\n" * (BOMB // 4),
        b"Content-Type: multipart/mixed;" + b" boundary=" * (BOMB // 10) + b"\r\n\r\n--b\r\n" * 200,
        b'Content-Type: multipart/mixed; boundary="' + b"b" * BOMB + b'"\r\n\r\n--b\r\n' * 200,
        b"Content-Type:" + b" " * BOMB + b"x\r\nX: multipart/\r\n\r\n" + b"--b\r\n" * 200,
        b"Content-Type: multipart/x" + b"; a=b" * (BOMB // 5) + b"\r\n\r\n" + b"--b\r\n" * 200,
    ],
    ids=range(8),
)
@pytest.mark.timeout(5)
def test_bombs_are_cheap(bomb: bytes) -> None:
    deeper(bomb, 100)


def steps(message: bytes, limit: int) -> int:
    """Lines of the module that run to judge the message."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        deeper(message, limit)
    finally:
        sys.settrace(old)
    return count


def test_depth_does_not_multiply_the_cost_of_lines() -> None:
    noise = b"--nobody\r\n" * 2000
    flat = steps(multiparts(1, closed=False) + noise, 100)
    deep = steps(multiparts(99, closed=False) + noise, 100)
    assert flat > 2000
    assert deep < 2 * flat


async def test_a_message_too_deep_is_refused(world: Callable[..., Any]) -> None:
    made = world()
    for levels, expected in ((100, "250"), (101, "554")):
        client = made.connect()
        client.lines("EHLO c", "MAIL FROM:<>", "RCPT TO:<a@x.example>", "DATA")
        said = client.send(multiparts(levels) + b".\r\n").decode()
        assert said.startswith(expected)
        if expected == "554":
            assert said == f"{replies.TOO_COMPLEX}\r\n"


def test_a_last_line_without_an_end_begins_no_part() -> None:
    message = multiparts(3, closed=False) + b"--b2\r\n\r\n" * 20
    for last in (b"\r\n--b2", b"\r\n--b2X", b"\r\n--b2--", b"\r\n--", b"\r"):
        assert deeper(message + last, 2)
        assert not deeper(message + last, 3)
