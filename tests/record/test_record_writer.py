"""The event file of one process: batches, syncs, rotation, and what happens when the disk says no."""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import Files, OsFiles
from outrider.base.log import ListLog
from outrider.model.address import Address
from outrider.model.dispatch import Position
from outrider.model.flow import Origin
from outrider.model.reply import Reply
from outrider.record.derive import Place, events_of
from outrider.record.files import event_paths, expired_paths, open_path
from outrider.record.options import RecordOptions
from outrider.record.recover import catch_up, expire
from outrider.record.redact import Profile, Redactor
from outrider.record.writer import PENDING_LIMIT, EventWriter
from tests.record.tokens import FixedTokens

ALICE = Address("alice", "example.com")
ORIGIN = Origin("smtp", "ESMTP", "203.0.113.5", "client.example", None, None)
REFUSED = Reply(550, "5.7.1", ("Relaying denied",))

Open = Callable[..., EventWriter]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def open_writer(tmp_path: Path, clock: FakeClock, log: ListLog) -> Open:
    def opened(files: Files | None = None, **options: Any) -> EventWriter:
        return EventWriter(
            files or OsFiles(), tmp_path, 3, RecordOptions(redaction=Profile.DOMAIN, **options), clock, log
        )

    return opened


def types_of(path: Path) -> list[str]:
    return [msgspec.json.decode(line)["type"] for line in path.read_bytes().splitlines()]


def synced(writer: EventWriter) -> Position | None:
    return writer.synced_position


def stalled(writer: EventWriter) -> bool:
    return writer.stalled


def write_frame(writer: EventWriter, frames: Any, *changes: Any) -> Position:
    ref = frames.add(*changes)
    position = Position(ref.segment, ref.offset + ref.length)
    writer.write_batch(position, events_of(ref, changes, writer.redactor))
    return position


def test_a_new_file_begins_with_its_log(open_writer: Open, tmp_path: Path) -> None:
    open_writer().close()
    first = msgspec.json.decode((tmp_path / "3.jsonl").read_bytes().splitlines()[0])
    assert (first["type"], first["log"], first["schema"]) == ("opened", 3, 1)
    assert "after" not in first


async def test_positions_follow_the_sync(open_writer: Open, make: Any, frames: Any, tmp_path: Path) -> None:
    writer = open_writer()
    assert synced(writer) is None
    position = write_frame(writer, frames, make.stored(ALICE), make.finished(ALICE))
    assert types_of(tmp_path / "3.jsonl") == ["opened", "reception", "delivery"]
    assert synced(writer) is None
    await writer.sync()
    assert synced(writer) == position
    later = Position(1, position.offset + 50)
    writer.write_batch(later, [])
    await writer.sync()
    assert synced(writer) == later
    writer.close()


async def test_events_of_an_unsynced_write_do_not_move_the_position(
    open_writer: Open, make: Any, frames: Any
) -> None:
    """What is written while a sync runs counts only after the next one."""
    writer = open_writer()
    first = write_frame(writer, frames, make.stored(ALICE))

    class Late(OsFiles):
        def fdatasync(self, fd: int) -> None:
            super().fdatasync(fd)
            write_frame(writer, frames, make.finished(ALICE))

    writer._files = Late()
    await writer.sync()
    assert synced(writer) == first
    writer._files = OsFiles()
    writer.close()


def test_refusals_beyond_the_rate_are_counted(open_writer: Open, clock: FakeClock, tmp_path: Path) -> None:
    writer = open_writer(refusals_per_second=2)
    for _ in range(5):
        writer.refused(ORIGIN, "alice@example.com", "bob@example.org", REFUSED)
    clock.advance(1)
    writer.refused(ORIGIN, "alice@example.com", "bob@example.org", REFUSED)
    writer.close()
    lines = [msgspec.json.decode(line) for line in (tmp_path / "3.jsonl").read_bytes().splitlines()]
    assert [line.get("suppressed", 0) for line in lines[1:]] == [0, 0, 3]
    assert lines[1]["mail_from"] == "*@example.com"
    assert len({line["id"] for line in lines}) == len(lines)


async def test_rotation_keeps_every_event_once(
    open_writer: Open, make: Any, frames: Any, tmp_path: Path
) -> None:
    writer = open_writer(rotate_bytes=65_536)
    for _ in range(400):
        write_frame(writer, frames, make.stored(ALICE), make.finished(ALICE))
        if len(frames.frames) % 40 == 0:
            await writer.sync()
    writer.close()
    paths = event_paths(tmp_path)
    assert [path.name for path in paths][:2] == ["3-1.jsonl", "3-2.jsonl"]
    assert paths[-1].name == "3.jsonl"
    lines = [msgspec.json.decode(line) for path in paths for line in path.read_bytes().splitlines()]
    ids = [line["id"] for line in lines if line["type"] != "opened"]
    expected = [event.id for ref, changes in frames.frames for event in events_of(ref, changes, Redactor())]
    assert ids == expected
    last = ""
    for line in lines:
        if line["type"] == "opened":
            assert line.get("after", "") == last
        else:
            last = line["id"]


