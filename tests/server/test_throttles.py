"""What the throttles know outlives their dispatcher, as far as it can be believed."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.schedule.memory import LONGEST_SECONDS, Kept, Memory
from outrider.server.throttles import Remembered, Throttles

THROTTLES = {"smtp/default/mx.example": Kept((1_790_000_010.0, ((1_790_000_000.0, 3),), 1))}


def memory(clock: FakeClock, granting_seconds: float = 0.0) -> Memory:
    return Memory(clock.wall(), clock.wall() + granting_seconds, THROTTLES)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttles(tmp_path: Path, clock: FakeClock) -> Throttles:
    return Throttles(tmp_path / "throttles", clock, boot="one")


@pytest.mark.parametrize("granting_seconds", [0.0, 1.0])
def test_what_was_kept_is_taken_as_often_as_somebody_starts(
    throttles: Throttles, clock: FakeClock, granting_seconds: float
) -> None:
    """Whoever starts writes its own before it grants anything; one that dies before has granted nothing."""
    kept = memory(clock, granting_seconds)
    throttles.keep(kept)
    assert throttles.take() == Remembered(kept, clock.wall())
    assert throttles.take() == Remembered(kept, clock.wall())


def test_no_file_is_no_memory(throttles: Throttles, clock: FakeClock) -> None:
    assert throttles.take() is None
    throttles.keep(memory(clock))
    throttles.forget()
    throttles.forget()
    assert throttles.take() is None


@pytest.mark.parametrize("octets", [b"", b"\x92", b"nonsense"])
def test_a_torn_file_is_no_memory(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "throttles").write_bytes(octets)
    assert Throttles(tmp_path / "throttles", FakeClock()).take() is None


def test_a_memory_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, throttles: Throttles, clock: FakeClock
) -> None:
    first = memory(clock)
    throttles.keep(first)
    (tmp_path / "throttles.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        throttles.keep(memory(clock, 1.0))
    assert throttles.take() == Remembered(first, clock.wall())


def test_what_is_old_limits_nothing(throttles: Throttles, clock: FakeClock) -> None:
    throttles.keep(memory(clock, 1.0))
    clock.advance(LONGEST_SECONDS + 1)
    kept = throttles.take()
    assert kept is not None
    assert kept.memory.throttles == {}
    assert kept.memory.is_clean


def test_a_calendar_that_was_set_between_two_starts_moves_nothing(
    throttles: Throttles, clock: FakeClock
) -> None:
    """While the machine is not restarted, the monotonic clock tells what time has passed."""
    throttles.keep(memory(clock))
    written_time = clock.wall()
    clock.advance(2.0)
    clock.step_wall(3_600.0)
    kept = throttles.take()
    assert kept is not None
    assert kept.wall == written_time + 2.0


@pytest.mark.parametrize(("before", "after"), [("one", "two"), ("", "")])
def test_after_a_restart_of_the_machine_the_calendar_tells(
    tmp_path: Path, clock: FakeClock, before: str, after: str
) -> None:
    Throttles(tmp_path / "throttles", clock, boot=before).keep(memory(clock))
    clock.step_wall(60.0)
    kept = Throttles(tmp_path / "throttles", clock, boot=after).take()
    assert kept is not None
    assert kept.wall == clock.wall()


@pytest.mark.parametrize(("before", "after"), [("one", "two"), ("", "")])
def test_after_a_crash_of_the_machine_nothing_is_believed(
    tmp_path: Path, clock: FakeClock, before: str, after: str
) -> None:
    """What the kernel had not written is lost: a later memory may have been there."""
    Throttles(tmp_path / "throttles", clock, boot=before).keep(memory(clock, 1.0))
    assert Throttles(tmp_path / "throttles", clock, boot=after).take() is None
