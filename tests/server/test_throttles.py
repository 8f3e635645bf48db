"""What the throttles know outlives their dispatcher, as far as it can be believed."""

import errno
import os
from pathlib import Path
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.schedule.memory import LONGEST_SECONDS, Kept, Memory
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.scheduler import Scheduler
from outrider.schedule.shaping import ShapingTable
from outrider.server.throttles import KEEP_SECONDS, Lease, Remembered, Throttles

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


class Failing(Throttles):
    """A file that cannot be written, or not even removed."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        super().__init__(path, clock, boot="one")
        self.fails_to_keep = self.fails_to_forget = False
        self.tries = 0

    def keep(self, memory: Memory) -> None:
        self.tries += 1
        if self.fails_to_keep:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().keep(memory)

    def forget(self) -> None:
        if self.fails_to_forget:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        super().forget()


@pytest.fixture
def failing(tmp_path: Path, clock: FakeClock) -> Failing:
    return Failing(tmp_path / "throttles", clock)


@pytest.fixture
def lease(failing: Failing, clock: FakeClock, log: ListLog) -> Lease:
    scheduler = Scheduler(ShapingTable(ScheduleOptions()), lambda _path, _domain: None, Random(1))
    return Lease(failing, scheduler, clock, log)


@pytest.fixture
def log() -> ListLog:
    return ListLog()


def test_granting_is_allowed_as_long_as_the_file_says(
    lease: Lease, failing: Failing, clock: FakeClock
) -> None:
    assert lease.holds()
    kept = failing.take()
    assert kept is not None
    assert kept.memory.until_time == clock.wall() + KEEP_SECONDS
    clock.advance(KEEP_SECONDS / 2)
    assert lease.holds()
    assert failing.tries == 1
    clock.advance(KEEP_SECONDS / 2)
    assert lease.holds()
    assert failing.tries == 2


def test_a_file_that_cannot_be_written_is_forgotten_and_granting_goes_on(
    lease: Lease, failing: Failing, clock: FakeClock, log: ListLog
) -> None:
    assert lease.holds()
    failing.fails_to_keep = True
    clock.advance(KEEP_SECONDS)
    assert lease.holds()
    assert failing.take() is None
    assert [event for _, event, _ in log.lines] == ["throttles.not_kept"]


def test_where_a_wrong_memory_would_stay_nothing_is_granted_and_the_log_is_not_flooded(
    lease: Lease, failing: Failing, clock: FakeClock, log: ListLog
) -> None:
    assert lease.holds()
    failing.fails_to_keep = failing.fails_to_forget = True
    clock.advance(KEEP_SECONDS)
    assert not any(lease.holds() for _ in range(1_000))
    assert len(log.lines) == 1
    failing.fails_to_keep = False
    clock.advance(lease.renew_at - clock.now())
    assert lease.holds()


def test_a_clean_stop_is_remembered_as_one_and_never_fails(
    lease: Lease, failing: Failing, clock: FakeClock
) -> None:
    assert lease.holds()
    before = failing.take()
    failing.fails_to_keep = True
    lease.end()
    assert failing.take() == before
    failing.fails_to_keep = False
    lease.end()
    kept = failing.take()
    assert kept is not None
    assert kept.memory.is_clean
