"""What the throttles know outlives a clean stop, once; after any other stop nothing is taken for known."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.schedule.scheduler import BucketStates
from outrider.server.throttles import OLD_SECONDS, Remembered, Throttles

BUCKETS: BucketStates = {"smtp/default/mx.example": (1_790_000_010.0, ((1_790_000_000.0, 3),), 1)}


@pytest.fixture
def throttles(tmp_path: Path) -> Throttles:
    return Throttles(tmp_path / "throttles", FakeClock(), boot="one")


def test_what_was_kept_is_taken_once(throttles: Throttles) -> None:
    throttles.keep(BUCKETS)
    assert throttles.take() == Remembered(BUCKETS, FakeClock().wall())
    assert throttles.take() is None, "a second start without a clean stop between knows nothing"


def test_no_file_is_an_unclean_stop(throttles: Throttles) -> None:
    assert throttles.take() is None


@pytest.mark.parametrize("octets", [b"", b"\x92", b"nonsense"])
def test_a_torn_file_is_an_unclean_stop(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "throttles").write_bytes(octets)
    assert Throttles(tmp_path / "throttles", FakeClock()).take() is None
    assert not (tmp_path / "throttles").exists()


def test_what_is_old_limits_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    throttles = Throttles(tmp_path / "throttles", clock)
    throttles.keep(BUCKETS)
    clock.advance(OLD_SECONDS + 1)
    kept = throttles.take()
    assert kept is not None
    assert kept.buckets == {}


def test_a_calendar_that_was_set_between_two_starts_moves_nothing(tmp_path: Path) -> None:
    """While the machine is not restarted, the monotonic clock tells what time has passed."""
    clock = FakeClock()
    Throttles(tmp_path / "throttles", clock, boot="one").keep(BUCKETS)
    written_time = clock.wall()
    clock.advance(2.0)
    clock.step_wall(3_600.0)
    kept = Throttles(tmp_path / "throttles", clock, boot="one").take()
    assert kept is not None
    assert kept.wall == written_time + 2.0


@pytest.mark.parametrize(("before", "after"), [("one", "two"), ("", "")])
def test_after_a_restart_of_the_machine_the_calendar_tells(tmp_path: Path, before: str, after: str) -> None:
    clock = FakeClock()
    Throttles(tmp_path / "throttles", clock, boot=before).keep(BUCKETS)
    clock.step_wall(60.0)
    kept = Throttles(tmp_path / "throttles", clock, boot=after).take()
    assert kept is not None
    assert kept.wall == clock.wall()
