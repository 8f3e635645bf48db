"""The dispatcher by direct calls: workers are lists of what was said to them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import NullLog
from outrider.model import flow
from outrider.model.changes import ContentRef, Entry, LastReply
from outrider.model.dispatch import (
    Arrived,
    Batch,
    Closed,
    Committed,
    Granted,
    Held,
    Hello,
    Open,
    Position,
    Returned,
    Settle,
    Settled,
    ToWorker,
    Want,
    Welcome,
)
from outrider.model.reply import Reply
from outrider.model.route import Exchanger, Route, RouteFailure
from outrider.net.replies import LOOP
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.shaping import ShapingTable
from outrider.schedule.sites import SiteTable
from outrider.server import dispatcher
from outrider.server.dispatcher import EXPIRED, Dispatcher
from outrider.spool.index import Index
from outrider.spool.replay import Replayed
from tests.spool.samples import SMALL

ONE, TWO = "one.example", "two.example"
NOWHERE = RouteFailure(ONE, Reply(550, "5.1.2", ("No such domain",)), valid_seconds=60.0)
AGAIN = RouteFailure(ONE, Reply(451, "4.4.3", ("No answer",)), valid_seconds=60.0)
NOTHING = Position(0, 0)


def replayed(*finished: int) -> Replayed:
    """What a log said beyond what was announced: these entries are finished."""
    return Replayed(0, 0, list(finished), [], 0)


def route(domain: str, *names: str) -> Route:
    exchangers = tuple(Exchanger(10, name, ("192.0.2.1",)) for name in names)
    return Route(domain, exchangers, implicit=False, valid_seconds=60.0)


@dataclass
class End:
    """One worker as the dispatcher sees it."""

    said: list[ToWorker] = field(default_factory=list)

    def send(self, message: ToWorker) -> None:
        self.said.append(message)

    def take(self) -> list[ToWorker]:
        """What was said since the last call."""
        said, self.said = self.said, []
        return said


class World:
    """A dispatcher over an index of its own."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.clock = FakeClock()
        self.index = Index.open(OsFiles(), str(folder / "spool"), SMALL, self.clock, NullLog())
        self.asked: list[str] = []
        self.woken = 0
        self.own: set[tuple[str, int]] = set()
        shaping = ShapingTable(ScheduleOptions.model_validate(options))
        self.dispatcher = Dispatcher(
            self.index,
            shaping,
            SiteTable(is_separate=shaping.is_separate),
            self.clock,
            Random(1),
            self.asked.append,
            self._wake,
            lambda address, port: (address, port) in self.own,
            started_at=None,
            first_slot=1,
        )
        self.dispatcher.is_granting = True

    def _wake(self) -> None:
        self.woken += 1

    def join(self, number: int, held: Sequence[tuple[Held, Sequence[Entry]]] = ()) -> End:
        """Worker `number` with log 10 + `number`."""
        end = End()
        hello = Hello(number, 10 + number, NOTHING, tuple(slot for slot, _ in held), 1)
        self.dispatcher.joined(hello, held, end, replayed())
        assert [type(message) for message in end.take()] == [Welcome]
        return end

    def arrive(
        self, worker: int, first: int, *domains: str, not_before_time: float = 0.0, message_id: str = ""
    ) -> list[int]:
        """A message for these domains in the worker's log."""
        log = 10 + worker
        arrived = Arrived(
            log << 43 | first,
            ContentRef(log, 0, first * 100, 100),
            "tenant",
            "stream",
            50,
            self.clock.wall(),
            tuple(("smtp", "default", domain, 0, not_before_time) for domain in domains),
            message_id or f"{first:018d}",
        )
        self.dispatcher.committed(worker, Committed(Position(0, first * 100 + 100), (arrived,), (), NOTHING))
        return [arrived.first_entry + index for index in range(len(domains))]

    def settle(self, worker: int, *settled: Settled) -> None:
        self.dispatcher.committed(worker, Committed(Position(0, 90_000), (), settled, NOTHING))

    def plan(self, end: End) -> list[ToWorker]:
        self.dispatcher.plan()
        return end.take()

    async def put_off(self, end: End) -> tuple[int, Open]:
        """Mail of worker 0 that waits five minutes after a failed attempt, on disk alone; and its slot."""
        self.dispatcher.routed(route(ONE, "mx.one.example"))
        (entry,) = self.arrive(0, 1, ONE)
        (order,) = opened(self.plan(end))
        self.settle(0, Settled(order.slot, entry, False, 1, 1, self.clock.wall() + 300.0))
        self.dispatcher.closed(Closed(order.slot, None, 1))
        await self.index.checkpoint()
        return entry, order

    def deferred(self, granted: Granted, slot: int, seconds: float) -> Settled:
        return Settled(slot, granted.entry, False, granted.version + 1, 1, self.clock.wall() + seconds)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.index.close()


