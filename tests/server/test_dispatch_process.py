"""What the dispatcher's process does between a worker's hello and its place in the books."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from outrider.base.log import NullLog
from outrider.model import flow
from outrider.model.dispatch import Held, Hello, Suspended, ToDispatcher
from outrider.server.dispatch_process import DispatchProcess, _Worker
from outrider.server.link import Link
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.writer import LogWriter
from tests.server.test_dispatcher import NOTHING, ONE, World, entries_of, route
from tests.spool.samples import SMALL, stored


async def test_what_was_loaded_for_a_worker_that_died_while_joining_is_not_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path)
    end = world.join(0)
    entry, order = await world.put_off(end)
    assert world.index.counts().resident == 0
    world.clock.advance(300.0)

    process = object.__new__(DispatchProcess)
    process.dispatcher, process._index = world.dispatcher, world.index
    process._links, process._burying, process._unread = {}, {}, set()
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


async def test_what_a_worker_holds_of_another_one_s_mail_is_known_when_it_joins(tmp_path: Path) -> None:
    """After a dispatcher's death the one may say hello before the other, whose log tells of the mail."""
    world = World(tmp_path)
    writer = LogWriter(world.index.directory, SMALL, world.clock, NullLog())
    message = stored(writer.reserve(1), b"text\r\n", (ONE,))
    await commit_and_wait(writer, [message], [[b"text\r\n"]])
    entry = message.first_entry
    world.dispatcher.is_granting = False
    world.dispatcher.routed(route(ONE, "mx.one.example"))

    process = joining(world, expected={writer.number, 99})
    holder, author = linked(), linked()
    held = Held(7, flow.Path("smtp", "default", "mx.one.example"), (entry,))
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(process._join(holder, Hello(0, 99, NOTHING, (held,), 1)))
        while 99 in process._unread:  # noqa: ASYNC110 - its log is read
            await asyncio.sleep(0)
        tasks.create_task(process._join(author, Hello(1, writer.number, writer.position, (), 2)))
    assert first.done()
    assert world.dispatcher.is_granting
    assert set(world.dispatcher.workers) == {0, 1}
    while await world.dispatcher.fill(0.0):
        pass
    assert world.dispatcher.scheduler.is_granted(entry)
    assert world.dispatcher.scheduler.slot_of(entry) == 7
    await writer.close()
    await world.index.close()


async def test_a_worker_that_dies_while_it_waits_for_the_others_does_not_join(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.dispatcher.is_granting = False
    process = joining(world, expected={98, 99})
    worker = linked()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process._join(worker, Hello(0, 99, NOTHING, (), 1)))
        while 99 in process._unread:  # noqa: ASYNC110 - its log is read
            await asyncio.sleep(0)
        worker.link.transport = None
    assert world.dispatcher.workers == {}
    assert not world.dispatcher.is_granting
    await world.index.close()


def joining(world: World, expected: set[int]) -> DispatchProcess:
    """A dispatcher's process that waits for the workers of these logs."""
    process = object.__new__(DispatchProcess)
    process.dispatcher, process._index, process._log = world.dispatcher, world.index, NullLog()
    process._links, process._burying = {}, {}
    process._expected, process._unread = set(expected), set(expected)
    process._suspensions = cast("Any", SimpleNamespace(message=lambda: Suspended(())))
    process._register = cast("Any", SimpleNamespace(joined=_nothing, begin=_nothing))
    process._holds = cast("Any", SimpleNamespace(is_known=True, begin=_nothing))
    return process


def linked() -> _Worker:
    """A worker whose link is there; nobody hears what it is told."""
    return _Worker(cast("Any", SimpleNamespace(transport=asyncio.Transport(), send=_nothing)))


def _nothing(*_: object) -> None:
    """Hears it, and does nothing."""
