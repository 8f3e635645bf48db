"""Bounces, reports, mail of a script's own, scanners, and functions that are not here."""

import email
import email.policy

import pytest

from outrider.model.hooks import HookPhase
from outrider.policy.errors import ScriptError
from outrider.policy.lua.api.absent import CHANNEL, REFUSED
from outrider.policy.lua.api.coverage import LOAD, Status
from outrider.policy.lua.api.coverage_services import SERVICE_ROWS
from tests.policy.lua.api.service_stage import Make

REPORT = b"""From: mailer-daemon@mx.test\r
To: shop@sender.test\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
Content-Type: text/plain\r
\r
It failed.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.test\r
\r
Original-Recipient: rfc822; joe@one.test\r
Final-Recipient: rfc822; joseph@one.test\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 user\r
 unknown\r
\r
Final-Recipient: rfc822; ann@one.test\r
Action: delayed\r
--b--\r
"""


@pytest.mark.parametrize(
    ("reply", "number", "symbol"),
    [
        (b"550 5.1.1 no such user", 10, b"BC_HARD_INVALID_RECIPIENT"),
        (b"550-5.1.1 no\r\n550 5.1.1 such user", 10, b"BC_HARD_INVALID_RECIPIENT"),
        (b"452 4.2.2 mailbox full", 22, b"BC_SOFT_MAILBOX_FULL"),
        (b"554 5.7.1 your message looks like spam", 52, b"BC_BLOCK_SPAM_CONTENT"),
        (b"mailbox is full", 22, b"BC_SOFT_MAILBOX_FULL"),
        (b"599 xyzzy", 1, b"BC_UNDETERMINED"),
        (b"", 1, b"BC_UNDETERMINED"),
    ],
)
async def test_replies_have_momentums_classes(stage: Make, reply: bytes, number: int, symbol: bytes) -> None:
    made = stage(
        "local t = ... local n, s, d = msys.bounce.classify_smtp_response(t, 'one.test') return {n,"
        " s, #d > 0}"
    )
    for phase in (*HookPhase, LOAD):
        found = await made.call(phase, reply)
        if reply not in {b"", b"599 xyzzy"}:
            assert found == [number, symbol, True], phase
        else:
            assert found[2] is True


async def test_a_report_is_classified_by_its_first_recipient(stage: Make) -> None:
    made = stage("local n, s, d, r = msys.bounce.classify(msg) return {n, s, r}", plain=REPORT)
    assert await made.call() == [10, b"BC_HARD_INVALID_RECIPIENT", b"joe@one.test"]
    assert await stage("return msys.bounce.classify(msg)").call() is None


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (
            "Reporting-MTA: dns; a\r\n\r\nFinal-Recipient: RFC822; <Joe@one.test>\r\nStatus: 5.1.1\r\n",
            b"Joe@one.test",
        ),
        (
            "Reporting-MTA: dns; a\r\n \t\r\nFinal-Recipient: rfc822;joe@one.test\r\nStatus: 5.1.1\r\n",
            b"joe@one.test",
        ),
        ("Final-Recipient: rfc822; joe@one.test\r\nStatus: 5.1.1\r\n", b"joe@one.test"),
        (
            "Reporting-MTA: dns; a\r\nFinal-Recipient: rfc822; joe@one.test\r\nStatus: 5.1.1\r\n",
            b"joe@one.test",
        ),
        ("X: y\r\n\r\nFinal-Recipient: utf-8; jö@one.test\r\nStatus: 5.1.1\r\n", "jö@one.test".encode()),
        (
            "X: y\r\n\r\nFinal-Recipient: rfc822; joe@one.test\r\nDiagnostic-Code: X-Unix; user unknown\r\n",
            b"joe@one.test",
        ),
    ],
)
async def test_reports_as_servers_write_them(stage: Make, status: str, found: bytes) -> None:
    plain = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\n" + status.encode() + b"\r\n--b--\r\n"
    )
    body = "local n, s, d, r = msys.bounce.classify(msg) return {s, r, d:find('X-Unix', 1, true) == nil}"
    assert await stage(body, plain=plain).call() == [b"BC_HARD_INVALID_RECIPIENT", found, True]


