"""Dropping and compacting segments: the index can be rebuilt from the logs alone at any moment."""

import contextlib
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import Entry
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.options import SpoolOptions
from tests.spool.samples import CODECS, SMALL, finished, retried, spool_keys, stored

EIO = 5
CONTENT = b"x" * 2_000
KEEP_ALL = SpoolOptions(**{**SMALL.model_dump(), "compact_below": 0.0})


@pytest.fixture(params=["plain", "aes"], autouse=True)
def _codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here holds for frames that are encrypted too."""
    monkeypatch.setattr(House, "codec", request.param)


class House:
    """One spool over several lives."""

    codec = "plain"

    def __init__(self, path: Path, options: SpoolOptions) -> None:
        self.path = path / "spool"
        self.options = options.model_copy(update=CODECS[self.codec])
        self.clock = FakeClock()
        self.log = ListLog()
        self.files = FaultyFiles(OsFiles(), [])
        self.engine: EmbeddedEngine
        self.count = 0

    async def start(self) -> EmbeddedEngine:
        self.engine = await EmbeddedEngine.open(
            self.files, str(self.path), self.options, self.clock, self.log, keys=spool_keys()
        )
        return self.engine

    async def restart(self, *, lose_checkpoint: bool) -> EmbeddedEngine:
        await self.engine.crash()
        if lose_checkpoint:
            for path in self.path.glob("checkpoint*"):
                path.unlink()
        return await self.start()

    async def accept(self, count: int = 1) -> list[int]:
        numbers = []
        for _ in range(count):
            self.count += 1
            first = self.engine.reserve(1)
            await self.engine.commit([stored(first, CONTENT, number=self.count)], [[CONTENT]])
            numbers.append(first)
        return numbers

    async def finish(self, numbers: list[int]) -> None:
        for number in numbers:
            await self.engine.commit([finished(number)])

    async def alive(self) -> dict[int, Entry]:
        entries = await self.engine.list(QueueFilter(), 10_000)
        for entry in entries:
            _, content = await self.engine.read(entry.ref, entry.entry)
            assert content == CONTENT
        return {entry.entry: entry for entry in entries}

    def segments(self, log: int | None = None) -> list[int]:
        return self.engine.index.directory.segments(log or self.engine.writer.number)

    def said(self, event: str) -> list[dict[str, object]]:
        return [fields for _, name, fields in self.log.lines if name == event]


async def test_a_dead_segment_goes_and_its_finishes_are_remembered(tmp_path: Path) -> None:
    house = House(tmp_path, KEEP_ALL)
    await house.start()
    stuck, *others = await house.accept(20)  # all in segment 0
    more = await house.accept(30)  # segments 0 and 1
    await house.finish(others)  # finishes in later segments than the entries they concern
    await house.finish(more)
    last = await house.accept(60)
    await house.engine.maintain()
    result = await house.engine.maintain()
    assert 0 in house.segments()
    assert 1 not in house.segments()
    assert any(fields["copied"] for fields in house.said("spool.segment_dropped")), result
    await house.restart(lose_checkpoint=True)
    assert (await house.alive()).keys() == {stuck, *last}
    await house.engine.close()


async def test_a_dead_segment_goes_and_the_states_in_it_are_remembered(tmp_path: Path) -> None:
    house = House(tmp_path, KEEP_ALL)
    await house.start()
    stuck, moved, held = await house.accept(3)
    await house.finish(await house.accept(40))
    house.clock.advance(1)
    [lease] = [lease for lease in await house.engine.lease(None, 100, 60) if lease.entry.entry == stuck]
    await house.engine.release([moved, held])
    change = retried(lease.entry, house.clock.wall() + 1_000)
    await house.engine.commit([change], epoch=lease.epoch)
    await house.engine.move(QueueFilter(entries=frozenset((moved,))), "me", binding="other")
    await house.engine.hold(QueueFilter(entries=frozenset((held,))), "me", "why")
    await house.finish(await house.accept(80))
    before = await house.alive()
    for _ in range(3):
        await house.engine.maintain()
    assert house.segments()[0] == 0
    assert house.segments()[1] > 1
    await house.restart(lose_checkpoint=True)
    assert await house.alive() == before
    assert before[stuck].attempts == 1
    assert before[moved].binding == "other"
    assert before[held].held == "why"
    await house.engine.close()


async def test_a_mostly_dead_segment_is_compacted_and_then_dropped(tmp_path: Path) -> None:
    house = House(tmp_path, SMALL)
    await house.start()
    stuck, *others = await house.accept(60)
    await house.finish(others)
    old = (await house.alive())[stuck].ref
    for _ in range(3):
        await house.engine.maintain()
    assert house.said("spool.segment_compacted")
    assert 0 not in house.segments()
    entry = (await house.alive())[stuck]
    assert entry.ref != old
    await house.restart(lose_checkpoint=True)
    assert (await house.alive()).keys() == {stuck}
    await house.restart(lose_checkpoint=False)
    assert (await house.alive()).keys() == {stuck}
    await house.engine.close()


async def test_a_message_that_was_moved_twice_and_finished_stays_finished(tmp_path: Path) -> None:
    house = House(tmp_path, SMALL)
    await house.start()
    stuck, *others = await house.accept(60)
    await house.finish(others)
    for _ in range(4):
        await house.engine.maintain()
        await house.finish(await house.accept(60))
        house.clock.at += 10_000
    assert len(house.said("spool.segment_compacted")) > 1
    await house.finish([stuck])
    await house.restart(lose_checkpoint=True)
    assert not await house.alive()
    await house.engine.close()


async def test_a_message_that_is_with_a_worker_is_not_moved(tmp_path: Path) -> None:
    house = House(tmp_path, SMALL)
    await house.start()
    stuck, *others = await house.accept(60)
    await house.finish(others)
    [lease] = await house.engine.lease(None, 10, 60)
    assert lease.entry.entry == stuck
    for _ in range(3):
        await house.engine.maintain()
    assert 0 in house.segments()
    _, content = await house.engine.read(lease.entry.ref, stuck)
    assert content == CONTENT
    await house.engine.close()


async def test_what_dead_logs_leave_behind_is_removed_whole(tmp_path: Path) -> None:
    house = House(tmp_path, SMALL)
    await house.start()
    for _ in range(4):
        numbers = await house.accept(30)
        await house.finish(numbers)
        await house.restart(lose_checkpoint=False)
    for _ in range(3):
        await house.engine.maintain()
    assert house.engine.index.directory.logs() == [house.engine.writer.number]
    assert house.engine.index.positions().keys() <= {house.engine.writer.number}
    await house.engine.close()


async def test_a_segment_whose_copy_would_be_large_waits(tmp_path: Path) -> None:
    house = House(tmp_path, SpoolOptions(**{**KEEP_ALL.model_dump(), "carry_below": 0.0001}))
    await house.start()
    _stuck, *others = await house.accept(25)
    await house.accept(20)
    await house.finish(others)
    await house.finish(await house.accept(60))
    before = house.segments()
    await house.engine.maintain()
    await house.engine.maintain()
    assert not [fields for fields in house.said("spool.segment_dropped") if fields["copied"]]
    assert set(house.segments()) & set(before) > {0}
    await house.engine.close()


async def test_a_segment_that_cannot_be_removed_stays_and_is_told(tmp_path: Path) -> None:
    house = House(tmp_path, KEEP_ALL)
    await house.start()
    await house.finish(await house.accept(60))
    house.files.faults.append(Fault("unlink", "*00000000.log", 1, EIO))
    await house.engine.maintain()
    assert house.said("spool.segment_not_removed")
    assert 0 in house.segments()
    house.clock.at += 10_000
    await house.engine.maintain()
    assert 0 not in house.segments()
    await house.engine.close()


@pytest.mark.parametrize("at", range(1, 12))
async def test_a_failed_copy_keeps_the_segment(tmp_path: Path, at: int) -> None:
    house = House(tmp_path, SMALL)
    await house.start()
    stuck, *others = await house.accept(50)
    await house.finish(others)
    house.files.faults.append(Fault("fdatasync", "*/logs/*.log", at, EIO))
    for _ in range(4):
        with contextlib.suppress(SpoolError):
            await house.engine.maintain()
        house.clock.at += 10_000
    house.files.faults.clear()
    await house.restart(lose_checkpoint=True)
    assert (await house.alive()).keys() == {stuck}
    await house.engine.close()
