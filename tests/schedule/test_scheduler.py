"""The scheduler's single decisions, one at a time."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from outrider.model.changes import ContentRef, Entry, entry_id
from outrider.model.dispatch import Batch, Close, Open, Settled
from outrider.model.flow import Host, Outcome, Path, Phase
from outrider.model.reply import Reply
from outrider.schedule.options import ScheduleOptions, ShapingOptions, ShapingOverride
from outrider.schedule.planner import Order
from outrider.schedule.scheduler import Fate, Scheduler
from outrider.schedule.shaping import ShapingTable

WALL = 1_000_000.0
HOSTS = (Host("mx.example", "192.0.2.1", 25),)
FAILURE = Outcome(Reply(421, None, ("no",)), Phase.CONNECT, ours=True)


class Bench:
    """A scheduler at a moment, and orders sorted by kind."""

    def __init__(self, *, workers: int = 1, started_at: float | None = None, **options: Any) -> None:
        override: Any = options.pop("override", ())
        node = {
            name: options.pop(name)
            for name in ("outbound_connections", "settle_seconds", "horizon_seconds")
            if name in options
        }
        table = ShapingTable(ScheduleOptions(default=ShapingOptions(**options), override=override, **node))
        self.resolves = True
        self.asked: list[tuple[Path, str]] = []
        self.now = 1000.0
        self.numbers = iter(range(1, 1_000_000))
        self.scheduler = Scheduler(table, self.hosts, random.Random(1), started_at=started_at)
        for worker in range(1, workers + 1):
            self.scheduler.worker_joined(worker, worker)

    def hosts(self, path: Path, domain: str) -> tuple[Host, ...] | None:
        self.asked.append((path, domain))
        return HOSTS if self.resolves else None

    def add(self, site: str = "a.test", count: int = 1, **fields: object) -> list[Entry]:
        due_in = fields.pop("due_in", 0.0)
        log = fields.pop("log", 1)
        assert isinstance(due_in, float)
        assert isinstance(log, int)
        made = []
        for _ in range(count):
            number = next(self.numbers)
            entry = Entry(
                entry_id(log, number), ContentRef(log, 1, number, 10), 0, "smtp", "b", "d.test", "t", "s", 0,
                1, WALL + self.now, WALL + self.now + due_in,
            )  # fmt: skip
            for name, value in fields.items():
                setattr(entry, name, value)
            self.scheduler.add(entry, site, self.now, WALL + self.now)
            made.append(entry)
        return made

    def plan(self, after: float = 0.0) -> list[Order]:
        self.now += after
        return self.scheduler.plan(self.now)

    def opens(self, after: float = 0.0) -> list[Open]:
        return [order for _, order in self.plan(after) if isinstance(order, Open)]

    def open_one(self) -> Open:
        [order] = self.opens()
        return order

    def want(self, slot: int, count: int = 20) -> list[Order]:
        self.scheduler.want(slot, count, self.now)
        return self.plan()

    def finish(self, order: Open | Batch) -> None:
        for granted in order.entries:
            settled = Settled(order.slot, granted.entry, finished=True)
            fate, _ = self.scheduler.settled(settled, self.now, WALL + self.now)
            assert fate is Fate.FINISHED

    def close(self, slot: int, deliveries: int = 1, failure: Outcome | None = None) -> None:
        self.scheduler.closed(slot, failure, deliveries, self.now)

    def idle_slot(self, site: str) -> int:
        """A connection that has nothing to do."""
        self.add(site)
        opened = self.open_one()
        self.finish(opened)
        assert self.want(opened.slot) == [(1, Batch(opened.slot, ()))]
        return opened.slot


def test_an_entry_is_sent_along_with_the_open_and_more_on_request() -> None:
    bench = Bench()
    bench.add(count=6)
    opened = bench.open_one()
    assert opened.path == Path("smtp", "b", "a.test")
    assert opened.hosts == HOSTS
    assert len(opened.entries) == 4
    [(_, batch)] = bench.want(opened.slot)
    assert isinstance(batch, Batch)
    assert len(batch.entries) == 2


def test_recipients_of_one_message_go_together() -> None:
    bench = Bench(max_connections=1)
    message = ContentRef(1, 1, 5, 10)
    bench.add(count=7, ref=message)
    bench.add()
    opened = bench.open_one()
    assert [granted.ref for granted in opened.entries] == [message] * 7
    bench.add(count=150, ref=message)
    [(_, batch)] = bench.want(opened.slot, 1)
    assert isinstance(batch, Batch)
    assert len(batch.entries) == 1, "what belongs to nothing else goes alone"
    for count in (100, 50):
        [(_, batch)] = bench.want(opened.slot, 1)
        assert isinstance(batch, Batch)
        assert [granted.ref for granted in batch.entries] == [message] * count


def test_recipients_go_together_as_far_as_the_rate_allows_and_singly_to_a_receiver_that_fails() -> None:
    message = ContentRef(1, 1, 5, 10)
    limited = Bench(max_message_rate="20/second")
    limited.add(count=50, ref=message)
    assert sum(len(order.entries) for order in limited.opens()) == 1
    failing = Bench()
    failing.add(count=50, ref=message)
    for order in failing.opens():
        failing.scheduler.returned(order.slot, [granted.entry for granted in order.entries], failing.now)
        failing.close(order.slot, 0, FAILURE)
    assert failing.plan() == []
    at = failing.scheduler.next_at()
    assert at is not None
    [probe] = failing.opens(at - failing.now)
    assert len(probe.entries) == 1


def test_nothing_left_is_said_once_and_the_want_stays() -> None:
    bench = Bench()
    slot = bench.idle_slot("a.test")
    assert bench.plan(1.0) == []
    bench.add()
    [(_, batch)] = bench.plan()
    assert isinstance(batch, Batch)
    assert (batch.slot, len(batch.entries)) == (slot, 1)


def test_a_path_is_forgotten_when_nothing_is_left() -> None:
    bench = Bench(max_message_rate="1/minute")
    opened_slot = bench.idle_slot("a.test")
    bench.close(opened_slot)
    bench.plan()
    assert bench.scheduler.stats(bench.now) == []
    assert list(bench.scheduler.remember(bench.now, WALL, bench.now).throttles) == ["messages smtp/b/a.test"]
    at = bench.scheduler.next_at()
    assert at is not None
    bench.plan(at - bench.now)
    assert bench.scheduler.remember(bench.now, WALL, bench.now).throttles == {}
    assert bench.scheduler._node.meters == {}
    assert bench.scheduler.next_at() is None


def test_a_throttle_outlives_its_path() -> None:
    bench = Bench(max_message_rate="1/minute")
    bench.close(bench.idle_slot("a.test"))
    bench.plan()
    bench.add()
    assert bench.opens(30.0) == []
    at = bench.scheduler.next_at()
    assert at is not None
    assert 1060.0 <= at <= 1060.1
    assert len(bench.opens(at - bench.now)) == 1


def test_a_limit_of_one_connection_is_one_whichever_worker_accepted() -> None:
    bench = Bench(workers=4, max_connections=1)
    for log in range(1, 5):
        bench.add(count=20, log=log)
    opened = bench.open_one()
    sent = {granted.entry for granted in opened.entries}
    bench.finish(opened)
    for _ in range(40):
        for _, order in bench.want(opened.slot):
            assert isinstance(order, Batch)
            sent |= {granted.entry for granted in order.entries}
            bench.finish(order)
    assert len(sent) == 80


def test_connections_grow_with_the_backlog_and_success() -> None:
    bench = Bench(max_connections=32)
    bench.add(count=500)
    opened = bench.opens()
    assert len(opened) == 4
    for _ in range(6):
        for order in opened:
            bench.scheduler.want(order.slot, 1, bench.now)
        opened = bench.opens()
    assert bench.scheduler.connections() == 32


def test_a_slow_receiver_gets_another_connection_after_a_while() -> None:
    bench = Bench()
    bench.add()
    first = bench.open_one()
    bench.scheduler.want(first.slot, 1, bench.now)
    bench.plan()
    bench.add(count=3)
    assert [type(order) for _, order in bench.plan()] == [Batch]
    assert bench.opens() == []
    at = bench.scheduler.next_at()
    assert at is not None
    assert at - bench.now <= 0.25
    assert len(bench.opens(at - bench.now)) == 1


def test_entries_go_to_the_worker_that_accepted_them() -> None:
    bench = Bench(workers=3)
    bench.add(log=3)
    [(worker, _)] = bench.plan()
    assert worker == 3


def test_no_worker_is_loaded_far_beyond_the_others() -> None:
    bench = Bench(workers=2)
    for number in range(60):
        bench.add(f"s{number}.test", log=1)
    workers = [worker for worker, _ in bench.plan()]
    assert workers.count(1) - workers.count(2) == pytest.approx(8, abs=2)


def test_a_failure_holds_the_path_off_then_one_entry_probes() -> None:
    bench = Bench(retry_interval_seconds=100.0)
    bench.add(count=40)
    opened = bench.opens()
    assert len(opened) == 3
    for order in opened:
        bench.scheduler.returned(order.slot, [granted.entry for granted in order.entries], bench.now)
        bench.close(order.slot, 0, FAILURE)
    waits = []
    for _ in range(4):
        assert bench.plan() == []
        at = bench.scheduler.next_at()
        assert at is not None
        waits.append(at - bench.now)
        [probe] = bench.opens(at - bench.now)
        assert len(probe.entries) == 1
        assert bench.plan(5.0) == []
        bench.scheduler.returned(probe.slot, [probe.entries[0].entry], bench.now)
        bench.close(probe.slot, 0, FAILURE)
    for wait, full in zip(waits, (30, 60, 100, 100), strict=True):
        assert 0.9 * full <= wait <= full
    assert bench.plan() == []
    at = bench.scheduler.next_at()
    assert at is not None
    [probe] = bench.opens(at - bench.now)
    orders = bench.want(probe.slot)
    assert isinstance(orders[0][1], Batch)
    assert len(orders[0][1].entries) > 1
    assert any(isinstance(order, Open) for _, order in orders)


def test_a_failed_extra_connection_does_not_stop_the_one_that_works() -> None:
    bench = Bench()
    bench.add(count=5)
    good = bench.open_one()
    bench.want(good.slot)
    bench.add(count=60)
    bad = bench.opens()
    assert bad
    for order in bad:
        bench.scheduler.returned(order.slot, [granted.entry for granted in order.entries], bench.now)
        bench.close(order.slot, 0, FAILURE)
    [(_, batch)] = bench.want(good.slot)
    assert isinstance(batch, Batch)
    assert batch.entries


def test_hosts_are_asked_for_and_waited_for() -> None:
    bench = Bench()
    bench.resolves = False
    bench.add()
    assert bench.plan() == []
    assert bench.asked == [(Path("smtp", "b", "a.test"), "d.test")]
    assert bench.plan(100.0) == []
    bench.resolves = True
    bench.scheduler.path_ready(Path("smtp", "b", "a.test"))
    assert len(bench.opens()) == 1


def test_returned_entries_go_first_and_cost_no_permit() -> None:
    bench = Bench(max_message_rate="1/minute")
    first, *_ = bench.add(count=3)
    opened = bench.open_one()
    assert [granted.entry for granted in opened.entries] == [first.entry]
    bench.scheduler.returned(opened.slot, [first.entry], bench.now)
    [(_, batch)] = bench.want(opened.slot)
    assert isinstance(batch, Batch)
    assert [granted.entry for granted in batch.entries] == [first.entry]


def test_what_a_predecessor_granted_counts_until_granting_begins() -> None:
    """Workers go on with what they hold while their dispatcher is away, and finish it unseen."""
    bench = Bench(max_message_rate="1/3", started_at=1_000.0, settle_seconds=0)
    bench.now += 2.0
    bench.add()
    bench.scheduler.begin(bench.now)
    assert bench.opens(after=2.9) == []
    assert len(bench.opens(after=0.2)) == 1


def test_a_returned_entry_that_the_receiver_may_have_seen_has_used_its_permit() -> None:
    bench = Bench(max_message_rate="1/minute")
    bench.add(count=3)
    opened = bench.open_one()
    numbers = [granted.entry for granted in opened.entries]
    bench.scheduler.returned(opened.slot, numbers, bench.now, was_seen=True)
    assert all(not batch.entries for _, batch in bench.want(opened.slot) if isinstance(batch, Batch))


def test_connections_that_end_early_get_fewer_entries_along() -> None:
    bench = Bench()
    bench.add(count=5)
    opened = bench.open_one()
    first, *rest = opened.entries
    bench.scheduler.returned(opened.slot, [granted.entry for granted in rest], bench.now)
    bench.scheduler.settled(Settled(opened.slot, first.entry, finished=True), bench.now, WALL + bench.now)
    bench.close(opened.slot, deliveries=1)
    assert [len(order.entries) for order in bench.opens()] == [1]


def test_retried_entries_stay_or_leave_by_their_due_time() -> None:
    bench = Bench(horizon_seconds=60.0)
    soon, late = bench.add(count=2)
    opened = bench.open_one()
    wall = WALL + bench.now

    def settle(entry: Entry, wait: float) -> tuple[Fate, Entry | None]:
        settled = Settled(
            opened.slot, entry.entry, finished=False, version=3, attempts=2, due_time=wall + wait
        )
        return bench.scheduler.settled(settled, bench.now, wall)

    assert settle(soon, 50.0) == (Fate.RESIDENT, soon)
    assert settle(late, 1200.0) == (Fate.EVICTED, late)
    assert (late.version, late.attempts, late.due_time) == (3, 2, wall + 1200.0)
    assert not bench.scheduler.is_resident(late.entry)
    assert settle(late, 1.0) == (Fate.UNKNOWN, None)
    bench.want(opened.slot)
    assert bench.plan(49.0) == []
    [(_, batch)] = bench.plan(1.0)
    assert isinstance(batch, Batch)
    assert [(granted.entry, granted.version, granted.attempts) for granted in batch.entries] == [
        (soon.entry, 3, 2)
    ]


def test_settled_after_closed_is_still_known() -> None:
    bench = Bench()
    bench.add()
    opened = bench.open_one()
    bench.close(opened.slot)
    assert bench.scheduler.connections() == 0
    bench.finish(opened)
    bench.plan()
    assert bench.scheduler.stats(bench.now) == []


def test_a_full_window_says_no_and_hunger_follows() -> None:
    bench = Bench(window=10, max_connections=1)
    entries = bench.add(count=12)
    assert [bench.scheduler.is_resident(entry.entry) for entry in entries] == [True] * 10 + [False] * 2
    path = Path("smtp", "b", "a.test")
    assert bench.scheduler.room(path) == 0
    assert bench.scheduler.hungry() == []
    opened = bench.open_one()
    assert bench.scheduler.hungry() == []
    bench.finish(opened)
    bench.want(opened.slot, 4)
    assert bench.scheduler.hungry() == [path]
    assert bench.scheduler.hungry() == []
    assert bench.scheduler.add(entries[10], "a.test", bench.now, WALL + bench.now)
    assert bench.scheduler.add(entries[10], "a.test", bench.now, WALL + bench.now)
    assert bench.scheduler.room(path) == 7
    bench.scheduler.more_on_disk(path, more=False, now=bench.now)
    bench.plan()
    assert bench.scheduler.hungry() == []


def test_a_small_stream_and_urgent_mail_enter_a_full_window() -> None:
    bench = Bench(window=40)
    bench.add(count=50)
    [small] = bench.add(stream="receipts")
    [urgent] = bench.add(priority=1)
    [bulk] = bench.add()
    assert bench.scheduler.is_resident(small.entry)
    assert bench.scheduler.is_resident(urgent.entry)
    assert not bench.scheduler.is_resident(bulk.entry)
    bench.add(count=100, priority=1)
    [stats] = bench.scheduler.stats(bench.now)
    assert stats.waiting == 80


def test_what_is_due_beyond_the_horizon_is_not_taken() -> None:
    bench = Bench(horizon_seconds=60.0)
    [far] = bench.add(due_in=61.0)
    assert not bench.scheduler.is_resident(far.entry)
    assert bench.scheduler.stats(bench.now) == []


def test_a_dead_workers_entries_come_back_and_its_connections_linger() -> None:
    bench = Bench(workers=2, max_connections=1, settle_seconds=1.0)
    [entry] = bench.add()
    opened = bench.open_one()
    assert bench.scheduler.worker_left(1, bench.now) == [(opened.path, [entry])]
    assert bench.scheduler.worker_left(1, bench.now) == []
    assert bench.plan(0.9) == []
    [again] = bench.opens(0.2)
    assert again.entries[0].entry == entry.entry
    assert again.slot != opened.slot
    assert (
        bench.scheduler.settled(Settled(opened.slot, entry.entry, finished=True), bench.now, WALL)[0]
        is Fate.UNKNOWN
    )


def test_without_workers_nothing_happens_and_nothing_is_due() -> None:
    bench = Bench(workers=0)
    bench.add()
    assert bench.plan() == []
    assert bench.scheduler.next_at() is None
    bench.scheduler.worker_joined(7, 1)
    assert bench.scheduler.next_at() == -math.inf
    assert [worker for worker, _ in bench.plan()] == [7]


def test_adopted_slots_count_and_keep_their_entries() -> None:
    old, new = Bench(), Bench(max_connections=1, max_message_rate="60/minute")
    [entry] = old.add()
    opened = old.open_one()
    next(new.numbers)
    new.add(count=3)
    new.scheduler.add(entry, "a.test", new.now, WALL + new.now)
    new.scheduler.adopt(1, 90, opened.path, [entry], new.now)
    assert new.scheduler.is_granted(entry.entry)
    assert new.plan() == []
    assert new.scheduler.connections() == 1
    orders = new.want(90)
    assert [type(order) for _, order in orders] == [Batch]
    new.close(90)
    assert [order.slot for order in new.opens(2.0)] == [91]


def test_after_an_unclean_start_nothing_is_opened_until_connections_have_settled() -> None:
    bench = Bench(started_at=1000.0, settle_seconds=1.0)
    bench.add()
    assert bench.plan() == []
    assert bench.scheduler.next_at() == 1001.0
    assert len(bench.opens(1.0)) == 1


def test_idle_connections_make_room_at_the_node() -> None:
    bench = Bench(outbound_connections=2)
    first = bench.idle_slot("a.test")
    bench.idle_slot("b.test")
    bench.add("c.test")
    assert bench.plan() == [(1, Close(first))]
    bench.scheduler.want(first, 5, bench.now)
    assert bench.plan() == []
    bench.close(first)
    assert bench.open_one().path.site == "c.test"


def test_a_connection_that_becomes_idle_makes_room_too() -> None:
    bench = Bench(outbound_connections=1)
    bench.add("a.test")
    opened = bench.open_one()
    bench.add("b.test")
    assert bench.plan() == []
    bench.finish(opened)
    assert (1, Close(opened.slot)) in bench.want(opened.slot)


def test_busy_connections_take_turns_at_the_node() -> None:
    bench = Bench(outbound_connections=1)
    bench.add("a.test", count=1000)
    opened = bench.open_one()
    bench.finish(opened)
    bench.add("b.test")
    turns = []
    for _ in range(3):
        turns.append(opened.path.site)
        orders = bench.want(opened.slot)
        while isinstance(orders[0][1], Batch) and orders[0][1].entries:
            bench.finish(orders[0][1])
            orders = bench.want(opened.slot)
        assert orders[-1] == (1, Close(opened.slot))
        bench.close(opened.slot)
        opened = bench.open_one()
        bench.finish(opened)
    assert turns == ["a.test", "a.test", "b.test"]  # the first had been waiting for a second connection


def test_paths_that_share_a_limit_take_turns() -> None:
    bench = Bench(override=[ShapingOverride(site="*.all.test", max_message_rate="60/minute", shared=True)])
    sites = ("a.all.test", "b.all.test", "c.all.test")
    for site in sites:
        bench.add(site, count=50)
    taken: list[str] = []
    slots: dict[int, str] = {}
    while len(taken) < 30:
        at = bench.scheduler.next_at()
        assert at is not None
        for _, order in bench.plan(max(0.0, at - bench.now)):
            if isinstance(order, Open):
                slots[order.slot] = order.path.site
            assert isinstance(order, Open | Batch)
            taken += [slots[order.slot]] * len(order.entries)
            bench.finish(order)
            bench.scheduler.want(order.slot, 5, bench.now)
    assert {taken.count(site) for site in sites} <= {9, 10, 11}


def test_suspension_stops_and_resume_goes_on() -> None:
    bench = Bench()
    slot = bench.idle_slot("a.test")
    number = bench.scheduler.suspend(site="*.test", reason="blocked", actor="ops", until_at=bench.now + 60)
    bench.add()
    assert bench.plan() == [(1, Close(slot))]
    bench.close(slot)
    bench.add("b.test")
    assert bench.plan() == []
    assert {stats.state for stats in bench.scheduler.stats(bench.now)} == {"suspended"}
    assert bench.scheduler.suspensions()[number].reason == "blocked"
    assert bench.scheduler.next_at() == bench.now + 60
    assert len(bench.opens(60.0)) == 2
    assert bench.scheduler.suspensions() == {}
    assert not bench.scheduler.resume(number)


def test_a_path_can_be_suspended_by_its_options() -> None:
    bench = Bench(override=[ShapingOverride(site="a.test", suspended=True)])
    bench.add("a.test")
    bench.add("b.test")
    assert [order.path.site for order in bench.opens()] == ["b.test"]


def test_removed_entries_are_gone_and_granted_ones_stay() -> None:
    bench = Bench(max_connections=1)
    granted, *waiting = bench.add(count=8)
    [later] = bench.add(due_in=30.0)
    opened = bench.open_one()
    assert granted.entry in {item.entry for item in opened.entries}
    assert bench.scheduler.is_granted(granted.entry)
    removed = bench.scheduler.remove([granted.entry, waiting[-1].entry, later.entry, 12345])
    assert removed == [later, waiting[-1]]
    assert len(list(bench.scheduler.entries(opened.path))) == 3
    assert not bench.scheduler.is_resident(later.entry)
    assert bench.scheduler.add(later, "a.test", bench.now, WALL + bench.now + 30.0)


def test_a_domain_that_moved_takes_its_entries_along() -> None:
    bench = Bench(workers=0)
    bench.add(count=3)
    moving = bench.add(count=2, routing_domain="moved.test")
    assert bench.scheduler.reroute(Path("smtp", "b", "a.test"), "moved.test") == moving
    assert bench.scheduler.reroute(Path("smtp", "b", "none.test"), "moved.test") == []
    for entry in moving:
        assert bench.scheduler.add(entry, "new.test", bench.now, WALL + bench.now)
    assert {stats.path.site: stats.waiting for stats in bench.scheduler.stats(bench.now)} == {
        "a.test": 3,
        "new.test": 2,
    }


def test_expired_entries_are_set_aside_but_never_granted_ones() -> None:
    bench = Bench(message_expiration_seconds=100.0)
    first, second = bench.add(count=2)
    bench.add("b.test", count=1)
    bench.scheduler.suspend(site="a.test", reason="", actor="")
    opened = bench.open_one()
    assert opened.path.site == "b.test"
    assert bench.scheduler.expired(WALL + bench.now + 99.0) == []
    [(path, entries)] = bench.scheduler.expired(WALL + bench.now + 100.0)
    assert path.site == "a.test"
    assert entries == [first, second]
    assert bench.scheduler.is_granted(first.entry)
    assert bench.scheduler.add(first, "a.test", bench.now, WALL + bench.now)
    assert bench.scheduler.expired(WALL + bench.now + 100.0) == []
    assert bench.scheduler.settled(Settled(0, first.entry, finished=True), bench.now, WALL) == (
        Fate.FINISHED,
        first,
    )
    bench.scheduler.returned(0, [second.entry], bench.now)
    [(_, entries)] = bench.scheduler.expired(WALL + bench.now + 100.0)
    assert entries == [second]


def test_expiry_is_bounded_and_finds_all() -> None:
    bench = Bench(message_expiration_seconds=100.0, workers=0)
    for number in range(600):
        bench.add(f"s{number}.test")
    wall = WALL + bench.now + 200.0
    found = 0
    for _ in range(10):
        batch = sum(len(entries) for _, entries in bench.scheduler.expired(wall, 100))
        assert batch <= 100
        found += batch
    assert found == 600


def test_a_connection_rate_is_kept() -> None:
    bench = Bench(max_connection_rate="2/10,burst=2")
    bench.add(count=200)
    assert len(bench.opens()) == 2
    assert bench.plan(9.0) == []


def test_plan_touches_only_paths_with_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of one event does not depend on how many paths there are: it is one path served."""
    served = []
    for paths in (1, 100, 3000):
        bench = Bench(outbound_connections=100_000)
        for number in range(paths):
            bench.add(f"s{number}.test")
        opened = bench.opens()
        planner = bench.scheduler._planner
        count = 0
        serve = planner._serve

        def counted(*args: Any, serve: Callable[..., None] = serve) -> None:
            nonlocal count
            count += 1
            serve(*args)

        monkeypatch.setattr(planner, "_serve", counted)
        for _ in range(10):
            bench.add("s0.test")
            bench.want(opened[0].slot)
        served.append(count)
    assert served[0] == served[1] == served[2] <= 20


