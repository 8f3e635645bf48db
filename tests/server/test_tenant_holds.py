"""The queue of disabled tenants by direct calls: queue and control database are real, workers are lists."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.base.errors import UnavailableError
from outrider.base.log import ListLog
from outrider.model.dispatch import Batch, Open, Settled
from outrider.server.tenant_holds import REASON, TenantHolds
from outrider.spool.admin import QueueAdmin
from outrider.spool.filters import QueueFilter
from outrider.spool.writer import LogWriter
from outrider.store import tenants
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.options import StoreOptions
from outrider.store.upgrade import upgrade
from tests.server.test_dispatcher import NOWHERE, ONE, TWO, End, World, route
from tests.spool.samples import SMALL

ALL = QueueFilter()


class Site:
    """A dispatcher whose mail is that of `tenant`, and what holds its queue."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.log = ListLog()
        self.writer = LogWriter(
            self.world.index.directory, SMALL, self.world.clock, self.log, lambda *_: None, keys=None
        )
        self.admin = QueueAdmin(
            self.world.index, self.writer, self.world.clock, self.world.dispatcher.take_all
        )
        self.database = open_engine(StoreOptions(), folder)
        self.author = Author("cli:tester", self.world.clock)
        self.is_away = False
        self.known = 0
        self.holds = self.successor()

    def successor(self) -> TenantHolds:
        """What another process over the same queue would have."""
        return TenantHolds(
            self.world.dispatcher,
            self.world.index,
            self.admin,
            database=self.database,
            prepare=self._prepare,
            log=self.log,
            known=self._known,
        )

    async def _prepare(self, database: Database) -> None:
        if self.is_away:
            raise UnavailableError("the control database does not answer")
        await upgrade(database, self.author)

    def _known(self) -> None:
        self.known += 1

    async def set(self, *, is_enabled: bool) -> None:
        """Another process changes the tenant."""
        await tenants.set_tenant(self.database, self.author, "tenant", is_enabled=is_enabled)

    async def see(self) -> None:
        """One look, and all that follows from it."""
        await self.holds.look()
        await self.holds.follow()
        await self.holds.hold_barred()

    async def held(self) -> list[str]:
        return [entry.held for entry in await self.world.index.select(ALL, 100)]

    async def sent(self, end: End) -> list[int]:
        """What a worker with much room is given now, once what is due on disk was looked for."""
        while await self.world.dispatcher.fill(0):
            pass
        found: list[int] = []
        while orders := [each for each in self.world.plan(end) if isinstance(each, Open | Batch)]:
            for order in orders:
                found += [granted.entry for granted in order.entries]
                if order.entries:
                    self.world.dispatcher.scheduler.want(order.slot, 20, self.world.clock.now())
        return found

    async def close(self) -> None:
        await self.database.dispose()
        await self.writer.close()
        await self.world.index.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    await upgrade(site.database, site.author)
    await tenants.add_tenant(site.database, site.author, "tenant")
    site.world.dispatcher.routed(route(ONE, "mx.one.example"))
    yield site
    await site.close()


async def test_what_is_queued_is_held_and_goes_when_enabled(site: Site) -> None:
    end = site.world.join(1)
    entries = site.world.arrive(1, 0, ONE, TWO)  # one waits for a slot, one for its route
    await site.set(is_enabled=False)
    await site.see()
    assert await site.held() == [REASON] * 2
    site.world.dispatcher.routed(route(TWO, "mx.two.example"))
    assert await site.sent(end) == []
    await site.set(is_enabled=True)
    await site.see()
    assert await site.held() == ["", ""]
    assert sorted(await site.sent(end)) == entries


async def test_the_scheduler_stops_at_the_look_before_anything_is_written(site: Site) -> None:
    end = site.world.join(1)
    site.world.arrive(1, 0, ONE)
    await site.set(is_enabled=False)
    await site.holds.look()
    assert await site.sent(end) == []
    assert await site.held() == [""]


async def test_what_fails_at_a_worker_afterwards_is_held(site: Site) -> None:
    end = site.world.join(1)
    [entry] = site.world.arrive(1, 0, ONE)
    [opened] = [each for each in site.world.plan(end) if isinstance(each, Open)]
    await site.set(is_enabled=False)
    await site.see()
    assert await site.held() == [""]  # it may end
    again = Settled(opened.slot, entry, False, 1, 1, site.world.clock.wall() + 7200.0)
    site.world.settle(1, again)
    await site.see()
    assert await site.held() == [REASON]


async def test_no_route_is_no_reason_to_give_up_what_is_held(site: Site) -> None:
    end = site.world.join(1)
    await site.set(is_enabled=False)
    await site.see()
    site.world.dispatcher.routed(NOWHERE)
    site.world.arrive(1, 0, ONE)
    await site.see()
    assert end.take() == []  # no order to settle it
    assert await site.held() == [REASON]


async def test_another_reason_stays(site: Site) -> None:
    site.world.join(1)
    first, _ = site.world.arrive(1, 0, ONE, ONE)
    await site.admin.hold(QueueFilter(entries=frozenset((first,))), "cli:tester", "a complaint")
    await site.set(is_enabled=False)
    await site.see()
    assert sorted(await site.held()) == ["a complaint", REASON]
    await site.set(is_enabled=True)
    await site.see()
    assert sorted(await site.held()) == ["", "a complaint"]


async def test_a_release_by_hand_is_taken_back(site: Site) -> None:
    end = site.world.join(1)
    site.world.arrive(1, 0, ONE)
    await site.set(is_enabled=False)
    await site.see()
    await site.admin.release(ALL, "cli:tester")
    assert await site.sent(end) == []
    await site.see()
    assert await site.held() == [REASON]


async def test_a_successor_releases_what_was_enabled_meanwhile(site: Site) -> None:
    site.world.join(1)
    site.world.arrive(1, 0, ONE)
    await site.set(is_enabled=False)
    await site.see()
    await site.set(is_enabled=True)  # the process dies before it has seen it
    site.holds = site.successor()
    await site.see()
    assert await site.held() == [""]


async def test_a_removed_tenant_stays_held(site: Site) -> None:
    end = site.world.join(1)
    site.world.arrive(1, 0, ONE)
    await site.set(is_enabled=False)
    await site.see()
    await tenants.remove_tenant(site.database, site.author, "tenant")
    await site.see()
    assert await site.held() == [REASON]
    await site.admin.release(ALL, "cli:tester")
    assert len(await site.sent(end)) == 1


async def test_without_the_database_the_queue_says_who_is_disabled(site: Site) -> None:
    end = site.world.join(1)
    site.world.arrive(1, 0, ONE)
    await site.set(is_enabled=False)
    await site.see()
    site.is_away = True
    site.holds = site.successor()
    site.world.dispatcher.shut(frozenset())  # as a new process begins
    await site.see()
    site.world.arrive(1, 1, ONE)
    assert await site.sent(end) == []
    assert site.known == 2  # granting begins all the same: mail of others waits for no database
    assert [line[1] for line in site.log.lines].count("tenants.store_away") == 1
    await site.see()
    assert await site.held() == [REASON] * 2
    site.is_away = False
    await site.set(is_enabled=True)
    await site.see()
    assert len(await site.sent(end)) == 2


async def test_a_look_that_finds_no_change_asks_nothing_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.see()
    monkeypatch.setattr("outrider.server.tenant_holds.list_tenants", None)
    await site.see()
    assert site.known == 1
