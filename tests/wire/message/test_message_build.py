"""Messages that are built whole: the structure that their readers expect, and nothing smuggled in."""

import email

import pytest

from outrider.wire.headers import FieldError
from outrider.wire.message.build import Attached, build_message
from outrider.wire.message.content import decoded, texts
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.limits import EditError
from outrider.wire.message.tree import read_part
from outrider.wire.smtp.content import stuff_plain

INNER = b"Subject: inner\r\n\r\n.body\r\n"


def test_the_structure_is_always_the_same() -> None:
    octets = build_message(
        [
            ("From", "a@a.test"),
            ("Subject", b"=?utf-8?q?=C3=BC?="),
            ("Content-Type", "text/plain"),
            ("X-N", "ü"),
        ],
        [
            ("text/plain", "grün\n"),
            ("text/html; charset=iso-8859-1; x=y", "<b>grün</b>"),
            ("application/json", "{}"),
        ],
        [
            Attached(
                b"a,b\n", "text/csv", "ü.csv", b"Content-ID: <c@a.test>\r\nX-A: 1\r\n", "quoted-printable"
            ),
            Attached(b"\0\1", "image/png"),
            Attached(INNER, is_message=True),
        ],
    )
    message = EditableMessage(stuff_plain(octets))
    assert message.raw() == octets
    assert message.header.names() == ["From", "Subject", "X-N", "MIME-Version", "Content-Type"]
    assert message.header.get("Subject") == message.header.get("X-N") == "ü"
    alternative, csv, image, inner = message.root.children
    assert message.root.media_type == "multipart/mixed"
    assert alternative.media_type == "multipart/alternative"
    assert [(part.media_type, part.charset, part.transfer_encoding) for part in alternative.children] == [
        ("text/plain", "utf-8", "quoted-printable"),
        ("text/html", "iso-8859-1", "base64"),
        ("application/json", "", "base64"),
    ]
    assert texts(alternative) == ["grün\r\n", "<b>grün</b>"]
    assert alternative.children[1].content_type.get("x") == "y"
    assert (csv.filename, csv.transfer_encoding, decoded(csv)) == ("ü.csv", "quoted-printable", b"a,b\n")
    assert csv.header.get("X-A") == "1"
    assert decoded(image) == b"\0\1"
    assert inner.content_type.get("name") == "Attached Message"
    assert inner.children[0].octets() == INNER
    assert octets.count(b"MIME-Version") == 1
    assert email.message_from_bytes(octets).get_payload(0).get_content_type() == "multipart/alternative"  # type: ignore[union-attr]


def test_one_text_alone_stands_at_the_same_place() -> None:
    root = read_part(build_message([("To", "a@a.test")], [("text/plain", "x")]))
    assert [part.media_type for part in root.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
    ]


def test_eight_bits_within_are_told_at_the_top() -> None:
    root = read_part(build_message([], [], [Attached("A: 1\r\n\r\nü".encode(), is_message=True)]))
    assert root.transfer_encoding == "8bit"


@pytest.mark.parametrize(
    "attached",
    [
        Attached(b"x", fields=b"A: 1\nB: 2\n"),
        Attached(b"x", fields=b"no field\r\n"),
        Attached(b"x", "nonsense"),
        Attached(b"x", name="a\r\nb"),
        Attached(b"\xff", encoding="7bit"),
        Attached(b"A: 1\n", is_message=True),
    ],
)
def test_what_cannot_be_written_is_refused(attached: Attached) -> None:
    with pytest.raises((EditError, FieldError)):
        build_message([], [("text/plain", "x")], [attached])


def test_nothing_is_smuggled_into_the_header() -> None:
    for fields in ([("A", "x\r\nBcc: y")], [("A", b"x\r\n\r\nbody")], [("A\r\nB", "x")]):
        with pytest.raises(FieldError):
            build_message(fields, [("text/plain", "x")])
