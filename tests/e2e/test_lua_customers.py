"""Policies as customers of Momentum write them, all of them in one running server."""

import json
import shutil
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import (
    DEFERS,
    Practice,
    await_events,
    copies,
    events_of,
    id_in,
    log_lines,
    provider,
    reply_to,
)
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tests.peers.web import QuietHandler, web_server
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import pem, records

WORLD = (
    provider("one", "one.test", "127.30.77.1")
    + provider("office", "head-office.test", "127.30.77.2", "behaviour = { accept_any_domain = true }")
    + provider("slow", "slow.test", "127.30.77.3", DEFERS)
)
POLICIES: Final = Path(__file__).with_name("customers")
NAMES: Final = (
    *("header_rewrite", "verp", "suppression", "bounce_routing", "footer", "customer_binding", "rate_series"),
    *("dkim_choice", "webhook", "time_of_day", "content_filter", "archive", "reply_throttle"),
)
CONFIGURATION: Final = (
    "[policy]\n"
    + "".join(f'[[policy.script]]\nname = "{name}"\nsource = "{name}.lua"\n' for name in NAMES)
    + "".join(f'[[binding]]\nname = "{name}"\n' for name in ("vip", "shared", "p1", "p2"))
    + """
[[binding_group]]
name = "pool"
members = ["p1", "p2"]
[[data_source]]
name = "crm"
url = "sqlite:///crm.sqlite"
connect_seconds = 60
query_seconds = 60
writable = true
"""
)
TABLES: Final = """
CREATE TABLE suppression (address TEXT, reason TEXT, since TEXT);
CREATE TABLE sent (campaign TEXT, address TEXT, note TEXT);
CREATE TABLE dkim (domain TEXT, selector TEXT, pem TEXT);
INSERT INTO suppression VALUES ('gone@one.test', 'unsubscribed', '2024-01-01');
INSERT INTO suppression VALUES ('@dead.test', 'dead', '2023');
"""
REPORT: Final = """\
--b\r
Content-Type: text/plain\r
\r
failed\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; x.test\r
\r
Final-Recipient: rfc822; joe@one.test\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 unknown user\r
\r
--b--"""
ALTERNATIVES: Final = """\
--m\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Gr=FC=DFe\r
--m\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body>Hi</BODY ></html>\r
--m--"""
DOCUMENT: Final = (
    "--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--m--"
)


