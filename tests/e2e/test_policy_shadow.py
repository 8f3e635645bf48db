"""A shadow run in a running server: on live traffic, in all workers, changing nothing, ended by a restart."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import OutriderProcess, ServerError, serving
from tests.e2e.practice import Practice, await_events, events_of, log_lines, provider, send
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.8.1")

LIVE = """
def set_binding(mail):
    mail.priority = 1
"""
SLOW = """
import asyncio
from outrider.policy.api import Refuse, source
async def mailfrom(connection, sender):
    if sender == "slow@shop.test":
        await asyncio.sleep(3600)
    if sender == "spins@shop.test":
        while True:
            try:
                pass
            except BaseException:
                pass
    if sender == "refused@shop.test":
        return Refuse(550, "5.7.1 Not you")
    if sender == "writes@shop.test":
        await source("crm").execute("DELETE FROM customer")
def data(mail):
    mail.discard("by the shadow")
"""
POLICY = """
[policy]
hook_seconds = 0.05
wait_seconds = 300
[[policy.script]]
name = "live"
source = "live.py"
"""


def report(server: OutriderProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.command("policy", "shadow", "report")
    return found


def kinds(server: OutriderProcess) -> set[tuple[str, str, str]]:
    return {(each["phase"], each["live"], each["shadow"]) for each in report(server)["differences"]}


def test_a_shadow_sees_all_workers_mail_and_changes_nothing(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE, encoding="utf-8")
    folder = tmp_path / "next"
    folder.mkdir()
    script = folder / "shop.py"
    script.write_text("def data(: pass\n", encoding="utf-8")
    with serving(tmp_path, storing.configuration(more=POLICY)) as server:
        with pytest.raises(ServerError, match=r"shop\.py:1"):
            server.command("policy", "shadow", "start", str(folder))
        with pytest.raises(ServerError, match="no shadow runs"):
            server.command("policy", "shadow", "stop")
        script.write_text(SLOW, encoding="utf-8")
        server.command("policy", "shadow", "start", str(folder), "--reason", "to try it")
        with pytest.raises(ServerError, match="runs already"):
            server.command("policy", "shadow", "start", str(folder))

        def is_seen() -> bool:
            send(server.ports["smtp"], "joe@one.test")
            return ("decision", "discard no", "discard by the shadow") in kinds(server)

        wait_until(is_seen, "the shadow to see a message")
        ids = [
            send(server.ports["smtp"], "joe@one.test", mail_from=f"{name}@shop.test")
            for name in ("slow", "spins", "refused")
            for _ in range(4)
        ]
        for message_id in ids:
            await_events(server, 1, "delivery", message_id=message_id)
        wait_until(
            lambda: ("mailfrom", "continue", "550 5.7.1 Not you") in kinds(server), "a refusal to be compared"
        )
        wait_until(lambda: report(server)["failures"] != [], "a failure of the shadow")
        found = report(server)
        assert found["failures"][0]["what"].endswith("mailfrom: BudgetError")
        # redaction is `full` here
        assert {each["recipient"] for each in found["examples"]} <= {"joe@one.test", ""}
        assert events_of(server, "discard", "refusal") == []
        assert not any(each["name"].startswith("policy.failed") for each in events_of(server, "notice"))
        actions = {each["action"] for each in events_of(server, "admin")}
        assert "policy.shadow-start" in actions
        last = server.command("policy", "shadow", "stop")
        assert last["differing"] >= found["differing"]
        assert not (tmp_path / "run" / "shadow.sock").exists()
        assert send(server.ports["smtp"], "joe@one.test")
        audit = server.command("audit", "list")
        assert {"policy.shadow-start", "policy.shadow-stop"} <= {each["action"] for each in audit}


def test_a_shadow_ends_with_the_server_and_the_next_one_says_so(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE, encoding="utf-8")
    with serving(tmp_path, storing.configuration(more=POLICY)) as server:
        server.command("policy", "shadow", "start", "--script", f"next={tmp_path / 'live.py'}")
    with serving(tmp_path, storing.configuration(more=POLICY)) as server:
        with pytest.raises(ServerError, match="exit 1"):
            server.command("policy", "shadow", "report")
        with pytest.raises(
            ServerError, match=r"the run of next since .* ended when the server was restarted"
        ):
            server.command("policy", "shadow", "stop")
        assert log_lines(server, "policy.shadow_ended") != []


def test_without_live_scripts_there_is_nothing_to_compare_with(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE, encoding="utf-8")
    with (
        serving(tmp_path, storing.configuration()) as server,
        pytest.raises(ServerError, match="runs without scripts"),
    ):
        server.command("policy", "shadow", "start", "--script", f"next={tmp_path / 'live.py'}")
