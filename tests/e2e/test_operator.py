"""An operator's terminal: the live view in a pseudo-terminal, timelines, suspensions."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.outrider_process import PROGRAM, OutriderProcess, ServerError, serving
from tests.e2e.practice import Practice, await_events, kill_child, pids, provider, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

LATER = '[[provider.rule]]\non = "rcpt"\nreply = "450 4.2.0 Come back later"'
WORLD = (
    provider("closed", "closed.test", "127.30.21.1", LATER)
    + provider("open", "open.test", "127.30.21.2")
    + provider(
        "never", "never.test", "127.30.21.3", '[[provider.rule]]\non = "rcpt"\nreply = "550 5.1.1 Nobody"'
    )
    + provider("sender", "sender.test", "127.30.21.4")
)
SHAPING = "[[shaping.override]]\nsite = '*'\nretry_interval_seconds = 3600\nmax_retry_interval_seconds = 3600"
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


@pytest.fixture(scope="module")
def server(practice: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("operator") / "server"
    with serving(folder, practice.configuration(more=SHAPING)) as server:
        yield server


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.screen = b""
        pid, self._fd = pty.fork()
        if pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
            os.execv(PROGRAM[0], [*PROGRAM, *arguments])
        self._pid = pid
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys; what was on the screen before counts no more."""
        self.screen = b""
        os.write(self._fd, keys.encode())

    def await_text(self, *texts: str) -> None:
        """Return when all of `texts` have been on the screen."""
        end = time.perf_counter() + PATIENCE_SECONDS
        while not all(text.encode() in ESCAPES.sub(b"", self.screen) for text in texts):
            left = end - time.perf_counter()
            ready, _, _ = select.select([self._fd], [], [], max(left, 0))
            if not ready:
                raise AssertionError(f"{texts} did not come: {ESCAPES.sub(b'', self.screen)[-3000:]!r}")
            self.screen += os.read(self._fd, 65_536)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while os.read(self._fd, 65_536):
                pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)


def test_the_live_view_drills_down_to_last_replies(server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "a@closed.test")
    await_events(server, 1, "transient", message_id=message_id)
    terminal = Terminal("top", "-c", str(server.config))
    terminal.await_text("outrider.example.test is up", "Sites", "mx.closed.test", "h help")
    terminal.type("h")
    terminal.await_text("look into it", "pause, and go on")
    terminal.type("x/closed\r")
    terminal.await_text("matching 'closed'")
    terminal.type("\r")
    terminal.await_text("Paths of mx.closed.test", "smtp", "default")
    terminal.type("\r")
    terminal.await_text("Messages of smtp/default/mx.closed.test", message_id, "450 4.2.0 Come back later")
    terminal.type(" ")
    terminal.await_text("paused")
    terminal.type("\x1b")
    terminal.await_text("Paths of mx.closed.test")
    terminal.type("q")
    assert terminal.ended() == 0


def test_without_a_terminal_it_is_one_line_a_second(server: OutriderProcess) -> None:
    line = [*PROGRAM, "top", "--lines", "2", "-c", str(server.config)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("queued" in each and "delivered/s" in each for each in lines)
    assert "\x1b" not in done.stdout
    assert server.command("top", "--lines", "1")["status"]["hostname"] == "outrider.example.test"


def test_a_timeline_tells_the_whole_life_with_its_report(server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "a@open.test", "b@never.test", mail_from="shop@sender.test")
    await_events(server, 1, "bounce", message_id=message_id)
    await_events(server, 1, "delivery", message_id=message_id)
    life = server.command("trace", message_id)
    assert life["is_final"]
    assert {state["recipient"]: state["state"] for state in life["recipients"]} == {
        "a@open.test": "delivered",
        "b@never.test": "bounced",
    }
    kinds = [step["kind"] for step in life["steps"]]
    assert kinds[:3] == ["received", "queued", "queued"]
    assert sorted(kinds[3:]) == ["bounced", "delivered", "report"]
    [report] = [step for step in life["steps"] if step["kind"] == "report"]
    assert server.command("trace", report["message_id"])["events"][0]["protocol"] == "internal"
    line = [*PROGRAM, "trace", message_id, "-c", str(server.config)]
    told = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "by listener smtp (ESMTP) from 127.0.0.1 calling itself client.test" in told
    assert "said at RCPT: 550 5.1.1 Nobody" in told
    assert "b@never.test is bounced after 1 attempt:" in told


def test_following_ends_with_the_message(practice: Practice, server: OutriderProcess) -> None:
    message_id = send(server.ports["smtp"], "c@closed.test")
    await_events(server, 1, "transient", message_id=message_id)
    line = [*PROGRAM, "trace", message_id, "--follow", "-c", str(server.config)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        for said in following.stdout:
            if " waits " in said:
                break
        practice.open("closed")
        server.command("queue", "retry", "--id", message_id, "--yes")
        rest = following.stdout.read()
    practice.shut("closed")
    assert following.returncode == 0
    # between the order and its delivery it may be seen waiting once more
    kinds = [each.split()[1] for each in rest.splitlines()]
    assert [each for each in kinds if each != "waits"] == ["retry", "delivered"]
    assert kinds[-1] == "delivered"


def test_a_timeline_needs_no_running_server(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration(more=SHAPING)) as server:
        message_id = send(server.ports["smtp"], "a@open.test")
        await_events(server, 1, "delivery", message_id=message_id)
        server.stop()
        life = server.command("trace", message_id)
        assert [step["kind"] for step in life["steps"]] == ["received", "queued", "delivered"]
        assert life["queued"] is None
        with pytest.raises(ServerError, match="is the server running"):
            server.command("status")


def test_a_suspension_holds_over_the_death_of_the_dispatcher(
    practice: Practice, server: OutriderProcess
) -> None:
    seen = practice.seen("open").recipients
    suspended = server.command(
        "path", "suspend", "mx.open.test", "--reason", "they asked us to", "--for", "1h", "--yes"
    )
    number = suspended["suspension"]["number"]
    old = pids(server)["dispatcher"]
    kill_child(server, "dispatcher")
    wait_until(lambda: pids(server)["dispatcher"] != old, "the dispatcher is there again")
    message_id = send(server.ports["smtp"], "held-back@open.test")
    wait_until(
        lambda: server.command("path", "show", "mx.open.test")["waiting"] == 1,
        "it waits on the suspended path",
    )
    assert practice.seen("open").recipients == seen
    assert [each["reason"] for each in server.command("path", "suspensions")] == ["they asked us to"]
    server.command("path", "resume", str(number), "--reason", "they are back")
    await_events(server, 1, "delivery", message_id=message_id)
    actions = [event["action"] for event in await_events(server, 2, "admin") if "path." in event["action"]]
    assert actions == ["path.suspend", "path.resume"]
