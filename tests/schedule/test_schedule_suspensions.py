"""Many suspensions over many paths: each is looked at where it changes something, and nowhere else."""

import pytest

from outrider.schedule import node
from outrider.schedule.scheduler import Scheduler
from tests.schedule.test_scheduler import Bench

PATHS = 50
SITES = [f"s{number}.test" for number in range(PATHS)]


def suspend(scheduler: Scheduler, site: str, until_at: float = 1e9) -> int:
    return scheduler.suspend(site=site, reason="blocked", actor="ops", until_at=until_at)


def suspended(bench: Bench) -> set[str]:
    return {stats.path.site for stats in bench.scheduler.stats(bench.now) if stats.state == "suspended"}


def test_what_a_path_waits_for_is_the_first_of_its_suspensions_that_holds() -> None:
    bench = Bench()
    for site in SITES:
        bench.add(site)
    one = suspend(bench.scheduler, "s1.test")
    every = suspend(bench.scheduler, "*", bench.now + 60)
    again = suspend(bench.scheduler, "s1.test")
    suspend(bench.scheduler, "s2.test", bench.now + 60)
    assert bench.plan() == []
    assert suspended(bench) == set(SITES)
    assert bench.scheduler.resume(one)
    assert bench.plan() == []
    opened = {order.path.site for order in bench.opens(60.0)}
    assert opened == set(SITES) - {"s1.test"}
    assert set(bench.scheduler.suspensions()) == {again}
    assert not bench.scheduler.resume(every)
    assert bench.scheduler.resume(again)
    assert [order.path.site for order in bench.opens()] == ["s1.test"]


def test_a_suspension_more_is_compared_with_each_path_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with each was seconds in which nothing went out, with a thousand of them minutes."""
    bench = Bench()
    for site in SITES:
        bench.add(site)
    numbers = [suspend(bench.scheduler, f"t{number}.test") for number in range(100)]
    looks: list[object] = []
    is_for = node.is_for

    def looking(*what: object) -> bool:
        looks.append(what)
        return is_for(*what)  # type: ignore[arg-type]

    monkeypatch.setattr("outrider.schedule.scheduler.is_for", looking)
    monkeypatch.setattr(node, "is_for", looking)
    suspend(bench.scheduler, "s1.test")
    assert len(looks) == PATHS
    looks.clear()
    for number in numbers:
        assert bench.scheduler.resume(number)
    assert looks == [], "none of them held for a path"
