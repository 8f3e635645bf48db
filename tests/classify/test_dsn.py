"""Delivery reports, read back by Python's email parser as an independent reader, and compared as a whole."""

import email.header
import email.message
import email.parser
import email.policy
import email.utils
import os
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.ids import MessageId
from outrider.classify.dsn import build_dsn, is_due
from outrider.classify.options import DsnOptions, DsnTemplate
from outrider.classify.report import DsnKind, RecipientReport, status_code
from outrider.classify.verdict import classify
from outrider.model.address import Address
from outrider.model.changes import Stored
from outrider.model.flow import (
    Content,
    Envelope,
    Notify,
    Origin,
    Outcome,
    Phase,
    Recipient,
    Submission,
    Traits,
)
from outrider.model.reply import Reply
from outrider.wire.smtp.content import stuff_plain, unstuff

CORPUS = Path(__file__).parents[1] / "corpus" / "classify"

SENDER = Address("sender", "d.example")
BODY = b"From: sender@d.example\r\nSubject: Quarterly\r\n figures\r\n\r\nHello\r\n.\r\n..dots\r\n"
REFUSED = Outcome(
    Reply(550, "5.1.1", ("User unknown",)), Phase.RCPT, host="mx.b.example", peer="192.0.2.25:25"
)
UNREACHED = Outcome(Reply(451, "4.4.1", ("Connection to mx.b.example timed out",)), Phase.CONNECT, ours=True)
TAKEN = Outcome(Reply(250, "2.0.0", ("Ok",)), Phase.BODY, host="mx.b.example")


def stored(content: Content, **changes: Any) -> Stored:
    values: dict[str, Any] = {
        "message_id": MessageId("m0000000000000001"),
        "first_entry": 1,
        "received_time": 1_790_000_000.0,
        "origin": Origin("in", "ESMTP", "192.0.2.7", "client", "user", None, "tenant", "stream"),
        "mail_from": SENDER,
        "deliveries": (),
        "ret": None,
        "envid": None,
        "smtputf8": False,
        "traits": int(content.traits),
        "header_octets": content.header_octets,
        "size": len(content.wire),
    }
    return Stored(**{**values, **changes})


def report(
    outcome: Outcome = REFUSED,
    address: Address = Address("user", "b.example"),  # noqa: B008 - frozen
    notify: int = 0,
    orcpt: str | None = None,
) -> RecipientReport:
    return RecipientReport(
        Recipient(address, notify, orcpt),
        outcome,
        1_790_000_060.0,
        classify(outcome).bounce_class,
        1_790_400_000.0,
    )


def build(
    kind: DsnKind,
    *reports: RecipientReport,
    plain: bytes = BODY,
    options: DsnOptions | None = None,
    hostname: str = "out.example",
    **changes: Any,
) -> Submission | None:
    content = stuff_plain(plain)
    return build_dsn(
        kind,
        stored(content, **changes),
        reports,
        content.wire,
        options or DsnOptions(),
        message_id=MessageId("m0000000000000002"),
        now_time=1_790_000_120.0,
        hostname=hostname,
    )


def parts(submission: Submission | None) -> tuple[Message, list[Message]]:
    """The report as the independent reader sees it."""
    assert submission is not None
    parsed = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(unstuff(submission.content))
    inner = parsed.get_payload()
    assert isinstance(inner, list)
    assert not parsed.defects
    return parsed, [part for part in inner if isinstance(part, Message)]


def fields(part: Message) -> list[dict[str, str]]:
    """The groups of a message/delivery-status part."""
    groups = part.get_payload()
    assert isinstance(groups, list)
    return [dict(group.items()) for group in groups if isinstance(group, Message) and group.items()]


