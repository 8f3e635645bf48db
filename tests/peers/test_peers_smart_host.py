"""All mail goes to a submission service by Postfix, where Dovecot says who may log in."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.e2e.practice import await_events
from tests.patience import PATIENCE_SECONDS
from tests.peers import dovecot as dovecot_peer
from tests.peers import postfix as postfix_peer
from tests.peers.dovecot import PASSWORD
from tests.peers.postfix import Postfix

pytestmark = pytest.mark.peer

SUBMISSION = """
mynetworks =
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {asked}
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""
IMPLICIT = "smtpd_tls_wrappermode = yes\n"
LOGIN_ALONE = "smtpd_sasl_mechanism_filter = login\n"
SMART_HOST = """
[[net.routes]]
domain = "{domain}"
hosts = ["127.0.0.1:{port}"]
name = "relay"

[net.tls]
ca_file = "{folder}/{authority}.pem"

[[binding]]
name = "news"

[policy]
default_binding = "news"

[[delivery.override]]
{scope}
tls = "{tls}"
auth_user = "{user}"
password_file = "{folder}/password"

[shaping.default]
retry_interval_seconds = 1
"""


def certify(folder: Path, name: str = "127.0.0.1") -> None:
    """A certificate, its authority, and an authority that did not issue it."""
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "right.pem")
    trustme.CA().cert_pem.write_to_path(folder / "wrong.pem")


@contextmanager
def submission(folder: Path, more: str = "") -> Iterator[Postfix]:
    """The service; `ann` may use it."""
    if reason := postfix_peer.missing() or dovecot_peer.missing():
        pytest.skip(reason)
    with (
        dovecot_peer.dovecot(["ann"]) as users,
        postfix_peer.postfix(more=SUBMISSION.format(asked=users.asked, folder=folder) + more) as server,
    ):
        yield server


def configuration(
    server: Postfix,
    folder: Path,
    *,
    tls: str = "required",
    domain: str = "*",
    scope: str = 'site = "relay"',
    authority: str = "right",
    user: str = "ann",
    password: str = PASSWORD,
) -> str:
    (folder / "password").write_text(password + "\n")
    (folder / "password").chmod(0o600)
    values = {"tls": tls, "domain": domain, "scope": scope, "authority": authority, "user": user}
    return configuration_for({}, more=SMART_HOST.format(port=server.port, folder=folder, **values))


def send(server: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.sendmail("a@sender.test", ["b@example.test"], "From: a@sender.test\r\n\r\nhello\r\n")


@pytest.mark.parametrize(
    ("more", "tls", "domain", "scope"),
    [
        ("", "required", "*", 'site = "relay"'),
        ("", "required", "example.test", 'binding = "news"'),
        (LOGIN_ALONE, "required", "*.test", 'site = "*"'),
        (IMPLICIT, "implicit", "*", 'binding = "news"'),
        (IMPLICIT + LOGIN_ALONE, "implicit", "*", 'site = "relay"'),
    ],
)
def test_it_logs_in(more: str, tls: str, domain: str, scope: str, tmp_path: Path) -> None:
    certify(tmp_path)
    with submission(tmp_path, more) as relay:
        text = configuration(relay, tmp_path, tls=tls, domain=domain, scope=scope)
        with serving(tmp_path / "outrider", text) as server:
            send(server)
            relay.wait_for(1)
        assert "sasl_username=ann" in relay.log()
        assert ("sasl_method=LOGIN" in relay.log()) is (LOGIN_ALONE in more)


@pytest.mark.parametrize(
    ("name", "authority", "reason"),
    [
        ("127.0.0.1", "wrong", "certificate verify failed"),
        ("other.test", "right", "not valid for '127.0.0.1'"),
    ],
)
def test_an_impostor_hears_no_password(name: str, authority: str, reason: str, tmp_path: Path) -> None:
    certify(tmp_path, name)
    with (
        submission(tmp_path) as relay,
        serving(
            tmp_path / "outrider", configuration(relay, tmp_path, tls="required", authority=authority)
        ) as server,
    ):
        send(server)
        (first, *_) = await_events(server, 1, "transient", "bounce")
        assert (first["type"], first["reply_code"], first["phase"]) == ("transient", 451, "starttls")
        assert reason in str(first["reply_text"])
        assert "sasl" not in relay.log()


def test_a_wrong_password_keeps_the_mail_until_it_is_right(tmp_path: Path) -> None:
    certify(tmp_path)
    with (
        submission(tmp_path) as relay,
        serving(tmp_path / "outrider", configuration(relay, tmp_path, password="no such")) as server,
    ):
        send(server)
        (first, *_) = await_events(server, 1, "transient", "bounce")
        assert (first["type"], first["reply_code"], first["phase"]) == ("transient", 535, "auth")
        (tmp_path / "password").write_text(PASSWORD)  # read at each connection
        relay.wait_for(1)
