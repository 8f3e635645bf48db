"""Arguments of commands as tables; parsers return or raise CommandError, whatever they are given."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.address import Address, format_path
from outrider.model.flow import Notify, Recipient
from outrider.model.reply import Reply
from outrider.wire.smtp import replies, sasl
from outrider.wire.smtp.commands import (
    CommandError,
    decode_xtext,
    parse_bdat,
    parse_helo,
    parse_mail,
    parse_rcpt,
)
from outrider.wire.smtp.mail_parameters import MailParameters
from outrider.wire.smtp.server_events import AuthRequest


def rcpt(text: str, *, smtputf8: bool = True) -> Recipient:
    return parse_rcpt(text, esmtp=True, smtputf8=smtputf8, hostname="mx.test")


@pytest.mark.parametrize(
    ("text", "path", "parameters"),
    [
        ("<>", "<>", MailParameters()),
        ("<a@b.c>", "<a@b.c>", MailParameters()),
        (" <a@b.c>", "<a@b.c>", MailParameters()),
        ("<a@b.c>  ", "<a@b.c>", MailParameters()),
        ('<"a> b"@b.c> SIZE=5', '<"a> b"@b.c>', MailParameters(size=5)),
        (r'<"a\"> b"@b.c>', r'<"a\"> b"@b.c>', MailParameters()),
        ("<@r.example,@s.example:a@b.c>", "<a@b.c>", MailParameters()),
        ("<a@b.c> body=8bitmime size=0", "<a@b.c>", MailParameters(eight_bit=True)),
        ("<a@b.c>  BODY=7BIT   RET=full", "<a@b.c>", MailParameters(ret="FULL")),
        ("<é@b.c> SMTPUTF8", "<é@b.c>", MailParameters(smtputf8=True)),
        ("<a@b.c> ENVID=QQ314159", "<a@b.c>", MailParameters(envid="QQ314159")),
        (
            "<a@b.c> ENVID=a+20b+2B AUTH=e+3Dmc2@b.c",
            "<a@b.c>",
            MailParameters(envid="a b+", auth="e=mc2@b.c"),
        ),
        ("<a@b.c> SIZE=99999999999999999999", "<a@b.c>", MailParameters(size=99999999999999999999)),
    ],
)
def test_mail(text: str, path: str, parameters: MailParameters) -> None:
    mail_from, got = parse_mail(text, esmtp=True)
    assert format_path(mail_from) == path
    assert got == parameters


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("", replies.BAD_SENDER),
        ("a@b.c", replies.BAD_SENDER),
        ("<a@b.c", replies.BAD_SENDER),
        ("<a@b.c>SIZE=1", replies.BAD_SENDER),
        ("<a@b.c>>", replies.BAD_SENDER),
        ("<<a@b.c>>", replies.BAD_SENDER),
        ("<a b@b.c>", replies.BAD_SENDER),
        ("< >", replies.BAD_SENDER),
        ("<@r.example>", replies.BAD_SENDER),
        ("<@r.example,s.example:a@b.c>", replies.BAD_SENDER),
        ("<@r example:a@b.c>", replies.BAD_SENDER),
        ("<a@b.c> =1", replies.BAD_PARAMETER),
        ("<a@b.c> SIZE=", replies.BAD_PARAMETER),
        ("<a@b.c> SIZE=1a", replies.BAD_PARAMETER),
        ("<a@b.c> SIZE=²", replies.BAD_PARAMETER),
        ("<a@b.c> SIZE=100000000000000000000", replies.BAD_PARAMETER),
        ("<a@b.c> SMTPUTF8=1", replies.BAD_PARAMETER),
        ("<a@b.c> BODY", replies.BAD_PARAMETER),
        ("<a@b.c> RET=FULL RET=FULL", replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=" + "x" * 101, replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=a+0D+0A", replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=a+7F", replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=a+FF", replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=a+2b", replies.BAD_PARAMETER),
        ("<a@b.c> ENVID=a=b", replies.BAD_PARAMETER),
        ("<a@b.c> XYZ", replies.UNKNOWN_PARAMETER),
        ("<a@b.c> NOTIFY=NEVER", replies.UNKNOWN_PARAMETER),
        ("<é@b.c>", replies.NEEDS_SMTPUTF8),
        ("<a@é.c>", replies.NEEDS_SMTPUTF8),
    ],
)
def test_mail_refused(text: str, reply: Reply) -> None:
    with pytest.raises(CommandError) as caught:
        parse_mail(text, esmtp=True)
    assert caught.value.reply == reply


@pytest.mark.parametrize(
    ("text", "recipient"),
    [
        ("<a@b.c>", Recipient(Address("a", "b.c"))),
        ("<Postmaster>", Recipient(Address("Postmaster", "mx.test"))),
        ("<a@b.c> NOTIFY=NEVER", Recipient(Address("a", "b.c"), Notify.NEVER)),
        ("<a@b.c> notify=success,Delay", Recipient(Address("a", "b.c"), Notify.SUCCESS | Notify.DELAY)),
        ("<a@b.c> ORCPT=rfc822;A+2BB@b.c", Recipient(Address("a", "b.c"), 0, "rfc822;A+B@b.c")),
        (r"<a@b.c> ORCPT=utf-8;\x{E9}@b.c", Recipient(Address("a", "b.c"), 0, "utf-8;é@b.c")),
        ("<a@b.c> ORCPT=utf-8;é@b.c", Recipient(Address("a", "b.c"), 0, "utf-8;é@b.c")),
        (r"<a@b.c> ORCPT=utf-8;\x{e9}\x{2b}@b.c", Recipient(Address("a", "b.c"), 0, "utf-8;é+@b.c")),
        ("<a@b.c> ORCPT=utf-8;a\xa0b@b.c", Recipient(Address("a", "b.c"), 0, "utf-8;a\xa0b@b.c")),
        ("<a@b.c> ORCPT=x-a_b!;c", Recipient(Address("a", "b.c"), 0, "x-a_b!;c")),
    ],
)
def test_rcpt(text: str, recipient: Recipient) -> None:
    assert rcpt(text) == recipient


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("<>", replies.NULL_RECIPIENT),
        ("<a>", replies.BAD_RECIPIENT),
        ("<a@b.c>x", replies.BAD_RECIPIENT),
        ("<a@b.c> NOTIFY=", replies.BAD_PARAMETER),
        ("<a@b.c> NOTIFY=SUCCESS,SUCCESS", replies.BAD_PARAMETER),
        ("<a@b.c> NOTIFY=NEVER,FAILURE", replies.BAD_PARAMETER),
        ("<a@b.c> NOTIFY=SUCCESS,", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=rfc822", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=rfc822;", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=rf c;x", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=rfc822;" + "x" * 500, replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=rfc822;a+0Ab", replies.BAD_PARAMETER),
        (r"<a@b.c> ORCPT=utf-8;\x{A}x", replies.BAD_PARAMETER),
        (r"<a@b.c> ORCPT=utf-8;\x{2028}", replies.BAD_PARAMETER),
        (r"<a@b.c> ORCPT=utf-8;\x{D800}", replies.BAD_PARAMETER),
        (r"<a@b.c> ORCPT=utf-8;\x{FFFFFF}", replies.BAD_PARAMETER),
        ("<a@b.c> NOTIFY=NEVER\xa0ORCPT=rfc822;x", replies.BAD_PARAMETER),
        ("<a@b.c>\xa0NOTIFY=NEVER", replies.BAD_RECIPIENT),
        ("<a@b.c> ORCPT=x;y;=z", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=;x", replies.BAD_PARAMETER),
        ("<a@b.c> ORCPT=x(y);z", replies.BAD_PARAMETER),
    ],
)
def test_rcpt_refused(text: str, reply: Reply) -> None:
    with pytest.raises(CommandError) as caught:
        rcpt(text)
    assert caught.value.reply == reply


def test_parameters_need_ehlo() -> None:
    with pytest.raises(CommandError) as caught:
        parse_mail("<a@b.c> SIZE=1", esmtp=False)
    assert caught.value.reply == replies.UNKNOWN_PARAMETER


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", (0, False)), ("5 LAST", (5, True)), ("5 last", (5, True)), ("07", (7, False))],
)
def test_bdat(text: str, expected: tuple[int, bool]) -> None:
    assert parse_bdat(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "1 FIRST", "1 LAST x", "²", "9" * 21])
def test_bdat_refused(text: str) -> None:
    with pytest.raises(CommandError):
        parse_bdat(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 256, "é.example"])
def test_helo_refused(text: str) -> None:
    with pytest.raises(CommandError):
        parse_helo(text)


@pytest.mark.parametrize(
    "parser",
    [
        lambda text: parse_mail(text, esmtp=True),
        rcpt,
        parse_bdat,
        parse_helo,
        decode_xtext,
    ],
)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(st.sampled_from('<>@,:".\\+ =;aé{}0FSIZERT'), max_size=40),
        st.text(st.sampled_from("+0123ABFx;= "), max_size=20).map(
            lambda end: f"<a@b.c> ENVID={end} ORCPT=utf-8;{end}"
        ),
    )
)
def test_a_parser_returns_or_refuses(parser: Callable[[str], Any], text: str) -> None:
    with contextlib.suppress(CommandError):
        parser(text)


@given(response=st.binary(max_size=60), name=st.sampled_from(["PLAIN", "LOGIN"]))
def test_sasl_returns_or_refuses(response: bytes, name: str) -> None:
    mechanism = sasl.start(name)
    assert mechanism is not None
    with contextlib.suppress(sasl.SaslError):
        first = mechanism.step(None)
        assert isinstance(first, bytes)
        second = mechanism.step(response)
        if isinstance(second, bytes):
            second = mechanism.step(response)
        assert isinstance(second, sasl.Credentials)


def test_credentials_are_shown_nowhere() -> None:
    shown = repr(AuthRequest("PLAIN", sasl.Credentials("ann@x.test", "s3cret")))
    assert "credentials=Credentials(…)" in shown


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"a\0b",
        b"\0\0p",
        b"\0u\0",
        b"\0u\0p\0x",
        b"other\0u\0p",
        b"\0\xff\0p",
        b"\0" + b"u" * 256 + b"\0p",
    ],
)
def test_plain_refused(response: bytes) -> None:
    with pytest.raises(sasl.SaslError):
        sasl.Plain().step(response)
    assert sasl.Plain().step(b"u\0u\0p") == sasl.Credentials("u", "p")