def opened(messages: Sequence[ToWorker]) -> list[Open]:
    return [message for message in messages if isinstance(message, Open)]


def entries_of(messages: Sequence[ToWorker]) -> list[int]:
    return [
        granted.entry
        for message in messages
        if isinstance(message, Open | Batch)
        for granted in message.entries
    ]


async def test_mail_waits_for_its_route_and_goes_to_its_hosts(world: World) -> None:
    end = world.join(0)
    entries = world.arrive(0, 1, ONE) + world.arrive(0, 2, ONE)
    assert world.asked == [ONE], "equal questions are asked once"
    assert world.plan(end) == []
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    orders = opened(world.plan(end))
    assert sorted(entries_of(orders)) == entries
    assert {order.path.site for order in orders} == {"mx.one.example"}
    assert [host.name for host in orders[0].hosts] == ["mx.one.example"]


async def test_an_answer_that_may_not_be_kept_serves_those_who_asked(world: World) -> None:
    """A TTL of 0, where `net.ttl_min_seconds` or `net.failure_ttl_seconds` is 0 too."""
    end = world.join(0)
    (entry,) = world.arrive(0, 1, ONE)
    world.dispatcher.routed(replace(route(ONE, "mx.one.example"), valid_seconds=0.0))
    assert world.asked == [ONE]
    assert entries_of(world.plan(end)) == [entry]
    (other,) = world.arrive(0, 2, TWO)
    world.dispatcher.routed(RouteFailure(TWO, AGAIN.reply, 0.0))
    assert world.asked == [ONE, TWO]
    (job,) = end.take()
    assert isinstance(job, Settle)
    assert [granted.entry for granted in job.entries] == [other]


async def test_domains_of_one_site_are_one_path(world: World) -> None:
    end = world.join(0)
    for domain in (ONE, TWO):
        world.dispatcher.routed(route(domain, "mx.shared.example"))
    world.arrive(0, 1, ONE, TWO)
    assert {order.path.site for order in opened(world.plan(end))} == {"mx.shared.example"}


async def test_a_route_that_failed_is_settled_by_the_worker_that_has_the_message(world: World) -> None:
    other, end = world.join(0), world.join(1)
    (entry,) = world.arrive(1, 1, ONE)
    world.dispatcher.routed(NOWHERE)
    (job,) = end.take()
    assert isinstance(job, Settle)
    assert (job.kind, job.outcome.reply, job.outcome.ours) == ("attempt", NOWHERE.reply, True)
    assert [granted.entry for granted in job.entries] == [entry]
    assert not world.dispatcher.take(entry), "it is with a worker"
    world.settle(1, Settled(0, entry, finished=True))
    assert world.index.get(entry) is None
    assert other.take() == []


async def test_a_domain_with_options_of_its_own_has_them_without_a_route_too(tmp_path: Path) -> None:
    """When it is tried again, and given up, does not depend on DNS."""
    world = World(tmp_path, override=[{"domain": ONE, "message_expiration_seconds": 100}])
    end = world.join(0)
    (entry,) = world.arrive(0, 1, ONE)
    world.dispatcher.routed(AGAIN)
    (job,) = end.take()
    assert isinstance(job, Settle)
    assert job.path.site == f"@{ONE}"
    world.settle(0, world.deferred(job.entries[0], 0, 30.0))
    world.clock.advance(30.0)
    assert world.plan(end) == []
    assert world.asked == [ONE, ONE]
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (order,) = opened(world.plan(end))
    assert (order.path.site, entries_of([order])) == (f"@{ONE}", [entry])
    await world.index.close()


