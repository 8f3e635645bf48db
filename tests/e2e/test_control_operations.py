"""The control API of a running server does what commands do: its credentials work, its copies are whole."""

import json
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.server.configuration import load
from outrider.server.control_api.client import ControlClient
from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving
from tests.e2e.practice import await_events, post, practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("open", "open.test", "127.30.22.1")
PASSWORD = "correct horse battery"
PASSPHRASE = "staple battery horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("control") / "server"
    with practising(WORLD) as practice:
        trusting = 'trusted_networks = ["127.0.0.0/8"]'
        configuration = practice.configuration(redaction="token", more='[[http]]\nname = "http"\nport = 0')
        assert trusting in configuration
        configuration = configuration.replace(trusting, "auth_without_tls = true")
        with serving(folder, configuration) as server:
            yield server


@pytest.fixture
def api(server: OutriderProcess) -> Iterator[ControlClient]:
    with ControlClient(load(server.config).server.sockets_directory) as client:
        yield client


def written(server: OutriderProcess) -> str:
    """Everything that the server wrote about what happened: its log, events and audit rows."""
    rows = server.command("audit", "list", "--limit", "1000")
    return server.log() + json.dumps(server.events()) + json.dumps(rows)


def message_to(recipient: str) -> dict[str, Any]:
    return {"from": "a@shop.test", "to": [recipient], "subject": "x", "text": "y"}


def test_a_key_of_the_api_sends_and_its_mail_is_found_by_recipient(
    server: OutriderProcess, api: ControlClient
) -> None:
    api.post("/v1/tenants", {"name": "shop", "verifies_domains": False})
    made = api.post("/v1/keys", {"id": "web", "tenant": "shop", "domains": ["shop.test"]})
    answers: list[tuple[int, dict[str, Any]]] = []

    def is_accepted() -> bool:
        answers.append(post(server, made["key"], message_to("hidden.person@open.test")))
        return answers[-1][0] == 202

    wait_until(is_accepted, "the key is known")
    message_id = answers[-1][1]["id"]
    await_events(server, 1, "delivery", message_id=message_id)
    found = api.post("/v1/trace", {"recipient": "Hidden.Person@open.test"})
    assert (message_id, "delivered") in {(each["message_id"], each["state"]) for each in found["messages"]}
    assert server.command("trace", "--recipient", "hidden.person@open.test") == found
    assert api.post("/v1/trace", {"recipient": "nobody@open.test"}) == {"messages": [], "refusals": []}
    again = api.post("/v1/keys/web/rotation", {"reason": "seen in a chat"})
    message = message_to("x@open.test")
    wait_until(lambda: post(server, made["key"], message)[0] == 401, "the old key is refused")
    wait_until(lambda: post(server, again["key"], message)[0] == 202, "each worker knows the new one")
    told = written(server)
    assert "seen in a chat" in told
    secrets = (made["key"], again["key"], "hidden.person", "Hidden.Person")
    assert [each for each in secrets if each in told] == []


def test_a_user_of_the_api_logs_in_with_its_newest_password(
    server: OutriderProcess, api: ControlClient
) -> None:
    api.post("/v1/users", {"name": "joe", "password": PASSWORD, "reason": "a test"})
    api.post("/v1/users/joe/password", {"password": PASSWORD + "!"})

    def enters(password: str) -> bool:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            try:
                client.login("joe", password)
            except smtplib.SMTPAuthenticationError:
                return False
            return True

    wait_until(lambda: enters(PASSWORD + "!"), "the new password is known")
    assert not enters(PASSWORD)
    assert server.command("user", "show", "joe") == api.get("/v1/users/joe")
    assert PASSWORD not in written(server)


def test_options_say_where_they_come_from_and_what_the_file_says_since(
    server: OutriderProcess, api: ControlClient
) -> None:
    text = server.config.read_text(encoding="utf-8")
    line = 1 + text.splitlines().index("workers = 2")
    [workers] = api.get("/v1/config/options", name="server.workers")["items"]
    [value] = workers["values"]
    assert (value["value"], value["origin"]) == ("2", f"{server.config}:{line}")
    server.config.write_text(text.replace("workers = 2", "workers = 3"), encoding="utf-8")
    try:
        [workers] = api.get("/v1/config/options", name="server.workers")["items"]
    finally:
        server.config.write_text(text, encoding="utf-8")
    [value] = workers["values"]
    assert value["value"] == "2", "what runs"
    assert value["origin"] == f"an earlier reading; {server.config}:{line} says 3 now"


def test_a_copy_of_a_running_server_is_whole(
    server: OutriderProcess, api: ControlClient, tmp_path: Path
) -> None:
    made = api.post(
        "/v1/backups", {"into": str(tmp_path / "copies"), "passphrase": PASSPHRASE, "reason": "before work"}
    )
    secret = tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\n", encoding="utf-8")
    line = [*PROGRAM, "restore", made["path"], "--check", "--passphrase-file", str(secret), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["ok"]
    manifest = json.loads((Path(made["path"]) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"] == str(server.config)
    rows = server.command("audit", "list", "--action", "backup")
    assert [row["action"] for row in rows] == ["backup.make.result", "backup.make"]
    assert PASSPHRASE not in written(server)


def test_the_ring_rotates_under_a_running_server(server: OutriderProcess, api: ControlClient) -> None:
    before = {each["key"] for each in api.get("/v1/keyring")["items"]}
    made = api.post("/v1/keyring/log/rotation", {"reason": "yearly"})
    assert made["key"] not in before
    listed = server.command("keys", "list")["keys"]
    assert listed == api.get("/v1/keyring")["items"]
    assert [each["state"] for each in listed if each["key"] == made["key"]] == ["in use"]
