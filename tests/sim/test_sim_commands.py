"""The commands as processes, and the control socket."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.base.errors import ConfigError, UnavailableError
from outrider.base.exits import Exit
from outrider.cli import demo, inject, sim, sink
from outrider.server.configuration import load
from outrider.sim.demo import server_toml
from tests.e2e.outrider_process import PROGRAM
from tests.patience import PATIENCE_SECONDS

RUNNER = CliRunner()
WORLD = """
[[provider]]
name = "plain"
domains = ["plain.test"]
mx = [{name = "mx.plain.test", address = "127.0.0.1"}]
"""


def start(command: str, *arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"outrider.cli.{command}", *arguments, "--json", "--until-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def ended(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    report: dict[str, Any] = json.loads(out)
    return report


def test_sim_answers_on_its_socket_and_reports_at_the_end(tmp_path: Path) -> None:
    world, socket, report = tmp_path / "w.toml", tmp_path / "sim.sock", tmp_path / "seen.json"
    world.write_text(WORLD)
    process, ready = start("sim", str(world), "--control", str(socket), "--report", str(report))
    target = f"127.0.0.1:{ready['smtp_port']}"
    result = RUNNER.invoke(inject.app, [target, "--count", "20", "--json", "--journal", str(tmp_path / "j")])
    assert json.loads(result.stdout)["messages"]["acknowledged"] == 20
    asked = RUNNER.invoke(sim.app, ["--ask", "report", "--control", str(socket)])
    assert json.loads(asked.stdout)["providers"]["plain"]["messages"] == 20
    numbers = RUNNER.invoke(sim.app, ["--ask", "numbers", "--control", str(socket)])
    assert len(numbers.stdout.splitlines()) == 20
    RUNNER.invoke(sim.app, ["--ask", "stop", "--control", str(socket)])
    assert ended(process)["providers"]["plain"]["messages"] == 20
    assert json.loads(report.read_text())["providers"]["plain"]["numbered"] == 20
    assert numbers.stdout == report.with_suffix(".numbers").read_text()
    assert not socket.exists()


@pytest.mark.parametrize("command", ["sim", "sink"])
@pytest.mark.parametrize("how", ["eof", "int", "term"])
def test_tools_end_with_a_summary(command: str, how: str) -> None:
    process, ready = start(command, *(["0"] if command == "sink" else []))
    assert ready["ready"] is True
    if how != "eof":
        os.kill(process.pid, signal.SIGINT if how == "int" else signal.SIGTERM)
    report = ended(process)
    assert report["messages" if command == "sink" else "providers"] is not None


def test_inject_in_words_and_its_faults(tmp_path: Path) -> None:
    process, ready = start("sink", "0")
    target = f"127.0.0.1:{ready['port']}"
    result = RUNNER.invoke(inject.app, [target, "--count", "5", "--domain", "a.test=2", "--lock-step"])
    assert result.stdout.startswith("5 acknowledged, 0 refused, 0 unknown")
    assert ended(process)["messages"] == 5
    gone = RUNNER.invoke(inject.app, [target, "--give-up-seconds", "0.01", "--json"])
    assert isinstance(gone.exception, UnavailableError)
    for arguments, fault in (
        (["nowhere"], "a target is HOST:PORT"),
        (["127.0.0.1:99999"], "--port"),
        ([target, "--domain", "a.test=x"], "the weight is not a number"),
        ([target, "--journal", str(tmp_path)], "--journal"),
    ):
        failed = RUNNER.invoke(inject.app, arguments)
        assert isinstance(failed.exception, ConfigError)
        assert fault in str(failed.exception)


def test_a_name_that_is_not_known_is_told_once() -> None:
    """All connections look it up; those that are given up with the first say nothing of their own."""
    done = subprocess.run(
        [*PROGRAM, "inject", "nobody.invalid:25", "--connections", "3", "--give-up-seconds", "0.01"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"},
    )
    assert done.returncode == Exit.UNAVAILABLE
    [told] = done.stderr.splitlines()
    assert told.startswith("outrider: nobody.invalid:25 cannot be reached: ")


def test_asking_where_nobody_answers(tmp_path: Path) -> None:
    failed = RUNNER.invoke(sim.app, ["--ask", "report", "--control", str(tmp_path / "none")])
    assert isinstance(failed.exception, UnavailableError)
    assert RUNNER.invoke(sim.app, ["--ask", "report"]).exit_code == 2


@pytest.mark.parametrize("app", [sim.app, sink.app, inject.app, demo.app])
def test_help_has_examples(app: Any) -> None:
    assert "Examples" in RUNNER.invoke(app, ["--help"]).stdout


def test_lines_to_paste() -> None:
    text = demo.by_hand(2525, 8025, "key")
    assert "swaks --server 127.0.0.1:2525" in text
    assert "Bearer key" in text
    assert "curl" not in demo.by_hand(2525, 8025, "")


@pytest.mark.parametrize("users", [None, Path("/var/empty/users.toml")])
def test_the_demo_writes_a_configuration_that_the_server_takes(tmp_path: Path, users: Path | None) -> None:
    path = tmp_path / "outrider.toml"
    path.write_text(
        server_toml(
            folder=tmp_path / "state",
            workers=2,
            smtp_port=2525,
            http_port=8025,
            dns_port=5353,
            exchanger_port=2600,
            metrics_port=9000,
            users_file=users,
        )
    )
    settings = load(path)
    assert settings.listener[0].port == 2525
    assert settings.server.sockets_directory == tmp_path / "state" / "run"
    assert settings.shaping.default.smtp_port == 2600