class Hook(QuietHandler):
    """Takes events, and says which fields are to be set."""

    events: Final[list[dict[str, Any]]] = []

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        self.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = json.dumps({"set": {"Tier": "gold", "Level": 5}, "list": ["x", "y"], "note": None}).encode()
        self.say(answer)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where events are posted to."""
    with web_server(Hook, "/events") as found:
        yield found


@pytest.fixture(scope="module")
def server(
    storing: Practice, tmp_path_factory: pytest.TempPathFactory, url: str
) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(POLICIES, folder, dirs_exist_ok=True)
    webhook = folder / "webhook.lua"
    webhook.write_text(webhook.read_text(encoding="utf-8").replace("@URL@", url), encoding="utf-8")
    with closing(sqlite3.connect(folder / "crm.sqlite")) as database, database:
        database.executescript(TABLES)
        database.execute("INSERT INTO dkim VALUES ('sender.test', 'ed25519', ?)", (pem("ed25519").decode(),))
    with serving(folder, storing.configuration(more=CONFIGURATION)) as running:
        yield running
        assert log_lines(running, "policy.failed") == []


def letter(*fields: str, body: str = "Hello", subject: str = "order 5") -> bytes:
    head = (f"From: Ann <ann@mail.sender.test>\r\nSubject: {subject}", *fields)
    return ("\r\n".join(head) + f"\r\n\r\n{body}\r\n").encode()


class Sender:
    """Hands in letters."""

    def __init__(self, server: OutriderProcess, store: Path) -> None:
        self.server = server
        self._store = store

    def __call__(
        self, content: bytes, *recipients: str, mail_from: str = "ann@sender.test"
    ) -> tuple[list[dict[str, Any]], EmailMessage, bytes]:
        """The events of deliveries, and the first message as it was received."""
        code, text = reply_to(self.server, content, *recipients, mail_from=mail_from)
        assert code == 250, (text, log_lines(self.server, "policy.failed"))
        message_id = id_in(text)
        events = await_events(self.server, 1, "delivery", message_id=message_id)
        octets = copies(self._store, message_id)[0]
        return events, message_from_bytes(octets, policy=policy.default), octets


@pytest.fixture
def send(server: OutriderProcess, store: Path) -> Sender:
    return Sender(server, store)


def printed(server: OutriderProcess) -> list[str]:
    return [str(line["text"]) for line in log_lines(server, "policy.print")]


def test_fields_are_taken_out_tagged_and_added(send: Sender) -> None:
    fields = ("X-Stream: News", "X-Mailer: x", "Bcc: y@one.test", "X-Campaign: h1", "Subject-Old: a")
    _, message, octets = send(letter(*fields, subject="[Old] =?utf-8?q?gr=C3=BC=C3=9Fe?="))
    assert b"\r\nSubject: =?UTF-8?B?" in octets
    assert message["Subject"] == "[News] gr\u00fc\u00dfe"
    assert (message["X-Mailer"], message["Bcc"], message["X-Stream"]) == (None, None, None)
    assert (message["Precedence"], message["X-Stripped"]) == ("bulk", "2")
    assert message.get_all("Keywords") == ["one", "two"]
    assert message["List-Unsubscribe"].endswith(">, <mailto:leave@sender.test?subject=h1>")
    assert b"=?YzE" not in octets
    assert b"\r\nList-Unsubscribe: <https://u.sender.test/?c=h1&t=?aDE6am9lQG9uZS50ZXN0>,\r\n" in octets
    assert b"\r\nReceived: from policy by sender.test; Mon, 1 Jan 2024 00:00:00 +0000\r\n" in octets


@pytest.mark.parametrize("recipient", ["joe@one.test", "o'neil+x@one.test"])
def test_a_list_has_a_path_for_each_recipient(send: Sender, recipient: str) -> None:
    events, _, _ = send(letter("List-Id: <l.sender.test>", f"X-Campaign: v{recipient}"), recipient)
    coded = {"joe@one.test": "joe=40one.test", "o'neil+x@one.test": "o=27neil=2Bx=40one.test"}[recipient]
    assert str(events[0]["mail_from"]).startswith(f"b-{coded}-")
    assert str(events[0]["mail_from"]).endswith("@bounces.sender.test")


def test_the_suppression_list_refuses(server: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("x.test")
        client.mail("a@sender.test")
        assert client.rcpt("GONE@one.test") == (550, b"5.7.1 unsubscribed since 2024-01-01")
        assert client.rcpt("x@dead.test") == (550, b"5.7.1 dead since 2023")
        code, text = client.rcpt("noc@one.test")
        assert (code, text.split(b"{")[1]) == (550, b"abuse,hostmaster,noc,postmaster} get no mail from us")
        assert client.rcpt("ok@one.test")[0] == 250


def test_nobody_gets_a_campaign_twice(send: Sender) -> None:
    send(letter("X-Campaign: twice"))
    events, _, _ = send(letter("X-Campaign: twice"), "joe@one.test", "new@one.test")
    assert [event["recipient"] for event in events] == ["new@one.test"]
    code, text = reply_to(send.server, letter("X-Campaign: twice"))
    assert code == 250
    assert events_of(send.server, "delivery", message_id=id_in(text)) == []


def test_a_bounce_is_read_and_goes_to_the_office(send: Sender, storing: Practice) -> None:
    before = storing.seen("office").messages
    kind = "Content-Type: multipart/report; report-type=delivery-status; boundary=b"
    bounce = letter("X-Campaign: b1", "MIME-Version: 1.0", kind, body=REPORT)
    _, message, _ = send(bounce, "b-joe=40one.test-0a1b2c@bounces.sender.test", mail_from="")
    assert message["X-Route"] == "1:joe=40one.test"
    assert message["X-Bounce"] == "10 BC_HARD_INVALID_RECIPIENT joe@one.test"
    assert message["X-Class"] == "22 BC_SOFT_MAILBOX_FULL"
    assert storing.seen("office").messages == before + 1


def test_texts_get_footers_in_their_charsets(send: Sender) -> None:
    kind = "Content-Type: multipart/alternative; boundary=m"
    _, message, _ = send(
        letter("X-Footer: yes", "X-Campaign: f1", "MIME-Version: 1.0", kind, body=ALTERNATIVES)
    )
    text, html = (part for part in message.walk() if not part.is_multipart())
    assert text.get_content_charset() == "iso-8859-1"
    assert "Gr\u00fc\u00dfe von Example GmbH \u00b7 www" in text.get_content()
    assert html.get_content().strip().endswith('?a=1&amp;b=2">www</a></p></BODY ></html>')
    assert message["X-Footer"] == "2"


def test_what_has_no_text_gets_a_part(send: Sender) -> None:
    kind = "Content-Type: multipart/mixed; boundary=m"
    _, message, _ = send(letter("X-Footer: part", "X-Campaign: f2", "MIME-Version: 1.0", kind, body=DOCUMENT))
    _, footer = (part for part in message.walk() if not part.is_multipart())
    assert footer.get_content_type() == "text/plain"
    assert "Gr\u00fc\u00dfe von Example GmbH" in footer.get_content()


@pytest.mark.parametrize(
    ("customer", "bindings"),
    [("globex", {"vip"}), (" Acme ", {"p1", "p2"}), ("initech", {"shared"}), ("nobody", {"shared"})],
)
def test_a_customer_has_his_binding(send: Sender, customer: str, bindings: set[str]) -> None:
    events, _, _ = send(letter(f"X-Customer: {customer}", f"X-Campaign: c{customer}"))
    assert events[0]["binding"] in bindings


def test_a_sender_is_counted_over_all_workers(server: OutriderProcess) -> None:
    replies = [
        reply_to(server, letter(f"X-Campaign: r{at}"), mail_from="limited@sender.test") for at in range(4)
    ]
    assert [code for code, _ in replies] == [250, 250, 452, 452]
    assert replies[2][1] == "4.7.1 3 recipients in this minute, 150.0% of what is yours"


def test_the_key_of_the_domain_above_signs(send: Sender) -> None:
    _, _, octets = send(letter("X-Campaign: d1"))
    assert verifies(octets, records("ed25519"))


def test_a_webhook_is_told_and_heard(send: Sender) -> None:
    _, message, _ = send(
        letter("X-Webhook: 1", "X-Campaign: w1", "X-Customer: acme", subject="gr\u00fc\u00dfe")
    )
    [event] = Hook.events
    assert (event["subject"], event["tags"], event["meta"]) == (
        "gr\u00fc\u00dfe",
        ["a", "b"],
        {"customer": "acme", "empty": {}},
    )
    assert (message["X-Tier"], message["X-Level"], message["X-Note"]) == ("gold", "5", "none")
    assert message.get_all("X-List") == ["x", "y"]


@pytest.mark.parametrize(
    ("now", "code", "said"),
    [
        (1_704_110_400, 250, "queued"),  # a Monday, 13:00 in zone 1
        (1_704_150_000, 451, "4.7.1 quiet hours, it is 23:00:00Z"),
        (1_704_626_000, 451, "4.7.1 never on a Sunday"),
    ],
)
def test_the_hour_decides(server: OutriderProcess, now: int, code: int, said: str) -> None:
    reply = reply_to(server, letter("X-Zone: 1", f"X-Now: {now}", f"X-Campaign: t{now}"))
    assert reply[0] == code
    assert said in reply[1]


def test_words_are_weighed_and_card_numbers_taken_out(send: Sender) -> None:
    body = "my card 4111 1111 1111 1111 here\r\na@b.test c.d@e-f.test g+h@i.test"
    _, message, octets = send(letter("X-Campaign: s1", body=body))
    assert b"my card [card number removed]" in octets
    assert (message["X-Score"], message["X-Bar"]) == ("2", "**")
    bad = letter("X-Campaign: s2", subject="BUY NOW ALL", body="Viagra\r\ncard 4111 1111 1111 1111")
    assert reply_to(send.server, bad) == (550, "5.7.1 score 6 word Viagra\n5.7.1 second line")


def test_an_archive_gets_a_copy_and_a_notice(send: Sender, store: Path) -> None:
    send(letter("X-Archive: 1", "X-Campaign: a1"))

    def notices() -> list[bytes]:
        return [octets for path in store.rglob("*.eml") if b"X-Original: " in (octets := path.read_bytes())]

    wait_until(lambda: len(notices()) == 1, "the notice came")
    message = message_from_bytes(notices()[0], policy=policy.default)
    assert message["Subject"] == "Kopie f\u00fcr das Archiv"
    _, listed, original = (part for part in message.iter_parts())
    assert listed.get_content().split() == ["joe@one.test", "archive@one.test"]
    assert original.get_content()["X-Archive"] == "1"
    wait_until(
        lambda: "archive@one.test" in [event["recipient"] for event in events_of(send.server, "delivery")],
        "the copy came",
    )


def test_a_domain_that_defers_is_let_alone(server: OutriderProcess) -> None:
    assert reply_to(server, letter("X-Campaign: q1"), "joe@slow.test")[0] == 250
    wait_until(lambda: "deferred slow.test BC_SOFT_TRANSIENT_FAILURE" in printed(server), "a reply was heard")
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("x.test")
        client.mail("a@sender.test")
        assert client.rcpt("joe@slow.test") == (451, b"4.7.1 slow.test asks us to slow down")