async def test_the_fields_of_a_report(stage: Make) -> None:
    made = stage("return msys.rfc3464.extract_delivery_status(msg)", plain=REPORT)
    assert await made.call() == {
        b"reporting-mta": b"dns; mx.test",
        b"recipients": [
            {
                b"original-recipient": b"rfc822; joe@one.test",
                b"final-recipient": b"rfc822; joseph@one.test",
                b"action": b"failed",
                b"status": b"5.1.1",
                b"diagnostic-code": b"smtp; 550 5.1.1 user unknown",
            },
            {b"final-recipient": b"rfc822; ann@one.test", b"action": b"delayed"},
        ],
    }


async def test_a_report_of_a_script_is_sent_and_reads_as_one(stage: Make) -> None:
    made = stage("return msys.rfc3464.send_mdn(msg, msys.core.DELAYED)")
    assert await made.call() == 1
    [(content, mail_from, recipients)] = made.outbox.sent
    assert (mail_from, recipients) == ("", ("shop@sender.test",))
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    text, status, header = parsed.iter_parts()
    assert "joe@one.test: delayed" in text.get_content()
    fields = status.get_payload()
    assert isinstance(fields, list)
    assert [dict(part.items()) for part in fields if not isinstance(part, str)] == [
        {"Reporting-MTA": "dns; out.sender.test"},
        {"Final-Recipient": "rfc822; joe@one.test", "Action": "delayed", "Status": "4.0.0"},
    ]
    assert "Subject: hello" in str(header.get_payload())


async def test_a_report_shows_a_header_as_it_came_and_says_how_it_is_written(stage: Make) -> None:
    plain = b"From: shop@sender.test\r\nSubject: gr\xfcn\r\n\r\nHello\r\n"
    made = stage("return msys.rfc3464.send_mdn(msg, msys.core.FAILED)", plain=plain)
    assert await made.call() == 1
    content = made.outbox.sent[0][0]
    assert b"\r\nSubject: gr\xfcn\r\n" in content
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    parts = [parsed, *parsed.iter_parts()]
    assert [each["Content-Transfer-Encoding"] for each in parts] == ["8bit"] * 4


async def test_nobody_hears_of_a_message_without_a_sender(stage: Make) -> None:
    made = stage("return msys.rfc3464.send_mdn(msg, msys.core.FAILED)")
    made.mail.enter(HookPhase.EACH_RCPT)
    made.mail.mail_from = ""
    assert await made.call() == 0
    assert made.outbox.sent == []


async def test_fields_for_a_recipient(stage: Make) -> None:
    made = stage("return msys.rfc3464.compute_delivery_status(msg, msys.core.RELAYED)")
    assert await made.call() == {
        b"Final-Recipient": b"rfc822; joe@one.test",
        b"Action": b"relayed",
        b"Status": b"2.0.0",
    }
    with pytest.raises(ScriptError, match="an action is"):
        await stage("msys.rfc3464.compute_delivery_status(msg, 99)").call()


async def test_mail_of_a_script_is_sent_once_in_its_time(stage: Make) -> None:
    made = stage(
        "msys.policyeditor.send_email({}, {}, {from = 'ops@sender.test', to = 'a@one.test b@one.test',"
        " subject = 'H\\195\\164\\r\\nBcc: evil@x.test', body = 'one\\n.two', throttle = 60})"
    )
    for _ in range(3):
        await made.call("connect")
    [(content, mail_from, recipients)] = made.outbox.sent
    assert (mail_from, recipients) == ("ops@sender.test", ("a@one.test", "b@one.test"))
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    assert parsed["Subject"] == "Hä Bcc: evil@x.test"
    assert parsed["Bcc"] is None
    assert parsed.get_content().replace("\r\n", "\n") == "one\n.two\n"
    made.clock.advance(61)
    await made.call("connect")
    assert len(made.outbox.sent) == 2


