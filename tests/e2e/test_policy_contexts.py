"""What scripts are told beforehand, by the listener and by fields of the header; and what is kept of it."""

import json
import smtplib
import urllib.request
from pathlib import Path

from outrider.privacy.credentials import make_key
from tests.e2e.outrider_process import serving
from tests.e2e.practice import await_events, practising, provider
from tests.patience import PATIENCE_SECONDS

WORLD = provider("one", "one.test", "127.30.9.1")
SCRIPT = """
from outrider.policy.api import Refuse
def mailfrom(connection, sender):
    if connection.context.get("customer") != "acme":
        return Refuse(550, "5.7.1 no customer")
def _show(mail):
    mail.message.header.set("X-Seen", " ".join(f"{k}={v}" for k, v in sorted(mail.context.items())))
    mail.message.header.set("X-Listener", mail.connection.context.get("secret_token", "none"))
def data(mail):
    _show(mail)
def msg_gen(mail):
    _show(mail)
"""
POLICY = """
[[policy.script]]
name = "shop"
source = "shop.py"
"""


def test_notes_come_from_listener_and_header_and_secrets_are_kept_nowhere(tmp_path: Path) -> None:
    store = tmp_path / "received"
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD, store) as practice:
        configuration = practice.configuration(more=POLICY)
        at = configuration.index("[[listener]]")
        end = configuration.find("\n[", at + 1)
        configuration = (
            configuration[:end]
            + '\n[listener.context]\ncustomer = "acme"\nsecret_token = "hush-1"'
            + configuration[end:]
        )
        with serving(folder, configuration) as server:
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
                client.helo("client.test")
                client.mail("shop@sender.test")
                client.rcpt("joe@one.test")
                _, text = client.data(
                    b"Subject: x\r\nX-Outrider-Context: campaign=spring\r\n"
                    b"X-Outrider-Context: secret_code=hush-2\r\n\r\ntext\r\n"
                )
            await_events(server, 1, "delivery")
            assert text.startswith(b"2.0.0")
        [received] = [path.read_bytes() for path in store.rglob("*.eml")]
        assert b"X-Seen: campaign=spring secret_code=hush-2\r\n" in received
        assert b"X-Listener: hush-1\r\n" in received
        assert b"X-Outrider-Context" not in received
        for path in (folder / "state" / "events").rglob("*"):
            assert not path.is_file() or b"hush" not in path.read_bytes()
        assert "hush" not in server.log()


NOTING = """
def data(mail):
    context = mail.connection.context
    mail.message.header.set("X-Connection", " ".join(f"{k}={v}" for k, v in sorted(context.items())))
"""


def test_trusted_relays_note_things_about_their_connections(tmp_path: Path) -> None:
    store = tmp_path / "received"
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "shop.py").write_text(NOTING, encoding="utf-8")
    with practising(WORLD, store) as practice:
        configuration = practice.configuration(more=POLICY)
        trusted = 'context_networks = ["127.0.0.1/32"]\ntrusted_networks'
        configuration = configuration.replace("trusted_networks", trusted, 1)
        with serving(folder, configuration) as server:
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
                client.ehlo("client.test")
                assert client.has_extn("xsetcontext")
                assert client.docmd("XSETCONTEXT", "customer=a+20b secret_key=hush-4")[0] == 250
                assert client.docmd("XSETCONTEXT", "customer")[0] == 501
                client.mail("shop@sender.test")
                client.rcpt("joe@one.test")
                assert client.data(b"Subject: x\r\n\r\ntext\r\n")[0] == 250
            with smtplib.SMTP(
                "127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS, source_address=("127.0.0.2", 0)
            ) as client:
                client.ehlo("client.test")
                assert not client.has_extn("xsetcontext")
                assert client.docmd("XSETCONTEXT", "customer=a")[0] == 500
            await_events(server, 1, "delivery")
        [received] = [path.read_bytes() for path in store.rglob("*.eml")]
        assert b"X-Connection: customer=a b secret_key=hush-4\r\n" in received
        assert "hush" not in server.log()
        for path in (folder / "state" / "events").rglob("*"):
            assert not path.is_file() or b"hush" not in path.read_bytes()


def test_metadata_of_a_request_is_noted_and_what_is_secret_of_it_is_kept_nowhere(tmp_path: Path) -> None:
    store = tmp_path / "received"
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
    users = folder / "users.toml"
    key = make_key(users, "shop", "default", frozenset({"sender.test"}))
    message = {
        "from": "shop@sender.test",
        "to": ["joe@one.test"],
        "subject": "x",
        "text": "x",
        "metadata": {"order": "5", "secret_code": "hush-3"},
    }
    with (
        practising(WORLD, store) as practice,
        serving(folder, practice.configuration(more=POLICY, users_file=users)) as server,
    ):
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.ports['http']}/v1/messages", json.dumps(message).encode()
        )
        request.add_header("Authorization", f"Bearer {key}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            assert answer.status == 202
        [event] = await_events(server, 1, "delivery")
        assert event["metadata"] == {"order": "5"}
        [received] = [path.read_bytes() for path in store.rglob("*.eml")]
        assert b"X-Seen: order=5 secret_code=hush-3\r\n" in received
        assert "hush" not in server.log() + json.dumps(server.events())
