"""Idempotency keys live as long as they should: over crashes, a lost checkpoint, dropped segments."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import Change, Finished, Keyed
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.keys import KeyTable
from tests.spool.samples import SMALL, attempted, spool_keys, stored

DAY = 86_400.0
CONTENT = b"x" * 20_000


class Spool:
    """An engine that can crash and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "spool"
        self.clock = FakeClock()
        self.engine: EmbeddedEngine

    async def open(self) -> None:
        self.engine = await EmbeddedEngine.open(
            OsFiles(), str(self.folder), SMALL, self.clock, ListLog(), keys=spool_keys()
        )

    async def restart(self, *, lose_checkpoint: bool = False) -> None:
        await self.engine.crash()
        if lose_checkpoint:
            for path in self.folder.glob("checkpoint.sqlite*"):
                path.unlink()
        await self.open()

    def keyed(self, name: bytes, seconds: float = DAY, answer: bytes = b"answer") -> Keyed:
        return Keyed(name.ljust(16), b"body", answer, self.clock.wall() + seconds)

    async def store(self, keyed: Keyed | None = None, *, finish: bool = True) -> None:
        """A message of a third of a segment, perhaps with a key, and its end."""
        entry = self.engine.reserve(1)
        changes: list[Change] = [stored(entry, CONTENT), *([keyed] if keyed else [])]
        await self.engine.commit(changes, [[CONTENT]])
        if finish:
            await self.engine.commit([Finished(entry, "delivered", attempted())])

    async def answer(self, name: bytes) -> bytes | None:
        found = await self.engine.index.key(name.ljust(16))
        return None if found is None else found.answer


@pytest.fixture
async def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path)
    await made.open()
    return made


@pytest.mark.parametrize("lose_checkpoint", [False, True])
@pytest.mark.parametrize("with_checkpoint", [False, True])
async def test_a_key_is_known_from_its_sync_on(
    spool: Spool, *, lose_checkpoint: bool, with_checkpoint: bool
) -> None:
    await spool.store(spool.keyed(b"a"))
    assert await spool.answer(b"a") == b"answer"
    assert await spool.answer(b"b") is None
    if with_checkpoint:
        await spool.engine.index.checkpoint()
        assert await spool.answer(b"a") == b"answer"
    for _ in range(2):
        await spool.restart(lose_checkpoint=lose_checkpoint)
        assert await spool.answer(b"a") == b"answer"
    await spool.engine.close()


async def test_a_key_is_forgotten_when_it_expires(spool: Spool) -> None:
    await spool.store(spool.keyed(b"a", 60))
    await spool.engine.index.checkpoint()
    spool.clock.advance(59)
    assert await spool.answer(b"a") == b"answer"
    spool.clock.advance(1)
    assert await spool.answer(b"a") is None
    await spool.engine.index.checkpoint()
    await spool.store(spool.keyed(b"a", 60, b"again"))
    await spool.restart()
    assert await spool.answer(b"a") == b"again"
    await spool.engine.close()


async def test_a_key_survives_its_segment_and_every_copy_of_it(spool: Spool) -> None:
    await spool.store(spool.keyed(b"a"))
    first = set(spool.folder.glob("logs/*/*.log"))
    copies = 0
    for _ in range(6):
        for _ in range(8):
            await spool.store()
        await spool.engine.index.checkpoint()
        copies += (await spool.engine.maintain()).carried
        await spool.restart(lose_checkpoint=True)
        assert await spool.answer(b"a") == b"answer"
    assert not first & set(spool.folder.glob("logs/*/*.log"))
    assert copies > 1
    await spool.engine.close()


async def test_an_expired_key_keeps_no_segment(spool: Spool) -> None:
    await spool.store(spool.keyed(b"a", 60))
    spool.clock.advance(61)
    for _ in range(8):
        await spool.store()
    await spool.engine.index.checkpoint()
    reclaimed = await spool.engine.maintain()
    assert reclaimed.dropped
    assert reclaimed.carried == 0
    await spool.engine.close()


async def test_a_segment_with_more_keys_than_are_worth_copying_stays(spool: Spool) -> None:
    for number in range(3):
        await spool.store(spool.keyed(b"%d" % number, answer=b"y" * 9_000))
    segment = set(spool.folder.glob("logs/*/*.log"))
    for _ in range(8):
        await spool.store()
    await spool.engine.index.checkpoint()
    await spool.engine.maintain()
    assert segment & set(spool.folder.glob("logs/*/*.log"))
    await spool.restart(lose_checkpoint=True)
    assert await spool.answer(b"2") == b"y" * 9_000
    await spool.engine.close()


def test_of_two_uses_the_later_one_counts_whatever_the_order() -> None:
    older, newer = Keyed(b"k", b"1", b"old", 10.0), Keyed(b"k", b"2", b"new", 20.0)
    for order in ((older, newer), (newer, older)):
        table = KeyTable()
        for number, keyed in enumerate(order):
            table.put(keyed, (1, number))
        assert table.find(b"k") == newer
        table.take()
        assert table.find(b"k") == newer
        table.put_back()
        assert (table.find(b"k"), table.changed) == (newer, 1)
        table.take()
        table.written()
        assert (table.find(b"k"), table.changed) == (None, 0)
