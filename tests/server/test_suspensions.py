"""Suspensions: what was answered holds, over a death of the dispatcher too."""

import math
from pathlib import Path
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.scheduler import Scheduler
from outrider.schedule.shaping import ShapingTable
from outrider.server.requests import RefusedError
from outrider.server.suspensions import FILE, Suspensions


def scheduler() -> Scheduler:
    return Scheduler(ShapingTable(ScheduleOptions()), lambda _path, _domain: None, Random(1))


def opened(path: Path, clock: FakeClock) -> tuple[Suspensions, Scheduler]:
    target = scheduler()
    return Suspensions(OsFiles(), path, target, clock, ListLog()), target


def test_it_holds_for_a_successor_until_its_end(tmp_path: Path) -> None:
    clock = FakeClock()
    first, its_scheduler = opened(tmp_path, clock)
    kept = first.suspend("smtp", "*", "mx.one.example", 600.0, "they asked", "root")
    forever = first.suspend("*", "b", "*", None, "network work", "root")
    assert [each.until_at for each in its_scheduler.suspensions().values()] == [clock.now() + 600.0, math.inf]
    clock.advance(100.0)
    second, their_scheduler = opened(tmp_path, clock)
    assert second.active() == [kept, forever]
    assert sorted(each.until_at for each in their_scheduler.suspensions().values()) == [
        pytest.approx(clock.now() + 500.0),
        math.inf,
    ]
    clock.advance(501.0)
    third, last_scheduler = opened(tmp_path, clock)
    assert third.active() == [forever]
    assert [each.reason for each in last_scheduler.suspensions().values()] == ["network work"]


def test_lifted_is_lifted_and_numbers_are_given_once(tmp_path: Path) -> None:
    clock = FakeClock()
    first, its_scheduler = opened(tmp_path, clock)
    number = first.suspend("*", "*", "a.example", None, "why", "root").number
    first.resume(number)
    assert its_scheduler.suspensions() == {}
    with pytest.raises(RefusedError, match="no suspension"):
        first.resume(number)
    second, _ = opened(tmp_path, clock)
    assert second.active() == []
    assert second.suspend("*", "*", "b.example", None, "why", "root").number == number + 1


def test_what_cannot_be_written_does_not_hold(tmp_path: Path) -> None:
    clock = FakeClock()
    first, its_scheduler = opened(tmp_path / "gone", clock)
    with pytest.raises(SpoolError, match="cannot be written"):
        first.suspend("*", "*", "*", None, "why", "root")
    assert its_scheduler.suspensions() == {}
    assert first.active() == []


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(SpoolError, match="suspend anew"):
        opened(tmp_path, FakeClock())
