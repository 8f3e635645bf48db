"""The whole server under a service manager: it says how it is, and serves on sockets that it was given."""

import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.outrider_process import PROGRAM, OutriderProcess, short_sockets, start_server
from tests.e2e.practice import kill_child, queue_is, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until
from tests.server.service_manager import Hearing, hearing, passing

CONFIGURATION = """\
[server]
hostname = "outrider.example.test"
workers = 2
state_directory = "state"
[[listener]]
name = "smtp"
port = 1
trusted_networks = ["127.0.0.0/8"]
[[http]]
name = "api"
port = 0
[record]
metrics_port = 0
[[net.routes]]
domain = "*"
hosts = ["127.0.0.1:1"]
"""
"""Port 1 belongs to nobody: the listener works only on the socket that it is given."""


def placed(folder: Path, stack: ExitStack) -> Path:
    """The folder, with the configuration in it."""
    folder.mkdir()
    text = stack.enter_context(short_sockets(folder, CONFIGURATION))
    (folder / "outrider.toml").write_text(text, encoding="utf-8")
    return folder


def heard(folder: Path, stack: ExitStack, *, watchdog_microseconds: int) -> tuple[OutriderProcess, Hearing]:
    """A server that tells a service manager how it is."""
    home = placed(folder / "one", stack)
    text = (home / "outrider.toml").read_text(encoding="utf-8")
    (home / "outrider.toml").write_text(text.replace("port = 1\n", "port = 0\n"), encoding="utf-8")
    manager = stack.enter_context(hearing(folder / "notify"))
    asked = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(watchdog_microseconds)}
    server = start_server(home, asked)
    stack.callback(server.process.stdout.close)  # type: ignore[union-attr]
    stack.callback(server.kill)
    return server, manager


def test_a_service_manager_hears_the_whole_life(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server, manager = heard(tmp_path, stack, watchdog_microseconds=3_000_000)
        ready = manager.until("READY=1")
        assert ready[1].startswith("STATUS=Ready: 2 workers; smtp on 127.0.0.1:")
        manager.until("WATCHDOG=1")
        kill_child(server, "worker-1")
        manager.until("STATUS=Starting again: worker-1")
        manager.until(ready[1])
        manager.until("WATCHDOG=1")
        server.process.send_signal(signal.SIGHUP)
        manager.until("RELOADING=1")
        assert manager.until("READY=1") == ready, "it still says where it listens"
        assert server.stop() == 0
        assert manager.until("STOPPING=1")[2].startswith("EXTEND_TIMEOUT_USEC=")


def test_the_watchdog_hears_nothing_of_a_supervisor_that_is_stuck(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server, manager = heard(tmp_path, stack, watchdog_microseconds=300_000)
        manager.until("WATCHDOG=1")
        server.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: "T" in status_of(server), "the supervisor is stopped")
        before = len(manager.waiting())
        # Its children beat on for many times the watchdog's period; nobody else speaks for the supervisor.
        wait_until(queue_is(server, 0), "the children still answer")
        assert len(manager.waiting()) == before
        server.process.send_signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")
        assert server.stop() == 0


def status_of(server: OutriderProcess) -> str:
    """The state letter of the supervisor (proc(5), third field of stat)."""
    return Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][:1]


def test_the_server_serves_on_sockets_that_it_was_given(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = placed(tmp_path / "one", stack)
        given = stack.enter_context(socket.socket())
        given.bind(("127.0.0.1", 0))
        given.listen(64)
        port = given.getsockname()[1]
        # A client that comes before the server waits in the socket that the manager holds.
        early = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS))
        command = passing([("smtp", given)], [*PROGRAM, "serve", "-c", str(folder / "outrider.toml")])
        log = stack.enter_context((folder / "server.log").open("ab"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=[given.fileno()],
            start_new_session=True,
        )
        server = OutriderProcess(folder, process)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(server.kill)
        line = process.stdout.readline()
        assert f"smtp on 127.0.0.1:{port}" in line, server.log()[-2000:]
        assert early.recv(100).startswith(b"220 outrider.example.test")
        for _ in range(8):
            send(port, "someone@receiver.test")
        wait_until(queue_is(server, 8), "all are queued")
        # Who opened the socket says where it listens: another port in the configuration does not close it.
        config = folder / "outrider.toml"
        config.write_text(config.read_text("utf-8").replace("port = 1\n", "port = 0\n"), encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: '"config.reloaded"' in server.log(), "it is reloaded")
        send(port, "someone@receiver.test")
        wait_until(queue_is(server, 9), "that one too")
        assert server.stop() == 0
        # The manager's socket is still there: the next client waits for the next server.
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS):
            pass


def test_a_socket_that_no_listener_wants_ends_the_start(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = placed(tmp_path / "one", stack)
        given = stack.enter_context(socket.socket())
        given.bind(("127.0.0.1", 0))
        given.listen()
        command = passing([("smpt", given)], [*PROGRAM, "serve", "-c", str(folder / "outrider.toml")])
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, pass_fds=[given.fileno()]
        )
    assert done.returncode == 78
    assert "named 'smpt'" in done.stderr
    assert "api, smtp" in done.stderr


@pytest.mark.peer
def test_systemd_s_own_activation_works(tmp_path: Path) -> None:
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("needs systemd-socket-activate; `make peers` installs it")
    with ExitStack() as stack:
        folder = placed(tmp_path / "one", stack)
        port = free_port()
        log = stack.enter_context((folder / "server.log").open("ab"))
        process = subprocess.Popen(
            [
                *(program, "--listen", f"127.0.0.1:{port}", "--fdname=smtp"),
                *(*PROGRAM, "serve", "-c", str(folder / "outrider.toml")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        server = OutriderProcess(folder, process)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(server.kill)
        wait_until(lambda: f"127.0.0.1:{port}" in server.log(), "systemd-socket-activate listens")
        send(port, "someone@receiver.test")
        assert f"smtp on 127.0.0.1:{port}" in process.stdout.readline()
        wait_until(queue_is(server, 1), "it is queued")
        assert server.stop() == 0
