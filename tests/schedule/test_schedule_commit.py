"""What is queued and settled in one go is what is queued and settled one by one."""

import random

from hypothesis import given
from hypothesis import strategies as st

from outrider.model.changes import ContentRef, Entry, entry_id
from outrider.model.dispatch import Open, Settled
from outrider.model.flow import Host
from outrider.schedule.options import ScheduleOptions, ShapingOptions
from outrider.schedule.planner import Order
from outrider.schedule.scheduler import Fate, Scheduler
from outrider.schedule.shaping import ShapingTable

NOW = 1_000.0
WALL = 1_790_000_000.0
HOSTS = (Host("mx.example", "192.0.2.1", 25),)

ENTRY = st.tuples(
    st.sampled_from(["t", "u"]),
    st.sampled_from(["s", "r"]),
    st.integers(0, 1),
    st.sampled_from([-5.0, 0.0, 0.0, 0.0, 10.0, 1e6]),
    st.integers(1, 2),
)
COMMITS = st.lists(st.lists(ENTRY, min_size=1, max_size=12), max_size=5)


def scheduler_of(rate: str) -> Scheduler:
    shaping = ShapingOptions(window=20, max_message_rate=rate)
    scheduler = Scheduler(
        ShapingTable(ScheduleOptions(default=shaping)), lambda _path, _domain: HOSTS, random.Random(1)
    )
    for worker in (1, 2):
        scheduler.worker_joined(worker, worker)
    return scheduler


def entries_of(commit: list[tuple[str, str, int, float, int]], first: int) -> list[Entry]:
    return [
        Entry(
            entry_id(log, number), ContentRef(log, 1, number, 10), 0, "smtp", "b", "d.example", tenant,
            stream, priority, 1, WALL, WALL + due_in,
        )
        for number, (tenant, stream, priority, due_in, log) in enumerate(commit, first)
    ]  # fmt: skip


def reports(orders: list[Order]) -> list[Settled]:
    """Every granted entry is delivered, but each fifth of them is to be tried again soon."""
    return [
        Settled(order.slot, granted.entry, granted.entry % 5 > 0, 1, 1, WALL + 30)
        for _, order in orders
        if isinstance(order, Open)
        for granted in order.entries
    ]


@given(commits=COMMITS, rate=st.sampled_from(["", "10/minute"]))
def test_one_go_and_one_by_one_are_the_same(
    commits: list[list[tuple[str, str, int, float, int]]], rate: str
) -> None:
    together, single = scheduler_of(rate), scheduler_of(rate)
    first = 1
    for commit in commits:
        entries = entries_of(commit, first)
        first += len(entries)
        left = together.add_all(entries, "site.example", NOW, WALL)
        assert left == [
            entry for entry in entries_of(commit, first - len(entries))
            if not single.add(entry, "site.example", NOW, WALL)
        ]  # fmt: skip
        assert together.add_all(entries, "site.example", NOW, WALL) == left
        orders = together.plan(NOW)
        assert orders == single.plan(NOW)
        settled = reports(orders)
        rest = together.finished(settled, NOW)
        assert rest == [each for each in settled if not each.finished]
        for each in rest:
            assert together.settled(each, NOW, WALL)[0] is Fate.RESIDENT
        for each in sorted(settled, key=lambda each: not each.finished):
            single.settled(each, NOW, WALL)
        assert together.stats(NOW) == single.stats(NOW)
        assert together.remember(NOW, WALL, NOW) == single.remember(NOW, WALL, NOW)
        assert together.finished(settled, NOW) == rest
    assert together.plan(NOW + 31) == single.plan(NOW + 31)