def test_permits_of_adopted_entries_are_out() -> None:
    bench = Bench(max_message_rate="1/60")
    [entry] = bench.add()
    bench.scheduler.adopt(1, 90, Path("smtp", "b", "a.test"), [entry], bench.now)
    bench.add()
    assert bench.want(90) == []
    assert bench.scheduler.next_at() is None
    bench.scheduler.settled(Settled(90, entry.entry, finished=True), bench.now, WALL + bench.now)
    at = bench.scheduler.next_at()
    assert at is not None
    assert at - bench.now >= 60.0


def test_permits_of_a_dead_worker_count_as_used_when_its_connections_are_gone() -> None:
    bench = Bench(workers=2, max_message_rate="1/60", settle_seconds=1.0)
    bench.add()
    bench.open_one()
    bench.plan(100.0)
    bench.scheduler.worker_left(1, bench.now)
    assert bench.opens(60.9) == []
    assert len(bench.opens(0.2)) == 1


def test_a_snapshot_carries_throttles_over_a_clean_start() -> None:
    old, new = Bench(max_message_rate="1/60"), Bench(max_message_rate="1/60")
    old.add()
    old.finish(old.open_one())
    new.scheduler.recall(old.scheduler.remember(old.now, WALL, old.now), new.now, WALL + 10.0)
    assert list(new.scheduler.remember(new.now, WALL + 10.0, new.now).throttles) == ["messages smtp/b/a.test"]
    new.add()
    assert new.opens(49.0) == []
    assert len(new.opens(1.2)) == 1


