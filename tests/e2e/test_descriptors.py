"""The server may have as many connections as its hard limit says, whatever soft limit it was started with."""

import re
import resource
from pathlib import Path

import pytest

from outrider.base.log import ListLog
from outrider.server.descriptors import raise_descriptors
from tests.e2e.outrider_process import configuration_for, serving
from tests.e2e.practice import pids

SPARE = 200
"""Chosen: enough to start, below what one listener may take."""


def limits_of(pid: int) -> tuple[int, int]:
    """Soft and hard limit of descriptors (proc(5), limits)."""
    text = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    found = re.search(r"^Max open files +(\d+) +(\d+)", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1]), int(found[2])


def test_every_process_may_have_what_the_hard_limit_says(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = len(list(Path("/proc/self/fd").iterdir())) + SPARE  # this process has files of its own
    assert soft < before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        with serving(tmp_path / "server", configuration_for({}, workers=1)) as server:
            found = {name: limits_of(pid) for name, pid in pids(server).items()}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.keys() == {"control", "dispatcher", "worker-0"}
    assert set(found.values()) == {(before[1], before[1])}


def test_a_refusal_is_told_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (SPARE, 2 * SPARE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    log = ListLog()
    raise_descriptors(log)
    assert log.lines == [
        ("warning", "server.descriptors_kept", {"limit": SPARE, "error": "Operation not permitted"})
    ]
