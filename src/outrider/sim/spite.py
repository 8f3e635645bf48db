"""Octets that no honest provider sends: what a hostile one answers instead of a reply.

In: a kind of spite. Out: pieces of octets, and how long to wait between them; some never end.

Standards: RFC 5321 §4.2 (what a reply is, and what each of these breaks).
"""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Literal

Spite = Literal[
    "none",
    "huge-line",
    "huge-reply",
    "endless-reply",
    "controls",
    "bare-line-ends",
    "two-codes",
    "wrong-code",
    "no-code",
    "binary",
    "trickle",
    "extra-replies",
]

_BLOCK_OCTETS = 65_536  # chosen, because it is one read of the other side
_TRICKLE_SECONDS = 1.0  # chosen: one octet a second is below any useful speed and above TCP's own timers

_WHOLE: dict[Spite, bytes] = {
    "controls": b"250-\x1b[2J\x1b]0;owned\x07 \x00\x08\x7f\r\n250 \xe2\x80\xae\xe2\x80\xa8 5.1.1\x9b\r\n",
    "bare-line-ends": b"250-one\r250 two\n250 three\r\r\n",
    "two-codes": b"250-yes\r\n550 no\r\n",
    "wrong-code": b"299 What?\r\n",
    "no-code": b"yes, gladly\r\n",
    "binary": bytes(range(256)) * 16,
    "extra-replies": b"250 Ok\r\n" * 50,
}


def octets_of(kind: Spite) -> Iterator[bytes]:
    """What is sent, piece by piece; each but the first waits until the socket takes more."""
    if kind == "huge-line":
        return chain((b"250 ",), repeat(b"x" * _BLOCK_OCTETS, 1024))
    if kind == "huge-reply":
        return chain(repeat(b"250-Ok\r\n" * (_BLOCK_OCTETS // 8), 64), (b"250 Ok\r\n",))
    if kind == "endless-reply":
        return repeat(b"250-Ok\r\n" * (_BLOCK_OCTETS // 8))
    if kind == "trickle":
        return (bytes((octet,)) for octet in chain(b"250 ", repeat(ord("x"))))
    return iter((_WHOLE[kind],))


def pause_seconds(kind: Spite) -> float:
    """To wait before the next piece."""
    return _TRICKLE_SECONDS if kind == "trickle" else 0.0