def test_a_turn_that_cannot_be_used_goes_to_the_next() -> None:
    bench = Bench(outbound_connections=1)
    bench.add("x.test")
    opened = bench.open_one()
    bench.finish(opened)
    bench.add("a.test")
    bench.add("b.test")
    assert bench.plan() == []
    bench.scheduler.suspend(site="a.test", reason="", actor="")
    bench.close(opened.slot)
    assert bench.open_one().path.site == "b.test"


def test_what_nobody_knows_stays_unknown_to_the_next() -> None:
    """A dispatcher that knew nothing of its predecessor tells its own successor so."""
    first, second = (Bench(max_message_rate="1/60", started_at=at) for at in (1000.0, 1010.0))
    first.scheduler.begin(1000.0)
    second.now = 1010.0
    second.scheduler.recall(first.scheduler.remember(1005.0, WALL, 1006.0), 1010.0, WALL + 5.0)
    second.scheduler.begin(1010.0)
    second.add()
    assert second.opens(49.0) == []
    assert len(second.opens(2.0)) == 1


def test_a_throttle_that_nobody_needed_is_remembered_by_the_one_after_the_next() -> None:
    first, second, third = (Bench(max_message_rate="1/60") for _ in range(3))
    first.add()
    first.finish(first.open_one())
    second.now, third.now = 1010.0, 1020.0
    second.scheduler.recall(first.scheduler.remember(1000.0, WALL, 1001.0), 1010.0, WALL + 10.0)
    second.scheduler.begin(1010.0)
    third.scheduler.recall(second.scheduler.remember(1015.0, WALL + 15.0, 1016.0), 1020.0, WALL + 20.0)
    third.scheduler.begin(1020.0)
    third.add()
    assert third.opens(39.0) == []
    assert len(third.opens(2.0)) == 1


