"""Mail for the server itself: each entry ends in a file or goes back, whatever the disk and the stop do."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outrider.base.files import OsFiles
from outrider.deliver.maildir import MaildirDeliverer
from outrider.model.dispatch import Batch, Close, Open
from outrider.model.flow import Path as QueuePath
from outrider.model.flow import Phase
from tests.deliver.conftest import World
from tests.patience import PATIENCE_SECONDS

BOUNCES = QueuePath("inbound", "default", "inbound:bounce")


class FullDisk(OsFiles):
    def fdatasync(self, fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@asynccontextmanager
async def running(
    world: World, folder: Path, files: OsFiles | None = None
) -> AsyncIterator[MaildirDeliverer]:
    deliverer = MaildirDeliverer(
        folder / "inbound", hostname="me.test", files=files or OsFiles(), source=world, report=world.report,
        log=world.log,
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        group.create_task(deliverer.run())
        await asyncio.sleep(0)
        yield deliverer
        await deliverer.shutdown(5.0)
    assert deliverer.held() == ()


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "inbound" / "bounce" / "new").iterdir())


async def test_each_recipient_has_a_file_and_more_is_asked_for_until_there_is_none(
    world: World, tmp_path: Path
) -> None:
    entries, more = world.message("b", "c"), world.message("d", body=b"..x\r\n", traits=2)
    async with running(world, tmp_path) as deliverer:
        deliverer.open(Open(1, BOUNCES, (), entries))
        await world.report.until(lambda: len(world.report.wants) == 1)
        assert deliverer.has(1)
        deliverer.ask_again()
        assert len(world.report.wants) == 2
        deliverer.batch(Batch(1, more))
        await world.report.until(lambda: len(world.report.wants) == 3)
        deliverer.batch(Batch(1, ()))
        await world.report.until(lambda: world.report.ends)
    world.assert_once((*entries, *more))
    assert set(world.report.codes().values()) == {(250, Phase.BODY, False)}
    assert world.report.ends == {1: [(None, 3)]}
    assert [name.split(".")[1].rpartition("_")[2] for name in kept(tmp_path)] == ["100", "101", "200"]
    text = (tmp_path / "inbound/bounce/new" / kept(tmp_path)[2]).read_bytes()
    assert text == (
        b"Return-Path: <a@me.test>\nDelivered-To: d@peer.test\nX-Outrider-Purpose: bounce\nSubject: 2\n\n.x\n"
    )


async def test_what_is_written_again_replaces_itself(world: World, tmp_path: Path) -> None:
    entries = world.message()
    async with running(world, tmp_path) as deliverer:
        for slot in (1, 2):
            deliverer.open(Open(slot, BOUNCES, (), entries))
            deliverer.close(Close(slot))
        await world.report.until(lambda: len(world.report.ends) == 2)
    assert len(kept(tmp_path)) == 1


async def test_a_full_disk_is_a_failure_of_ours_and_leaves_no_half_file(world: World, tmp_path: Path) -> None:
    entries = world.message()
    async with running(world, tmp_path, FullDisk()) as deliverer:
        deliverer.open(Open(1, BOUNCES, (), entries))
        deliverer.close(Close(1))
        await world.report.until(lambda: world.report.ends)
    assert set(world.report.codes().values()) == {(451, Phase.BODY, True)}
    assert kept(tmp_path) == []


async def test_a_message_that_cannot_be_read_is_told_as_such(world: World, tmp_path: Path) -> None:
    entries = world.message(missing=True)
    async with running(world, tmp_path) as deliverer:
        deliverer.open(Open(1, BOUNCES, (), entries))
        deliverer.close(Close(1))
        await world.report.until(lambda: world.report.ends)
    assert list(world.report.unread) == [entries[0].entry]


async def test_a_stop_gives_back_what_was_not_begun(world: World, tmp_path: Path) -> None:
    entries = world.message(*"bcdefgh")
    async with running(world, tmp_path) as deliverer:
        deliverer.open(Open(1, BOUNCES, (), entries))
        assert [entry for held in deliverer.held() for entry in held.entries] == [
            each.entry for each in entries
        ]
        await asyncio.sleep(0)
        await deliverer.shutdown(5.0)
        deliverer.open(Open(2, BOUNCES, (), world.message("z")))
    assert len(world.report.back) + len(world.report.outcomes) == len(entries) + 1
    assert len(world.report.back) >= len(entries) - 1
    assert all(len(ends) == 1 for ends in world.report.ends.values())


class SlowDisk(OsFiles):
    """From the second file on a sync takes until `released`."""

    def __init__(self) -> None:
        self.syncs = 0
        self.released = threading.Event()

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        if self.syncs > 1:
            self.released.wait(PATIENCE_SECONDS)
        super().fdatasync(fd)


async def test_a_stop_waits_for_the_file_that_is_being_written(world: World, tmp_path: Path) -> None:
    disk = SlowDisk()
    async with running(world, tmp_path, disk) as deliverer:
        deliverer.open(Open(1, BOUNCES, (), world.message("b")))
        deliverer.close(Close(1))
        await world.report.until(lambda: 1 in world.report.ends)  # it was idle once
        deliverer.open(Open(2, BOUNCES, (), world.message("c")))
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(deliverer.shutdown(30.0))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not stop.done()
            disk.released.set()
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("site", ["inbound:", "inbound"])
async def test_a_site_without_a_purpose_has_a_folder_too(world: World, tmp_path: Path, site: str) -> None:
    async with running(world, tmp_path) as deliverer:
        deliverer.open(Open(1, QueuePath("inbound", "default", site), (), world.message()))
        deliverer.close(Close(1))
        await world.report.until(lambda: world.report.ends)
    assert len(list((tmp_path / "inbound" / "other" / "new").iterdir())) == 1