@pytest.mark.parametrize("to", ["", "nobody", "a@one.test\\r\\nBcc: x@y.test>"])
async def test_mail_to_nobody_is_refused(stage: Make, to: str) -> None:
    made = stage(f"msys.policyeditor.send_email({{}}, {{}}, {{from = 'a@sender.test', to = '{to}'}})")
    with pytest.raises(ScriptError, match=r"is no address|1 to 100 recipients"):
        await made.call()
    assert made.outbox.sent == []


# scanners, and what is not here


async def test_there_is_no_scanner(stage: Make) -> None:
    made = stage(
        "local a, i, e, c = msys.av.scan() local p = msys.av.scan_part(msg, 'clamav')"
        " local long = msys.av.scan(('x'):rep(41), msg)"
        " return {#msys.av.engines(), a == msys.av.EC_AV_NO_ENGINE, i, tostring(e), tostring(c),"
        " p == a, long == msys.av.EC_AV_NAME_TOO_LONG}"
    )
    assert await made.call() == [0, True, b"no engine", b"nil", b"nil", True, True]
    with pytest.raises(ScriptError, match="no part to scan"):
        await stage("msys.av.scan_part(nil)").call()


@pytest.mark.parametrize("module", sorted(REFUSED))
async def test_functions_of_channels_say_so(stage: Make, module: str) -> None:
    for name in REFUSED[module]:
        top = 'local xmpp = require("msys.xmpp")' if module == "msys.xmpp" else ""
        made = stage(f"{module}.{name}()", top=top)
        for phase in (HookPhase.CONNECT, HookPhase.EACH_RCPT, LOAD):
            with pytest.raises(ScriptError, match=f"{module}.{name}: {CHANNEL}") as caught:
                await made.call(phase)
            assert caught.value.script == "script.lua"


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in SERVICE_ROWS
        if row.status is Status.NOT_CARRIED_OVER
        and ":" not in row.name
        and row.name.rpartition(".")[0] not in {*REFUSED, "msys.message_scope", "msys.adaptive"}
    ],
    ids=lambda row: row.name,
)
async def test_what_is_not_carried_over_raises(stage: Make, row: object) -> None:
    name = row.name  # type: ignore[attr-defined]
    made = stage(f"{name}('60,1')")
    phase = HookPhase.RCPTTO
    with pytest.raises(ScriptError, match=name.rpartition(".")[2]):
        await made.call(phase)


async def test_message_scope_and_adaptive_rules_are_answered_and_told(stage: Make) -> None:
    made = stage(
        "local s, v = msys.message_scope.query('l', msg) return {s, v, msys.message_scope.gen_thread_id(msg),"
        " (msys.message_scope.query_static('l', '192.0.2.1'))}",
        init="msys.adaptive.registerRules({rule = {}}) msys.message_scope.load('lists')",
    )
    assert await made.call("each_rcpt") == [b"error", 1, b"0" * 18, b"error"]
    assert len(made.logged("policy.adaptive_rules")) == len(made.logged("policy.message_scope")) == 1
    with pytest.raises(ScriptError, match="no message at hand"):
        await stage("msys.message_scope.gen_thread_id()").call("mailfrom")


async def test_constants_of_channels_are_there(stage: Make) -> None:
    made = stage(
        "return {msys.smpp.SMPP_CONTINUE, msys.smpp.SMPP_DELIVERED, msys.mms.MM7_DELIVERED,"
        " msys.gcm.GCM_UNKNOW =="
        " msys.gcm.GCM_UNKNOWN, msys.apn.APNS_SHUTDOWN ~= nil, msys.delivery.DELIVERY_DONE ~= nil,"
        " msys.smpp.VCTX_KEY_SMS_DST_ADDRESS, msys.httpsrv.DONE ~= nil, msys.mms.MSTORE_DONE}"
    )
    assert await made.call() == [0, 3, 3, True, True, True, b"SMS_Destination_Address", True, 1]
