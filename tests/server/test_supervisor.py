"""The supervisor and its children: who dies is started again, who is stuck is ended, who is told goes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_SECONDS

PROGRAM = Path(__file__).with_name("supervised.py")
ROOT = PROGRAM.parents[2]


@dataclass
class Family:
    """A running supervisor and what it said."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to the first line that fits."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line: dict[str, Any] = json.loads(text)
            self.lines.append(line)
            if condition(line):
                return line
        raise AssertionError(f"it ended before: {self.lines}")

    def until_event(self, event: str, **fields: Any) -> dict[str, Any]:
        wanted = {"event": event, **fields}
        return self.until(lambda line: wanted.items() <= line.items())

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Tell it to stop, read to the end, give its exit code."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.lines += map(json.loads, self.process.stdout)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def names(self, event: str) -> list[str]:
        return [line["name"] for line in self.lines if line["event"] == event]


@contextmanager
def family(*kinds: str, speed: float = 1.0) -> Iterator[Family]:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(speed), *kinds],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield Family(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def test_ready_is_told_once_when_all_are(tmp_path: Path) -> None:
    with family("good", "good", "good") as one:
        one.until_event("ready")
        assert one.names("process.started") == ["good-0", "good-1", "good-2"]
        assert one.end() == 0
    assert [line["event"] for line in one.lines].count("ready") == 1
    assert sorted(one.names("process.ended")) == ["good-0", "good-1", "good-2"]


def test_workers_end_before_the_others_and_those_last_added_first() -> None:
    with family("control:good", "dispatcher:good", "worker-0:good", "worker-1:good") as one:
        one.until_event("ready")
        assert one.end(signal.SIGINT) == 0
    ended = one.names("process.ended")
    assert sorted(ended[:2]) == ["worker-0", "worker-1"]
    assert ended[2:] == ["dispatcher", "control"]


def test_who_dies_is_started_again_after_pauses_that_grow() -> None:
    with family("good", "dies", speed=4.0) as one:
        pauses = [one.until_event("process.died", name="dies-1")["pause_seconds"] for _ in range(4)]
        assert one.end() == 0
    assert pauses == [0.2, 0.4, 0.8, 1.6]
    assert {line["code"] for line in one.lines if line["event"] == "process.died"} == {3}
    assert one.names("process.started").count("good-0") == 1


def test_who_is_started_again_knows_since_when_the_server_is_up() -> None:
    with family("tells") as one:
        first, second = (one.until_event("told") for _ in range(2))
        assert one.end() == 0
    assert first["up_since_at"] == second["up_since_at"] <= first["now"] < second["now"]
    assert first["up_since_at"] > 0


def test_a_bug_ends_one_child_and_is_told_with_its_place() -> None:
    with family("good", "raises") as one:
        failed = one.until_event("process.failed")
        assert failed["error"] == "ZeroDivisionError: a bug"
        assert failed["trace"][-1].endswith(" raises")
        assert one.until_event("process.died")["code"] == 70
        assert one.end() == 0


def test_a_fault_in_the_configuration_ends_the_whole_server() -> None:
    with family("good", "wrong") as one:
        assert one.end(None) == 78
    assert "server.port" in next(line["error"] for line in one.lines if "error" in line)
    assert "good-0" in one.names("process.ended")


def test_a_fault_that_is_found_later_ends_nobody_else() -> None:
    with family("good", "spoilt") as one:
        first = one.until_event("process.started", name="spoilt-1")
        one.until_event("ready")
        os.kill(first["pid"], signal.SIGKILL)
        one.until_event("process.misconfigured", name="spoilt-1")
        assert one.until_event("process.died")["code"] == 78
        one.until_event("process.started", name="spoilt-1")
        assert one.end() == 0
    assert one.names("process.started").count("good-0") == 1


def test_who_is_stuck_is_ended_and_started_again() -> None:
    with family("good", "stuck", speed=100.0) as one:
        stuck = one.until_event("process.stuck")
        assert stuck["name"] == "stuck-1"
        assert stuck["silent_seconds"] > 60.0
        assert one.until_event("process.died")["code"] == -signal.SIGKILL
        started = one.until_event("process.started")
        assert started["name"] == "stuck-1"
        assert started["pid"] != stuck["pid"]
        assert one.end() == 0
    assert "good-0" not in one.names("process.stuck")


def test_who_does_not_end_is_killed_when_the_time_is_over() -> None:
    with family("stubborn", "good", speed=20.0) as one:
        one.until_event("ready")
        assert one.end() == 0
    assert one.names("process.killed") == ["stubborn-0"]
    assert sorted(one.names("process.ended")) == ["good-1", "stubborn-0"]


def test_the_death_of_the_supervisor_closes_its_pipe() -> None:
    with family("good", "good") as one:
        one.until_event("ready")
        os.kill(one.process.pid, signal.SIGKILL)
        # the children hold the output open: it ends when the last of them is gone
        assert one.end(None) == -signal.SIGKILL
        assert not one.names("process.ended")


def test_a_stop_right_at_the_start_is_a_stop() -> None:
    with family("good", "good", "good") as one:
        one.until_event("process.started")
        assert one.end() == 0
    assert "process.killed" not in {line["event"] for line in one.lines}
