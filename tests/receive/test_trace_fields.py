"""Fields that we add, and header sections that we refuse."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.model.flow import Origin
from outrider.receive.options import ReceiveLimits
from outrider.receive.trace import Tracer, count_hops, format_peer, has_field, refuse_header
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import stuff_plain

ORIGIN = Origin("in", "ESMTPSA", "192.0.2.1", "c.example", "joe", "TLSv1.3 TLS_AES_256_GCM_SHA384")


def add(message: bytes, **options: Any) -> bytes:
    tracer = Tracer("mx.test", FakeClock(), **{"add_message_id": True, "add_date": True, **options})
    content = stuff_plain(message)
    lower = content.wire[: content.header_octets].lower()
    peer = format_peer(ORIGIN.helo, ORIGIN.client, ORIGIN.tls)
    traced = tracer.add(content, lower, ORIGIN, "id1", smtputf8=False, peer=peer)
    header, empty, _ = traced.wire.partition(b"\r\n\r\n")
    assert traced.wire[: traced.header_octets] == header + b"\r\n" if empty else True
    assert traced.traits == content.traits
    return traced.wire


RECEIVED = (
    b"Received: from c.example ([192.0.2.1])\r\n"
    b"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
    b"\tby mx.test (Outrider) with ESMTPSA id id1;\r\n"
    b"\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
)
DATE = b"Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n"


@pytest.mark.parametrize(
    ("message", "added"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", b"Message-ID: <id1@mx.test>\r\n" + DATE),
        (b"message-id: <a@b>\r\n\r\nbody\r\n", DATE),
        (b"Subject: x\r\nDATE: now\r\n\r\nbody\r\n", b"Message-ID: <id1@mx.test>\r\n"),
        (b"Date: now\r\nMessage-ID: <a@b>\r\n\r\nMessage-ID: none\r\n", b""),
        (b"X-Date: now\r\n\r\nDate: in the body\r\n", b"Message-ID: <id1@mx.test>\r\n" + DATE),
        (b"\r\nonly a body\r\n", b"Message-ID: <id1@mx.test>\r\n" + DATE),
    ],
)
def test_what_is_missing_is_added(message: bytes, added: bytes) -> None:
    assert add(message) == RECEIVED + added + message


def test_nothing_is_added_that_was_not_asked_for() -> None:
    message = b"Subject: x\r\n\r\nbody\r\n"
    assert add(message, add_message_id=False, add_date=False) == RECEIVED + message


def test_text_without_a_header_stays_out_of_ours() -> None:
    text = b"Hello there\r\nSubject: not a header\r\n"
    assert add(text, add_message_id=False, add_date=False) == RECEIVED + b"\r\n" + text


def test_every_second_has_its_date() -> None:
    clock = FakeClock()
    tracer = Tracer("mx.test", clock, add_message_id=False, add_date=True)
    content = stuff_plain(b"a: b\r\n\r\n")

    def date() -> bytes:
        wire = tracer.add(content, b"a: b\r\n", ORIGIN, "i", smtputf8=False, peer="p").wire
        found = re.search(rb"^Date: (.*)\r$", wire, re.MULTILINE)
        assert found is not None
        return found[1]

    before = date()
    clock.advance(1)
    assert (before, date()) == (b"Mon, 21 Sep 2026 14:13:20 +0000", b"Mon, 21 Sep 2026 14:13:21 +0000")


@pytest.mark.parametrize(
    ("helo", "client", "tls", "text"),
    [
        ("c.example", "192.0.2.1", None, "c.example ([192.0.2.1])"),
        ("c.example", "2001:db8::1", None, "c.example ([IPv6:2001:db8::1])"),
        ("[192.0.2.1]", "192.0.2.1", None, "[192.0.2.1] ([192.0.2.1])"),
        ("a)(b<c>;\"'\\", "192.0.2.1", None, "a??b?c????? ([192.0.2.1])"),
        ("", "192.0.2.1", None, "unknown ([192.0.2.1])"),
    ],
)
def test_format_peer(helo: str, client: str, tls: str | None, text: str) -> None:
    assert format_peer(helo, client, tls) == text


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_header_limits_are_exact(excess: int) -> None:
    limits = ReceiveLimits(header_octets=4096, header_fields=100, hops=50)

    def refused(header: bytes) -> object:
        return refuse_header(header, header.lower(), limits)

    big = b"a: " + b"x" * (4096 + excess - 5) + b"\r\n"
    assert refused(big) == (replies.HEADER_TOO_BIG if excess > 0 else None)
    many = b"a: b\r\n" * (100 + excess)
    assert refused(many) == (replies.TOO_MANY_HEADERS if excess > 0 else None)
    folded = b"a: b\r\n c\r\n\td\r\n" * 100
    assert refused(folded) is None
    loop = (
        b"Received: x\r\nRECEIVED: y\r\n" * 25 + b"received: z\r\n" * excess
        if excess >= 0
        else b"Received: x\r\n" * 49
    )
    assert refused(loop) == (replies.TOO_MANY_HOPS if excess > 0 else None)


def test_fields_are_found_at_line_starts_only() -> None:
    lower = b"x-received: a\r\nsubject: received: date:\r\nreceived: c\r\n date: folded\r\n"
    assert count_hops(lower) == 1
    assert not has_field(lower, b"date:")
    assert has_field(lower, b"subject:")
    assert has_field(lower, b"x-received:")


async def test_a_loop_is_refused(world: Callable[..., Any]) -> None:
    made = world()
    said = made.connect().lines(
        "EHLO c", "MAIL FROM:<>", "RCPT TO:<a@x.example>", "DATA", "Received: x\r\n" * 51 + "\r\nx\r\n."
    )
    assert said[-1] == str(replies.TOO_MANY_HOPS)
    assert made.intake.submissions == []
