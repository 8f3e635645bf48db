"""`outrider init` writes a configuration that the doctor is content with, and replaces none unasked."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.outrider_process import PROGRAM
from tests.e2e.practice import practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port

WORLD = (
    provider("open", "open.test", "127.30.12.1")
    + """
[[zone]]
name = "example.test"
record = [{ name = "mx", type = "A", value = "192.0.2.1" }]
"""
)


def outrider(folder: Path, *arguments: str, code: int | None = 0) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert code in {None, done.returncode}, done.stdout + done.stderr
    return done.stdout if done.returncode in {0, 1} else done.stderr


def faults(told: Any) -> set[str]:
    """What the doctor finds wrong, but for the machine that the tests happen to run on."""
    of_the_machine = ("disk.sync", "disk.room", "disk.inodes", "clock.", "cores", "limits.")
    found = {str(one["check"]) for one in told["findings"] if one["level"] == "fault"}
    assert told["ok"] is not bool(found)
    return {check for check in found if not check.startswith(of_the_machine)}


def test_what_init_writes_passes_the_doctor(tmp_path: Path) -> None:
    with practising(WORLD) as practice:
        place = f"127.0.0.1:{practice.internet.dns_port}"
        ports = ["--port", "0", "--http-port", "0", "--metrics-port", str(free_port())]
        ports += ["--state", "state", "--nameserver", place]
        outrider(tmp_path, "init", "--hostname", "mx.example.test", *ports)
        found = json.loads(
            outrider(
                *(tmp_path, "doctor", "--json", "--reach", "open.test"),
                *("--reach-port", str(practice.internet.smtp_port)),
                code=None,
            )
        )
        assert faults(found) == set(), found
        reached = [one for one in found["findings"] if one["check"] == "mx.reach"]
        assert [one["level"] for one in reached] == ["good"]
        outrider(tmp_path, "init", "--force", "--hostname", "gone.example.test", *ports)
        failed = json.loads(outrider(tmp_path, "doctor", "--json", code=1))
        assert faults(failed) == {"dns.hostname"}
    assert (tmp_path / "outrider.toml").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_configuration_is_not_replaced_unless_told(tmp_path: Path) -> None:
    config = tmp_path / "outrider.toml"
    config.write_text("# mine\n", encoding="utf-8")
    assert "nothing was changed" in outrider(tmp_path, "init", code=64)
    assert config.read_text(encoding="utf-8") == "# mine\n"
    told = outrider(tmp_path, "init", "--trust", "0.0.0.0/0", "--hostname", "two words", "--force", code=78)
    assert "nothing was written" in told
    assert "server.workers" in outrider(tmp_path, "init", "--workers", "0", "--force", code=78)
    assert "  listener.0.trusted_networks.0: " in told
    assert "  server.hostname: " in told
    assert "draft" not in told
    assert config.read_text(encoding="utf-8") == "# mine\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outrider.toml"]
    outrider(tmp_path, "init", "--force")
    assert "hostname" in config.read_text(encoding="utf-8")


def test_who_could_read_the_configuration_still_can(tmp_path: Path) -> None:
    """As installed it is root's, and the group of the server's user reads it."""
    config = tmp_path / "outrider.toml"
    config.write_text("# mine\n", encoding="utf-8")
    config.chmod(0o644)
    owner = (os.geteuid(), os.getegid() if os.geteuid() else 4_711)
    os.chown(config, *owner)
    outrider(tmp_path, "init", "--force")
    found = config.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (*owner, 0o640)


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*PROGRAM, "init"], cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        os.write(ours, b"mx.example.test\n127.0.0.0/8, 192.0.2.0/24\n")
        told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0, told
    text = (tmp_path / "outrider.toml").read_text(encoding="utf-8")
    assert 'hostname = "mx.example.test"' in text
    assert 'trusted_networks = ["127.0.0.0/8", "192.0.2.0/24"]' in text
