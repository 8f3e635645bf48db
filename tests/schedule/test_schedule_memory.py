"""What throttles leave to a successor, over times in which nothing ran."""

import pytest

from outrider.model.dispatch import Settled
from tests.schedule.test_scheduler import WALL, Bench


@pytest.mark.parametrize("is_up", [True, False])
@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("days", [6.0, 7.1])
def test_a_limit_of_a_week_is_known_after_some_days(days: float, is_clean: bool, is_up: bool) -> None:
    """Whether they passed before the restart or while nothing ran."""
    limit = "3/604800,burst=3"
    bench = Bench(max_message_rate=limit)
    bench.add(count=2)
    assert sent_by(bench) == 2
    now = bench.now + days * 86_400.0
    then = now if is_up else bench.now
    memory = bench.scheduler.remember(then, WALL + then, then + (0.0 if is_clean else 1.0))
    if not is_up:
        memory = memory.after_a_day(WALL + now)
    after = Bench(max_message_rate=limit)
    after.now = now
    after.scheduler.recall(memory, now, WALL + now)
    after.scheduler.begin(now)
    after.add(count=5)
    if is_clean:
        assert sent_by(after) == (1 if days < 7.0 else 3)
    else:  # what was granted in the last moment before a death is not known, but it was no more than allowed
        assert sent_by(after) <= (1 if days < 7.0 else 3)


def sent_by(bench: Bench) -> int:
    """How many messages go out in the next seconds."""
    count = 0
    for _ in range(10):
        for opened in bench.opens(after=1.0):
            for granted in opened.entries:
                settled = Settled(opened.slot, granted.entry, finished=True)
                bench.scheduler.settled(settled, bench.now, WALL + bench.now)
                count += 1
            bench.scheduler.closed(opened.slot, None, 1, bench.now)
    return count
