"""The signer: what it signs, what it refuses, and how the field looks."""

import re
from typing import Any

import pytest

from outrider.base.errors import KeyAbsentError
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.listing import LINE_OCTETS, UnsignableError
from outrider.wire.dkim.request import RequestError, SignRequest
from outrider.wire.dkim.results import Fault
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.tags import parse_tags, quoted, unquoted
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, check, request

CONTENT = stuff_plain(MESSAGE)
SIMPLE, RELAXED = Canonicalization.SIMPLE, Canonicalization.RELAXED


def tags_of(field: bytes) -> dict[str, str]:
    return parse_tags(field.removeprefix(b"DKIM-Signature:").decode().rstrip("\r\n"))


@pytest.mark.parametrize("key", ["ed25519", "rsa2048"])
@pytest.mark.parametrize("header", [SIMPLE, RELAXED])
@pytest.mark.parametrize("body", [SIMPLE, RELAXED])
def test_each_kind_of_signature_verifies(key: str, header: Canonicalization, body: Canonicalization) -> None:
    field = sign(CONTENT, [request(key, header=header, body=body)], KEYS, NOW)
    (result,) = check(stuff_plain(field + MESSAGE))
    assert (result.fault, result.reason) == (Fault.NONE, "")
    assert (result.header, result.body) == (header, body)


def test_the_dots_of_the_wire_are_not_signed() -> None:
    assert b"\r\n..a line" in CONTENT.wire
    signed = sign(CONTENT, [request()], KEYS, NOW) + MESSAGE
    assert check(stuff_plain(signed))[0].is_pass
    assert check(stuff_plain(signed.replace(b"\r\n.a line", b"\r\n..a line")))[0].fault is Fault.BODY


def test_several_signatures_stand_in_one_message() -> None:
    fields = sign(
        CONTENT, [request("rsa2048"), request("ed25519"), request("rsa2048", body=SIMPLE)], KEYS, NOW
    )
    results = check(stuff_plain(fields + MESSAGE))
    assert [(each.algorithm, each.body, each.is_pass) for each in results] == [
        ("rsa-sha256", "relaxed", True),
        ("ed25519-sha256", "relaxed", True),
        ("rsa-sha256", "simple", True),
    ]


def test_the_field_says_what_was_asked() -> None:
    asked = request(identity="@news.sender.test", expiry_seconds=3_600)
    tags = tags_of(sign(CONTENT, [asked], KEYS, NOW + 0.9))
    assert list(tags) == ["v", "a", "c", "q", "d", "s", "i", "t", "x", "h", "bh", "b"]
    assert (tags["d"], tags["s"], tags["i"]) == ("sender.test", "ed25519", "@news.sender.test")
    assert (int(tags["t"]), int(tags["x"])) == (int(NOW), int(NOW) + 3_600)
    assert (tags["v"], tags["a"], tags["c"], tags["q"]) == (
        "1",
        "ed25519-sha256",
        "relaxed/relaxed",
        "dns/txt",
    )


def test_no_signature_has_a_length() -> None:
    assert "l" not in tags_of(sign(CONTENT, [request()], KEYS, NOW))
    assert "length" not in " ".join(SignRequest.__struct_fields__)


def test_lines_are_short_and_only_folded_where_that_means_nothing() -> None:
    many = b"".join(b"X-%d: v\r\n" % number for number in range(40)) + MESSAGE
    names = tuple(f"x-{number}" for number in range(40))
    for key in ("ed25519", "rsa2048"):
        asked = request(key, fields=names, oversigned=names, header=SIMPLE, identity="@sender.test")
        field = sign(stuff_plain(many), [asked], KEYS, NOW)
        lines = field.split(b"\r\n")
        assert lines.pop() == b""
        assert max(map(len, lines)) <= LINE_OCTETS + 4
        assert all(line[:1] in b"\t " and line.strip() for line in lines[1:])
        assert check(stuff_plain(field + many))[0].is_pass


def test_a_line_is_within_the_limit_however_long_the_names_are() -> None:
    """RFC 5322 §2.1.1: 998 octets."""
    asked = SignRequest(
        "d" * 33 + ".test", ".".join(["s" * 50] * 4), "ed25519", identity=f"{'é' * 46}@{'d' * 33}.test"
    )
    assert max(map(len, sign(CONTENT, [asked], KEYS, NOW).split(b"\r\n"))) <= 998


def names_of(message: bytes, **options: Any) -> list[str]:
    field = sign(stuff_plain(message), [request("ed25519", **options)], KEYS, NOW)
    return re.sub(r"\s", "", tags_of(field)["h"]).split(":")


def test_fields_are_signed_as_often_as_they_are_there_and_oversigned_once_more() -> None:
    message = b"Cc: a@b.test\r\nCc: c@b.test\r\n" + MESSAGE
    names = names_of(message, fields=("from", "cc", "x-absent", "subject"), oversigned=("cc", "reply-to"))
    assert names == ["from", "cc", "cc", "cc", "subject", "reply-to"]


def test_from_is_signed_even_if_nobody_asks() -> None:
    assert names_of(MESSAGE, fields=("subject",), oversigned=()) == ["subject", "from"]


