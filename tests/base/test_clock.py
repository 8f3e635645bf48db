"""The machine's clock may be set while the server runs: due times and ages do not notice."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock, SystemClock, format_date, format_utc

YEAR = 31_536_000.0


@pytest.mark.parametrize("step", [-YEAR, -3_600.0, 3_600.0, YEAR])
def test_a_step_of_the_machines_clock_is_not_seen_while_the_server_runs(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    clock = SystemClock()
    machine = time.time  # noqa: TID251 - what is stepped here
    before = clock.wall()
    monkeypatch.setattr(time, "time", lambda: machine() + step)
    assert 0 <= clock.wall() - before < 60
    assert abs(SystemClock().wall() - before - step) < 60, "a new start takes it up"


def test_both_times_go_on_together() -> None:
    clock = SystemClock()
    at, wall = clock.now(), clock.wall()
    for _ in range(1_000):
        clock.wall()
    assert abs((clock.wall() - wall) - (clock.now() - at)) < 0.01


def test_an_interrupted_reading_does_not_shift_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loses its turn between two readings would be seconds off until it ends."""
    at = 1_000.0
    lost = iter([0.05, 0.05, 0.0, 0.05, 0.05])

    def read_wall() -> float:
        nonlocal at
        read = YEAR + at
        at += next(lost)
        return read

    monkeypatch.setattr(time, "time", read_wall)
    monkeypatch.setattr(time, "monotonic", lambda: at)
    clock = SystemClock()
    assert next(lost, None) is None, "all readings were used"
    assert clock.wall() == pytest.approx(YEAR + at)


def test_a_clock_for_tests_never_runs_backwards() -> None:
    clock = FakeClock()
    clock.advance(5)
    clock.step_wall(-100)
    assert (clock.now(), clock.wall()) == (1_005.0, 1_790_000_000.0 - 95)
    with pytest.raises(ValueError, match="step_wall"):
        clock.advance(-1)


@given(st.floats(0, 4_000_000_000))
def test_a_time_as_text_reads_back_to_the_microsecond(seconds: float) -> None:
    read = datetime.fromisoformat(format_utc(seconds))
    assert read.tzinfo == UTC
    assert abs(read.timestamp() - seconds) < 2e-6


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "Thu, 1 Jan 1970 00:00:00 +0000"), (951_782_399.9, "Mon, 28 Feb 2000 23:59:59 +0000")],
)
def test_mail_has_its_own_way_to_write_a_date(seconds: float, written: str) -> None:
    assert format_date(seconds) == written
