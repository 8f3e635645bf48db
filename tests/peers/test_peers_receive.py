"""Outrider hands mail to real servers: everything that it acknowledged arrives, as it was."""

import re
import smtplib
from pathlib import Path

import pytest

from tests.e2e.outrider_process import configuration_for, serving
from tests.patience import PATIENCE_SECONDS
from tests.peers import postfix as postfix_peer
from tests.peers.exim import Exim
from tests.peers.postfix import Postfix

pytestmark = pytest.mark.peer

BODY = "first line\r\n.a dotted line\r\n..two dots\r\n.\r\nafter a lone dot\r\n"


def send(port: int, number: int, recipients: list[str]) -> None:
    text = f"From: a@sender.test\r\nTo: many@example.test\r\nSubject: number {number}\r\n\r\n{BODY}"
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client.sendmail("a@sender.test", recipients, text)


def test_postfix_receives_what_was_sent(postfix: Postfix, tmp_path: Path) -> None:
    with serving(tmp_path / "outrider", configuration_for({"example.test": postfix.port})) as server:
        for number in range(20):
            send(server.ports["smtp"], number, [f"user{number}@example.test"])
        found = postfix.wait_for(20)
    subjects = sorted(line for text in found for line in text.splitlines() if line.startswith(b"Subject: "))
    assert subjects == sorted(f"Subject: number {number}".encode() for number in range(20))
    wanted = BODY.replace("\r\n", "\n").encode()
    assert all(text.endswith(b"\n\n" + wanted) for text in found)


def test_exim_receives_what_was_sent(exim: Exim, tmp_path: Path) -> None:
    with serving(tmp_path / "outrider", configuration_for({"example.test": exim.port})) as server:
        for number in range(20):
            send(server.ports["smtp"], number, [f"user{number}@example.test"])
        found = exim.wait_for(20)
    assert sorted(str(message["Subject"]) for message in found) == sorted(f"number {n}" for n in range(20))
    wanted = BODY.replace("\r\n", "\n")
    assert all(str(message.get_payload()).rstrip("\n") == wanted.rstrip("\n") for message in found)


def test_recipients_of_one_message_share_transactions(postfix: Postfix, tmp_path: Path) -> None:
    with serving(tmp_path / "outrider", configuration_for({"example.test": postfix.port})) as server:
        send(server.ports["smtp"], 1, [f"user{number}@example.test" for number in range(7)])
        found = postfix.wait_for(7)
    assert len(found) == 7
    transactions = [int(count) for count in re.findall(r"nrcpt=(\d+) \(queue active\)", postfix.log())]
    assert sum(transactions) == 7
    assert len(transactions) < 7


def test_a_recipient_that_postfix_refuses_is_bounced_and_the_others_arrive(tmp_path: Path) -> None:
    if reason := postfix_peer.missing():
        pytest.skip(reason)
    more = (
        "smtpd_recipient_restrictions = check_recipient_access inline:{nobody@example.test=REJECT}, permit\n"
    )
    with (
        postfix_peer.postfix(domains="example.test, sender.test", more=more) as peer,
        serving(
            tmp_path / "outrider", configuration_for({"example.test": peer.port, "sender.test": peer.port})
        ) as server,
    ):
        send(server.ports["smtp"], 1, ["nobody@example.test", "somebody@example.test"])
        found = peer.wait_for(2)
    bounces = [text for text in found if b"multipart/report" in text]
    assert len(bounces) == 1
    assert b"nobody@example.test" in bounces[0]
    assert b"Action: failed" in bounces[0]
