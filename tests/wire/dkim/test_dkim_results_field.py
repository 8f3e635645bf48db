"""The field `Authentication-Results`: what was found, and nothing that others could smuggle into it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError
from outrider.wire.dkim.authentication_results import Checked, format_results, of_signatures
from outrider.wire.dkim.results import Fault, SignatureResult
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, check, request


def test_results_of_a_message_become_a_field() -> None:
    signed = sign(stuff_plain(MESSAGE), [request("ed25519"), request("rsa2048")], KEYS, NOW) + MESSAGE
    results = check(stuff_plain(signed.replace(b"a=rsa-sha256", b"a=rsa-sha1")))
    field = format_results("mx.receiver.test", of_signatures(results))
    start, _, rest = field.partition(b"header.b=")
    assert start == (
        b"Authentication-Results: mx.receiver.test;\r\n"
        b"\tdkim=pass header.d=sender.test header.i=@sender.test header.s=ed25519\r\n"
        b"\theader.a=ed25519-sha256 "
    )
    assert (
        len(rest.split(b";")[0].strip(b'"')) == 8
    )  # in quotes where the signature begins with a slash in it
    assert b'\tdkim=policy\r\n\treason="rsa-sha1 must not be relied on (RFC 8301 \xa73.1)"' not in field
    assert b"\tdkim=policy" in field
    assert b"header.a=rsa-sha1" in field


def test_an_unsigned_message_and_no_checks() -> None:
    assert (
        format_results("mx.test", of_signatures(())) == b"Authentication-Results: mx.test;\r\n\tdkim=none\r\n"
    )
    assert format_results("mx.test", []) == b"Authentication-Results: mx.test; none\r\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("sender.test", b"sender.test"),
        ("@sender.test", b"@sender.test"),
        ("ann+x@sender.test", b"ann+x@sender.test"),
        ("192.0.2.1", b"192.0.2.1"),
        ("2001:db8::1", b'"2001:db8::1"'),
        ("hAiD5+Q+", b"hAiD5+Q+"),
        ("hAiD5/Qx", b'"hAiD5/Qx"'),
        ("hAiD5xQ=", b'"hAiD5xQ="'),
        ("a/b=c?@sender.test", b"a/b=c?@sender.test"),
        ("a b", b'"a b"'),
        ('"a b"@sender.test', b'"a b"@sender.test'),
        ('"a\\"b@c"@sender.test', b'"a\\"b@c"@sender.test'),
        ('""@sender.test', b'""@sender.test'),
        ("a..b@sender.test", b'"a..b@sender.test"'),
        (".a@sender.test", b'".a@sender.test"'),
        ("a@b@sender.test", b'"a@b@sender.test"'),
        ("a@-sender.test", b'"a@-sender.test"'),
        ("a@sender..test", b'"a@sender..test"'),
        ("a@sender_1.test", b'"a@sender_1.test"'),
        ("a@[192.0.2.1]", b'"a@[192.0.2.1]"'),
        ('"a"b"@sender.test', b'"\\"a\\"b\\"@sender.test"'),
        ("@", b'"@"'),
        ("a" * 255, b"a" * 255),
        ("a" * 256, b'"' + b"a" * 255 + b'"'),
        ('a"; spf=pass x="', b'"a\\"; spf=pass x=\\""'),
        ("a\\", b'"a\\\\"'),
        ("a\r\nBcc: x", b'"a??Bcc: x"'),
        ("\xe4", b'"?"'),
    ],
)
def test_values_are_quoted_where_they_must_be(value: str, written: bytes) -> None:
    field = format_results("mx.test", [Checked("spf", "fail", "", (("smtp.mailfrom", value),))])
    field = field.replace(b"\r\n\tsmtp", b" smtp")  # of a long one
    assert field == b"Authentication-Results: mx.test;\r\n\tspf=fail smtp.mailfrom=" + written + b"\r\n"


def test_what_has_no_value_is_left_out() -> None:
    result = SignatureResult(fault=Fault.SYNTAX, reason="b= missing or empty")
    assert format_results("mx.test", of_signatures([result])) == (
        b'Authentication-Results: mx.test;\r\n\tdkim=permerror reason="b= missing or empty"\r\n'
    )


@pytest.mark.parametrize(
    ("authserv_id", "check_made"),
    [
        ("", Checked("spf", "pass")),
        ("mx test", Checked("spf", "pass")),
        ("mx.test", Checked("s pf", "pass")),
        ("mx.test", Checked("spf", "pass\r\n")),
        ("mx.test", Checked("spf", "pass", "", (("a.b c", "x"),))),
        ("mx.test", Checked("spf", "pass", "", (("nodot", "x"),))),
    ],
)
def test_words_of_ours_that_are_none_are_errors(authserv_id: str, check_made: Checked) -> None:
    with pytest.raises(LocalProtocolError):
        format_results(authserv_id, [check_made])


TOKEN = r"[^\s()<>@,;:\\\"/\[\]?=]+"
QUOTED = r'"(?:[^"\\]|\\.)*"'
DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
VALUE = rf"(?:(?:{ATOMS}|{QUOTED})?@{DOMAIN}|{TOKEN}|{QUOTED})"
WORD = "[A-Za-z0-9-]*[A-Za-z0-9]"
RESULT = re.compile(
    rf"\s*;\s*({WORD})\s*=\s*({WORD})(?:\s+reason\s*=\s*({TOKEN}|{QUOTED}))?((?:\s+{WORD}\.{WORD}={VALUE})*)"
)
PROPERTY = re.compile(rf"\s+({WORD}\.{WORD})=({VALUE})")


def plain(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == value[-1:] == '"' and value != '"' else value


def read(field: bytes) -> tuple[str, list[Checked]]:
    """A field as RFC 8601 §2.2 has it, with no more tolerance than that."""
    text = field.decode("ascii").removeprefix("Authentication-Results:")
    assert text.endswith("\r\n")
    text = re.sub(r"\r\n(?=[ \t])", "", text[:-2])
    name = re.match(rf"\s*({TOKEN}|{QUOTED})", text)
    assert name is not None
    place = name.end()
    if re.fullmatch(r"\s*;\s*none", text[place:]):
        return plain(name[1]), []
    checks = []
    while place < len(text):
        found = RESULT.match(text, place)
        assert found is not None, text[place:]
        place = found.end()
        properties = tuple((each[1], plain(each[2])) for each in PROPERTY.finditer(found[4]))
        checks.append(Checked(found[1], found[2], plain(found[3] or ""), properties))
    return plain(name[1]), checks


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)
ADDRESSES = st.builds("{}@{}".format, PRINTABLE, st.sampled_from(["x.test", "-x", "x_1.test", "[::1]"]))


@given(
    st.lists(st.tuples(PRINTABLE, PRINTABLE | ADDRESSES.filter(lambda text: len(text) <= 255)), max_size=3)
)
def test_a_reader_by_the_standard_sees_each_value_as_it_was(texts: list[tuple[str, str]]) -> None:
    checks = [
        Checked("spf", "fail", reason, (("smtp.mailfrom", value), ("smtp.helo", reason)))
        for reason, value in texts
    ]
    assert read(format_results("mx.test", checks)) == ("mx.test", checks)


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=4))
def test_whatever_others_wrote_it_is_one_field_of_ascii(texts: list[tuple[str, str]]) -> None:
    checks = [Checked("dkim", "fail", reason, (("header.d", value),)) for reason, value in texts]
    field = format_results("mx.test", checks)
    assert field.isascii()
    assert field.endswith(b"\r\n")
    lines = field[:-2].split(b"\r\n")
    assert all(line[:1] == b"\t" and line.strip() for line in lines[1:])
    assert not any(octet in b"\r\n" for line in lines for octet in line)
    assert max(map(len, lines)) <= 998
    assert field.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') % 2 == 0