def test_by_default_no_second_from_subject_date_or_recipient_can_be_added() -> None:
    names = names_of(MESSAGE)
    assert {name for name in names if names.count(name) == 2} >= {"from", "subject", "date", "to"}
    signed = sign(CONTENT, [request()], KEYS, NOW) + MESSAGE
    for added in (
        b"From: x@y.test",
        b"Subject: x",
        b"Date: x",
        b"To: x@y.test",
        b"Cc: x@y.test",
        b"Reply-To: x",
    ):
        for changed in (added + b"\r\n" + signed, signed.replace(b"X-Other", added + b"\r\nX-Other")):
            assert check(stuff_plain(changed))[0].fault is Fault.SIGNATURE, added


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Subject: x\r\n", 0),
        (b"From: a@b.test\r\nFrom: a@b.test\r\n", 2),
        (b"From: a@b.test\r\nfrom : c@b.test\r\n", 2),
        (b"", 0),
    ],
)
def test_a_message_without_from_or_with_two_is_not_signed(header: bytes, found: int) -> None:
    with pytest.raises(UnsignableError, match=f"{found} From fields"):
        sign(stuff_plain(header + b"\r\nbody\r\n"), [request()], KEYS, NOW)


def test_a_message_that_repeats_fields_without_end_is_not_signed() -> None:
    with pytest.raises(UnsignableError, match="repeats fields so often"):
        sign(stuff_plain(b"To: a@b.test\r\n" * 2_000 + MESSAGE), [request()], KEYS, NOW)
    many = b"To: a@b.test\r\n" * 1_000 + MESSAGE
    assert check(stuff_plain(sign(stuff_plain(many), [request()], KEYS, NOW) + many))[0].is_pass


def test_nothing_asked_is_nothing_done() -> None:
    assert sign(stuff_plain(b"\r\nno header\r\n"), [], KEYS, NOW) == b""


def test_short_keys_are_refused_unless_told_and_shorter_ones_always() -> None:
    with pytest.raises(UnsignableError, match="1024 bits: make one of 2048, or set allow_short_key"):
        sign(CONTENT, [request("rsa1024")], KEYS, NOW)
    field = sign(CONTENT, [request("rsa1024", allow_short_key=True)], KEYS, NOW)
    assert check(stuff_plain(field + MESSAGE))[0].is_pass


def test_a_key_that_is_not_there_is_an_error() -> None:
    class NoKeys:
        def get(self, name: str) -> None:
            raise KeyAbsentError(name)

    with pytest.raises(KeyAbsentError):
        sign(CONTENT, [request()], NoKeys(), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"domain": "a b.test"}, "domain"),
        ({"domain": "x.test; l=0"}, "domain"),
        ({"domain": "x.test\r\nBcc: y"}, "domain"),
        ({"domain": ""}, "domain"),
        ({"selector": "s;1"}, "selector"),
        ({"selector": ""}, "selector"),
        ({"key": ""}, "key"),
        ({"selector": ".".join(["s" * 50] * 4), "domain": "d" * 34 + ".test"}, "selector"),
        ({"identity": "ann@other.test"}, "identity"),
        ({"identity": "ann@notsender.test"}, "identity"),
        ({"identity": "ann"}, "identity"),
        ({"identity": "a@sender.test; x=1"}, "identity"),
        ({"fields": ("from", "received")}, "fields"),
        ({"fields": ("from", "dkim-signature")}, "fields"),
        ({"identity": "a" * 320 + "@sender.test"}, "identity"),
        ({"identity": "é" * 54 + "@sender.test"}, "identity"),
        ({"fields": ("from", "authentication-results")}, "fields"),
        ({"oversigned": ("arc-seal",)}, "oversigned"),
        ({"fields": ("From",)}, "fields"),
        ({"fields": ("a:b",)}, "fields"),
        ({"fields": ("a;b",)}, "fields"),
        ({"fields": ("a", "a")}, "fields"),
        ({"fields": tuple(f"x-{number}" for number in range(65))}, "fields"),
        ({"oversigned": ("return-path",)}, "oversigned"),
        ({"expiry_seconds": -1}, "expiry_seconds"),
        ({"expiry_seconds": 10**9}, "expiry_seconds"),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_is_asked(options: dict[str, object], argument: str) -> None:
    whole: dict[str, object] = {"domain": "sender.test", "selector": "s1", "key": "k"} | options
    with pytest.raises(RequestError, match=f"^{argument}: "):
        SignRequest(**whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["@a.test", "ann;b=c@a.test", "ü x@a.test", "a=3D@a.test", "a\r\nb@a.test"])
def test_identities_are_written_so_that_they_cannot_break_out(text: str) -> None:
    written = quoted(text)
    assert not set(written) & set("; \r\n\t")
    assert unquoted(written) == text
    if "\r" not in text:
        asked = SignRequest("a.test", "s1", "ed25519", identity=text)
        assert unquoted(tags_of(sign(CONTENT, [asked], KEYS, NOW))["i"]) == text


def test_a_message_that_is_all_header_is_signed() -> None:
    message = b"From: a@sender.test\r\nSubject: x\r\n"
    for body in (SIMPLE, RELAXED):
        field = sign(stuff_plain(message), [request(body=body)], KEYS, NOW)
        assert check(stuff_plain(field + message))[0].is_pass


def test_a_field_name_with_a_dot_first_is_read_as_its_author_wrote_it() -> None:
    message = b".X: stuffed on the wire\r\n" + MESSAGE
    asked = request(fields=("from", ".x"), oversigned=(".x",), header=SIMPLE)
    field = sign(stuff_plain(message), [asked], KEYS, NOW)
    assert check(stuff_plain(field + message))[0].is_pass
    assert b".x:.x" in field
