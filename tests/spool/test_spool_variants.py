"""Several messages in one frame, as policy makes them of one: all or none of them, each with its own."""

from pathlib import Path
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from tests.spool.samples import finished, small_as, spool_keys, stored

COUNT = 5


async def opened(folder: Path, codec: str) -> EmbeddedEngine:
    return await EmbeddedEngine.open(
        OsFiles(), str(folder / "spool"), small_as(codec), FakeClock(), ListLog(), keys=spool_keys()
    )


async def accept(engine: EmbeddedEngine, number: int, *, dead: int = -1) -> dict[int, bytes]:
    """Store one frame of variants, of which one may be finished in it; what is in each entry that lives."""
    first = engine.reserve(COUNT)
    contents = [b"%d-%d " % (number, at) + bytes([65 + at]) * 400 + b"\r\n" for at in range(COUNT)]
    changes = [stored(first + at, contents[at], number=number) for at in range(COUNT)]
    ends = [finished(first + dead)] if dead >= 0 else []
    await engine.commit([*changes, *ends], [[each[:10], each[10:]] for each in contents])
    return {first + at: contents[at] for at in range(COUNT) if at != dead}


async def found(engine: EmbeddedEngine) -> dict[int, bytes]:
    entries = await engine.list(QueueFilter(), 10_000)
    return {each.entry: (await engine.read(each.ref, each.entry))[1] for each in entries}


@pytest.mark.parametrize("codec", ["plain", "both"])
async def test_a_frame_of_variants_is_there_whole_or_not_at_all(tmp_path: Path, codec: str) -> None:
    engine = await opened(tmp_path, codec)
    before = await accept(engine, 1)
    begins = engine.writer.position.offset
    after = await accept(engine, 2, dead=2)
    ends = engine.writer.position.offset
    name = str(engine.writer.number)
    await engine.crash()
    [path] = [each for each in (tmp_path / "spool").rglob("*.log") if name in str(each)][:1]
    whole = path.read_bytes()
    for at in sorted({begins, ends - 1, ends, *Random(1).sample(range(begins, ends), 25)}):
        path.write_bytes(whole[:at] + bytes(len(whole) - at))  # as after a power cut in the middle
        for checkpoint in (tmp_path / "spool").glob("checkpoint*"):
            checkpoint.unlink()
        engine = await opened(tmp_path, codec)
        wanted = before | after if at >= ends else before
        assert await found(engine) == wanted
        await engine.crash()


@pytest.mark.parametrize("codec", ["plain", "both"])
async def test_compaction_keeps_each_variant_with_its_own_content(tmp_path: Path, codec: str) -> None:
    random = Random(7)
    engine = await opened(tmp_path, codec)
    alive: dict[int, bytes] = {}
    for number in range(80):
        made = await accept(engine, number, dead=random.choice([-1, 0, 4]))
        stays = random.choice([*made]) if number % 9 == 0 else None
        for entry in made:
            if entry != stays:
                await engine.commit([finished(entry)])
        if stays is not None:
            alive[stays] = made[stays]
    moved = {each.entry: each.ref for each in await engine.list(QueueFilter(), 10_000)}
    for _ in range(4):
        await engine.maintain()
    assert await found(engine) == alive
    assert any(moved[each.entry] != each.ref for each in await engine.list(QueueFilter(), 10_000))
    await engine.crash()
    for checkpoint in (tmp_path / "spool").glob("checkpoint*"):
        checkpoint.unlink()
    engine = await opened(tmp_path, codec)
    assert await found(engine) == alive
    await engine.close()
