"""Scripts decide in a running server: in the session, for the whole message and for each recipient."""

import json
import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, ServerError, serving
from tests.e2e.practice import (
    Practice,
    await_events,
    events_of,
    log_lines,
    provider,
    queue_is,
    send,
)
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.7.1") + provider("two", "two.test", "127.30.7.2")

SCRIPT = """\
import asyncio
from msgspec.structs import replace
from outrider.policy.answers import DONE, Refuse

def connect(connection):
    connection.context["listener"] = connection.listener

async def ehlo(connection, name):
    await asyncio.sleep(0)
    if name == "bad.test":
        return Refuse(550, "5.7.1 Not you")

def mailfrom(connection, sender):
    connection.message["campaign"] = sender.partition("@")[0]
    if sender.startswith("refused@"):
        return Refuse(550, "5.7.1 This sender has moved")
    if sender.startswith("busy@"):
        return Refuse(421, "4.7.0 Come back later")

async def rcptto(connection, recipient):
    await asyncio.sleep(0)
    if recipient.startswith("nobody@"):
        return Refuse(550, "5.1.1 Nobody")

def data(mail):
    campaign = mail.context["campaign"]
    if campaign == "raises":
        raise KeyError("what")
    if campaign == "spins":
        while True:
            try:
                pass
            except BaseException:
                pass
    if campaign == "discards":
        mail.discard("it was a test")
    if campaign == "wrong":
        mail.binding = "default"

async def data_spool(mail):
    if mail.context["campaign"] == "waits":
        await asyncio.sleep(60)
    if mail.context["campaign"] == "alone":
        mail.recipients = mail.recipients[:1]

def each_rcpt(mail):
    if mail.rcpt_to.startswith("renamed@"):
        mail.rcpt_to = "other@two.test"
    if mail.context["campaign"] == "personal":
        wire = b"X-For: " + mail.rcpt_to.encode() + b"\\r\\n" + mail.content.wire
        own = replace(mail.content, wire=wire, header_octets=mail.content.header_octets + len(wire)
                      - len(mail.content.wire))
        mail.content = own

async def set_binding(mail):
    await asyncio.sleep(0)
    mail.priority = 1
    assert not mail.try_binding("no-such")
    if mail.context["campaign"] == "vip":
        mail.binding = "vip"

def final_validation(mail):
    return DONE
"""

POLICY = """
[policy]
hook_seconds = 0.05
wait_seconds = 300
alert_failures = 3
[[policy.script]]
name = "shop"
source = "shop.py"
[[delivery.override]]
binding = "vip"
ehlo_name = "vip.example.test"
"""


def personal(store: Path) -> list[tuple[list[str], str]]:
    """Of each message with a field X-For: for whom it was sent, and whom the field names."""
    found = []
    for path in sorted(store.rglob("*.eml")):
        before, _, after = path.read_bytes().partition(b"X-For: ")
        if after and b"\r\n\r\n" not in before:
            recipients = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["recipients"]
            found.append((recipients, after.partition(b"\r\n")[0].decode()))
    return found


@pytest.fixture(scope="module")
def server(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
    with serving(folder, storing.configuration(more=POLICY)) as running:
        yield running


def refusal(server: OutriderProcess, sender: str, helo: str = "client.test") -> str:
    """The reply that refuses a message of `sender`; empty when none does."""
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        code, text = client.docmd("EHLO", helo)
        for command in (f"MAIL FROM:<{sender}>", "RCPT TO:<joe@one.test>"):
            if code < 400:
                code, text = client.docmd(command)
        if code < 400:
            code, text = client.data(b"Subject: test\r\n\r\ntext\r\n")
    return f"{code} {text.decode()}" if code >= 400 else ""


def test_a_message_goes_through_every_phase(server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "joe@one.test")
    [event] = await_events(server, 1, "delivery", message_id=message_id)
    assert event["recipient"] == "joe@one.test"


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("refused@shop.test", "550 5.7.1 This sender has moved"),
        ("busy@shop.test", "421 4.7.0 Come back later"),
        ("raises@shop.test", "421 4.3.0 Temporary issue, closing; please send the message again later"),
        ("wrong@shop.test", "421 4.3.0 Temporary issue, closing; please send the message again later"),
        ("spins@shop.test", "421 4.3.0 Temporary issue, closing; please send the message again later"),
    ],
)
def test_what_scripts_refuse_or_fail_at_is_heard(server: OutriderProcess, sender: str, reply: str) -> None:
    assert refusal(server, sender) == reply
    assert send(server.ports["smtp"], "joe@one.test")  # it goes on for others


