"""The server's processes do not interrupt each other, unless somebody chose another class."""

import os
from pathlib import Path

import pytest

from outrider.base.log import ListLog
from outrider.server.scheduling import take_batch
from tests.e2e.outrider_process import serving
from tests.e2e.practice import pids

CONFIGURATION = """\
[server]
workers = 2
state_directory = "state"
{more}
[[listener]]
name = "smtp"
port = 0

[record]
metrics_port = 0
"""


OURS = os.sched_getscheduler(0)
"""Whoever runs the tests may have chosen a class; it is then inherited and kept."""


@pytest.mark.parametrize(
    ("more", "policy"),
    [("", os.SCHED_BATCH if OURS == os.SCHED_OTHER else OURS), ('scheduling = "inherit"', OURS)],
)
def test_every_process_is_of_the_chosen_class(tmp_path: Path, more: str, policy: int) -> None:
    with serving(tmp_path / "outrider", CONFIGURATION.format(more=more)) as server:
        found = {name: os.sched_getscheduler(pid) for name, pid in pids(server).items()}
    assert found == dict.fromkeys(["control", "dispatcher", "worker-0", "worker-1"], policy)


def test_a_refusal_is_told_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    log = ListLog()
    take_batch(log)
    assert log.lines == [("info", "server.scheduling_kept", {"error": "Operation not permitted"})]


def test_a_class_that_was_chosen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_IDLE)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("nothing is to be changed"))
    take_batch(ListLog())
