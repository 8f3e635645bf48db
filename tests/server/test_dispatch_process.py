"""What the dispatcher's process does between a worker's hello and its place in the books."""

import asyncio
from pathlib import Path
from typing import Any

from outrider.model.dispatch import Closed, Held, Hello, Settled, ToDispatcher
from outrider.server.dispatch_process import DispatchProcess, _Worker
from outrider.server.link import Link
from tests.server.test_dispatcher import NOTHING, ONE, World, entries_of, opened, route


async def test_what_was_loaded_for_a_worker_that_died_while_joining_is_not_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path)
    end = world.join(0)
    world.dispatcher.routed(route(ONE, "mx.one.example"))
    (entry,) = world.arrive(0, 1, ONE)
    (order,) = opened(world.plan(end))
    world.settle(0, Settled(order.slot, entry, False, 1, 1, world.clock.wall() + 300.0))
    world.dispatcher.closed(Closed(order.slot, None, 1))
    assert world.index.counts().resident == 0
    await world.index.checkpoint()
    world.clock.advance(300.0)

    process = object.__new__(DispatchProcess)
    process.dispatcher, process._index = world.dispatcher, world.index
    process._links, process._burying = {}, {}
    link = Link[ToDispatcher](ToDispatcher, _nothing, _nothing)
    link.transport = asyncio.Transport()
    worker = _Worker(link)
    held = Held(order.slot + 1, order.path, (entry,))
    load = world.index.load

    async def load_and_die(numbers: Any) -> Any:
        loaded = await load(numbers)
        link.transport = None
        return loaded

    world.index.load = load_and_die  # type: ignore[method-assign]
    await process._join(worker, Hello(1, 11, NOTHING, (held,), 1))
    assert set(world.dispatcher.workers) == {0}, "it did not join"
    while await world.dispatcher.fill(0.0):
        world.dispatcher.routed(route(ONE, "mx.one.example"))
    assert entries_of(world.plan(end)) == [entry]
    await world.index.close()


def _nothing(*_: object) -> None:
    """Hears it, and does nothing."""
