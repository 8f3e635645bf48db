"""Outrider hands mail into a real mail store: Dovecot, by LMTP over TCP and over its Unix socket."""

import smtplib
from pathlib import Path

import pytest

from tests.e2e.outrider_process import configuration_for, serving
from tests.e2e.practice import await_events
from tests.patience import PATIENCE_SECONDS
from tests.peers import dovecot as dovecot_peer

pytestmark = pytest.mark.peer

BODY = "first line\r\n.a dotted line\r\n..two dots\r\n.\r\nafter a lone dot\r\n" + "x" * 70 + "\r\n"
STORE = """
[[net.routes]]
domain = "{name}.test"
hosts = ["{host}"]
name = "{name}"

[[delivery.override]]
site = "{name}"
protocol = "lmtp"
"""


def test_each_recipient_has_the_answer_of_a_real_dovecot(tmp_path: Path) -> None:
    if reason := dovecot_peer.missing():
        pytest.skip(reason)
    with dovecot_peer.dovecot(["ann", "bob"]) as store:
        doors = {"tcp": f"127.0.0.1:{store.port}", "unix": f"unix:{store.socket}"}
        more = "".join(STORE.format(name=name, host=host) for name, host in doors.items())
        with serving(tmp_path / "outrider", configuration_for({}, more=more)) as server:
            for name in doors:
                recipients = [f"{who}@{name}.test" for who in ("ann", "full", "nobody", "bob")]
                text = f"From: a@sender.test\r\nSubject: by {name}\r\n\r\n{BODY}"
                with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
                    client.sendmail("", recipients, text)  # nobody hears of a bounce
            for user in ("ann", "bob"):
                found = store.wait_for(user, len(doors))
                assert sorted(text.split(b"\nSubject: ")[1].split(b"\n")[0] for text in found) == [
                    b"by tcp",
                    b"by unix",
                ]
                wanted = BODY.replace("\r\n", "\n").encode()
                assert all(text.endswith(b"\n\n" + wanted) for text in found)
            events = await_events(server, 8, "delivery", "bounce", "transient")
            told = {
                (str(event["domain"]), str(event["type"]), int(event["reply_code"]), str(event["phase"]))
                for event in events
            }
            assert told == {
                (f"{name}.test", *rest)
                for name in doors
                for rest in (("delivery", 250, "body"), ("transient", 452, "body"), ("bounce", 550, "rcpt"))
            }
