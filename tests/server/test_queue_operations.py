"""What an administrator asks of the queue, answered over a real index and a real log."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, cast

import pytest

from outrider.base.errors import UnavailableError
from outrider.base.ids import IdSource
from outrider.base.log import NullLog
from outrider.model.changes import Entry
from outrider.model.dispatch import Held
from outrider.schedule.fairness import FairQueue
from outrider.server import queue_operations
from outrider.server.path_operations import PathOperations
from outrider.server.queue_operations import QueueOperations
from outrider.spool import admin as spool_admin
from outrider.spool.admin import QueueAdmin, Told
from outrider.spool.writer import LogWriter
from tests.server.test_dispatcher import ONE, TWO, World, route
from tests.spool.samples import SMALL


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.index.close()


def operations(world: World, told: Told = lambda _changed: None) -> QueueOperations:
    writer = LogWriter(world.index.directory, SMALL, world.clock, NullLog(), lambda *_: None, keys=None)
    admin = QueueAdmin(world.index, writer, world.clock, world.dispatcher.take_all, told)
    return QueueOperations(world.dispatcher, world.index, admin, world.clock, cast("Any", None))


@pytest.mark.parametrize("verb", ["hold", "purge", "move"])
async def test_what_a_worker_holds_is_not_changed_before_it_has_said_so(world: World, verb: str) -> None:
    """A dispatcher that has just started does not know yet what is being sent."""
    end = world.join(0)
    entry, order = await world.put_off(end)

    world.dispatcher.is_granting = False  # as a successor begins: the entry is on disk, and worker 1 has it
    asked = {"to_binding": "other"} if verb == "move" else {}
    async with asyncio.TaskGroup() as tasks:
        order_of = getattr(operations(world), verb)
        change = tasks.create_task(order_of(actor="tester", reason="why", **asked))
        await asyncio.sleep(0)
        (held,) = await world.index.load([entry])
        world.join(1, [(Held(order.slot + 1, order.path, (entry,)), [held])])
        world.dispatcher.begin()
    assert change.result() == {"matched": 1, "changed": 0, "busy": 1}


async def test_a_slice_of_the_queue_is_taken_from_its_path_in_one_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look goes over all that waits on the path: one for each entry held the node up for seconds."""
    world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    for number in range(1, 101):
        world.arrive(0, number, ONE)
    looks: list[int] = []
    remove = FairQueue.remove

    def looking(queue: FairQueue, numbers: AbstractSet[int]) -> list[Entry]:
        looks.append(len(numbers))
        return remove(queue, numbers)

    monkeypatch.setattr(FairQueue, "remove", looking)
    held = await operations(world).hold("tester", "why")
    assert held == {"matched": 100, "changed": 100, "busy": 0}
    assert looks == [100]
    assert world.dispatcher.scheduler.stats(world.clock.now())[0].waiting == 0


async def test_each_slice_that_is_done_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_admin, "SLICE", 2)
    world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    for number in range(1, 6):
        world.arrive(0, number, ONE)
    told: list[int] = []
    assert (await operations(world, told.append).purge("tester", "why"))["changed"] == 5
    assert told == [2, 4, 5]


async def test_a_change_that_would_wait_too_long_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_operations, "BEGIN_SECONDS", 0.0)
    world.dispatcher.is_granting = False
    with pytest.raises(UnavailableError, match="nothing was changed"):
        await operations(world).purge("tester", "why")


async def test_the_oldest_message_was_received_first_even_if_it_is_due_last(world: World) -> None:
    """Its age, which counts from when it is due, is not what it has waited here."""
    world.join(0)
    ids = IdSource(world.clock, 1)
    asked = operations(world)
    assert await asked.oldest() == {"is_known": True, "received_time": None}
    began_time = world.clock.wall()
    world.arrive(0, 1, ONE, not_before_time=began_time + 20 * 86_400.0, message_id=ids.next())
    world.clock.advance(10 * 86_400.0)
    world.arrive(0, 2, ONE, message_id=ids.next())
    assert (await asked.oldest())["received_time"] == pytest.approx(began_time, abs=0.001)


async def test_deferred_mail_is_at_its_site_when_dns_would_have_to_be_asked_again(world: World) -> None:
    """Mail waits for longer than an answer of the DNS lives."""
    world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    world.arrive(0, 1, ONE)
    world.clock.advance(3_600.0)
    assert world.dispatcher.sites.needs(ONE, world.clock.now())
    asked = operations(world)
    assert await asked.count(site="mx.one.example") == {"count": 1, "unresolved": 0}
    assert [group["name"] for group in await asked.summary("site")] == ["mx.one.example"]
    paths = PathOperations(
        world.dispatcher, world.index, cast("Any", None), cast("Any", None), world.clock, lambda: None
    )
    assert [(row["site"], row["queued"]) for row in (await paths.paths())["paths"]] == [("mx.one.example", 1)]


async def test_a_path_whose_mail_is_all_on_disk_shows_that_it_is_suspended(world: World) -> None:
    end = world.join(0)
    await world.put_off(end)
    world.clock.advance(60.0)
    world.plan(end)
    paths = PathOperations(
        world.dispatcher, world.index, cast("Any", None), cast("Any", None), world.clock, lambda: None
    )
    assert [row["state"] for row in (await paths.paths())["paths"]] == ["on disk"]
    number = world.dispatcher.scheduler.suspend(reason="", actor="", site="*.example")
    assert [row["state"] for row in (await paths.paths())["paths"]] == ["suspended"]
    world.dispatcher.scheduler.resume(number)
    assert [row["state"] for row in (await paths.paths())["paths"]] == ["on disk"]


async def test_what_waits_on_disk_is_counted_beside_what_is_in_memory(world: World) -> None:
    end = world.join(0)
    await world.put_off(end)
    world.arrive(0, 2, ONE)
    paths = PathOperations(
        world.dispatcher, world.index, cast("Any", None), cast("Any", None), world.clock, lambda: None
    )
    (row,) = (await paths.paths())["paths"]
    figures = {name: row[name] for name in ("queued", "waiting", "deferred", "granted", "on_disk")}
    assert figures == {"queued": 2, "waiting": 1, "deferred": 0, "granted": 0, "on_disk": 1}


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ({"routing_domain": "*"}, 3),
        ({"routing_domain": "*.example"}, 2),
        ({"routing_domain": ONE.upper()}, 1),
        ({"routing_domain": "*.nowhere"}, 0),
        ({"path": "smtp/default/*"}, 3),
    ],
)
async def test_domains_are_chosen_by_name_or_pattern(
    world: World, criteria: dict[str, Any], found: int
) -> None:
    world.join(0)
    world.arrive(0, 1, ONE, TWO, "xn--bcher-kva.test")
    assert (await operations(world).count(**criteria))["count"] == found


async def test_a_path_whose_site_could_never_match_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="a star stands alone or begins the pattern"):
        await operations(world).count(path="smtp/default/mx*.example")
