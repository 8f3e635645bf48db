"""Due times after failures."""

import random

from hypothesis import given
from hypothesis import strategies as st

from outrider.schedule.options import ShapingOptions
from outrider.schedule.retry import delay_notice_time, expires_time, next_due


def test_waits_double_up_to_the_maximum() -> None:
    options = ShapingOptions(retry_jitter=0)
    waits = [next_due(attempts, 1000.0, options, random.Random(1)) - 1000.0 for attempts in range(1, 9)]
    assert waits == [1200, 2400, 4800, 9600, 19200, 38400, 43200, 43200]


@given(attempts=st.integers(0, 10_000), seed=st.integers(0, 2**32), jitter=st.floats(0, 0.5))
def test_jitter_stays_in_its_share_and_under_the_maximum(attempts: int, seed: int, jitter: float) -> None:
    options = ShapingOptions(retry_jitter=jitter)
    plain = next_due(attempts, 0.0, options.model_copy(update={"retry_jitter": 0.0}), random.Random(seed))
    due = next_due(attempts, 0.0, options, random.Random(seed))
    assert plain * (1 - jitter) - 1e-6 <= due <= min(plain * (1 + jitter), 43200.0) + 1e-6


def test_jitter_spreads() -> None:
    rng = random.Random(1)
    assert len({next_due(1, 0.0, ShapingOptions(), rng) for _ in range(50)}) == 50


def test_a_maximum_below_the_interval_does_not_shorten_it() -> None:
    options = ShapingOptions(retry_interval_seconds=600, max_retry_interval_seconds=60, retry_jitter=0)
    assert next_due(3, 0.0, options, random.Random(1)) == 600


def test_expiry_and_notice() -> None:
    assert expires_time(100.0, ShapingOptions()) == 432_100.0
    assert delay_notice_time(100.0, ShapingOptions()) == 14_500.0
    assert delay_notice_time(100.0, ShapingOptions(delay_notice_after_seconds=0)) is None