def test_a_hook_that_waits_too_long_is_heard(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT, encoding="utf-8")
    hasty = POLICY.replace("wait_seconds = 300", "wait_seconds = 0.5")
    with serving(tmp_path, storing.configuration(more=hasty)) as server:
        assert refusal(server, "waits@shop.test") == "451 4.3.0 Policy takes too long, try again later"
        wait_until(lambda: refusal(server, "joe@shop.test") == "", "it goes on for others")


CONNECT = """\
from outrider.policy.api import Refuse, source

async def connect(connection):
    if connection.client == "127.0.0.3":
        return Refuse(450, "4.7.1 Not now")
    if connection.client == "127.0.0.4":
        return Refuse(554, "5.7.1 Not you")
    if connection.client == "127.0.0.5":
        await source("away").fetch("SELECT 1")
"""


def test_a_client_that_is_turned_away_hears_421_or_what_lasts(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "door.py").write_text(CONNECT, encoding="utf-8")
    more = '[[policy.script]]\nname = "door"\nsource = "door.py"\n'
    more += '[[data_source]]\nname = "away"\nurl = "postgresql://nobody@127.0.0.1:1/none"\n'
    greetings = []
    with serving(tmp_path, storing.configuration(more=more)) as server:
        for place in range(2, 6):
            address = "127.0.0.1", server.ports["smtp"]
            with socket.create_connection(address, PATIENCE_SECONDS, (f"127.0.0.{place}", 0)) as client:
                greetings.append(client.recv(1_000)[:9])
    assert greetings == [b"220 outri", b"421 4.7.1", b"554 5.7.1", b"421 4.3.0"]


def test_a_client_is_refused_by_what_it_calls_itself(server: OutriderProcess) -> None:
    assert refusal(server, "joe@shop.test", "bad.test") == "550 5.7.1 Not you"


def test_a_recipient_is_refused_and_the_others_are_not(server: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        refused = client.sendmail(
            "shop@shop.test", ["nobody@one.test", "joe@one.test"], b"Subject: test\r\n\r\ntext\r\n"
        )
    assert refused == {"nobody@one.test": (550, b"5.1.1 Nobody")}


def test_failures_are_events_with_script_and_line_and_many_are_an_alert(server: OutriderProcess) -> None:
    for _ in range(5):  # by one of two workers at least three
        refusal(server, "raises@shop.test")
    lines = [number for number, line in enumerate(SCRIPT.splitlines(), 1) if "KeyError" in line]
    wait_until(
        lambda: any(
            each["name"] == "policy.failed"
            and [each["fields"]["script"], each["fields"]["line"], each["fields"]["phase"]]
            == ["shop", *lines, "data"]
            for each in events_of(server, "notice")
        ),
        "an event of the failure",
    )
    wait_until(lambda: log_lines(server, "policy.alert") != [], "an alert")


def test_a_discarded_message_is_accepted_recorded_and_never_sent(server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "joe@one.test", mail_from="discards@shop.test")
    [event] = await_events(server, 1, "discard", message_id=message_id)
    assert event["reason"] == "it was a test"
    wait_until(queue_is(server, 0), "the queue is empty")
    assert events_of(server, "delivery", "transient", "bounce", message_id=message_id) == []


def test_each_recipient_gets_his_own_message_and_never_another_ones(
    server: OutriderProcess, store: Path
) -> None:
    names = [f"joe{number}@one.test" for number in range(20)] + ["renamed@one.test"]
    message_id = send(server.ports["smtp"], *names, mail_from="personal@shop.test")
    await_events(server, len(names), "delivery", message_id=message_id)
    wanted = {*names[:-1], "other@two.test"}
    found = personal(store)
    assert all(recipients == [named] for recipients, named in found)
    assert {named for _, named in found} == wanted
    assert len(found) == len(wanted)


def test_recipients_can_be_taken_away_and_bindings_assigned(server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "a@one.test", "b@one.test", mail_from="alone@shop.test")
    [event] = await_events(server, 1, "delivery", message_id=message_id)
    assert event["recipient"] == "a@one.test"
    message_id = send(server.ports["smtp"], "a@one.test", mail_from="vip@shop.test")
    [event] = await_events(server, 1, "delivery", message_id=message_id)
    assert event["binding"] == "vip"


def test_a_script_that_cannot_be_loaded_changes_nothing(storing: Practice, tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with serving(tmp_path, storing.configuration(more=POLICY)) as server:
        script.write_text("def mailfrom(connection):\n    pass\n", encoding="utf-8")
        with pytest.raises(ServerError, match="exit 78"):
            server.command("reload")
        assert (
            "shop.py:1: load: a hook of this phase is called as mailfrom(connection, sender)" in server.log()
        )
        assert refusal(server, "refused@shop.test").startswith("550 5.7.1")
        script.write_text(SCRIPT.replace("has moved", "has gone"), encoding="utf-8")
        server.command("reload")
        assert refusal(server, "refused@shop.test") == "550 5.7.1 This sender has gone"
