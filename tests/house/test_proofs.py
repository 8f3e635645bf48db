"""Outcomes written by a run are those that happened, with and without workers; a skip fails in CI."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.project_files import ROOT

CASES = '''"""Cases."""
import pytest

def test_passes(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_some(n): assert n == 1

def test_skips(): pytest.skip("no such peer")

@pytest.fixture
def broken():
    yield
    raise ValueError("teardown")

def test_fails_in_teardown(broken): pass

@pytest.mark.xfail(reason="known", strict=True)
def test_expected(): assert False
'''


def run_cases(folder: Path, *arguments: str, ci: str = "") -> tuple[dict[str, str], str]:
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "tests" / "test_cases.py").write_text(CASES)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "--proofs", "out/proofs.json", *arguments, "tests"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found: dict[str, str] = json.loads((folder / "out" / "proofs.json").read_text())
    return {name.rpartition("::")[2]: outcome for name, outcome in found.items()}, done.stdout


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_outcomes_are_written(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcomes, _ = run_cases(tmp_path, *arguments)
    assert outcomes == {
        "test_passes": "passed",
        "test_some[1]": "passed",
        "test_some[2]": "failed",
        "test_skips": "skipped",
        "test_fails_in_teardown": "failed",
        "test_expected": "skipped",
    }


def test_a_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    outcomes, output = run_cases(tmp_path, ci="true")
    assert outcomes["test_skips"] == "failed"
    assert outcomes["test_expected"] == "skipped"
    assert "skipped although CI=true" in output
    assert "no such peer" in output
