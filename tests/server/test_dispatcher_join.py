"""A worker joins: what its log says beyond what was announced is never granted again."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import NullLog
from outrider.model.dispatch import Granted, Hello, Open, ToWorker, Welcome
from outrider.model.route import Exchanger, Route
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.shaping import ShapingTable
from outrider.schedule.sites import SiteTable
from outrider.server.dispatcher import Dispatcher
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.index import Index
from outrider.spool.writer import LogWriter
from tests.spool.samples import SMALL, finished, retried, stored

DOMAIN = "one.example"
ROUTE = Route(
    DOMAIN, (Exchanger(10, "mx.one.example", ("192.0.2.1",)),), implicit=False, valid_seconds=3600.0
)
CONTENT = b"Subject: x\r\n\r\nHello\r\n"


@dataclass
class End:
    """Keeps what is said to a worker."""

    said: list[ToWorker] = field(default_factory=list)

    def send(self, message: ToWorker) -> None:
        self.said.append(message)

    @property
    def granted(self) -> list[Granted]:
        """All entries in orders to open a connection."""
        return [granted for message in self.said if isinstance(message, Open) for granted in message.entries]


class Node:
    """A dispatcher over a real index, and the log of one worker."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.index = Index.open(OsFiles(), str(folder / "spool"), SMALL, self.clock, NullLog())
        self.log = LogWriter(self.index.directory, SMALL, self.clock, NullLog())
        self.dispatcher = Dispatcher(
            self.index,
            ShapingTable(ScheduleOptions()),
            SiteTable(),
            self.clock,
            Random(1),
            lambda _domain: None,
            lambda: None,
            lambda _address, _port: False,
            started_at=None,
            first_slot=1,
        )
        self.dispatcher.routed(ROUTE)

    async def store(self, count: int) -> list[int]:
        """Messages in the worker's log."""
        entries = [self.log.reserve(1) for _ in range(count)]
        for entry in entries:
            await commit_and_wait(self.log, [stored(entry, CONTENT)], [[CONTENT]])
        return entries

    async def join(self) -> End:
        """The worker says hello with all that its log holds, and grants are made."""
        end = End()
        position = self.log.position
        replayed = await self.index.replay(self.log.number, position)
        self.dispatcher.joined(Hello(0, self.log.number, position, (), 1), [], end, replayed)
        self.dispatcher.is_granting = True
        self.dispatcher.plan()
        return end

    async def close(self) -> None:
        await self.log.close()
        await self.index.close()


async def test_what_was_finished_unannounced_is_not_granted(tmp_path: Path) -> None:
    node = Node(tmp_path)
    done, open_ = await node.store(2)
    await node.index.replay(node.log.number, node.log.position)
    assert await node.dispatcher.fill(60.0) == 2
    await commit_and_wait(node.log, [finished(done)])
    end = await node.join()
    assert isinstance(end.said[0], Welcome)
    assert [granted.entry for granted in end.granted] == [open_]
    await node.close()


async def test_what_was_retried_unannounced_waits_for_its_new_time(tmp_path: Path) -> None:
    node = Node(tmp_path)
    tried, open_ = await node.store(2)
    await node.index.replay(node.log.number, node.log.position)
    await node.dispatcher.fill(60.0)
    entry = node.index.get(tried)
    assert entry is not None
    await commit_and_wait(node.log, [retried(entry, node.clock.wall() + 30.0)])
    end = await node.join()
    assert [granted.entry for granted in end.granted] == [open_]
    await node.close()


async def test_a_worker_that_links_again_does_not_send_again_what_it_finished_meanwhile(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path)
    await node.store(1)
    await node.index.replay(node.log.number, node.log.position)
    await node.dispatcher.fill(60.0)
    first = await node.join()
    (granted,) = first.granted
    await commit_and_wait(node.log, [finished(granted.entry)])
    second = await node.join()
    assert second.granted == []
    await node.close()
