"""Real programs hand mail to Outrider: smtplib, swaks, smtp-source, curl and Postfix."""

import json
import shutil
import smtplib
import subprocess
from email.message import EmailMessage
from pathlib import Path

import pytest

from outrider.privacy.credentials import make_key
from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.patience import PATIENCE_SECONDS
from tests.peers import postfix as postfix_peer
from tests.peers.exim import Exim
from tests.peers.postfix import Postfix
from tests.peers.processes import find_program, wait_until

pytestmark = pytest.mark.peer


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed; run `make peers` as root")
    return found


def to_exim(folder: Path, exim: Exim, users_file: Path | None = None) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return configuration_for({"example.test": exim.port}, users_file=users_file)


def test_smtplib_with_umlauts_and_attachment(exim: Exim, tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@sender.test", "b@example.test", "Grüße"
    message.set_content("Viele Grüße\n")
    message.add_attachment(
        bytes(range(256)) * 40, maintype="application", subtype="octet-stream", filename="ä.bin"
    )
    with (
        serving(tmp_path / "outrider", to_exim(tmp_path, exim)) as server,
        smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client,
    ):
        client.send_message(message)
        (found,) = exim.wait_for(1)
    attachments = [part for part in found.walk() if part.get_content_type() == "application/octet-stream"]
    assert [part.get_payload(decode=True) for part in attachments] == [bytes(range(256)) * 40]


def test_swaks(exim: Exim, tmp_path: Path) -> None:
    swaks = need("swaks")
    with serving(tmp_path / "outrider", to_exim(tmp_path, exim)) as server:
        output = run(
            swaks, "--server", f"127.0.0.1:{server.ports['smtp']}", "--from", "a@sender.test",
            "--to", "b@example.test", "--header", "Subject: from swaks",
        )  # fmt: skip
        (found,) = exim.wait_for(1)
    assert found["Subject"] == "from swaks"
    assert "<-  250" in output


def test_smtp_source(exim: Exim, tmp_path: Path) -> None:
    source = find_program("/usr/sbin/smtp-source", "postfix/usr/sbin/smtp-source")
    if source is None:
        pytest.skip("smtp-source comes with Postfix; run `make peers` as root")
    with serving(tmp_path / "outrider", to_exim(tmp_path, exim)) as server:
        address = f"127.0.0.1:{server.ports['smtp']}"
        run(str(source), "-s", "5", "-m", "100", "-f", "a@sender.test", "-t", "b@example.test", address)
        assert len(exim.wait_for(100, 60)) == 100


def curl_json(server: OutriderProcess, key: str, *arguments: str) -> dict[str, object]:
    url = f"http://127.0.0.1:{server.ports['http']}"
    path, *rest = arguments
    output = run(need("curl"), "-sS", "-H", f"Authorization: Bearer {key}", url + path, *rest)
    answer: dict[str, object] = json.loads(output)
    return answer


def test_curl_with_json_and_with_a_whole_message(exim: Exim, tmp_path: Path) -> None:
    need("curl")
    users = tmp_path / "users.toml"
    key = make_key(users, "app", "default", frozenset({"sender.test"}))
    with serving(tmp_path / "outrider", to_exim(tmp_path, exim, users)) as server:
        body = {"from": "a@sender.test", "to": ["b@example.test"], "subject": "from curl", "text": "hello"}
        as_json = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
        accepted = curl_json(server, key, "/v1/messages", *as_json)
        exim.wait_for(1)
        # the worker that is asked may hear of it later than the receiver
        path = f"/v1/messages/{accepted['id']}"
        wait_until(lambda: curl_json(server, key, path).get("id") == accepted["id"], "its state")
    assert exim.messages()[0]["Subject"] == "from curl"
    assert accepted["recipients"] == 1


def test_postfix_relays_through_it(exim: Exim, tmp_path: Path) -> None:
    if reason := postfix_peer.missing():
        pytest.skip(reason)
    with (
        serving(tmp_path / "outrider", to_exim(tmp_path, exim)) as server,
        postfix_peer.postfix(domains="local.test", relay_port=server.ports["smtp"]) as relay,
        smtplib.SMTP("127.0.0.1", relay.port, timeout=PATIENCE_SECONDS) as client,
    ):
        for number in range(30):
            text = f"From: a@sender.test\r\nSubject: relayed {number}\r\n\r\nhello\r\n"
            client.sendmail("a@sender.test", ["b@example.test"], text)
        found = exim.wait_for(30, 60)
        assert sorted(str(message["Subject"]) for message in found) == sorted(
            f"relayed {n}" for n in range(30)
        )
        assert relay.log().count("status=sent (250 ") == 30


def test_postfix_hears_a_refusal_to_relay(postfix: Postfix, tmp_path: Path) -> None:
    configuration = configuration_for({"example.test": postfix.port}).replace('["127.0.0.0/8"]', "[]")
    with (
        serving(tmp_path / "outrider", configuration) as server,
        smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client,
    ):
        client.ehlo("client.test")
        codes = [client.mail("a@sender.test")[0], client.rcpt("b@example.test")[0]]
    assert codes[-1] >= 500
