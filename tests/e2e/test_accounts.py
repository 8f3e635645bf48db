"""Tenants and keys in the running server: a sandbox sends nothing, and what is revoked works no more."""

import smtplib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import configuration_for, serving
from tests.e2e.practice import await_events, events_of, post
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

MESSAGE = {"from": "a@shop.example", "to": ["b@receiver.test"], "subject": "x", "text": "y"}


def test_tenants_keys_and_the_sandbox(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.setblocking(False)
        configuration = configuration_for({"receiver.test": receiver.getsockname()[1]}, workers=2)
        with serving(tmp_path, configuration) as server:
            server.command("tenant", "add", "acme", "--reason", "a test")
            key = server.command("key", "add", "box", "-t", "acme", "--sandbox")["key"]

            # an unverified domain is refused by its name
            server.command("domain", "add", "shop.example", "-t", "acme")
            answers: list[tuple[int, dict[str, Any]]] = []

            def is_answered_with(status: int) -> bool:
                # the answer that counts is this one: the other worker may hear of a change a moment later
                answers.append(post(server, key, MESSAGE))
                return answers[-1][0] == status

            wait_until(lambda: is_answered_with(403), "the key is known")
            assert "shop.example is not verified" in answers[-1][1]["detail"], answers

            # a verified one is taken within seconds; the sandbox sends nothing
            server.command("domain", "verify", "shop.example", "-t", "acme", "--trust")
            wait_until(lambda: is_answered_with(202), "the domain is verified")
            message_id = answers[-1][1]["id"]
            (event,) = await_events(server, 1, "simulated", message_id=message_id)
            assert (event["tenant"], event.get("attempts", 0)) == ("acme", 0)
            assert len(events_of(server, "reception", message_id=message_id)) == 1
            assert server.command("queue", "count")["count"] == 0
            with pytest.raises(BlockingIOError):
                receiver.accept()

            # a revoked key works no more
            server.command("key", "revoke", "box", "--reason", "leaked")
            wait_until(lambda: post(server, key, MESSAGE)[0] == 401, "the key is refused")
            assert server.command("audit", "verify")["fault"] == ""
            reasons = [row["reason"] for row in server.command("audit", "list", "--action", "key")]
            assert "leaked" in reasons


def test_a_session_ends_with_its_credential(tmp_path: Path) -> None:
    configuration = configuration_for({}, workers=1).replace(
        'trusted_networks = ["127.0.0.0/8"]', "auth_without_tls = true"
    )
    with serving(tmp_path, configuration) as server:
        server.command("tenant", "add", "lab", "--trust-domains")
        taken = tmp_path / "users.toml"
        from outrider.privacy import credentials
        from outrider.privacy.passwords import Passwords

        passwords = Passwords(time_cost=1, memory_kib=8)
        user = credentials.User("joe", passwords.hash("long enough"), "lab", frozenset({"lab.example"}))
        passwords.close()
        credentials.add_user(taken, user)
        assert server.command("user", "import", str(taken))["users"] == 1
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.login("joe", "long enough")
            assert client.mail("a@lab.example")[0] == 250
            client.rset()
            code, text = client.mail("a@other.example")
            assert (code, b"other.example" in text) == (550, True)
            server.command("user", "disable", "joe", "--reason", "a test")

            def is_over() -> bool:
                client.rset()
                return client.mail("a@lab.example")[0] == 421

            try:
                wait_until(is_over, "the session ends")
            except smtplib.SMTPServerDisconnected:
                pytest.fail("it ended without a word")
            client.close()