async def test_what_comes_while_files_change_goes_into_the_new_one(
    open_writer: Open, make: Any, frames: Any, clock: FakeClock, tmp_path: Path
) -> None:
    writer = open_writer(rotate_seconds=60)
    write_frame(writer, frames, make.stored(ALICE))
    clock.advance(61)
    late: list[Position] = []

    class Late(OsFiles):
        def rename(self, source: str, target: str) -> None:
            if not late:
                late.append(write_frame(writer, frames, make.finished(ALICE)))
            super().rename(source, target)

    writer._files = Late()
    await writer.sync()
    assert synced(writer) == Position(1, late[0].offset - 200)
    assert types_of(tmp_path / "3-1.jsonl") == ["opened", "reception"]
    assert types_of(tmp_path / "3.jsonl") == ["opened", "delivery"]
    await writer.sync()
    assert synced(writer) == late[0]
    writer.close()


async def test_a_stop_while_files_change_neither_loses_nor_doubles_an_event(
    open_writer: Open, make: Any, frames: Any, clock: FakeClock, tmp_path: Path
) -> None:
    writer = open_writer(rotate_seconds=60, sync_seconds=0.05)
    write_frame(writer, frames, make.stored(ALICE))
    clock.advance(61)
    loop = asyncio.get_running_loop()
    is_changing = asyncio.Event()
    is_stopped = threading.Event()

    class Slow(OsFiles):
        def rename(self, source: str, target: str) -> None:
            loop.call_soon_threadsafe(is_changing.set)
            is_stopped.wait(60)
            super().rename(source, target)

    writer._files = Slow()
    running = asyncio.create_task(writer.run())  # noqa: TID251 - awaited below
    await is_changing.wait()
    running.cancel()
    await asyncio.sleep(0)  # the task hears it
    write_frame(writer, frames, make.finished(ALICE))  # the last results of a process that ends
    is_stopped.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    writer.close()
    again = open_writer()
    catch_up(again, frames.scan)
    again.close()
    assert types_of(tmp_path / "3-1.jsonl") == ["opened", "reception"]
    assert types_of(tmp_path / "3.jsonl") == ["opened", "delivery"]


async def test_an_old_file_is_closed(
    open_writer: Open, make: Any, frames: Any, clock: FakeClock, tmp_path: Path
) -> None:
    writer = open_writer(rotate_seconds=60)
    write_frame(writer, frames, make.stored(ALICE))
    clock.advance(61)
    await writer.sync()
    write_frame(writer, frames, make.finished(ALICE))
    writer.close()
    assert types_of(tmp_path / "3-1.jsonl") == ["opened", "reception"]
    assert types_of(tmp_path / "3.jsonl") == ["opened", "delivery"]


async def test_a_failed_write_is_repeated(
    open_writer: Open, make: Any, frames: Any, log: ListLog, tmp_path: Path
) -> None:
    files = FaultyFiles(OsFiles(), [])
    writer = open_writer(files)
    first = write_frame(writer, frames, make.stored(ALICE))
    files.faults.append(Fault("pwritev", "*.jsonl", 1, errno.ENOSPC, times=2))
    write_frame(writer, frames, make.retried(ALICE))
    assert stalled(writer)
    await writer.sync()
    assert synced(writer) == first
    third = write_frame(writer, frames, make.finished(ALICE))
    assert not stalled(writer)
    await writer.sync()
    assert synced(writer) == third
    writer.close()
    assert types_of(tmp_path / "3.jsonl") == ["opened", "reception", "transient", "delivery"]
    assert [event for _, event, _ in log.lines] == ["record.write_failed", "record.write_recovered"]


def test_a_short_write_is_completed(open_writer: Open, make: Any, frames: Any, tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), [Fault("pwritev", "*.jsonl", 2, -1)])
    writer = open_writer(files)
    write_frame(writer, frames, make.stored(ALICE), make.finished(ALICE))
    writer.close()
    assert types_of(tmp_path / "3.jsonl") == ["opened", "reception", "delivery"]


async def test_a_failed_sync_freezes_and_recovery_writes_the_rest(
    open_writer: Open, make: Any, frames: Any, tmp_path: Path, log: ListLog
) -> None:
    files = FaultyFiles(OsFiles(), [Fault("fdatasync", "*.jsonl", 2, errno.EIO)])
    writer = open_writer(files, sync_seconds=0.05)
    first = write_frame(writer, frames, make.stored(ALICE))
    await writer.sync()
    write_frame(writer, frames, make.retried(ALICE))
    await writer.run()  # until it is frozen
    assert writer.frozen
    write_frame(writer, frames, make.finished(ALICE))
    await writer.sync()
    writer.close()
    assert synced(writer) == first
    assert types_of(tmp_path / "3.jsonl") == ["opened", "reception"]
    again = open_writer()
    assert again.last == Place(1, 64, 0)
    assert ("error", "record.sync_failed") in [(level, event) for level, event, _ in log.lines]
    again.close()


