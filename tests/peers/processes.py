"""Starts and stops real mail programs for tests: each with its own folder, ports and process id.

In: a command. Out: a running process whose port answers, or an error with what it said. A peer is stopped by
the process group that was made for it, never by its name.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

PEERS = Path(__file__).resolve().parents[2] / ".peers"
POLL_SECONDS = 0.02
PORTS = range(10_240, 32_768)
"""Below the system's own, which begin there (Linux, ip_local_port_range); registered, but rarely used."""
CHANCE = random.SystemRandom()
"""Tests seed the common one, so that it says the same in all that run at once."""


class PeerError(Exception):
    """A real program did not do what the test needs of it; the message holds what it said."""


def find_program(*candidates: str) -> Path | None:
    """The first that is executable: an absolute path, a path below .peers, or a name on PATH."""
    for candidate in candidates:
        path = Path(candidate)
        if not path.is_absolute():
            path = PEERS / candidate
        if os.access(path, os.X_OK):
            return path
        if "/" not in candidate and (found := shutil.which(candidate)):
            return Path(found)
    return None


def free_port() -> int:
    """A loopback port that was free a moment ago, for programs that must be told a number.

    It is none of those that the system gives by itself: a test beside this one may have thousands of
    connections, and any of them could take it before the program does.
    """
    while True:
        port = CHANCE.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def peer_folder(name: str) -> Iterator[Path]:
    """A folder that the peer's own user can reach (pytest's are closed to other users)."""
    folder = Path(tempfile.mkdtemp(prefix=f"outrider-{name}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Returns as soon as `condition` holds.

    Raises:
        PeerError: It did not hold within `seconds`.
    """
    deadline = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > deadline:
            raise PeerError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def answers(port: int) -> bool:
    """True when something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    cwd: Path,
    env: dict[str, str] | None = None,
    user: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """`command` as a process group of its own, from when `port` answers until the block ends.

    It runs as `user`, if one is given and we are root.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            user=user if os.getuid() == 0 else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise PeerError(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
            return answers(port)

        try:
            wait_until(ready, f"{command[0]} answers")
        except PeerError as error:
            raise PeerError(f"{error}; it said: {log.read_text()[-2000:]}") from error
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, then whatever is left of its group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=PATIENCE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
