"""What the throttles know outlives a clean stop, once; after any other stop nothing is taken for known."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.schedule.scheduler import BucketStates
from outrider.server.throttles import OLD_SECONDS, Throttles

BUCKETS: BucketStates = {"smtp/default/mx.example": (1_790_000_010.0, ((1_790_000_000.0, 3),), 1)}


@pytest.fixture
def throttles(tmp_path: Path) -> Throttles:
    return Throttles(tmp_path / "throttles", FakeClock())


def test_what_was_kept_is_taken_once(throttles: Throttles) -> None:
    throttles.keep(BUCKETS)
    assert throttles.take() == BUCKETS
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
    assert throttles.take() == {}
