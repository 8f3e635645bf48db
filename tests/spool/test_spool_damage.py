"""Damage of every kind: what is damaged is lost, kept for people and told; the rest goes on."""

import errno
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import OsFiles, read_file
from outrider.base.log import ListLog
from outrider.model.changes import ContentRef, Stored, entry_id
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import (
    FORMAT,
    HEADER_COPY,
    HEADER_REGION,
    FormatError,
    FrameDamagedError,
    FrameGoneError,
)
from outrider.spool.reader import READ_TRIES, Damage, FrameReader
from outrider.spool.writer import LogWriter
from tests.spool.samples import SMALL, small_as, spool_keys, stored

COUNT = 40


@pytest.fixture(params=["plain", "aes", "both"], autouse=True)
def _codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here holds for frames that are compressed and encrypted too."""
    here = sys.modules[__name__]
    monkeypatch.setattr(here, "SMALL", small_as(request.param))
    for name in ("LogWriter", "FrameReader"):
        monkeypatch.setattr(here, name, partial(getattr(here, name), keys=spool_keys()))
    monkeypatch.setattr(EmbeddedEngine, "open", partial(EmbeddedEngine.open, keys=spool_keys()))


async def write(path: Path) -> tuple[SpoolDirectory, list[ContentRef]]:
    """Messages numbered from 0 in two segments of log 1, whose writer is gone."""
    directory = SpoolDirectory(OsFiles(), str(path / "spool"))
    directory.open()
    writer = LogWriter(directory, SMALL, FakeClock(), ListLog())
    refs = []
    for number in range(COUNT):
        content = b"%04d" % number + Random(number).randbytes(1_996)  # zstd cannot make it smaller
        message = stored(writer.reserve(1), content, number=number)
        refs.append(await commit_and_wait(writer, [message], [[content]]))
    await writer.close()
    assert {ref.segment for ref in refs} == {0, 1}
    return directory, refs


def octets_of(directory: SpoolDirectory, log: int, segment: int) -> bytes:
    return Path(directory.segment_path(log, segment)).read_bytes()


def flip_at(place: int) -> Callable[[bytearray], None]:
    def flip(octets: bytearray) -> None:
        octets[place] ^= 0x10

    return flip


def harm(
    directory: SpoolDirectory, segment: int, change: Callable[[bytearray], None], *, log: int = 1
) -> None:
    path = Path(directory.segment_path(log, segment))
    octets = bytearray(path.read_bytes())
    change(octets)
    path.write_bytes(octets)


def scan(directory: SpoolDirectory) -> tuple[list[int], list[Damage]]:
    damage: list[Damage] = []
    reader = FrameReader(directory, SMALL)
    numbers = [
        int(change.message_id)
        for scanned in reader.scan(1, damaged=damage.append)
        for change in scanned.changes
        if isinstance(change, Stored)
    ]
    reader.close()
    return numbers, damage


@pytest.mark.parametrize("place", [0, 3, 10, 23, 24, 100, 1_500, -1])
@pytest.mark.parametrize("number", [0, 5, 27])
async def test_a_flipped_octet_costs_one_message(tmp_path: Path, place: int, number: int) -> None:
    directory, refs = await write(tmp_path)
    ref = refs[number]
    harm(directory, ref.segment, flip_at(ref.offset + (place if place >= 0 else ref.length - 1)))
    numbers, damage = scan(directory)
    assert numbers == [other for other in range(COUNT) if other != number]
    [found] = damage
    assert (found.segment, found.offset, len(found.octets)) == (ref.segment, ref.offset, ref.length)
    reader = FrameReader(directory, SMALL)
    with pytest.raises(FrameDamagedError):
        reader.read(ref, number)
    with pytest.raises(FrameDamagedError):
        reader.frame(ContentRef(1, ref.segment, ref.offset + 1, 500))
    reader.close()


async def test_zeros_in_the_middle_cost_what_they_cover(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)

    def zero(octets: bytearray) -> None:
        start = refs[10].offset + 5
        octets[start : refs[13].offset + 9] = bytes(refs[13].offset + 9 - start)

    harm(directory, 0, zero)
    numbers, damage = scan(directory)
    assert numbers == [number for number in range(COUNT) if not 10 <= number <= 13]
    assert [(found.offset, len(found.octets)) for found in damage] == [
        (refs[10].offset, refs[14].offset - refs[10].offset)
    ]


async def test_a_length_that_lies_is_caught_by_the_headers_checksum(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    harm(directory, 0, lambda octets: octets.__setitem__(refs[3].offset + 14, 0xFF))
    numbers, damage = scan(directory)
    assert numbers == [number for number in range(COUNT) if number != 3]
    assert len(damage) == 1


async def test_a_cut_segment_loses_its_tail_only(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    harm(directory, 0, lambda octets: octets.__delitem__(slice(refs[20].offset + 50, None)))
    numbers, damage = scan(directory)
    second = [number for number in range(COUNT) if refs[number].segment == 1]
    assert numbers == [*range(20), *second]
    assert [(found.segment, found.offset) for found in damage] == [(0, refs[20].offset)]


async def test_what_is_appended_is_ignored(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    last = refs[-1]
    frame: list[bytes] = []
    harm(directory, 1, lambda octets: frame.append(bytes(octets[last.offset : last.offset + last.length])))
    for segment in (0, 1):
        harm(directory, segment, lambda octets: octets.extend(frame[0] + b"rubbish" * 1_000))
    numbers, damage = scan(directory)
    assert numbers == list(range(COUNT))
    assert not damage


async def test_a_torn_tail_is_the_end_and_no_damage(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    harm(directory, 1, lambda octets: octets.__delitem__(slice(refs[-1].offset + 60, None)))
    harm(directory, 1, lambda octets: octets.extend(bytes(4_000)))
    numbers, damage = scan(directory)
    assert numbers == list(range(COUNT - 1))
    assert not damage


async def test_one_header_of_a_segment_is_enough(tmp_path: Path) -> None:
    directory, _ = await write(tmp_path)
    harm(directory, 0, lambda octets: octets.__setitem__(slice(0, 100), bytes(100)))
    harm(directory, 1, lambda octets: octets.__setitem__(slice(HEADER_COPY, HEADER_COPY + 100), bytes(100)))
    numbers, damage = scan(directory)
    assert numbers == list(range(COUNT))
    assert not damage


async def test_a_segment_without_header_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    harm(directory, 0, lambda octets: octets.__setitem__(slice(0, HEADER_REGION), bytes(HEADER_REGION)))
    numbers, damage = scan(directory)
    assert numbers == [number for number in range(COUNT) if refs[number].segment == 1]
    assert [(found.segment, found.offset) for found in damage] == [(0, 0)]


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
async def test_an_unreadable_segment_is_told_and_the_others_are_read(tmp_path: Path, error: int) -> None:
    directory, refs = await write(tmp_path)
    operation = "open" if error == errno.EACCES else "pread"
    faults = [Fault(operation, "*00000000.log", 1, error, 0)]
    faulty = SpoolDirectory(FaultyFiles(OsFiles(), faults), directory.path)
    numbers, damage = scan(faulty)
    assert numbers == [number for number in range(COUNT) if refs[number].segment == 1]
    assert len(damage) == 1
    reader = FrameReader(faulty, SMALL)
    with pytest.raises(FrameDamagedError):
        reader.read(refs[0], 0)
    reader.close()


async def test_an_unreadable_stretch_costs_only_itself(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    # the header of the file, the seal of the next one, then the first chunk of frames
    faults = [Fault("pread", "*00000000.log", 2, errno.EIO, READ_TRIES)]
    numbers, damage = scan(SpoolDirectory(FaultyFiles(OsFiles(), faults), directory.path))
    assert set(numbers) >= {number for number in range(COUNT) if refs[number].segment == 1}
    assert len(damage) == 1


async def test_what_the_disk_gives_when_it_is_asked_again_is_not_damaged(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    faults = [Fault("pread", "*00000000.log", at, errno.EIO, READ_TRIES - 1) for at in (1, 4, 7)]
    faulty = SpoolDirectory(FaultyFiles(OsFiles(), faults), directory.path)
    assert scan(faulty) == (list(range(COUNT)), [])
    reader = FrameReader(SpoolDirectory(FaultyFiles(OsFiles(), [faults[0]]), directory.path), SMALL)
    faults[0].seen = 0
    assert reader.read(refs[0], entry_id(1, 0))[0].message_id == f"{0:018d}"
    reader.close()


async def test_what_cannot_be_read_at_the_end_of_a_log_is_told(tmp_path: Path) -> None:
    """No seal says where the last segment ends; that is no reason to take it for empty."""
    directory, refs = await write(tmp_path)
    faults = [Fault("pread", "*00000001.log", 3, errno.EIO, 0)]  # after its header and its seal
    numbers, damage = scan(SpoolDirectory(FaultyFiles(OsFiles(), faults), directory.path))
    assert numbers == [number for number in range(COUNT) if refs[number].segment == 0]
    assert [(found.segment, found.is_unread) for found in damage] == [(1, True)]


async def test_a_segment_that_could_not_be_read_stays_for_who_mends_the_disk(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    faulty = FaultyFiles(OsFiles(), [Fault("open", "*/1/00000000.log", 1, errno.EIO, 0)])
    log = ListLog()
    for _ in range(2):  # the second one finds it in quarantine
        engine = await EmbeddedEngine.open(faulty, directory.path, SMALL, FakeClock(), log)
        assert await engine.count(QueueFilter()) == sum(ref.segment == 1 for ref in refs)
        await engine.index.checkpoint()
        await engine.reclaimer.run()
        await engine.close()
    assert directory.segments(1)[0] == 0
    [kept] = [str(fields["kept"]) for _, event, fields in log.lines if event == "spool.damaged"]
    assert kept.endswith(f"/1-{0:08d}-0.unread")
    directory.files.unlink(kept)
    for name in directory.files.listdir(directory.path):
        if name.startswith("checkpoint.sqlite"):
            directory.files.unlink(f"{directory.path}/{name}")
    engine = await EmbeddedEngine.open(OsFiles(), directory.path, SMALL, FakeClock(), log)
    assert await engine.count(QueueFilter()) == COUNT
    await engine.close()


async def test_a_dropped_segment_is_gone_not_damaged(tmp_path: Path) -> None:
    directory, refs = await write(tmp_path)
    reader = FrameReader(directory, SMALL)
    reader.frame(refs[0])
    directory.remove_segment(1, 0)
    reader.frame(refs[1])  # still open
    reader.forget(1, 0)
    with pytest.raises(FrameGoneError):
        reader.frame(refs[0])
    reader.close()


async def test_an_image_of_the_log_in_a_mail_is_only_a_mail(tmp_path: Path) -> None:
    directory, _refs = await write(tmp_path)
    image = octets_of(directory, 1, 0)[:50_000]
    writer = LogWriter(directory, SMALL, FakeClock(), ListLog())
    first = await commit_and_wait(writer, [stored(writer.reserve(1), image, number=100)], [[image]])
    await commit_and_wait(writer, [stored(writer.reserve(1), b"after", number=101)], [[b"after"]])
    await writer.close()
    harm(directory, first.segment, flip_at(first.offset), log=2)  # now the search runs through the image
    damage: list[Damage] = []
    reader = FrameReader(directory, SMALL)
    found = [scanned.changes[0] for scanned in reader.scan(2, damaged=damage.append)]
    assert [change.message_id for change in found if isinstance(change, Stored)] == [f"{101:018d}"]
    assert len(damage) == 1
    reader.close()


async def test_damage_is_kept_in_quarantine_counted_and_told_and_the_rest_is_in_the_queue(
    tmp_path: Path,
) -> None:
    directory, refs = await write(tmp_path)
    original = octets_of(directory, 1, 0)[refs[7].offset + 30 : refs[7].offset + refs[7].length]
    harm(directory, 0, flip_at(refs[7].offset + 20))
    log = ListLog()
    engine = await EmbeddedEngine.open(OsFiles(), directory.path, SMALL, FakeClock(), log)
    assert await engine.count(QueueFilter()) == COUNT - 1
    assert engine.index.damaged == 1
    [fields] = [fields for _, event, fields in log.lines if event == "spool.damaged"]
    kept = str(fields["kept"])
    assert "/quarantine/" in kept
    assert original in read_file(OsFiles(), kept)
    await engine.close()
    engine = await EmbeddedEngine.open(OsFiles(), directory.path, SMALL, FakeClock(), log)
    assert engine.index.damaged == 0, "it is told once"
    await engine.close()


def set_format(directory: SpoolDirectory, number: int) -> None:
    path = Path(directory.path) / "format"
    assert path.read_text() == f"{FORMAT}\n"
    path.write_text(f"{number}\n")


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    directory, _ = await write(tmp_path)
    set_format(directory, FORMAT + 1)
    with pytest.raises(FormatError, match="start the newer version"):
        directory.open()
