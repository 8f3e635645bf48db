"""What scripts in Lua lock and share holds for all workers, whoever is killed meanwhile."""

import smtplib
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import await_restart, kill_child, practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.13.1")

SCRIPT = """
require("msys.core"); require("msys.extended.vctx")
local mod = {}
function mod:validate_mailfrom(str, ac, vctx)
  local who = tostring(str)
  if who:find("count@", 1, true) then
    msys.lock("counter")
    local was = msys.shareGet("count") or 0
    msys.sleep(0.002)
    msys.shareSet("count", was + 1)
    msys.unlock("counter")
  elseif who:find("hold@", 1, true) then
    msys.lock("counter")
    msys.shareSet("holds", true)
    msys.sleep(200)
  end
  vctx:set_code(550, "5.7.1 " .. tostring(msys.shareGet("count")) .. " " .. tostring(msys.shareGet("holds")))
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shared", mod)
"""
POLICY = """
[policy]
wait_seconds = 250
[[policy.script]]
name = "shared"
source = "shared.lua"
"""
CLIENTS = 8
EACH = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OutriderProcess]:
    (tmp_path / "shared.lua").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD) as practice, serving(tmp_path, practice.configuration(more=POLICY)) as server:
        yield server


def say(server: OutriderProcess, sender: str, times: int = 1) -> str:
    """What a script answers to MAIL, the last of so many times, each in a session of its own."""
    text = b""
    for _ in range(times):
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            _, text = client.mail(sender)
    return text.decode()


def count(server: OutriderProcess) -> None:
    """Many sessions of both workers, which all read, wait and write under one lock."""
    threads = [threading.Thread(target=say, args=(server, "count@shop.test", EACH)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_session_of_any_worker_comes_between(server: OutriderProcess) -> None:
    count(server)
    assert say(server, "look@shop.test") == f"5.7.1 {CLIENTS * EACH} nil"
    for name in ("worker-0", "worker-1"):  # neither held it alone
        await_restart(server, name, kill_child(server, name))
        assert say(server, "look@shop.test") == f"5.7.1 {CLIENTS * EACH} nil"
    assert server.stop() == 0


def test_a_worker_that_is_killed_while_it_holds_a_lock_keeps_nobody_waiting(server: OutriderProcess) -> None:
    def hold() -> None:
        with suppress(OSError, smtplib.SMTPException):  # its worker is killed
            say(server, "hold@shop.test")

    def wait() -> None:
        for _ in range(10):  # its worker may be killed too
            with suppress(OSError, smtplib.SMTPException):
                answers.append(say(server, "count@shop.test"))
                return

    answers: list[str] = []
    holder, waiting = threading.Thread(target=hold), threading.Thread(target=wait)
    holder.start()
    wait_until(lambda: say(server, "look@shop.test") == "5.7.1 nil true", "the lock is held")
    waiting.start()
    for name in ("worker-0", "worker-1"):
        assert answers == []
        await_restart(server, name, kill_child(server, name))
        wait_until(lambda: not holder.is_alive() or say(server, "look@shop.test") != "", "it goes on")
        if not holder.is_alive():
            break
    holder.join()
    waiting.join()
    assert answers == ["5.7.1 1 true"]
