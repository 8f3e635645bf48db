"""A copy of the logs holds all that was promised before it, however they change while it is taken."""

import asyncio
import errno
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.spool.directory import SpoolDirectory, segment_name
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.options import SpoolOptions
from outrider.spool.snapshot import Pinned, pin, sealed_ends
from tests.spool.samples import SMALL, finished, small_as, spool_keys, stored

CONTENT = random.Random(1).randbytes(8_190) + b"\r\n"
"""It cannot be compressed, so segments fill whatever the codec."""
EVERYTHING = QueueFilter()


class Spool:
    """An engine, and what it owes."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        self.alive: set[int] = set()
        self.done: set[int] = set()
        self.random = random.Random(7)

    async def add(self, count: int) -> None:
        for _ in range(count):
            message = stored(self.engine.reserve(1), CONTENT)
            await self.engine.commit([message], [[CONTENT]])
            self.alive.add(message.first_entry)

    async def finish(self, count: int) -> None:
        for entry in self.random.sample(sorted(self.alive), min(count, len(self.alive))):
            await self.engine.commit([finished(entry)])
            self.alive.discard(entry)
            self.done.add(entry)

    async def churn(self) -> None:
        """Messages come and go, and segments are dropped and compacted."""
        await self.add(12)
        await self.finish(11)
        await self.engine.maintain()


async def opened(path: Path, options: SpoolOptions = SMALL) -> EmbeddedEngine:
    return await EmbeddedEngine.open(OsFiles(), str(path), options, FakeClock(), ListLog(), keys=spool_keys())


async def entries(path: Path, options: SpoolOptions = SMALL) -> tuple[set[int], list[str]]:
    """What a server finds in a copy: its entries, each of which can be read, and what it complains of."""
    log = ListLog()
    engine = await EmbeddedEngine.open(OsFiles(), str(path), options, FakeClock(), log, keys=spool_keys())
    try:
        found = await engine.list(EVERYTHING, 100_000)
        for entry in found:
            _, content = await engine.read(entry.ref, entry.entry)
            assert content == CONTENT
        return {entry.entry for entry in found}, [line[1] for line in log.lines if line[0] == "error"]
    finally:
        await engine.close()


class Interrupted(OsFiles):
    """Something happens each time before a segment is opened for reading."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens
        self.opened = 0

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if path.endswith(".log") and flags == os.O_RDONLY:
            self.opened += 1
            self._happens()
        return super().open(path, flags, mode)


def copy(pinned: list[Pinned], cut: dict[tuple[int, int], int], source: Path, target: Path) -> None:
    (target / "logs").mkdir(parents=True)
    (target / "format").write_bytes((source / "format").read_bytes())
    (target / "next_log").write_bytes((source / "next_log").read_bytes())
    for one in pinned:
        folder = target / "logs" / str(one.log)
        folder.mkdir(exist_ok=True)
        end = cut.get((one.log, one.segment), one.end)
        (folder / segment_name(one.segment)).write_bytes(os.pread(one.fd, end, 0))


@pytest.mark.parametrize("codec", ["plain", "both"])
async def test_a_copy_holds_what_was_alive_and_nothing_that_was_done(tmp_path: Path, codec: str) -> None:
    """While it is opened, segments are filled, dropped and compacted between any two of its steps."""
    options = small_as(codec)
    spool = Spool(await opened(tmp_path / "spool", options))
    loop = asyncio.get_running_loop()
    try:
        await spool.add(60)
        await spool.finish(40)
        alive, done = set(spool.alive), set(spool.done)
        churned = 0

        def happens() -> None:
            nonlocal churned
            if churned < 6:
                churned += 1
                asyncio.run_coroutine_threadsafe(spool.churn(), loop).result(60)

        files = Interrupted(happens)
        directory = SpoolDirectory(files, str(tmp_path / "spool"))

        def take() -> None:
            with pin(directory, options) as pinned:
                cut = sealed_ends(directory, options, pinned)
                asyncio.run_coroutine_threadsafe(spool.churn(), loop).result(60)
                copy(pinned, cut, tmp_path / "spool", tmp_path / "copy")

        await asyncio.to_thread(take)
        assert churned == 6
    finally:
        await spool.engine.close()
    found, complaints = await entries(tmp_path / "copy", options)
    assert not found & done, "a recorded delivery must not come back"
    assert found >= alive - spool.done, "what was accepted before must be there"
    assert found <= alive | spool.alive | spool.done
    assert complaints == []


async def test_the_copy_of_a_quiet_spool_is_exact(tmp_path: Path) -> None:
    spool = Spool(await opened(tmp_path / "spool"))
    try:
        await spool.add(30)
        await spool.finish(10)
        directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
        with pin(directory, SMALL) as pinned:
            assert [one.is_sealed for one in pinned].count(False) <= 4  # two logs, one segment and one ahead
            assert any(one.is_sealed for one in pinned)
            copy(pinned, {}, tmp_path / "spool", tmp_path / "copy")
    finally:
        await spool.engine.close()
    assert await entries(tmp_path / "copy") == (spool.alive, [])
    space = sum(path.stat().st_size for path in (tmp_path / "copy").rglob("*.log"))
    assert space < 30 * len(CONTENT) + (1 << 18), "reserved space is not copied"


async def test_what_a_writer_took_back_is_not_in_the_copy(tmp_path: Path) -> None:
    """A frame was written when the copy began; then its sync failed, and its client heard 451."""
    stack = ExitStack()
    pinned: list[Pinned] = []
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))

    class Failing(OsFiles):
        fails = False

        def fdatasync(self, fd: int) -> None:
            if self.fails:
                self.fails = False
                pinned.extend(stack.enter_context(pin(directory, SMALL)))
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().fdatasync(fd)

    files = Failing()
    engine = await EmbeddedEngine.open(
        files, str(tmp_path / "spool"), SMALL, FakeClock(), ListLog(), keys=spool_keys()
    )
    spool = Spool(engine)
    try:
        await spool.add(2)
        position = engine.writer.position
        files.fails = True
        with pytest.raises(SpoolError):
            await spool.add(1)
        with stack:
            [current] = [
                one for one in pinned if (one.log, one.segment) == (engine.writer.number, position.segment)
            ]
            assert current.end > position.offset + len(CONTENT), "the refused frame was there"
            cut = sealed_ends(directory, SMALL, pinned)
            assert cut[current.log, current.segment] == position.offset
            copy(pinned, cut, tmp_path / "spool", tmp_path / "copy")
    finally:
        await engine.close()
    assert await entries(tmp_path / "copy") == (spool.alive, [])


async def test_a_spool_that_changes_faster_than_it_is_opened_is_told(tmp_path: Path) -> None:
    spool = Spool(await opened(tmp_path / "spool"))
    try:
        await spool.add(2)

        class Vanishing(OsFiles):
            def open(self, path: str, flags: int, mode: int = 0o600) -> int:
                if path.endswith(".log"):
                    raise FileNotFoundError(path)
                return super().open(path, flags, mode)

        with (
            pytest.raises(SpoolError, match="faster than they can be opened"),
            pin(SpoolDirectory(Vanishing(), str(tmp_path / "spool")), SMALL),
        ):
            pass
    finally:
        await spool.engine.close()