def test_what_cannot_be_written_is_bounded(open_writer: Open, make: Any, frames: Any) -> None:
    files = FaultyFiles(OsFiles(), [])
    writer = open_writer(files)
    files.faults.append(Fault("pwritev", "*.jsonl", 1, errno.ENOSPC, times=0))
    events = events_of(frames.add(*[make.stored(ALICE)] * 1000), [make.stored(ALICE)] * 1000, writer.redactor)
    for _ in range(60):
        writer.write_batch(Position(1, 1), events)
    assert writer.frozen
    assert writer._pending_octets <= PENDING_LIMIT
    assert writer._pending == []
    writer.close()


@pytest.mark.parametrize("operation", ["open", "rename", "sync_directory"])
async def test_a_failed_rotation_loses_nothing(
    open_writer: Open, make: Any, frames: Any, tmp_path: Path, clock: FakeClock, operation: str
) -> None:
    files = FaultyFiles(OsFiles(), [])
    writer = open_writer(files, rotate_seconds=60)
    position = write_frame(writer, frames, make.stored(ALICE))
    clock.advance(61)
    files.faults.append(Fault(operation, "*", 1, errno.EIO))
    await writer.sync()
    assert writer.frozen
    assert synced(writer) == position
    writer.close()
    again = open_writer()
    assert again.last == Place(1, 64, 0)
    again.close()
    assert [kind for path in event_paths(tmp_path) for kind in types_of(path)].count("reception") == 1


@pytest.mark.parametrize("how", ["removed", "moved", "directory"])
async def test_a_file_that_is_taken_away_is_noticed_and_written_anew(
    open_writer: Open, make: Any, frames: Any, tmp_path: Path, log: ListLog, how: str
) -> None:
    writer = open_writer()
    position = write_frame(writer, frames, make.stored(ALICE))
    await writer.sync()
    assert synced(writer) == position
    path = open_path(tmp_path, 3)
    if how == "removed":
        path.unlink()
    elif how == "moved":
        path.rename(tmp_path / "archive")
        path.write_bytes(b"")
    else:
        shutil.rmtree(tmp_path)
    write_frame(writer, frames, make.finished(ALICE))
    await writer.sync()
    assert writer.frozen
    assert synced(writer) == position, "the log is kept from here on"
    assert "record.file_gone" in [event for _, event, _ in log.lines]
    writer.close()
    again = open_writer()
    catch_up(again, frames.scan)
    again.close()
    assert types_of(path) == ["opened", "reception", "delivery"], "what the log still holds is told again"


def test_files_live_as_long_as_they_are_kept(tmp_path: Path) -> None:
    clock = FakeClock(time=10_000_000.0)
    for name in ("1.jsonl", "2-1.jsonl", "2.jsonl", "3-1.jsonl", "other.txt"):
        path = tmp_path / name
        path.write_bytes(b"")
        age = 5_000 if name != "3-1.jsonl" else 10
        os.utime(path, (clock.time - age, clock.time - age))
    assert [path.name for path in expired_paths(tmp_path, clock.time - 3_600, frozenset({2}))] == [
        "1.jsonl",
        "2-1.jsonl",
    ]
    assert expire(OsFiles(), tmp_path, RecordOptions(keep_seconds=3_600), clock, frozenset({2})) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.jsonl", "3-1.jsonl", "other.txt"]


def test_a_file_that_cannot_be_removed_is_told_and_keeps_no_other(tmp_path: Path) -> None:
    clock = FakeClock(time=10_000_000.0)
    (tmp_path / "1.jsonl").mkdir()
    for name in ("1.jsonl", "2.jsonl", "3.jsonl"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1.0, 1.0))

    class Shared(OsFiles):
        def unlink(self, path: str) -> None:
            if path.endswith("2.jsonl"):
                Path(path).unlink()  # somebody else was faster
            super().unlink(path)

    with pytest.raises(IsADirectoryError):
        expire(Shared(), tmp_path, RecordOptions(), clock, frozenset())
    assert [path.name for path in tmp_path.iterdir()] == ["1.jsonl"]
    (tmp_path / "1.jsonl").rmdir()
    assert expire(Shared(), tmp_path, RecordOptions(), clock, frozenset()) == 0


async def test_a_rotated_key_is_taken_up_with_the_next_sync(
    tmp_path: Path, clock: FakeClock, log: ListLog
) -> None:
    class Rotating(FixedTokens):
        looks = 0

        def refresh(self) -> bool:
            self.looks += 1
            return False

    tokens = Rotating()
    writer = EventWriter(OsFiles(), tmp_path, 3, RecordOptions(), clock, log, tokens=tokens)
    await writer.sync()
    writer.close()
    assert tokens.looks == 1


def test_tokens_need_a_key(tmp_path: Path, clock: FakeClock, log: ListLog) -> None:
    with pytest.raises(ConfigError, match="no key"):
        EventWriter(OsFiles(), tmp_path, 3, RecordOptions(), clock, log)
