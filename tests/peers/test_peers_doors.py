"""Doors other than the plain one, with real programs: HAProxy before a listener, swaks over TLS, CHUNKING."""

import shutil
import smtplib
import subprocess
from pathlib import Path

import pytest
import trustme

from outrider.privacy.credentials import User, add_user
from outrider.privacy.passwords import Passwords
from tests.e2e.outrider_process import configuration_for, serving
from tests.e2e.practice import await_events
from tests.patience import PATIENCE_SECONDS, UNHURRIED
from tests.peers import haproxy as haproxy_peer
from tests.peers.exim import Exim

pytestmark = pytest.mark.peer

BEHIND_HAPROXY = f"""
[[listener]]
{UNHURRIED}
name = "behind"
address = "127.0.0.1"
port = 0
trusted_networks = ["127.5.5.0/24"]
proxy_protocol = true
proxy_networks = ["127.0.0.1/32"]
"""


def test_the_client_behind_a_real_haproxy_counts(exim: Exim, tmp_path: Path) -> None:
    if reason := haproxy_peer.missing():
        pytest.skip(reason)
    configuration = configuration_for({"example.test": exim.port}, more=BEHIND_HAPROXY)
    text = "From: a@sender.test\r\nSubject: balanced\r\n\r\nhello\r\n"
    with (
        serving(tmp_path / "outrider", configuration) as server,
        haproxy_peer.haproxy(server.ports["behind"]) as balancer,
    ):
        for version, port in balancer.ports.items():
            source = (f"127.5.5.{version}", 0)
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS, source_address=source) as client:
                client.sendmail("a@sender.test", ["b@example.test"], text)
            source = (f"127.6.6.{version}", 0)
            with (
                smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS, source_address=source) as client,
                pytest.raises(smtplib.SMTPRecipientsRefused, match="Relaying denied"),
            ):
                client.sendmail("a@sender.test", ["b@example.test"], text)
        exim.wait_for(2)
        events = await_events(server, 4, "reception", "refusal")
        told = sorted((str(event["type"]), event["client"]) for event in events)
    assert told == [
        ("reception", "127.5.5.1"),
        ("reception", "127.5.5.2"),
        ("refusal", "127.6.6.1"),
        ("refusal", "127.6.6.2"),
    ]


@pytest.mark.parametrize(("tls", "mechanism"), [("starttls", "PLAIN"), ("implicit", "LOGIN")])
def test_swaks_authenticates_over_tls(exim: Exim, tmp_path: Path, tls: str, mechanism: str) -> None:
    swaks = shutil.which("swaks")
    if swaks is None:
        pytest.skip("swaks is not installed; run `make peers` as root")
    users = tmp_path / "users.toml"
    add_user(users, User("app", Passwords().hash("a long secret"), "default", frozenset({"sender.test"})))
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    listener = f"""
[[listener]]
{UNHURRIED}
name = "secure"
address = "127.0.0.1"
port = 0
tls = "{tls}"
certificate = "{tmp_path}/chain.pem"
private_key = "{tmp_path}/key.pem"
"""
    configuration = configuration_for({"example.test": exim.port}, more=listener, users_file=users)
    with serving(tmp_path / "outrider", configuration) as server:
        command = [
            swaks, "--server", f"127.0.0.1:{server.ports['secure']}", "--from", "a@sender.test",
            "--to", "b@example.test", "--auth", mechanism, "--auth-user", "app",
            "--auth-password", "a long secret",
            "--tls" if tls == "starttls" else "--tls-on-connect", "--tls-ca-path", str(tmp_path / "ca.pem"),
            "--tls-verify", "--header", "Subject: authenticated",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        (found,) = exim.wait_for(1)
    assert found["Subject"] == "authenticated"
    assert "235 2.7.0" in done.stdout
    assert any("with ESMTPSA" in field for field in found.get_all("Received", []))


def test_exim_receives_chunks_large_and_small(exim: Exim, tmp_path: Path) -> None:
    with (
        serving(tmp_path / "outrider", configuration_for({"example.test": exim.port})) as server,
        smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client,
    ):
        line = "x" * 70 + "\r\n"
        for number in range(4):
            body = f"From: a@sender.test\r\nSubject: {number}\r\n\r\n.dotted\r\n" + line * 1_000 * number
            client.sendmail("a@sender.test", ["b@example.test"], body)
        found = exim.wait_for(4)
    assert sorted(len(str(message.get_payload())) for message in found) == [
        8 + 71_000 * number for number in range(4)
    ]
    assert exim.log().count(" K S=") == 4  # Exim's mark of a message that came by CHUNKING
