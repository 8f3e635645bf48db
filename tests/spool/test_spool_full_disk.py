"""What is reserved is given back on a full disk, so that what makes room can be written."""

import errno
import sqlite3
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import FreeSpace, OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import ContentRef
from outrider.spool import admin
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.checkpoint import Checkpoint, CheckpointDamagedError
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.index import Index
from outrider.spool.reader import Damage, FrameReader
from outrider.spool.segments import LEAST_SHARE, SMALL_SHARE
from outrider.spool.tails import give_tails_back, make_room
from outrider.spool.writer import LogWriter
from tests.spool.samples import SMALL, finished, stored

CONTENT = b"x" * 19_998 + b"\r\n"
OPTIONS = SMALL.model_copy(update={"segment_octets": 1 << 20})
SEGMENT = OPTIONS.segment_octets


class Disk(OsFiles):
    """A disk that says how much is free on it."""

    octets_free = 0

    def free(self, path: str) -> FreeSpace:
        return FreeSpace(self.octets_free, None)


class Desk:
    """A spool on such a disk."""

    def __init__(self, path: Path) -> None:
        self.disk = Disk()
        self.files = FaultyFiles(self.disk, [])
        self.directory = SpoolDirectory(self.files, str(path / "spool"))
        self.directory.open()
        self.log = ListLog()
        self.clock = FakeClock()

    def writer(self) -> LogWriter:
        return LogWriter(self.directory, OPTIONS, self.clock, self.log)

    def is_full(self, writer: LogWriter) -> bool:
        return writer.is_full

    def octets(self, log: int) -> list[int]:
        return [self.directory.segment_size(log, number) for number in self.directory.segments(log)]

    def found(self, log: int) -> tuple[int, list[Damage]]:
        damage: list[Damage] = []
        reader = FrameReader(self.directory, SMALL)
        frames = list(reader.scan(log, damaged=damage.append))
        reader.close()
        return len(frames), damage


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def one(writer: LogWriter) -> ContentRef:
    return await commit_and_wait(writer, [stored(writer.reserve(1), CONTENT)], [[CONTENT]])


def die(desk: Desk, writer: LogWriter) -> int:
    """As after SIGKILL: the segments stay as long as they are, and the lock is free."""
    desk.files.close(writer._segments._lock)
    return writer.number


