"""What the processes say of stress, as status shows it."""

from typing import Any

from outrider.base.clock import SystemClock
from outrider.cli.status import summary
from outrider.record.options import RecordOptions
from outrider.server.measures import Measures, Summed


def test_a_listener_is_under_stress_when_one_process_says_so() -> None:
    summed = Summed()
    for process, values in {"worker-0": {"smtp": 0, "mx": 0}, "worker-1": {"smtp": 1, "mx": 0}}.items():
        measures = Measures(RecordOptions(), process, SystemClock(), is_restart=False)
        for listener, value in values.items():
            measures.metrics.cell("outrider_listener_stressed", listener).value = value
        summed._latest[process] = measures.metrics.snapshot()
    assert summed.stressed() == ["smtp"]


def test_status_says_it() -> None:
    answer: dict[str, Any] = {
        "queue": {"alive": 0, "granted": 0, "held": 0, "resident": 0, "unreadable": 0},
        "results": {}, "hostname": "h",
        "up_seconds": 1.0, "workers": [], "connections": 0, "accepted": 0, "granting": True,
        "stressed": ["mx", "smtp"], "suspensions": 0, "clock_steps_seconds": 0.0,
    }  # fmt: skip
    assert "Under stress, limits for strangers are tight: mx, smtp." in summary(answer)
