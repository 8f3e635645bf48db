"""CPU and memory of a program's whole process tree, and the tools that load it.

CPU: user and system time of every process of the tree, those that have ended included (a parent's `cutime`
holds them). Memory: the sum of PSS, sampled. Source: proc(5).
"""

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
IDLE_SECONDS = 0.5
IDLE_SECONDS_MAX = 30.0


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system seconds of the tree so far, ended and reaped processes included."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def wait_until_idle(root: int) -> None:
    """Until the tree's start is over: what it does once its port is open is not the messages' work.

    Raises:
        SystemExit: It works on for `IDLE_SECONDS_MAX`, without a message.
    """
    until = time.monotonic() + IDLE_SECONDS_MAX
    before = cpu_seconds(root)
    while time.monotonic() < until:
        time.sleep(IDLE_SECONDS)
        now = cpu_seconds(root)
        if now - before <= 1.5 / TICK:
            return
        before = now
    raise SystemExit(f"process {root} does not become idle")


def pss_kib(root: int) -> int:
    """Proportional set size of the tree."""
    total = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PssSampler:
    """Peak of `pss_kib` while it is entered."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.peak_kib = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            self.peak_kib = max(self.peak_kib, pss_kib(self.root))

    def __enter__(self) -> "PssSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_kib = max(self.peak_kib, pss_kib(self.root))


class Sink:
    """Postfix's smtp-sink, which ends by itself after `count` messages."""

    def __init__(self, port: int, count: int) -> None:
        self.process = subprocess.Popen(
            ["smtp-sink", "-u", "root", "-M", str(count), f"127.0.0.1:{port}", "1000"],
            stdout=subprocess.DEVNULL,
        )

    def wait(self, seconds: float) -> bool:
        """Wait until all messages came; False when they did not in time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it whether or not it is done."""
        self.process.kill()
        self.process.wait()


def smtp_source(port: int, count: int, size: int, sessions: int, *, reuse: bool) -> subprocess.Popen[bytes]:
    """Postfix's smtp-source; `reuse` keeps its connections over messages."""
    return subprocess.Popen(
        [
            "smtp-source",
            *(["-d"] if reuse else []),
            *("-s", str(sessions), "-m", str(count), "-l", str(size)),
            *("-f", "sender@source.test", "-t", "recipient@sink.test"),
            f"127.0.0.1:{port}",
        ]
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program by its own process id and wait for it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_port(port: int, seconds: float = 30) -> None:
    """Wait until somebody greets on the port."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing greets on port {port}")
