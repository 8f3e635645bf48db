"""The field `Authentication-Results`: what was found, and nothing that others could smuggle into it."""

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
