"""After a crash anywhere, each event of the log is in the file once: neither lost nor doubled."""

import random
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import NullLog
from outrider.model.address import Address
from outrider.model.dispatch import Position
from outrider.record.derive import Place, events_of, parse_id
from outrider.record.events import Event, decode_line, encode_lines
from outrider.record.files import event_paths, lines_backwards, resume
from outrider.record.options import RecordOptions
from outrider.record.recover import recover
from outrider.record.redact import Profile, Redactor
from outrider.record.writer import EventWriter

ALICE = Address("alice", "example.com")
BOB = Address("bob", "example.org")


class Quick(OsFiles):
    """Files without syncs: these tests play the crash themselves."""

    def fdatasync(self, fd: int) -> None: ...

    def sync_directory(self, path: str) -> None: ...


def fill(frames: Any, make: Any) -> None:
    frames.add(make.stored(ALICE, BOB))
    frames.add(make.retried(ALICE), make.finished(BOB, entry=8))
    frames.add(make.altered())
    frames.add(make.finished(ALICE), segment=2)
    frames.add(make.stored(BOB, first_entry=9), segment=2)


def expected_of(frames: Any) -> list[Event]:
    return [event for ref, changes in frames.frames for event in events_of(ref, changes, Redactor())]


def recover_in(directory: Path, frames: Any, **options: Any) -> int:
    return recover(
        Quick(),
        directory,
        3,
        frames.scan,
        RecordOptions(redaction=Profile.DOMAIN, **options),
        FakeClock(),
        NullLog(),
    )


def derived_lines(directory: Path) -> list[bytes]:
    """Lines of all files whose id names a place."""
    lines = [line + b"\n" for path in event_paths(directory) for line in path.read_bytes().splitlines()]
    return [line for line in lines if parse_id(decode_line(line).id) is not None]


def written(directory: Path, frames: Any, count: int) -> bytes:
    """The file of a process that wrote the first `count` frames' events, with something in between."""
    writer = EventWriter(
        OsFiles(), directory, 3, RecordOptions(redaction=Profile.DOMAIN), FakeClock(), NullLog()
    )
    for ref, changes in frames.frames[:count]:
        writer.write_batch(
            Position(ref.segment, ref.offset + ref.length), events_of(ref, changes, Redactor())
        )
        writer.noticed("test.between", count=count)
    writer.close()
    return (directory / "3.jsonl").read_bytes()


def test_a_lost_file_is_written_again(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    assert recover_in(tmp_path, frames) == 7
    assert derived_lines(tmp_path) == encode_lines(expected_of(frames)).splitlines(keepends=True)


def test_recovering_twice_changes_nothing(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    recover_in(tmp_path, frames)
    before = (tmp_path / "3.jsonl").read_bytes()
    assert recover_in(tmp_path, frames) == 0
    assert (tmp_path / "3.jsonl").read_bytes() == before


def test_a_crash_at_any_octet_loses_and_doubles_nothing(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    whole = written(tmp_path, frames, 4)
    expected = encode_lines(expected_of(frames)).splitlines(keepends=True)
    ends = [position for position, octet in enumerate(whole) if octet == 0x0A]
    cuts = {*range(0, len(whole), 5), *(end + near for end in ends for near in (-1, 0, 1, 2))}
    for cut in sorted(cuts):
        (tmp_path / "3.jsonl").write_bytes(whole[:cut])
        recover_in(tmp_path, frames)
        assert derived_lines(tmp_path) == expected, cut


def test_pages_that_were_never_synced_are_written_again(tmp_path: Path, make: Any, frames: Any) -> None:
    """Zeros in the middle with good lines behind them, as a loss of power can leave them."""
    fill(frames, make)
    whole = written(tmp_path, frames, 5)
    expected = encode_lines(expected_of(frames)).splitlines(keepends=True)
    draw = random.Random(7)
    for _ in range(60):
        start = draw.randrange(len(whole))
        end = min(len(whole), start + draw.randrange(1, 400))
        (tmp_path / "3.jsonl").write_bytes(whole[:start] + bytes(end - start) + whole[end:])
        recover_in(tmp_path, frames)
        assert derived_lines(tmp_path) == expected, (start, end)


def test_a_torn_tail_of_garbage_is_cut_off(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    whole = written(tmp_path, frames, 2)
    (tmp_path / "3.jsonl").write_bytes(whole + b'{"id":"3.9\n}}{\n\n')
    assert resume(OsFiles(), tmp_path, 3) == Place(1, frames.frames[1][0].offset, 1)
    assert (tmp_path / "3.jsonl").read_bytes() == whole


def test_the_place_survives_rotation_without_further_events(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    written(tmp_path, frames, 5)
    (tmp_path / "3.jsonl").rename(tmp_path / "3-1.jsonl")
    assert recover_in(tmp_path, frames) == 0  # died between the two renames
    (tmp_path / "3-1.jsonl").unlink()  # retention: the first line of the open file still knows
    assert recover_in(tmp_path, frames) == 0


def test_a_process_that_goes_on_with_its_log_appends(tmp_path: Path, make: Any, frames: Any) -> None:
    fill(frames, make)
    before = written(tmp_path, frames, 3)
    written(tmp_path, frames, 0)
    assert (tmp_path / "3.jsonl").read_bytes() == before


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_lines_are_read_backwards_whatever_the_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("outrider.record.files._CHUNK", chunk)
    path = tmp_path / "1.jsonl"
    for lines in ([b"a"], [b"", b"ab"], [b"abc", b"", b"d" * 9], []):
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        files = OsFiles()
        fd = files.open(str(path), 0)
        assert list(lines_backwards(files, fd, files.size(fd))) == lines[::-1]
        files.close(fd)