def test_a_limit_of_connections_that_shrinks_closes_those_without_work_first() -> None:
    bench = Bench(max_connections=3)
    bench.add(count=40)
    opened = bench.opens()
    for order in opened:
        bench.finish(order)
        bench.want(order.slot, 0)
    bench.scheduler.reshape(
        ShapingTable(ScheduleOptions(default=ShapingOptions(max_connections=1))), bench.now
    )
    closed = [order.slot for _, order in bench.plan() if isinstance(order, Close)]
    assert len(closed) == len(opened) - 1 > 0
    for slot in closed:
        bench.close(slot)
    assert bench.scheduler.connections() == 1


def test_what_waits_goes_along_when_its_domain_gets_a_site_of_its_own() -> None:
    bench = Bench(suspended=True)
    waiting = bench.add(count=3)
    deferred = bench.add(due_in=20.0)
    moved = bench.scheduler.reroute_all(lambda _domain: "@d.test")
    assert {entry.entry for entry in moved} == {entry.entry for entry in waiting + deferred}
    assert not any(bench.scheduler.is_resident(entry.entry) for entry in moved)
    assert bench.scheduler.reroute_all(lambda _domain: None) == []


def test_a_stop_before_granting_began_leaves_no_permit_out_for_ever() -> None:
    """A dispatcher dies, its successor is stopped in order before it has heard of all workers."""
    first = Bench(max_message_rate="1/3")
    first.add()
    first.open_one()
    second = Bench(max_message_rate="1/3")
    second.scheduler.recall(first.scheduler.remember(1000.0, WALL, 1001.0), 1002.0, WALL + 2.0)
    third = Bench(max_message_rate="1/3")
    third.scheduler.recall(second.scheduler.remember(1002.5, WALL + 2.5, 1002.5), 1003.0, WALL + 3.0)
    third.now = 1003.0
    third.add()
    third.scheduler.begin(third.now)
    assert third.opens() == []
    assert len(third.opens(after=3.1)) == 1


def test_an_entry_that_comes_back_for_the_same_moment_is_not_compared_with_itself() -> None:
    """As after hold and release, or a reload that moves it: its old place is still in the heap."""
    bench = Bench()
    (entry,) = bench.add(due_in=30.0)
    for site in ("a.test", "b.test"):
        assert bench.scheduler.remove([entry.entry]) == [entry]
        entry = replace(entry, version=entry.version + 1)
        assert bench.scheduler.add(entry, site, bench.now, WALL + bench.now)
    (opened,) = bench.opens(after=30.0)
    assert (opened.path.site, [granted.entry for granted in opened.entries]) == ("b.test", [entry.entry])
