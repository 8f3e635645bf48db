"""Events of a dead writer are written beside granting: again where they cannot be, until a stop."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.dispatch import Position
from outrider.record.files import event_paths
from outrider.record.options import RecordOptions
from outrider.record.redact import Profile
from outrider.server import owed
from outrider.server.keys import ServerKeys
from outrider.server.options import ServerOptions
from outrider.server.owed import OwedEvents
from outrider.server.settings import Settings
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.index import Index
from outrider.spool.reader import FrameReader, Scanned
from outrider.spool.writer import LogWriter
from tests.spool.samples import finished, stored

CONTENT = b"Subject: x\r\n\r\nHello\r\n"
NOTHING: Mapping[str, str] = {}


class FailingFiles(OsFiles):
    """Files whose next `fails` syncs fail."""

    fails = 0

    def fdatasync(self, fd: int) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fdatasync(fd)


def open_files() -> int:
    """Descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Node:
    """An index over the log of a writer that is dead and whose events nobody wrote."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.log = ListLog()
        self.settings = Settings(
            server=ServerOptions(state_directory=folder),
            record=RecordOptions(redaction=Profile.DOMAIN),
        )
        self.files = FailingFiles()
        spool = str(self.settings.server.spool_directory)
        self.index = Index.open(self.files, spool, self.settings.spool, self.clock, self.log)
        self.stopping = asyncio.Event()
        self.owed = OwedEvents(
            self.index,
            self.settings,
            ServerKeys(self.settings, NOTHING),
            self.files,
            self.clock,
            self.log,
            self.stopping,
        )
        self.dead = -1

    async def die(self, messages: int = 3) -> Position:
        """Have a writer store and die; where its log ends."""
        writer = LogWriter(self.index.directory, self.settings.spool, self.clock, self.log)
        for _ in range(messages):
            entry = writer.reserve(1)
            await commit_and_wait(writer, [stored(entry, CONTENT)], [[CONTENT]])
            await commit_and_wait(writer, [finished(entry)])
        await writer.close()
        self.dead = writer.number
        await self.index.replay(self.dead, None)
        return self.index.positions()[self.dead]

    @property
    def recorded(self) -> Position:
        """How far the index knows the events to be on disk."""
        return self.index._logs[self.dead].events

    def lines(self) -> int:
        """Derived events in all files: those of a message are its reception and its end."""
        directory = self.settings.server.events_directory
        octets = b"".join(path.read_bytes() for path in event_paths(directory))
        return octets.count(b'"reception"') + octets.count(b'"delivery"')


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    yield made
    await made.index.abandon()


async def test_they_are_written_and_the_index_hears_of_it(node: Node) -> None:
    position = await node.die()
    assert node.recorded < position
    await node.owed.write(node.dead, position)
    assert node.lines() == 6
    assert node.recorded == position


async def test_no_file_of_the_log_stays_open(node: Node) -> None:
    position = await node.die()
    before = open_files()
    await node.owed.write(node.dead, position)
    await node.owed.write(node.dead, position)
    assert open_files() <= before


async def test_what_cannot_be_written_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    position = await node.die()
    node.files.fails = 2
    monkeypatch.setattr(owed, "AGAIN_SECONDS", 0.0)
    await node.owed.write(node.dead, position)
    assert [event for _, event, _ in node.log.lines].count("record.not_recovered") == 2
    assert node.lines() == 6
    assert node.recorded == position


async def test_a_stop_breaks_it_off_and_the_next_start_does_the_rest(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = await node.die()
    whole = FrameReader.scan

    def scan(self: FrameReader, log: int, start: Position) -> Iterator[Scanned]:
        for number, scanned in enumerate(whole(self, log, start)):
            if number == 2:
                node.stopping.set()
            yield scanned

    with monkeypatch.context() as patch:
        patch.setattr(FrameReader, "scan", scan)
        await node.owed.write(node.dead, position)
    assert node.recorded < position
    assert node.lines() < 6
    node.stopping.clear()
    await node.owed.write(node.dead, position)
    assert node.lines() == 6
    assert node.recorded == position


async def test_a_stop_waits_for_no_other_try(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    position = await node.die()
    node.files.fails = 1_000
    monkeypatch.setattr(owed, "AGAIN_SECONDS", 3_600.0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(node.owed.write(node.dead, position))
        while not any(event == "record.not_recovered" for _, event, _ in node.log.lines):  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)
        node.stopping.set()
    assert node.recorded < position


async def test_a_log_that_went_meanwhile_stays_gone(node: Node) -> None:
    position = await node.die()
    node.index.forget_log(node.dead)
    await node.owed.write(node.dead, position)
    assert node.dead not in node.index.positions()
