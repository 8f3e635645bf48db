"""The peers themselves: what the other tests here rely on, shown without Outrider."""

import smtplib
import subprocess
from email.message import EmailMessage

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.peers.exim import Exim
from tests.peers.postfix import Postfix
from tests.peers.processes import find_program, free_port, peer_folder, running

pytestmark = pytest.mark.peer


def make_message(number: int) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "sender@example.test"
    message["To"] = f"user{number}@example.test"
    message["Subject"] = f"number {number}"
    message.set_content(f"line one of {number}\n.a line that begins with a dot\n")
    return message


def send_three(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        for number in range(3):
            client.send_message(make_message(number))


def test_postfix_delivers_into_its_maildir(postfix: Postfix) -> None:
    send_three(postfix.port)
    found = postfix.wait_for(3)
    assert sorted(line for text in found for line in text.splitlines() if line.startswith(b"Subject")) == [
        b"Subject: number 0",
        b"Subject: number 1",
        b"Subject: number 2",
    ]
    assert all(b"\n.a line" in text for text in found)


def test_exim_delivers_into_its_maildir(exim: Exim) -> None:
    send_three(exim.port)
    found = exim.wait_for(3)
    assert sorted(str(message["Subject"]) for message in found) == ["number 0", "number 1", "number 2"]
    assert all("\n.a line" in str(message.get_payload()) for message in found)


def test_exim_refuses_to_relay(exim: Exim) -> None:
    with smtplib.SMTP("127.0.0.1", exim.port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail("sender@example.test")
        assert client.rcpt("someone@elsewhere.test")[0] == 550


def test_smtp_source_and_smtp_sink_speak_to_each_other() -> None:
    source = find_program("/usr/sbin/smtp-source", "postfix/usr/sbin/smtp-source")
    sink = find_program("/usr/sbin/smtp-sink", "postfix/usr/sbin/smtp-sink")
    if source is None or sink is None:
        pytest.skip("smtp-source and smtp-sink come with Postfix; run `make peers` as root")
    port = free_port()
    with peer_folder("sink") as folder:
        command = [str(sink), "-u", "nobody", f"127.0.0.1:{port}", "100"]
        with running(command, port=port, log=folder / "sink.log", cwd=folder):
            load = [str(source), "-s", "2", "-m", "20", "-f", "a@example.test", "-t", "b@example.test"]
            done = subprocess.run(
                [*load, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False, timeout=30
            )
    assert done.returncode == 0, done.stderr
