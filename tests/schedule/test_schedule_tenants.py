"""A tenant that is shut: nothing of it is granted, nobody else notices, and nothing is lost."""

import random

import pytest

from outrider.model.changes import Entry
from outrider.model.dispatch import Batch, Open, Settled
from outrider.schedule import scheduler as scheduler_module
from outrider.schedule.scheduler import Fate
from tests.schedule.test_scheduler import WALL, Bench

ACME = frozenset({"acme"})


def granted(bench: Bench) -> set[int]:
    """What goes out when slots ask for all there is; it is delivered at once."""
    gone: set[int] = set()
    while orders := [order for _, order in bench.plan() if isinstance(order, Open | Batch) and order.entries]:
        for order in orders:
            gone |= {entry.entry for entry in order.entries}
            bench.finish(order)
            bench.scheduler.want(order.slot, 20, bench.now)
    return gone


def numbers(entries: list[Entry]) -> set[int]:
    return {entry.entry for entry in entries}


def opened_again(bench: Bench, tenants: frozenset[str] = frozenset()) -> set[int]:
    """Other tenants are shut; what is free again, added as its owner does."""
    back = bench.scheduler.shut(tenants)
    for entry in back:
        assert bench.scheduler.add(entry, "a.test", bench.now, WALL + bench.now)
    return numbers(back)


def test_what_waits_and_what_comes_stays_while_others_go() -> None:
    bench = Bench()
    waits = bench.add(count=3, tenant="acme")
    others = bench.add(count=3, tenant="other")
    assert bench.scheduler.shut(ACME) == []
    comes = bench.add(count=2, tenant="acme")
    deferred = bench.add(count=2, tenant="acme", due_in=5.0)
    others += bench.add(count=2, tenant="other", site="b.test")
    assert granted(bench) == numbers(others)
    bench.now += 10.0
    assert granted(bench) == set()
    assert numbers(bench.scheduler.barred(100)) == numbers(waits + comes + deferred)
    assert len(bench.scheduler.barred(2)) == 2
    assert opened_again(bench) == numbers(waits + comes + deferred)
    assert granted(bench) == numbers(waits + comes + deferred)
    assert bench.scheduler.barred(100) == []


def test_what_matures_while_its_tenant_is_shut_waits() -> None:
    bench = Bench()
    [entry] = bench.add(tenant="acme", due_in=5.0)
    bench.scheduler.shut(ACME)
    assert bench.scheduler.barred(9) == []
    bench.now += 6.0
    assert bench.plan() == []
    assert bench.scheduler.barred(9) == [entry]


@pytest.mark.parametrize("how", ["retried soon", "retried late", "returned", "worker gone"])
def test_what_is_with_a_worker_may_end_and_stays_if_it_comes_back(how: str) -> None:
    bench = Bench(horizon_seconds=60)
    ends, comes_back = bench.add(count=2, tenant="acme")
    other = bench.add(tenant="other")
    opened = bench.open_one()
    assert {granted.entry for granted in opened.entries} >= {ends.entry, comes_back.entry}
    bench.scheduler.shut(ACME)
    scheduler, wall = bench.scheduler, WALL + bench.now
    assert (
        scheduler.settled(Settled(opened.slot, ends.entry, finished=True), bench.now, wall)[0]
        is Fate.FINISHED
    )
    if how.startswith("retried"):
        due = wall + (0.0 if how == "retried soon" else 3600.0)
        again = Settled(opened.slot, comes_back.entry, False, 1, 1, due)
        # even what is due much later stays at hand, so that it is seen to be on hold
        assert scheduler.settled(again, bench.now, wall)[0] is Fate.RESIDENT
    elif how == "returned":
        scheduler.returned(opened.slot, [comes_back.entry], bench.now)
    else:
        scheduler.worker_left(1, bench.now)
        scheduler.worker_joined(2, 2)
    assert numbers(scheduler.barred(9)) == {comes_back.entry}
    scheduler.want(opened.slot, 20, bench.now)
    bench.now += 60.0
    assert comes_back.entry not in granted(bench)
    assert not scheduler.is_granted(comes_back.entry)
    assert scheduler.is_resident(comes_back.entry)
    del other


def test_what_is_kept_aside_can_be_taken_out() -> None:
    bench = Bench()
    first, second = bench.add(count=2, tenant="acme")
    bench.scheduler.shut(ACME)
    assert bench.scheduler.remove([first.entry]) == [first]
    assert bench.scheduler.barred(9) == [second]
    assert opened_again(bench) == {second.entry}


def test_another_tenant_is_shut_instead() -> None:
    bench = Bench()
    acme, other = bench.add(tenant="acme"), bench.add(tenant="other")
    bench.scheduler.shut(ACME)
    assert opened_again(bench, frozenset({"other"})) == numbers(acme)
    assert granted(bench) == numbers(acme)
    assert numbers(bench.scheduler.barred(9)) == numbers(other)


def test_so_many_are_kept_and_the_rest_stays_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "_BARRED_MAX", 3)
    bench = Bench()
    bench.scheduler.shut(ACME)
    kept = bench.add(count=3, tenant="acme")
    assert bench.scheduler.is_crowded
    [more] = bench.add(tenant="acme")
    assert not bench.scheduler.is_resident(more.entry)
    assert numbers(bench.scheduler.barred(9)) == numbers(kept)


def test_a_shut_tenant_takes_no_room_from_others() -> None:
    bench = Bench(window=10)
    bench.scheduler.shut(ACME)
    bench.add(count=50, tenant="acme")
    others = bench.add(count=10, tenant="other")
    assert granted(bench) == numbers(others)


def test_a_path_with_nothing_else_is_forgotten() -> None:
    bench = Bench()
    bench.add(tenant="acme")
    bench.scheduler.shut(ACME)
    bench.plan()
    assert bench.scheduler.stats(bench.now) == []


def test_whatever_happens_nothing_of_a_shut_tenant_goes_and_nothing_is_lost() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        bench = Bench(window=50)
        shut: frozenset[str] = frozenset()
        all_of: dict[int, str] = {}
        gone: set[int] = set()
        for _ in range(60):
            tenant = chance.choice(("a", "b", "c"))
            match chance.randrange(4):
                case 0:
                    shut = frozenset(name for name in "abc" if chance.random() < 0.4)
                    opened_again(bench, shut)
                case 1:
                    for entry in bench.add(count=chance.randrange(1, 4), tenant=tenant):
                        all_of[entry.entry] = tenant
                case 2:
                    for entry in bench.add(tenant=tenant, due_in=chance.choice((1.0, 3.0))):
                        all_of[entry.entry] = tenant
                case _:
                    bench.now += chance.choice((0.0, 0.5, 2.0))
                    now = granted(bench)
                    assert not {all_of[number] for number in now} & shut
                    gone |= now
        opened_again(bench)
        bench.now += 10.0
        assert gone | granted(bench) == set(all_of)
