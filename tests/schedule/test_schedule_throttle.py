"""The receiver's view of a throttle, whatever the latencies."""

import heapq
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.schedule.rate import Rate, parse_rate
from outrider.schedule.throttle import BucketState, Throttle

RATES = st.builds(
    lambda limit, seconds, share: Rate(limit, seconds, max(1, int(limit * share)) if share else None),
    st.integers(1, 600),
    st.sampled_from((0.5, 1.0, 10.0, 60.0)),
    st.sampled_from((None, 0.1, 1.0)),
)


def drive(
    throttle: Throttle,
    rng: random.Random,
    start: float,
    seconds: float,
    slow: float,
    before_each: Callable[[float], None] = lambda _now: None,
) -> list[float]:
    """Take whatever is available as soon as it is; every event is seen between its permit and its report."""
    now = start
    seen: list[float] = []
    reports: list[tuple[float, bool]] = []
    while now < start + seconds:
        before_each(now)
        while reports and reports[0][0] <= now:
            _, used = heapq.heappop(reports)
            throttle.heard(1, now) if used else throttle.release(1)
        count = min(throttle.available(now), rng.choice((1, 5, 1000)))
        if count:
            throttle.take(count, now)
        for _ in range(count):
            delay = rng.choice((0.0, rng.uniform(0, 0.1), rng.uniform(0, slow)))
            used = rng.random() < 0.9
            heapq.heappush(reports, (now + delay, used))
            if used:
                seen.append(now + rng.uniform(0, delay))
        following = throttle.next_at(now)
        if reports:
            following = min(following, reports[0][0])
        assert following < math.inf or not count
        now = max(following, now + (0.0 if throttle.available(now) == 0 and following > now else 1e-4))
    while reports:
        at, used = heapq.heappop(reports)
        throttle.heard(1, at) if used else throttle.release(1)
    return sorted(seen)


def assert_kept(seen: list[float], rate: Rate) -> None:
    for first, last in zip(seen, seen[rate.limit :], strict=False):
        assert last - first >= rate.seconds


@settings(max_examples=60, deadline=None)
@given(rate=RATES, seed=st.integers(0, 2**32), slow=st.sampled_from((0.01, 1.0, 20.0)))
def test_no_window_of_one_period_sees_more_than_the_limit(rate: Rate, seed: int, slow: float) -> None:
    seen = drive(
        Throttle(rate),
        random.Random(seed),
        1000.0,
        min(3.5 * rate.seconds, 2000 / rate.limit * rate.seconds) + 2 * slow,
        slow,
    )
    assert seen
    assert_kept(seen, rate)


@settings(max_examples=60, deadline=None)
@given(rate=RATES, seed=st.integers(0, 2**32), known=st.sampled_from(("clean", "memory", "nothing")))
def test_a_window_across_a_restart_sees_no_more(rate: Rate, seed: int, known: str) -> None:
    """The predecessor stops, or dies with a state that was written up to some seconds before."""
    rng = random.Random(seed)
    length = min(1.5 * rate.seconds, 2000 / rate.limit * rate.seconds)
    before = Throttle(rate)
    kept_at = 1000.0 + rng.uniform(0.5, 1.0) * length if known == "memory" else math.inf
    states: list[tuple[float, BucketState]] = []

    def keep(now: float) -> None:
        if now >= kept_at and not states:
            states.append((now + 5_000.0, before.snapshot(now, now + 5_000.0)))

    seen = drive(before, rng, 1000.0, length, 0.5, before_each=keep)
    restart = max([1000.0 + length, *seen])
    after = Throttle(rate, assumed_until=restart if known == "nothing" else None)
    start = restart
    if known == "clean":
        start = 77.0
        after.restore(before.snapshot(restart, 5_000.0), start, 5_000.0)
    elif known == "memory":
        keep(max(kept_at, 1000.0 + length))
        since, state = states[0]
        after.recall(state, [(since, 1000.0 + length + 5_000.0, math.inf)], restart, restart + 5_000.0)
        after.settle_unknown(restart)
    seen += [at - start + restart for at in drive(after, rng, start, 2.2 * rate.seconds, 0.5)]
    assert len(seen) > rate.limit
    # The restored times went through a change of origin, so they are a rounding error off.
    assert_kept(sorted(seen), Rate(rate.limit, rate.seconds - 1e-6, rate.burst))


def spend(throttle: Throttle, now: float, until: float) -> float:
    """Use whatever there is, heard of at once, until `until`; returns when the next would be due."""
    while now < until:
        count = throttle.available(now)
        throttle.take(count, now)
        throttle.heard(count, now)
        now = throttle.next_at(now)
    return now


@pytest.mark.parametrize("text", ["60/minute", "1/second", "1200/hour", "24/day", "600/minute"])
def test_a_paced_path_pauses_no_longer_than_what_is_unknown(text: str) -> None:
    """A death a second after the memory was written costs that second, and a step of pace or history."""
    rate = parse_rate(text)
    before = Throttle(rate)
    kept_at = 1000.0 + 1.5 * rate.seconds
    spend(before, 1000.0, kept_at)
    state = before.snapshot(kept_at, kept_at)
    spend(before, kept_at, kept_at + 1.0)
    restart = kept_at + 2.0
    after = Throttle(rate)
    after.recall(state, [(kept_at, kept_at + 1.0, math.inf)], restart, restart)
    after.settle_unknown(restart)
    spacing = rate.seconds / rate.limit
    given = 0
    now = after.next_at(restart)
    step = rate.seconds / 256 if rate.limit > 256 else spacing
    assert now <= restart + 2 * step + 1.0
    while now < restart + 10 * spacing + 2 * step + 1.0:
        count = after.available(now)
        after.take(count, now)
        after.heard(count, now)
        given += count
        now = after.next_at(now)
    assert given >= 7


