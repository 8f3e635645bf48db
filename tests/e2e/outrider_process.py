"""The whole server as a process, for tests: started from a configuration, stopped by SIGTERM or killed.

In: TOML for the configuration. Out: a running server with its endpoints, its folder, its events and its log.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_SECONDS, UNHURRIED

FOLDER_CHARACTERS = 80
"""Chosen: `/state/run/dispatcher.sock` must fit behind it into the 107 octets of a Unix socket's path."""

PROGRAM = (sys.executable, "-m", "outrider.cli.main")
READY = re.compile(r"(\S+) on (\S+):(\d+)")


class ServerError(Exception):
    """The server did not start or stop as it should; the message holds its log."""


@dataclass(slots=True)
class OutriderProcess:
    """A running server.

    Attributes:
        folder: Holds configuration, state and log.
        process: The supervisor.
        ports: Port of each listener by its name.
    """

    folder: Path
    process: subprocess.Popen[str]
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "outrider.toml"

    def log(self) -> str:
        """The server's own log."""
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def events(self) -> list[dict[str, Any]]:
        """All events on disk, whole lines only, in the order of their times."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # one was closed meanwhile, and has another name now
                paths = list((self.folder / "state" / "events").rglob("*.jsonl"))
                lines = b"".join(whole_lines(path) for path in paths).splitlines()
                return sorted(map(json.loads, lines), key=lambda event: str(event["time"]))

    def command(self, *arguments: str) -> Any:
        """`outrider ARGUMENTS --json` against this server, its answer decoded."""
        line = [*PROGRAM, *arguments, "-c", str(self.config), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise ServerError(f"{arguments}: exit {done.returncode}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def stop(self) -> int:
        """SIGTERM, then its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"did not stop: {self.log()[-4000:]}") from error

    def kill(self) -> None:
        """SIGKILL to the supervisor and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE_SECONDS)


def whole_lines(path: Path) -> bytes:
    """A file without the line that is being written."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def start_server(folder: Path, environment: dict[str, str] | None = None) -> OutriderProcess:
    """Starts the server from `folder`/outrider.toml and returns once it says that it is ready.

    Raises:
        ServerError: It ended or stayed silent; the message holds its log.
    """
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "-c", str(folder / "outrider.toml")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    server = OutriderProcess(folder, process)
    guard = threading.Timer(PATIENCE_SECONDS, server.kill)
    guard.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
    finally:
        guard.cancel()
    if not line.startswith("Ready"):
        server.kill()
        process.stdout.close()
        raise ServerError(f"did not start: {line}{server.log()[-4000:]}")
    server.ports = {name: int(port) for name, _, port in READY.findall(line)}
    return server


@contextlib.contextmanager
def serving(
    folder: Path, configuration: str, environment: dict[str, str] | None = None
) -> Iterator[OutriderProcess]:
    """A server with `configuration` in `folder`, killed at the end if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with short_sockets(folder, configuration) as text:
        (folder / "outrider.toml").write_text(text, encoding="utf-8")
        server = start_server(folder, environment)
        try:
            yield server
            if server.process.poll() is None:
                server.stop()
        finally:
            server.kill()
            if server.process.stdout is not None:
                server.process.stdout.close()


@contextlib.contextmanager
def short_sockets(folder: Path, configuration: str) -> Iterator[str]:
    """The configuration, with a folder for sockets elsewhere where pytest's are too deep for them."""
    state = 'state_directory = "state"\n'
    if len(str(folder)) < FOLDER_CHARACTERS or "run_directory" in configuration or state not in configuration:
        yield configuration
        return
    with tempfile.TemporaryDirectory(prefix="outrider-run-") as sockets:
        yield configuration.replace(state, f'{state}run_directory = "{sockets}"\n')


def configuration_for(
    routes: dict[str, int], *, workers: int = 2, more: str = "", users_file: Path | None = None
) -> str:
    """A configuration on free loopback ports that sends the mail of each domain to a loopback port."""
    users = f'users_file = "{users_file}"\n' if users_file else ""
    lines = "".join(
        f'[[net.routes]]\ndomain = "{domain}"\nhosts = ["127.0.0.1:{port}"]\n'
        for domain, port in routes.items()
    )
    return f"""\
[server]
hostname = "outrider.example.test"
workers = {workers}
state_directory = "state"
{users}
[[listener]]
name = "smtp"
address = "127.0.0.1"
port = 0
{UNHURRIED}
trusted_networks = ["127.0.0.0/8"]

[[http]]
name = "http"
address = "127.0.0.1"
port = 0

[record]
redaction = "full"
metrics_port = 0

{lines}
{more}
"""