async def test_a_route_that_goes_on_failing_is_asked_for_once_a_try(world: World) -> None:
    """A failure is no route to the site without a name: it would be asked for again at once, without end."""
    end = world.join(0)
    (entry,) = world.arrive(0, 1, ONE)
    for attempt in range(1, 4):
        assert world.asked == [ONE] * attempt
        world.dispatcher.routed(AGAIN)
        assert world.asked == [ONE] * attempt
        (job,) = end.take()
        assert isinstance(job, Settle)
        assert [granted.entry for granted in job.entries] == [entry]
        world.settle(0, world.deferred(job.entries[0], 0, 30.0))
        assert world.plan(end) == []
        at = world.dispatcher.next_at()
        assert at is not None
        world.clock.advance(at - world.clock.now())
        assert world.plan(end) == []


async def test_mail_for_later_is_not_ended_by_a_route_that_fails_now(world: World) -> None:
    """Its domain may have one by then; what is tried now would be tried again long before its time."""
    end = world.join(0)
    later = world.clock.wall() + 7200
    first = world.arrive(0, 1, ONE, not_before_time=later)
    world.dispatcher.routed(NOWHERE)
    known = world.arrive(0, 2, ONE, not_before_time=later)
    assert world.plan(end) == []
    await world.index.checkpoint()
    world.clock.advance(7199)
    assert await world.dispatcher.fill(60.0) == 2
    assert world.asked == [ONE, ONE]
    world.dispatcher.routed(replace(NOWHERE, valid_seconds=0.5))
    assert world.plan(end) == []
    assert await world.dispatcher.fill(60.0) == 0
    world.clock.advance(1)
    assert world.plan(end) == []
    assert world.asked == [ONE, ONE, ONE]
    world.dispatcher.routed(NOWHERE)
    jobs = end.take()
    assert all(isinstance(job, Settle) for job in jobs)
    assert sorted(each.entry for job in jobs for each in job.entries) == sorted(first + known)  # type: ignore[union-attr]


async def test_mail_for_later_whose_domain_has_a_route_by_then_goes_out(world: World) -> None:
    end = world.join(0)
    (entry,) = world.arrive(0, 1, ONE, not_before_time=world.clock.wall() + 30)
    world.dispatcher.routed(replace(NOWHERE, valid_seconds=10.0))
    assert world.plan(end) == []
    world.clock.advance(30)
    assert world.plan(end) == []
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (order,) = opened(world.plan(end))
    assert (order.path.site, entries_of([order])) == ("mx.one.example", [entry])


async def test_mail_for_later_looks_for_all_its_routes_at_once(world: World) -> None:
    end = world.join(0)
    domains = [f"d{number}.example" for number in range(5)]
    for number, domain in enumerate(domains):
        world.arrive(0, number + 1, domain, not_before_time=world.clock.wall() + 30)
        world.dispatcher.routed(RouteFailure(domain, AGAIN.reply, 10.0))
    world.clock.advance(30)
    for _ in domains:
        assert world.plan(end) == []
    assert sorted(world.asked) == sorted(2 * domains)


async def test_mail_for_later_that_has_no_route_takes_no_more_room_than_there_is(tmp_path: Path) -> None:
    world = World(tmp_path, default={"window": 10})
    end = world.join(0)
    world.dispatcher.routed(NOWHERE)
    entries = [
        entry
        for number in range(1, 31)
        for entry in world.arrive(0, number, ONE, not_before_time=world.clock.wall() + 30)
    ]
    assert await world.dispatcher.fill(60.0) == 0, "what is on disk stays there while there is no room"
    assert world.plan(end) == []
    world.clock.advance(30)
    ended = set()
    for _ in range(50):
        world.plan(end)
        await world.dispatcher.fill(60.0)
        world.dispatcher.routed(NOWHERE)
        ended |= {each.entry for job in end.take() if isinstance(job, Settle) for each in job.entries}
    assert ended == set(entries)
    await world.index.close()