def test_what_workers_still_hold_is_not_counted_twice() -> None:
    rate = Rate(10, 60.0, 10)
    after = Throttle(rate)
    after.recall((0.0, (), 6), [(1000.0, 1000.0, math.inf)], 1001.0, 1001.0)
    after.adopt(4)
    after.settle_unknown(1002.0)
    after.release(4)
    assert after.available(1060.0) == 8
    assert after.available(1063.0) == 10


@settings(max_examples=60, deadline=None)
@given(rate=RATES, new=RATES, seed=st.integers(0, 2**32))
def test_a_new_limit_holds_from_the_moment_it_is_set(rate: Rate, new: Rate, seed: int) -> None:
    rng = random.Random(seed)
    length = min(1.5 * rate.seconds, 2000 / rate.limit * rate.seconds)
    throttle = Throttle(rate)
    before = drive(throttle, rng, 1000.0, length, 0.5)
    swap = max([1000.0 + length, *before])
    throttle.reshape(new, swap)
    length = min(2.5 * new.seconds, 2000 / new.limit * new.seconds) + rate.seconds
    after = drive(throttle, rng, swap, length, 0.5)
    assert after
    assert_kept(after, new)
    if new.seconds <= rate.seconds:  # what is known covers the whole window
        recent = [at for at in before if at > swap - new.seconds]
        for first, last in zip(recent, after[max(new.limit - len(recent), 0) :], strict=False):
            assert len(recent) > new.limit or last - first >= new.seconds


def test_a_limit_that_shrinks_waits_until_enough_has_left_the_window() -> None:
    throttle = Throttle(Rate(10, 10.0, 10))
    throttle.take(10, 0.0)
    throttle.heard(10, 0.0)
    throttle.reshape(Rate(4, 10.0, 4), 1.0)
    assert throttle.available(9.9) == 0
    assert throttle.available(10.2) == 4
    throttle.reshape(Rate(20, 10.0, 20), 10.2)
    assert throttle.available(10.2) == 20


@pytest.mark.parametrize("text", ["60/minute", "1/second", "100/second", "5000/60"])
def test_a_smooth_rate_is_reached(text: str) -> None:
    rate = parse_rate(text)
    throttle = Throttle(rate)
    now = 0.0
    given_out = 0
    while now < 3 * rate.seconds:
        count = throttle.available(now)
        throttle.take(count, now)
        throttle.heard(count, now)
        given_out += count
        now = throttle.next_at(now)
    assert given_out >= 0.95 * 3 * rate.limit


def test_without_burst_permits_are_spaced() -> None:
    throttle = Throttle(Rate(60, 60.0))
    assert throttle.available(100.0) == 1
    throttle.take(1, 100.0)
    assert throttle.available(100.9) == 0
    assert throttle.next_at(100.0) == pytest.approx(101.0)
    assert throttle.available(101.0) == 1


def test_a_burst_goes_at_once_and_no_more() -> None:
    throttle = Throttle(Rate(60, 60.0, 10))
    assert throttle.available(100.0) == 10
    throttle.take(10, 100.0)
    assert throttle.available(100.0) == 0


def test_what_was_not_used_is_given_back() -> None:
    throttle = Throttle(Rate(1, 60.0))
    throttle.take(1, 0.0)
    assert throttle.next_at(0.0) == math.inf
    throttle.release(1)
    assert throttle.available(0.0) == 1


def test_only_news_helps_while_all_permits_are_out() -> None:
    throttle = Throttle(Rate(2, 10.0, 2))
    throttle.take(2, 0.0)
    assert throttle.available(1_000_000.0) == 0
    assert throttle.next_at(1_000_000.0) == math.inf
    throttle.heard(1, 1_000_000.0)
    assert 10.0 <= throttle.next_at(1_000_000.0) - 1_000_000.0 <= 10.1


def test_a_long_period_does_not_stand_still_after_a_restart() -> None:
    throttle = Throttle(Rate(1440, 86400.0), assumed_until=1000.0)
    assert throttle.available(1000.0) == 0
    assert throttle.next_at(1000.0) <= 1000.0 + 0.01 * 86400.0


def test_memory_is_bounded() -> None:
    throttle = Throttle(Rate(1_000_000, 3600.0))
    now = 0.0
    for _ in range(20_000):
        count = throttle.available(now)
        throttle.take(count, now)
        throttle.heard(count, now)
        now += 0.5
    assert len(throttle._heard) <= 260


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/minute", Rate(60, 60.0)),
        ("1/second", Rate(1, 1.0)),
        ("5/hour", Rate(5, 3600.0)),
        ("7/day", Rate(7, 86400.0)),
        ("20/10", Rate(20, 10.0)),
        ("20/0.5", None),
        ("20/2.5", Rate(20, 2.5)),
        ("100 / minute, burst=10", Rate(100, 60.0, 10)),
        ("10/minute,burst=11", None),
        ("0/minute", None),
        ("10/week", None),
        ("10", None),
        ("", None),
        ("10/0", None),
        ("-1/minute", None),
    ],
)
def test_rates(text: str, rate: Rate | None) -> None:
    if rate is None:
        with pytest.raises(ValueError, match=r"rate|period|burst"):
            parse_rate(text)
    else:
        assert parse_rate(text) == rate


def test_permits_that_were_out_at_a_clean_stop_count_as_used_at_the_start() -> None:
    before, after = Throttle(Rate(3, 10.0, 3)), Throttle(Rate(3, 10.0, 3))
    before.take(3, 0.0)
    after.restore(before.snapshot(1.0, 501.0), 100.0, 505.0)
    assert after.available(109.9) == 0
    assert after.available(111.0) >= 1
