"""The small benches go on working: each is run for a moment; no test looks at what they measure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONCE = ("--repeats", "1")
BENCHES = {
    "dispatcher": (*ONCE, "--paths", "2", "--messages", "200"),
    "lua_hook": (*ONCE, "--calls", "5"),
    "micro_dkim": (*ONCE, "--calls", "1"),
    "micro_frames": (*ONCE, "--frames", "5"),
    "micro_hooks": (*ONCE, "--calls", "2"),
    "micro_lookup": (*ONCE, "--calls", "2"),
    "micro_message": (*ONCE, "--messages", "2"),
    "micro_receive": (*ONCE, "--messages", "10"),
}


@pytest.mark.parametrize("name", BENCHES)
def test_a_small_bench_prints_its_figures(name: str) -> None:
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), *BENCHES[name]]
    environment = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(part.replace(".", "").isdigit() for part in done.stdout.split())