async def test_no_more_domains_are_looked_up_at_once_than_wait_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail to ever new domains, faster than DNS answers, would else be remembered domain by domain."""
    monkeypatch.setattr(dispatcher, "WAITING_MAX", 10)
    end = world.join(0)
    domains = [f"d{number}.example" for number in range(50)]
    entries = [world.arrive(0, number + 1, domain)[0] for number, domain in enumerate(domains)]
    assert world.asked == domains[:10]
    sent: list[int] = []
    for _ in range(5):
        assert len(world.dispatcher._waiting) == 10
        for domain in world.asked[-10:]:
            world.dispatcher.routed(route(domain, f"mx.{domain}"))
        sent += entries_of(world.plan(end))
        await world.dispatcher.fill(60.0)
    assert sorted(sent) == entries
    assert sorted(world.asked) == sorted(domains)


async def test_without_a_worker_nothing_is_settled_and_nothing_is_lost(world: World) -> None:
    end = world.join(0)
    (entry,) = world.arrive(0, 1, ONE)
    world.dispatcher.left(0, replayed())
    world.dispatcher.routed(AGAIN)
    assert end.take() == []
    assert await world.index.load([entry])


async def test_what_a_dead_worker_was_to_settle_is_not_forgotten(world: World) -> None:
    """Neither an entry without a route nor one that expires waits for a worker that is gone."""
    dying = world.join(0)
    done, lost = world.arrive(0, 1, ONE, ONE)
    world.dispatcher.routed(AGAIN)
    assert [type(message) for message in dying.take()] == [Settle, Settle]
    living = world.join(1)
    world.dispatcher.left(0, replayed(done))
    assert world.plan(living) == []
    assert world.asked == [ONE, ONE]
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    assert entries_of(world.plan(living)) == [lost]


async def test_what_a_dead_worker_was_to_expire_is_expired_by_another(tmp_path: Path) -> None:
    world = World(tmp_path, default={"message_expiration_seconds": 100, "suspended": True})
    dying = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    world.clock.advance(101.0)
    world.dispatcher.expire()
    assert [type(message) for message in dying.take()] == [Settle]
    living = world.join(1)
    world.dispatcher.left(0, replayed())
    world.dispatcher.expire()
    (job,) = living.take()
    assert isinstance(job, Settle)
    assert (job.kind, [granted.entry for granted in job.entries]) == ("expire", [entry])
    world.settle(1, Settled(0, entry, finished=True))
    world.dispatcher.left(1, replayed())
    assert world.index.get(entry) is None
    await world.index.close()


async def test_a_settled_entry_comes_back_when_it_is_due(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    world.settle(0, world.deferred(order.entries[0], order.slot, 30.0))
    world.dispatcher.closed(Closed(order.slot, None, 1))
    assert world.plan(end) == []
    at = world.dispatcher.next_at()
    assert at is not None
    world.clock.advance(at - world.clock.now())
    assert entries_of(world.plan(end)) == [entry]


async def test_what_is_due_much_later_leaves_memory_and_returns(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    world.settle(0, world.deferred(order.entries[0], order.slot, 3600.0))
    world.dispatcher.closed(Closed(order.slot, None, 1))
    assert world.index.counts().resident == 0
    await world.index.checkpoint()
    assert await world.dispatcher.fill(60.0) == 0
    world.clock.advance(3600.0)
    assert await world.dispatcher.fill(60.0) == 1
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    assert entries_of(world.plan(end)) == [entry]


async def test_a_path_whose_window_was_full_is_forgotten_when_its_mail_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path, default={"window": 10})
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    left = {entry for number in range(1, 31) for entry in world.arrive(0, number, ONE)}
    assert [stats.more_on_disk for stats in world.dispatcher.scheduler.stats(world.clock.now())] == [True]
    slots: dict[int, None] = {}
    while left:
        for order in world.plan(end):
            assert isinstance(order, Open | Batch)
            slots[order.slot] = None
            world.settle(0, *(Settled(order.slot, each.entry, finished=True) for each in order.entries))
            left -= {each.entry for each in order.entries}
        for slot in slots:
            world.dispatcher.want(Want(slot, 20))
        await world.dispatcher.fill(60.0)
    for slot in slots:
        world.dispatcher.closed(Closed(slot, None, 1))
    world.plan(end)
    await world.dispatcher.fill(60.0)
    world.plan(end)
    assert world.dispatcher.scheduler.stats(world.clock.now()) == []
    await world.index.close()


async def test_a_held_entry_is_not_granted_again(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    held = Settled(order.slot, entry, False, 1, 0, world.clock.wall(), held="unreadable")
    world.settle(0, held)
    world.dispatcher.want(Want(order.slot, 10))
    assert entries_of(world.plan(end)) == []
    assert world.index.counts().held == 1


async def test_returned_entries_go_out_again(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    world.dispatcher.returned(Returned(order.slot, (entry,)))
    world.dispatcher.closed(Closed(order.slot, None, 0))
    world.clock.advance(60.0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    assert entries_of(world.plan(end)) == [entry]


async def test_a_dead_worker_s_grants_go_to_others_but_for_what_its_log_tells(world: World) -> None:
    dying = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    done, open_ = world.arrive(0, 1, ONE) + world.arrive(0, 2, ONE)
    assert sorted(entries_of(world.plan(dying))) == [done, open_]
    living = world.join(1)
    world.dispatcher.left(0, replayed(done))
    assert set(world.dispatcher.workers) == {1}
    world.clock.advance(2.0)
    assert entries_of(world.plan(living)) == [open_]
    assert dying.take() == []


async def test_a_grant_that_a_worker_still_holds_counts_and_is_not_given_twice(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    known = world.index.get(entry)
    assert known is not None
    successor = world.join(0, [(Held(order.slot, order.path, (entry,)), [known])])
    assert entries_of(world.plan(successor)) == []
    world.settle(0, Settled(order.slot, entry, finished=True))
    assert world.index.get(entry) is None


async def test_nothing_is_granted_before_everything_is_known(world: World) -> None:
    world.dispatcher.is_granting = False
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    assert world.plan(end) == []
    assert world.dispatcher.next_at() is None
    world.dispatcher.is_granting = True
    assert entries_of(world.plan(end)) == [entry]


async def test_an_order_of_an_operator_takes_only_what_no_worker_has(world: World) -> None:
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (granted,) = world.arrive(0, 1, ONE)
    world.plan(end)
    (unrouted,) = world.arrive(0, 2, TWO)
    assert not world.dispatcher.take(granted)
    assert world.dispatcher.take(unrouted)
    world.dispatcher.routed(route(TWO, "mx.two.example"))
    assert entries_of(world.plan(end)) == [], "what was taken does not come back by its route"


async def test_a_domain_that_moved_takes_its_waiting_mail_along(tmp_path: Path) -> None:
    world = World(tmp_path, default={"max_connections": 1})
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.old.example"))
    first = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    assert entries_of([order]) == first
    world.dispatcher.closed(
        Closed(order.slot, flow.Outcome(Reply(451, "4.4.1", ("No",)), flow.Phase.CONNECT, ours=True), 0)
    )
    world.dispatcher.returned(Returned(order.slot, (first[0],)))
    world.clock.advance(3600.0)  # the route has expired, the path's pause too
    assert opened(world.plan(end)) == []
    assert world.asked[-1] == ONE
    world.dispatcher.routed(route(ONE, "mx.new.example"))
    assert {order.path.site for order in opened(world.plan(end))} == {"mx.new.example"}
    await world.index.close()


async def test_a_domain_that_moved_takes_along_what_is_not_due_yet(world: World) -> None:
    """Else its new hosts would get the mail of the others that were with it, and by the limits of the old."""
    end = world.join(0)
    for domain in (ONE, TWO):
        world.dispatcher.routed(route(domain, "mx.old.example"))
    one, two = world.arrive(0, 1, ONE, TWO)
    (order,) = opened(world.plan(end))
    world.settle(0, *(world.deferred(granted, order.slot, 30.0) for granted in order.entries))
    world.dispatcher.closed(Closed(order.slot, None, 1))
    world.dispatcher.routed(route(ONE, "mx.new.example"))
    world.clock.advance(30.0)
    orders = opened(world.plan(end))
    assert {
        (order.path.site, order.hosts[0].name, *(granted.entry for granted in order.entries))
        for order in orders
    } == {("mx.new.example", "mx.new.example", one), ("mx.old.example", "mx.old.example", two)}


async def test_a_domain_that_moved_takes_along_what_waits_behind_others(tmp_path: Path) -> None:
    world = World(tmp_path, default={"max_connections": 1})
    end = world.join(0)
    for domain in (ONE, TWO):
        world.dispatcher.routed(route(domain, "mx.old.example"))
    world.arrive(0, 1, TWO)
    (order,) = opened(world.plan(end))
    (two,) = world.arrive(0, 2, TWO)
    (one,) = world.arrive(0, 3, ONE)
    assert world.plan(end) == [], "there is one connection"
    world.dispatcher.routed(route(ONE, "mx.new.example"))
    world.dispatcher.want(Want(order.slot, 10))
    given = world.plan(end)
    (new,) = opened(given)
    assert (new.path.site, entries_of([new])) == ("mx.new.example", [one])
    assert entries_of([message for message in given if isinstance(message, Batch)]) == [two]
    await world.index.close()


async def test_mail_whose_route_failed_goes_by_its_own_path_later(world: World) -> None:
    """What failed waits together; the first domain of it that has a route again is no way for the others."""
    end = world.join(0)
    one, two = world.arrive(0, 1, ONE, TWO)
    for domain in (ONE, TWO):
        world.dispatcher.routed(RouteFailure(domain, AGAIN.reply, 60.0))
    for job in end.take():
        assert isinstance(job, Settle)
        world.settle(0, world.deferred(job.entries[0], 0, 30.0))
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    world.clock.advance(30.0)
    orders = world.plan(end) + world.plan(end)
    (order,) = opened(orders)
    assert (order.path.site, entries_of([order])) == ("mx.one.example", [one])
    assert world.asked[-1] == TWO
    world.dispatcher.routed(route(TWO, "mx.two.example"))
    (order,) = opened(world.plan(end))
    assert (order.path.site, entries_of([order])) == ("mx.two.example", [two])


async def test_what_expires_between_two_tries_goes_with_the_reply_of_the_last(tmp_path: Path) -> None:
    world = World(tmp_path, default={"message_expiration_seconds": 100})
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    last = LastReply("450 4.2.1 Come back later", "mx.one.example", False, world.clock.wall())
    world.settle(0, replace(world.deferred(order.entries[0], order.slot, 30.0), last=last))
    world.dispatcher.closed(Closed(order.slot, None, 1))
    world.dispatcher.scheduler.suspend(reason="as they asked", actor="tester")
    world.clock.advance(101.0)
    assert world.plan(end) == []
    world.dispatcher.expire()
    (job,) = end.take()
    assert isinstance(job, Settle)
    assert ([granted.entry for granted in job.entries], job.lasts) == ([entry], (last,))
    await world.index.close()


async def test_what_is_past_its_time_is_settled_as_expired(tmp_path: Path) -> None:
    world = World(tmp_path, default={"message_expiration_seconds": 100, "suspended": True})
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    world.clock.advance(99.0)
    world.dispatcher.expire()
    assert end.take() == []
    world.clock.advance(2.0)
    world.dispatcher.expire()
    (job,) = end.take()
    assert isinstance(job, Settle)
    assert (job.kind, job.outcome.reply) == ("expire", EXPIRED)
    assert [granted.entry for granted in job.entries] == [entry]
    assert job.lasts == (None,), "it was never tried"
    world.dispatcher.expire()
    assert end.take() == [], "once"
    await world.index.close()


async def test_mail_that_a_paths_port_would_bring_back_to_us_bounces(tmp_path: Path) -> None:
    """A port that only this domain has: the resolver, which looks at the usual one, finds nothing wrong."""
    world = World(tmp_path, override=[{"domain": ONE, "smtp_port": 2525}])
    world.own.add(("192.0.2.1", 2525))
    end = world.join(0)
    one, two = world.arrive(0, 1, ONE, TWO)
    for domain in (ONE, TWO):
        world.dispatcher.routed(route(domain, "mx.one.example"))
    given = world.plan(end)
    (order,) = opened(given)
    assert (order.hosts[0].port, entries_of([order])) == (25, [two])
    (job,) = [message for message in given if isinstance(message, Settle)]
    assert (job.outcome.reply, job.outcome.phase, job.outcome.ours) == (LOOP, flow.Phase.RESOLVE, True)
    assert [granted.entry for granted in job.entries] == [one]
    later = world.arrive(0, 3, ONE)
    (again,) = world.plan(end)
    assert isinstance(again, Settle)
    assert [granted.entry for granted in again.entries] == later, "the next one too"
    await world.index.close()
