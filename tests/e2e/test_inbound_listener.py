"""Bounces and complaints come in at a listener of their own, are recorded with their purpose, not relayed."""

import mailbox
import smtplib
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.e2e.practice import await_events
from tests.patience import PATIENCE_SECONDS, UNHURRIED
from tests.peers.processes import wait_until

INBOUND = f"""
[[listener]]
{UNHURRIED}
name = "inbound"
role = "inbound"
address = "127.0.0.1"
port = 0
tenant = "acme"

[[listener.mailbox]]
purpose = "bounce"
address = "bounce-*@b.example.test"

[[listener.mailbox]]
purpose = "feedback"
address = "fbl@example.test"

[[listener.mailbox]]
purpose = "abuse"
address = "postmaster@example.test"
"""
TEXT = b"From: <>\r\nSubject: report\r\n\r\n.a dotted line\r\nlast\r\n"


def kept(server: OutriderProcess, purpose: str) -> list[mailbox.MaildirMessage]:
    path = server.folder / "state" / "inbound" / purpose
    return list(mailbox.Maildir(path, create=False)) if (path / "cur").exists() else []


def test_what_is_accepted_is_kept_by_purpose_and_recorded(tmp_path: Path) -> None:
    with serving(tmp_path / "outrider", configuration_for({}, more=INBOUND)) as server:
        with smtplib.SMTP("127.0.0.1", server.ports["inbound"], timeout=PATIENCE_SECONDS) as client:
            recipients = ["Bounce-17=x@B.example.test", "fbl@example.test", "stranger@example.test"]
            refused = client.sendmail("", recipients, TEXT)
            assert list(refused) == ["stranger@example.test"]
            assert refused["stranger@example.test"][0] == 550
            assert b"5.1.1" in refused["stranger@example.test"][1]
        wait_until(lambda: len(kept(server, "bounce")) == len(kept(server, "feedback")) == 1, "both are kept")
        (bounce,) = kept(server, "bounce")
        assert bounce["Return-Path"] == "<>"
        assert bounce["Delivered-To"] == "Bounce-17=x@b.example.test"
        assert bounce["X-Outrider-Purpose"] == "bounce"
        assert str(bounce.get_payload()) == ".a dotted line\nlast\n"
        assert not list((tmp_path / "outrider/state/inbound/bounce/tmp").iterdir())
        found = await_events(server, 2, "reception")
    assert [(one["purpose"], one["channel"], one["tenant"]) for one in found] == [
        ("bounce", "inbound", "acme"),
        ("feedback", "inbound", "acme"),
    ]


def test_a_folder_that_cannot_be_written_defers_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "outrider"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "inbound").write_text("in the way")
    retry = "[shaping.default]\nretry_interval_seconds = 1\n"
    with serving(folder, configuration_for({}, more=INBOUND + retry)) as server:
        with smtplib.SMTP("127.0.0.1", server.ports["inbound"], timeout=PATIENCE_SECONDS) as client:
            client.sendmail("", ["fbl@example.test"], TEXT)
        await_events(server, 1, "transient")
        (folder / "state" / "inbound").unlink()
        wait_until(lambda: len(kept(server, "feedback")) == 1, "it is kept")


def test_it_relays_for_nobody(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "outrider", configuration_for({"elsewhere.test": 9}, more=INBOUND)) as server,
        smtplib.SMTP("127.0.0.1", server.ports["inbound"], timeout=PATIENCE_SECONDS) as client,
    ):
        client.ehlo("client.test")
        assert not client.has_extn("auth")
        assert client.mail("a@sender.test")[0] == 250
        for recipient in ("b@example.test", "b@elsewhere.test", "postmaster"):
            assert client.docmd(f"RCPT TO:<{recipient}>")[0] == 550
        assert client.docmd("AUTH PLAIN AGEAYg==")[0] >= 500


def test_mail_goes_from_an_ipv6_client_to_an_ipv6_host(tmp_path: Path) -> None:
    inbound = INBOUND.replace('address = "127.0.0.1"', 'address = "::1"')
    with serving(tmp_path / "to", configuration_for({}, more=inbound, workers=1)) as store:
        route = f'[[net.routes]]\ndomain = "b.example.test"\nhosts = ["[::1]:{store.ports["inbound"]}"]\n'
        text = configuration_for({}, more=route, workers=1)
        text = text.replace('address = "127.0.0.1"', 'address = "::1"', 1).replace("127.0.0.0/8", "::1/128")
        with serving(tmp_path / "from", text) as server:
            with smtplib.SMTP("::1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
                client.sendmail("a@sender.test", ["bounce-6@b.example.test"], TEXT)
            wait_until(lambda: len(kept(store, "bounce")) == 1, "it arrives")
        (found,) = kept(store, "bounce")
    assert "IPv6:::1" in str(found["Received"])
