"""A copy of a running server comes back in an empty place and delivers what was queued, and nothing twice."""

import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import PROGRAM, serving, start_server
from tests.e2e.practice import DEFERS, await_events, practising, provider, queue_is, send
from tests.peers.processes import wait_until

WORLD = provider("open", "open.test", "127.30.9.1") + provider("shut", "shut.test", "127.30.9.2", DEFERS)
MORE = """
[spool]
encryption = "aes-256-gcm"
[policy]
lua_folders = ["lib"]
[[policy.script]]
name = "first"
source = "first.py"
[[policy.script]]
name = "second"
source = "second.lua"
"""
"""Encrypted, so that the copy is worth nothing without its keys; and no server starts without its scripts."""
SCRIPTS = {
    "first.py": "def data(mail): pass\n",
    "second.lua": 'msys.registerModule("second", require("shop.second"))\n',
    "lib/shop/second.lua": "return {validate_data = function() return 0 end}\n",
}
MESSAGES = 12


def outrider(*arguments: str, code: int = 0) -> Any:
    """`outrider ARGUMENTS --json`: its answer, or what it complains of where it shall fail."""
    done = subprocess.run(
        [*PROGRAM, *arguments, "--json"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, (done.returncode, done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_what_was_queued_is_delivered_from_the_copy_and_nothing_twice(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n", encoding="utf-8")
    given = ("--passphrase-file", str(secret))
    with practising(WORLD) as practice, ExitStack() as stack:
        folder = tmp_path / "one"
        folder.mkdir()
        config = folder / "outrider.toml"
        config.write_text(practice.configuration(more=MORE), encoding="utf-8")
        for name, text in SCRIPTS.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        outrider("keys", "generate", "spool", "-c", str(config))
        with serving(folder, practice.configuration(more=MORE)) as server:
            for number in range(MESSAGES):
                send(server.ports["smtp"], f"a{number}@open.test", f"b{number}@shut.test")
            await_events(server, MESSAGES, "delivery")
            wait_until(queue_is(server, MESSAGES), "what was deferred is queued, and nothing else")
            made = outrider("backup", "-c", str(config), "--into", str(tmp_path / "copies"), *given)
            assert made["secrets"] >= 1
            # A running server is not overwritten, nor is what it left.
            told = outrider("restore", made["path"], *given, code=75)
            assert "a server works on" in told
            server.kill()
        told = outrider("restore", made["path"], *given, code=73)
        assert "is not empty" in told
        assert practice.seen("shut").recipients == 0
        shutil.rmtree(folder)
        folder.mkdir()
        # Without its keys the copy is whole, but what is in it stays sealed; with them it comes back.
        assert outrider("restore", made["path"], "--check", "--without-keys")["ok"]
        done = outrider("restore", made["path"], *given)
        assert done["config"] == str(config)
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert {name for name in found if not name.startswith("state/")} == {"outrider.toml", *SCRIPTS}
        practice.open("shut")
        again = start_server(folder)
        assert again.process.stdout is not None
        stack.callback(again.process.stdout.close)
        stack.callback(again.kill)
        wait_until(lambda: practice.seen("shut").recipients == MESSAGES, "everything queued is delivered")
        wait_until(queue_is(again, 0), "nothing is left")
        assert again.stop() == 0
        assert practice.seen("open").recipients == MESSAGES, (
            "what was recorded as delivered is not sent again"
        )
        assert practice.seen("shut").recipients == MESSAGES


@pytest.mark.parametrize("damage", ["spool", "manifest", "database"])
def test_a_damaged_copy_restores_nothing(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n", encoding="utf-8")
    given = ("--passphrase-file", str(secret))
    with practising(WORLD) as practice, serving(folder, practice.configuration()) as server:
        send(server.ports["smtp"], "b@shut.test")
        made = outrider("backup", "-c", str(server.config), "--into", str(tmp_path / "copies"), *given)
        server.kill()
    copy = Path(made["path"])
    victim = {
        "spool": next(copy.rglob("*.log")),
        "manifest": copy / "manifest.json",
        "database": copy / "control.db",
    }[damage]
    octets = bytearray(victim.read_bytes())
    place = octets.index(b'"hostname"') + 14 if damage == "manifest" else len(octets) // 2
    octets[place] ^= 1
    victim.write_bytes(octets)
    told = outrider("restore", str(copy), "--root", str(tmp_path / "root"), *given, code=65)
    assert ("sealed with its secrets" if damage == "manifest" else "is not what was copied") in told
    assert not (tmp_path / "root").exists()
