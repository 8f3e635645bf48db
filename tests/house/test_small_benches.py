"""The small benches go on working: each is run for a moment; no test looks at what they measure.

The large one takes minutes; what it prints is looked at with the committed figures.
"""

import json
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


SHOWN = """
import json, sys
sys.path.insert(0, "bench")
import run, table
committed = json.load(open("bench/latest.json", encoding="utf-8"))
print(run.differences())
table.show(committed, committed)
"""


def test_the_bench_prints_whole_figures_with_what_they_were_measured_on() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"} | {"NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    shown = done.stdout.split()
    committed = json.loads((ROOT / "bench" / "latest.json").read_text(encoding="utf-8"))
    for row in committed["rows"]:
        assert {str(figure) for figure in row.values()} <= set(shown)
    for name in committed["ratios"]:
        assert name in done.stdout
    machine = committed["machine"]
    assert {machine["python"], *machine["python_flags"].split()} <= set(shown)
    for option in ("trusted_networks", "connections_per_client", "max_deliveries_per_connection"):
        assert option in shown