def returned(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    inner = part.get_payload()
    assert isinstance(inner, list)
    assert isinstance(inner[0], Message)
    return inner[0].as_bytes(policy=email.policy.compat32.clone(linesep="\r\n"))


SNAPSHOTS = {
    "dsn-01-failed.expect": lambda: build(
        DsnKind.FAILED,
        report(orcpt="rfc822;User@b.example"),
        report(UNREACHED, Address('"a b"', "c.example")),
        ret="FULL",
        envid="batch-17",
    ),
    "dsn-02-delayed.expect": lambda: build(DsnKind.DELAYED, report(UNREACHED)),
    "dsn-03-relayed.expect": lambda: build(DsnKind.RELAYED, report(TAKEN, notify=Notify.SUCCESS), ret="FULL"),
    "dsn-04-utf8.expect": lambda: build(
        DsnKind.FAILED,
        report(address=Address("müller", "b.example"), orcpt="utf-8;müller@b.example"),
        plain="Subject: Grüße\r\n\r\nHallo\r\n".encode(),
        smtputf8=True,
    ),
    "dsn-05-utf8-sender.expect": lambda: build(
        DsnKind.FAILED,
        report(address=Address("müller", "b.example"), orcpt="utf-8;müller@b.example"),
        plain="Subject: Grüße\r\n\r\nHallo\r\n".encode(),
        smtputf8=True,
        ret="FULL",
        mail_from=Address("größe", "d.example"),
    ),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_whole_report(name: str) -> None:
    submission = SNAPSHOTS[name]()
    assert submission is not None
    text = unstuff(submission.content).replace(b"\r\n", b"\n")
    if os.environ.get("OUTRIDER_UPDATE"):
        (CORPUS / name).write_bytes(text)
    assert text.decode() == (CORPUS / name).read_bytes().decode()


def test_envelope_and_header_of_a_report() -> None:
    submission = build(DsnKind.FAILED, report())
    assert submission is not None
    assert submission.envelope == Envelope(None, (Recipient(SENDER, Notify.NEVER),))
    assert submission.message_id == "m0000000000000002"
    assert submission.received_time == 1_790_000_120.0
    assert submission.origin.protocol == "internal"
    assert (submission.origin.tenant, submission.origin.stream) == ("tenant", "stream")
    message, _ = parts(submission)
    assert message["From"] == "Mail Delivery System <mailer-daemon@out.example>"
    assert message["To"] == "<sender@d.example>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Date"] == "Mon, 21 Sep 2026 14:15:20 +0000"
    assert message["Message-ID"] == "<m0000000000000002@out.example>"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


def test_fields_of_a_failure() -> None:
    _, (text, status, header) = parts(
        build(DsnKind.FAILED, report(orcpt="rfc822;User@b.example"), envid="e-1")
    )
    assert (text.get_content_type(), status.get_content_type()) == ("text/plain", "message/delivery-status")
    message, recipient = fields(status)
    assert message == {
        "Original-Envelope-Id": "e-1",
        "Reporting-MTA": "dns; out.example",
        "Arrival-Date": "Mon, 21 Sep 2026 14:13:20 +0000",
        "X-Outrider-Message-Id": "m0000000000000001",
    }
    assert recipient == {
        "Original-Recipient": "rfc822; User@b.example",
        "Final-Recipient": "rfc822; user@b.example",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.b.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
        "Last-Attempt-Date": "Mon, 21 Sep 2026 14:14:20 +0000",
    }
    assert returned(header) == b"From: sender@d.example\r\nSubject: Quarterly\r\n figures\r\n"


def test_failure_of_ours_is_not_put_into_a_peers_mouth() -> None:
    _, (text, status, _) = parts(build(DsnKind.FAILED, report(UNREACHED)))
    recipient = fields(status)[1]
    assert recipient["Diagnostic-Code"].startswith("x-outrider; 451 4.4.1 Connection")
    assert recipient["Status"] == "5.4.1"
    assert "Remote-MTA" not in recipient
    assert "This server says:" in str(text.get_payload())


def test_delay_says_until_when() -> None:
    _, (_, status, _) = parts(build(DsnKind.DELAYED, report(UNREACHED)))
    recipient = fields(status)[1]
    assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.4.1")
    assert recipient["Will-Retry-Until"] == "Sat, 26 Sep 2026 05:20:00 +0000"


def test_several_recipients_share_one_report() -> None:
    reports = [report(address=Address(f"user{number}", "b.example")) for number in range(150)]
    _, (text, status, _) = parts(build(DsnKind.FAILED, *reports))
    assert len(fields(status)) == 151
    assert "user99@" in str(text.get_payload())
    assert "... and 50 more recipients." in str(text.get_payload())
    assert "user100@" not in str(text.get_payload())


N = Notify


@pytest.mark.parametrize(
    ("notify", "failed", "delayed", "relayed"),
    [
        (N.UNSPECIFIED, True, True, False),
        (N.NEVER, False, False, False),
        (N.SUCCESS, False, False, True),
        (N.FAILURE, True, False, False),
        (N.DELAY, False, True, False),
        (N.SUCCESS | N.FAILURE, True, False, True),
        (N.FAILURE | N.DELAY, True, True, False),
        (N.SUCCESS | N.DELAY, False, True, True),
        (N.SUCCESS | N.FAILURE | N.DELAY, True, True, True),
        (N.NEVER | N.FAILURE, False, False, False),
    ],
)
def test_notify_is_honoured(notify: Notify, failed: bool, delayed: bool, relayed: bool) -> None:
    """RFC 3461 §4.1."""
    for kind, due in ((DsnKind.FAILED, failed), (DsnKind.DELAYED, delayed), (DsnKind.RELAYED, relayed)):
        assert is_due(kind, SENDER, notify, DsnOptions()) is due
        assert (build(kind, report(notify=notify)) is not None) is due


def test_only_recipients_that_want_it_are_named() -> None:
    built = build(
        DsnKind.FAILED,
        report(address=Address("quiet", "b.example"), notify=Notify.NEVER),
        report(address=Address("loud", "b.example"), notify=Notify.FAILURE),
    )
    assert built is not None
    assert b"loud@b.example" in built.content.wire
    assert b"quiet" not in built.content.wire


@pytest.mark.parametrize("kind", DsnKind)
def test_null_sender_is_never_told(kind: DsnKind) -> None:
    """RFC 5321 §4.5.5."""
    assert build(kind, report(notify=Notify.SUCCESS | Notify.FAILURE | Notify.DELAY), mail_from=None) is None


def test_reports_can_be_switched_off() -> None:
    assert build(DsnKind.FAILED, report(), options=DsnOptions(enabled=False)) is None
    quiet = DsnOptions(delay_notices=False)
    assert build(DsnKind.DELAYED, report(), options=quiet) is None
    assert build(DsnKind.DELAYED, report(notify=Notify.DELAY), options=quiet) is not None


@pytest.mark.parametrize(
    ("kind", "ret", "return_content", "whole"),
    [
        (DsnKind.FAILED, "FULL", False, True),
        (DsnKind.FAILED, "HDRS", True, False),
        (DsnKind.FAILED, None, False, False),
        (DsnKind.FAILED, None, True, True),
        (DsnKind.DELAYED, "FULL", True, False),
        (DsnKind.RELAYED, "FULL", True, False),
    ],
)
def test_what_is_returned(kind: DsnKind, ret: str | None, return_content: bool, whole: bool) -> None:
    """RFC 3461 §4.3: the whole message only in a failure report."""
    wanted = report(notify=Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)
    _, (_, _, last) = parts(build(kind, wanted, ret=ret, options=DsnOptions(return_content=return_content)))
    assert last.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert (b"Hello" in returned(last)) is whole


def test_message_with_dots_comes_back_as_it_was() -> None:
    _, (_, _, last) = parts(build(DsnKind.FAILED, report(), ret="FULL"))
    assert returned(last) == BODY


@pytest.mark.parametrize(("spare", "whole"), [(0, True), (-1, False)])
def test_returned_message_is_bounded(spare: int, whole: bool) -> None:
    size = len(stuff_plain(BODY).wire)
    options = DsnOptions(max_returned_octets=size + spare)
    _, (_, _, last) = parts(build(DsnKind.FAILED, report(), ret="FULL", options=options))
    assert (last.get_content_type() == "message/rfc822") is whole


@pytest.mark.parametrize("limit", range(1_024, 1_124, 9))
def test_returned_header_is_cut_at_a_field(limit: int) -> None:
    plain = b"".join(b"X-Field-%d: %b\r\n folded\r\n" % (n, b"x" * 70) for n in range(100)) + b"\r\nbody\r\n"
    options = DsnOptions(max_returned_header_octets=limit)
    _, (_, _, last) = parts(build(DsnKind.FAILED, report(), plain=plain, options=options))
    header = returned(last)
    assert 900 < len(header) <= limit
    assert header.endswith(b"\r\n folded\r\n")


def test_one_endless_field_is_not_returned() -> None:
    plain = b"X: " + b"x" * 5_000 + b"\r\n\r\nbody\r\n"
    options = DsnOptions(max_returned_header_octets=1_024)
    _, (_, _, last) = parts(build(DsnKind.FAILED, report(), plain=plain, options=options))
    assert returned(last) == b""


def test_message_without_header() -> None:
    _, (_, _, last) = parts(build(DsnKind.FAILED, report(), plain=b"\r\nbody only\r\n"))
    assert returned(last).strip() == b""


def test_eight_bit_body_is_returned_as_it_is() -> None:
    plain = b"Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe \xff\r\n"
    built = build(DsnKind.FAILED, report(), plain=plain, ret="FULL")
    _, (_, _, last) = parts(built)
    assert last["Content-Transfer-Encoding"] == "8bit"
    assert built is not None
    assert built.content.traits & Traits.EIGHT_BIT
    assert plain in unstuff(built.content)


def test_a_header_that_is_no_utf8_is_not_called_so() -> None:
    """RFC 6533 §6.3 and RFC 6522 §4: message/global is UTF-8; a broken header is quoted."""
    plain = b"Subject: Gr\xfc\xdfe\r\n\r\nGr\xfc\xdfe\r\n"
    for ret, kind, encoding, expected in (
        ("FULL", "message/rfc822", "8bit", plain),
        ("HDRS", "text/rfc822-headers", "quoted-printable", b"Subject: Gr\xfc\xdfe\r\n"),
    ):
        built = build(DsnKind.FAILED, report(), plain=plain, ret=ret)
        _, (_, _, last) = parts(built)
        assert (last.get_content_type(), last["Content-Transfer-Encoding"]) == (kind, encoding)
        assert built is not None
        assert returned(last) == expected if ret == "HDRS" else plain in unstuff(built.content)


def test_long_lines_are_never_sent_on() -> None:
    plain = b"Subject: " + b"x" * 1_200 + b"\r\nX: y\r\n\r\nbody\r\n"
    built = build(DsnKind.FAILED, report(), plain=plain, ret="FULL")
    _, (_, _, last) = parts(built)
    assert built is not None
    assert not built.content.traits & Traits.LONG_LINES
    assert last["Content-Transfer-Encoding"] == "quoted-printable"
    assert returned(last) == plain[: plain.index(b"\r\n\r\n") + 2]


def test_international_recipient_in_seven_bits() -> None:
    """RFC 6533 §3: an ASCII sender gets a report that every server can carry."""
    built = build(
        DsnKind.FAILED,
        report(address=Address("mü+x", "b.example"), orcpt="utf-8;mü@b.example"),
        smtputf8=True,
        plain="Subject: ü\r\n\r\nü\r\n".encode(),
        ret="FULL",
    )
    assert built is not None
    assert built.content.wire.isascii()
    assert not built.envelope.smtputf8
    _, (_, status, last) = parts(built)
    recipient = fields(status)[1]
    assert recipient["Final-Recipient"] == r"utf-8; m\x{FC}\x{2B}x@b.example"
    assert recipient["Original-Recipient"] == r"utf-8; m\x{FC}@b.example"
    assert last.get_content_type() == "message/global"


def test_international_sender_gets_an_international_report() -> None:
    built = build(
        DsnKind.FAILED,
        report(address=Address("mü", "b.example")),
        mail_from=Address("größe", "d.example"),
        smtputf8=True,
    )
    assert built is not None
    assert built.envelope.smtputf8
    assert built.content.traits & Traits.HEADER_UTF8
    wire = built.content.wire.decode()
    assert "To: <größe@d.example>\r\n" in wire
    assert "Content-Type: message/global-delivery-status\r\n" in wire
    assert "Final-Recipient: utf-8; mü@b.example\r\n" in wire


@pytest.mark.parametrize(
    ("enhanced", "kind", "expected"),
    [
        ("5.1.1", DsnKind.FAILED, "5.1.1"),
        ("4.4.1", DsnKind.FAILED, "5.4.1"),
        ("5.7.1", DsnKind.DELAYED, "4.7.1"),
        (None, DsnKind.FAILED, "5.0.0"),
        ("5.1", DsnKind.FAILED, "5.0.0"),
        ("5.1.1\r\nX: y", DsnKind.FAILED, "5.0.0"),
        ("5.0001.1", DsnKind.FAILED, "5.0.0"),
        ("2.1.5", DsnKind.RELAYED, "2.1.5"),
    ],
)
def test_status_code_fits_the_action(enhanced: str | None, kind: DsnKind, expected: str) -> None:
    assert status_code(kind, Outcome(Reply(550, enhanced, ("x",)), Phase.RCPT)) == expected


HOSTILE = [
    "x\r\nBcc: victim@e.example",
    "x\n\nX: y",
    "\x00\x1b[2J\x07",
    "\u202egnp.exe \u2066hidden\u2069",
    "a\u2028b\u2029c\x85d",
    "\r\n.\r\nMAIL FROM:<x>",
    "\ud800 surrogate",
    "=?utf-8?b?DQpYOiB5?=",
    "y" * 100_000,
    "--=_outrider_m0000000000000002_0--",
    "word " * 5_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_inside_their_field(text: str) -> None:
    outcome = Outcome(Reply(550, "5.1.1", (text, text)), Phase.RCPT, host=text)
    harmless = parts(build(DsnKind.FAILED, report(orcpt="rfc822;x"), envid="x"))
    hostile = build(
        DsnKind.FAILED,
        report(outcome, orcpt=f"rfc822;{text}"),
        report(outcome, orcpt=f"{text};x"),
        envid=text,
    )
    message, (shown, status, header) = parts(hostile)
    assert hostile is not None
    assert message.keys() == harmless[0].keys()
    assert len(fields(status)) == 3
    for group in fields(status)[1:]:
        assert set(group) <= set(fields(harmless[1][1])[1])
    assert returned(header) == returned(harmless[1][2])
    assert hostile.content.wire.isascii() or shown["Content-Transfer-Encoding"] == "base64"
    assert max(map(len, hostile.content.wire.split(b"\r\n"))) <= 998
    assert len(hostile.content.wire) < 20_000
    decoded = shown.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    visible = decoded.decode().replace("\r\n", "")
    assert visible.isprintable()


def test_boundary_that_occurs_in_the_message_is_not_used() -> None:
    plain = b"Subject: x\r\n\r\n--=_outrider_m0000000000000002_0--\r\nbehind\r\n"
    _, inner = parts(build(DsnKind.FAILED, report(), plain=plain, ret="FULL"))
    assert len(inner) == 3
    assert returned(inner[2]) == plain


@pytest.mark.parametrize(
    ("plain", "changes", "encoding"),
    [
        (BODY, {"ret": "FULL"}, None),
        (b"Subject: x\r\n\r\nGr\xc3\xbcn\r\n", {"ret": "HDRS"}, None),
        (b"Subject: x\r\n\r\nGr\xc3\xbcn\r\n", {"ret": "FULL"}, "8bit"),
        (b"Subject: Gr\xc3\xbcn\r\n\r\nGr\xc3\xbcn\r\n", {"ret": "FULL"}, None),
    ],
)
def test_a_report_says_8bit_where_a_part_of_it_does(
    plain: bytes, changes: dict[str, Any], encoding: str | None
) -> None:
    """RFC 2045 §6.4: a multipart is of 8bit as soon as one of its parts is."""
    submission = build(DsnKind.FAILED, report(), plain=plain, **changes)
    message, inner = parts(submission)
    assert message["Content-Transfer-Encoding"] == encoding
    assert ("8bit" in [part["Content-Transfer-Encoding"] for part in inner]) == (encoding == "8bit")
    assert submission is not None
    assert unstuff(submission.content).isascii() == (encoding is None)


@pytest.mark.parametrize(("local_part", "encoding"), [("user", "7bit"), ("jörg", "8bit")])
def test_fields_in_utf8_say_8bit_only_where_they_are(local_part: str, encoding: str) -> None:
    recipient = report(address=Address(local_part, "b.example"))
    submission = build(DsnKind.FAILED, recipient, mail_from=Address("zoë", "d.example"), smtputf8=True)
    message, (_, status, _) = parts(submission)
    assert status["Content-Transfer-Encoding"] == encoding
    assert message.get("Content-Transfer-Encoding", "7bit") == encoding


@pytest.mark.parametrize(
    ("original", "in_ascii", "in_utf8"),
    [
        ("rfc822;user@b.example", "rfc822; user@b.example", "rfc822; user@b.example"),
        ('rfc822;"a  b"@b.example', 'rfc822; "a  b"@b.example', 'rfc822; "a  b"@b.example'),
        ("RFC822;user@b.example", "RFC822; user@b.example", "RFC822; user@b.example"),
        ("x400;/c=us/a= /p=x", "x400; /c=us/a= /p=x", "x400; /c=us/a= /p=x"),
        ("utf-8;user@b.example", "utf-8; user@b.example", "utf-8; user@b.example"),
        (
            "UTF-8;mü+=\\x@b.example",
            r"utf-8; m\x{FC}\x{2B}\x{3D}\x{5C}x@b.example",
            "utf-8; mü+=\\x@b.example",
        ),
        ("rfc822;mü@b.example", r"utf-8; m\x{FC}@b.example", "utf-8; mü@b.example"),
        (
            "utf-8;m\u200d\U0001f600@b.example",
            r"utf-8; m\x{200D}\x{1F600}@b.example",
            "utf-8; m \U0001f600@b.example",
        ),
        ("utf-8;" + "é" * 490, "utf-8; " + r"\x{E9}" * 159 + r"\x{...", "utf-8; " + "é" * 478 + "..."),
        ("rfc822;" + "a" * 500, "rfc822; " + "a" * 500, "rfc822; " + "a" * 500),
    ],
)
def test_the_original_recipient_is_told_as_it_was_given(original: str, in_ascii: str, in_utf8: str) -> None:
    """RFC 3464 §2.3.1 and RFC 6533 §3; each field is a line of at most 998 octets."""
    for sender, expected in ((SENDER, in_ascii), (Address("zoë", "d.example"), in_utf8)):
        submission = build(DsnKind.FAILED, report(orcpt=original), mail_from=sender)
        assert submission is not None
        lines = unstuff(submission.content).split(b"\r\n")
        (field,) = (line for line in lines if line.startswith(b"Original-Recipient: "))
        assert field.removeprefix(b"Original-Recipient: ").decode() == expected
        assert max(map(len, lines)) <= 998


@pytest.mark.parametrize(
    ("from_name", "subject"),
    [
        ("x" * 100, "word " * 39 + "end"),
        ("A, B", "=?utf-8?q?a?= of {hostname}"),
        ("", "é" * 200),
        ("=?utf-8?q?a?=", "x" * 200),
        ("ä" * 100, " led"),
    ],
)
def test_header_fields_of_a_report_are_short_and_read_as_they_were_given(
    from_name: str, subject: str
) -> None:
    options = DsnOptions(from_name=from_name, failed=DsnTemplate(subject=subject, intro="x"))
    submission = build(DsnKind.FAILED, report(), options=options)
    message, _ = parts(submission)
    assert submission is not None
    header = unstuff(submission.content).partition(b"\r\n\r\n")[0]
    assert max(map(len, header.split(b"\r\n"))) <= (998 if "x" * 200 in subject else 78)
    for value, expected in (
        (message["Subject"], subject.replace("{hostname}", "out.example")),
        (email.utils.parseaddr(message["From"])[0], from_name),
    ):
        chunks = email.header.decode_header(value.replace("\r\n", ""))
        read = "".join(
            chunk if isinstance(chunk, str) else chunk.decode(code or "ascii") for chunk, code in chunks
        )
        assert read == expected


def test_templates_of_the_operator() -> None:
    options = DsnOptions(
        from_name="Zustell\u00fcberwachung",
        from_address="post@d.example",
        failed=DsnTemplate(
            subject="Unzustellbar: Nachricht \u201e{message_id}\u201c vom {arrival} \u2013 " + "ä" * 40,
            intro="Grüße von {hostname}.\n\nBis {retry_until}; {{so}}.",
        ),
    )
    message, (text, _, _) = parts(build(DsnKind.FAILED, report(), options=options))
    assert all(len(line) <= 76 for line in str(message).splitlines() if "=?" in line), "RFC 2047 §2"
    header = email.header.decode_header(message["Subject"])
    subject = "".join(chunk.decode(code or "ascii") for chunk, code in header)
    assert subject.startswith("Unzustellbar: Nachricht „m0000000000000001“ vom Mon, 21 Sep 2026")
    assert subject.endswith("ä" * 40)
    assert message["From"].endswith("<post@d.example>")
    decoded = text.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    assert decoded.decode().startswith(
        "Grüße von out.example.\r\n\r\nBis Sat, 26 Sep 2026 05:20:00 +0000; {so}.\r\n"
    )


texts = st.text(max_size=80)
local_parts = st.text(min_size=1, max_size=20)
outcomes = st.builds(
    Outcome,
    st.builds(
        Reply,
        st.integers(200, 599),
        st.none() | st.just("5.1.1") | texts,
        st.lists(texts, min_size=1, max_size=3).map(tuple),
    ),
    st.sampled_from(Phase),
    st.booleans(),
    texts,
)
recipients = st.builds(
    Recipient,
    st.builds(Address, local_parts, st.just("b.example")),
    st.integers(0, 15),
    st.none() | texts.map("rfc822;".__add__) | texts,
)
reports_ = st.builds(RecipientReport, recipients, outcomes, st.floats(0, 4e9), texts, st.floats(0, 4e9))
bodies = st.lists(st.binary(max_size=60), max_size=8).map(
    lambda lines: b"\r\n".join(line.translate(None, b"\r\n\0") for line in lines) + b"\r\n"
)


@given(
    kind=st.sampled_from(DsnKind),
    reports=st.lists(reports_, max_size=4),
    plain=bodies,
    envid=st.none() | texts,
    ret=st.sampled_from([None, "FULL", "HDRS"]),
    smtputf8=st.booleans(),
    sender=st.sampled_from([None, SENDER, Address("ü", "d.example")]),
)
def test_every_report_parses_and_is_never_itself_reported(
    kind: DsnKind,
    reports: list[RecipientReport],
    plain: bytes,
    envid: str | None,
    ret: str | None,
    smtputf8: bool,
    sender: Address | None,
) -> None:
    built = build(kind, *reports, plain=plain, envid=envid, ret=ret, smtputf8=smtputf8, mail_from=sender)
    due = [report for report in reports if is_due(kind, sender, report.recipient.notify, DsnOptions())]
    assert (built is None) == (not due)
    if built is None:
        return
    wire = built.content.wire
    assert wire.endswith(b"\r\n")
    rest = wire.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    assert b"\0" not in rest
    _, inner = parts(built)
    assert len(inner) == 3
    if not built.envelope.smtputf8:
        assert len(fields(inner[1])) == 1 + len(due)
    assert built.envelope.mail_from is None
    again = stored(built.content, mail_from=built.envelope.mail_from)
    for again_kind in DsnKind:
        recipient = RecipientReport(built.envelope.recipients[0], REFUSED, 1.0)
        assert (
            build_dsn(
                again_kind,
                again,
                [recipient],
                wire,
                DsnOptions(),
                message_id=MessageId("m3"),
                now_time=2.0,
                hostname="out.example",
            )
            is None
        )