async def test_a_log_begins_small_where_a_whole_segment_finds_no_room(desk: Desk) -> None:
    desk.files.faults.append(Fault("allocate", "*.log", 1, errno.ENOSPC))
    writer = desk.writer()
    assert desk.octets(writer.number) == [SEGMENT // SMALL_SHARE]
    assert not writer.is_full
    await one(writer)
    await writer.close()
    assert desk.found(writer.number) == (1, [])


async def test_where_there_is_least_room_a_log_takes_results_and_no_mail(desk: Desk) -> None:
    desk.files.faults.append(Fault("allocate", "*.log", 1, errno.ENOSPC, 2))
    writer = desk.writer()
    assert desk.octets(writer.number) == [SEGMENT // LEAST_SHARE]
    assert writer.is_full
    writer.commit([finished(1)], (), None)
    await writer.close()
    assert desk.found(writer.number) == (1, [])


async def test_where_no_whole_segment_has_room_results_go_into_small_ones(desk: Desk) -> None:
    writer = desk.writer()
    desk.files.faults += [Fault("allocate", "*/00000001.log", 1, errno.ENOSPC, 0)]  # the one made ahead
    while not writer.is_full:
        await one(writer)
    taken = desk.found(writer.number)[0]
    desk.files.faults[:] = [Fault("allocate", "*.log", 1, errno.ENOSPC)]  # then a small one finds room
    while len(desk.octets(writer.number)) < 2:
        writer.commit([finished(1)] * 100, (), None)
        taken += 1
        await writer.drain()
    assert desk.octets(writer.number)[1] == SEGMENT // LEAST_SHARE
    assert writer.is_full
    await writer.close()
    assert desk.found(writer.number) == (taken, [])


async def test_a_log_does_not_begin_on_a_broken_disk(desk: Desk) -> None:
    desk.files.faults.append(Fault("allocate", "*.log", 1, errno.EIO))
    with pytest.raises(SpoolError):
        desk.writer()


async def test_what_the_dead_reserved_is_given_back_and_what_they_wrote_is_kept(desk: Desk) -> None:
    writer = desk.writer()
    for _ in range(40):  # more than half, so that a segment is made ahead
        await one(writer)
    assert len(desk.octets(writer.number)) == 2
    assert give_tails_back(desk.directory, writer.number) == 0, "its writer lives"
    log = die(desk, writer)
    before = sum(desk.octets(log))
    given = give_tails_back(desk.directory, log)
    assert given > SEGMENT // 2
    assert sum(desk.octets(log)) == before - given
    assert desk.found(log) == (40, [])


async def test_no_more_is_given_back_than_is_asked_for(desk: Desk) -> None:
    dead = []
    for _ in range(3):
        writer = desk.writer()
        await one(writer)
        dead.append(die(desk, writer))
    desk.disk.octets_free = 20_000
    assert make_room(desk.directory, 120_000) >= 100_000
    lengths = [desk.octets(log) for log in dead]
    assert sum(SEGMENT - octets for (octets,) in lengths) < SEGMENT
    desk.disk.octets_free = 120_000
    assert make_room(desk.directory, 120_000) == 0, "there is room"


async def test_a_living_log_gives_what_it_reserved_and_takes_it_again(desk: Desk) -> None:
    writer = desk.writer()
    await one(writer)
    given = await writer.give_back()
    (length,) = desk.octets(writer.number)
    assert SEGMENT // 2 < given == SEGMENT - length
    assert await writer.give_back() == 0
    await one(writer)
    desk.disk.octets_free = given
    await writer.take_back()
    assert desk.octets(writer.number) == [length], "not the last room that there is"
    desk.disk.octets_free = 4 * SEGMENT
    await writer.take_back()
    assert desk.octets(writer.number) == [SEGMENT]
    for _ in range(100):
        await one(writer)
    await writer.close()
    assert desk.found(writer.number) == (102, [])


@pytest.mark.parametrize("failures", [1, 2])
async def test_room_is_found_again_though_nothing_is_committed(desk: Desk, failures: int) -> None:
    desk.files.faults.append(Fault("allocate", "*.log", 1, errno.ENOSPC, failures))
    writer = desk.writer()
    while not desk.is_full(writer):
        desk.files.faults[:] = [Fault("allocate", "*.log", 1, errno.ENOSPC, 0)]
        await one(writer)
    desk.files.faults.clear()
    desk.clock.advance(10)
    writer.look_for_room()
    await writer._ask(lambda: None)
    assert not desk.is_full(writer)
    await one(writer)
    await writer.close()


async def test_a_disk_that_does_not_say_what_is_free_stops_nobody(desk: Desk) -> None:
    writer = desk.writer()
    assert await writer.give_back()
    desk.files.faults.append(Fault("free", "*", 1, errno.EIO))
    await writer.take_back()
    await one(writer)

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await writer._ask(broken)
    await one(writer)
    await writer.close()
    assert desk.found(writer.number) == (2, [])


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


async def test_a_checkpoint_is_written_into_room_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.open(OsFiles(), str(tmp_path / "spool"), SMALL, FakeClock(), ListLog())
    writer = LogWriter(index.directory, SMALL, FakeClock(), ListLog())
    await one(writer)
    await index.replay(writer.number, writer.position)
    write = index._checkpoint.write
    is_full = True

    def written(*given: object) -> None:
        if is_full:
            raise _full()
        write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(index._checkpoint, "write", written)
    with pytest.raises(SpoolError, match="disk is full"):
        await index.checkpoint()
    with pytest.raises(SpoolError, match="disk is full"):
        await index.summary(QueueFilter(), ["tenant"])

    async def make_room() -> int:
        nonlocal is_full
        is_full = False
        return 1

    index.make_room = make_room
    await index.checkpoint()
    assert await index.count(QueueFilter()) == 1
    await writer.close()
    await index.close()


async def test_the_queue_is_counted_and_purged_though_no_checkpoint_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await EmbeddedEngine.open(OsFiles(), str(tmp_path / "spool"), SMALL, FakeClock(), ListLog())
    whole = QueueFilter()
    for _ in range(3):
        await one(engine.writer)
    await engine.index.checkpoint()
    for _ in range(4):
        await one(engine.writer)
    numbers = [each.entry for each in await engine.index.select(whole, 100)]
    assert len(numbers) == 7
    for _ in range(2):
        await one(engine.writer)

    def written(*_: object) -> None:
        raise _full()

    monkeypatch.setattr(engine.index._checkpoint, "write", written)
    assert await engine.index.count(whole) == 9
    pages: list[int] = []
    while found := await engine.index.select(whole, 2, pages[-1] if pages else -1):
        pages += [each.entry for each in found]
    assert pages == sorted(set(pages))
    assert set(pages) > set(numbers)
    first = QueueFilter(entries=frozenset(pages[1:8]))
    assert (await engine.admin.hold(first, "ann", "why")).changed == 7
    assert await engine.index.count(QueueFilter(held=True)) == 7
    assert (await engine.admin.purge(QueueFilter(held=True), "ann", "why")).changed == 7
    assert [each.entry for each in await engine.index.select(whole, 100)] == [pages[0], pages[8]]
    monkeypatch.undo()
    await engine.index.checkpoint()
    assert await engine.index.count(whole) == 2
    await engine.close()


def test_a_checkpoint_that_finds_no_room_to_open_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_: object) -> None:
        raise _full()

    monkeypatch.setattr(Checkpoint, "_prepare", prepare)
    with pytest.raises(SpoolError, match="make room"):
        Index.open(OsFiles(), str(tmp_path / "spool"), SMALL, FakeClock(), ListLog())
    assert not list((tmp_path / "spool" / "quarantine").iterdir())


def test_another_failure_to_open_it_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: object) -> None:
        raise sqlite3.DatabaseError("malformed")

    monkeypatch.setattr(Checkpoint, "_prepare", prepare)
    with pytest.raises(CheckpointDamagedError):
        Checkpoint(str(tmp_path / "checkpoint.sqlite"), 1 << 20)


async def test_a_long_change_goes_on_in_the_room_of_what_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await EmbeddedEngine.open(OsFiles(), str(tmp_path / "spool"), SMALL, FakeClock(), ListLog())
    for _ in range(6):
        await one(engine.writer)
    monkeypatch.setattr(admin, "SLICE", 2)
    monkeypatch.setattr(type(engine.writer), "is_full", property(lambda _: room == 0))
    room = 1
    asked: list[int] = []

    async def reclaim() -> None:
        nonlocal room
        asked.append(told[-1])
        room = 1 if len(asked) == 1 else 0

    told: list[int] = []

    def changed(count: int) -> None:
        nonlocal room
        room = 0
        told.append(count)

    queue = admin.QueueAdmin(engine.index, engine.writer, FakeClock(), lambda _: set(), changed, reclaim)
    with pytest.raises(SpoolError, match="did not take"):
        await queue.purge(QueueFilter(), "ann", "why")
    assert (told, asked) == ([2, 4], [2, 4])
    assert await engine.index.count(QueueFilter()) == 2
    room = 1
    await engine.close()
