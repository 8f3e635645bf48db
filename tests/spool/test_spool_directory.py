"""The spool directory: numbers that never repeat, locks, and names that are durable."""

import errno
import os
from pathlib import Path

import pytest

from outrider.base.errors import SpoolError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import OsFiles
from outrider.spool.directory import LOST_COUNTER_GAP, SpoolDirectory


def open_directory(path: Path, files: OsFiles | FaultyFiles | None = None) -> SpoolDirectory:
    directory = SpoolDirectory(files or OsFiles(), str(path / "spool"))
    directory.open()
    return directory


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    open_directory(tmp_path)
    before = sorted(path.name for path in (tmp_path / "spool").iterdir())
    open_directory(tmp_path)
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == before


def test_log_numbers_are_never_given_again(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    assert [directory.allocate_log() for _ in range(3)] == [1, 2, 3]
    assert directory.remove_log(3)
    assert open_directory(tmp_path).allocate_log() == 4
    assert directory.logs() == [1, 2, 4]


@pytest.mark.parametrize("harm", ["lost", "garbage", "too low"])
def test_a_lost_counter_steps_over_what_may_have_been(tmp_path: Path, harm: str) -> None:
    directory = open_directory(tmp_path)
    for _ in range(5):
        directory.allocate_log()
    counter = tmp_path / "spool" / "next_log"
    match harm:
        case "lost":
            counter.unlink()
        case "garbage":
            counter.write_bytes(b"\0\0")
        case _:
            counter.write_bytes(b"2\n")
    assert directory.allocate_log() == 5 + LOST_COUNTER_GAP
    assert directory.allocate_log() == 5 + LOST_COUNTER_GAP + 1


def test_a_number_is_not_used_when_the_counter_cannot_be_written(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), [])
    directory = open_directory(tmp_path, files)
    files.faults.append(Fault("fdatasync", "*next_log*", 1, errno.EIO))
    with pytest.raises(SpoolError, match="no log can be opened"):
        directory.allocate_log()
    assert directory.logs() == []
    assert directory.allocate_log() == 1


def test_locks_tell_who_lives(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    log = directory.allocate_log()
    assert not directory.is_alive(log)
    fd = directory.lock_log(log)
    assert fd is not None
    assert directory.is_alive(log)
    assert directory.lock_log(log) is None
    assert not directory.remove_log(log)
    OsFiles().close(fd)
    assert not directory.is_alive(log)
    assert directory.remove_log(log)
    assert directory.remove_log(log), "what is gone is gone"


def test_a_log_has_one_writer_at_a_time(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    number = directory.allocate_log()
    fd = directory.lock_log(number)
    assert fd is not None
    assert directory.lock_log(number) is None
    assert directory.is_alive(number)
    OsFiles().close(fd)
    assert not directory.is_alive(number)
    again = directory.lock_log(number)
    assert again is not None
    OsFiles().close(again)


def test_a_format_file_that_says_nothing_is_refused(tmp_path: Path) -> None:
    open_directory(tmp_path)
    (tmp_path / "spool" / "format").write_text("?\n")
    with pytest.raises(SpoolError, match="format number"):
        open_directory(tmp_path)


def test_a_spool_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "no" / "such" / "spool"))
    with pytest.raises(SpoolError, match="cannot be used"):
        directory.open()


def test_quarantine_keeps_the_first_of_a_name(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    path = directory.quarantine("a.frame", b"one")
    assert directory.quarantine("a.frame", b"two") == path
    assert Path(path).read_bytes() == b"one"


def test_free_space_is_told(tmp_path: Path) -> None:
    assert open_directory(tmp_path).free_octets() > 0


def test_a_log_has_begun_with_its_lock_or_when_a_copy_brought_it_back(tmp_path: Path) -> None:
    spool = open_directory(tmp_path)
    log = spool.allocate_log()
    assert not spool.is_begun(log), "nothing is in it yet"
    segment = Path(spool.segment_path(log, 0))
    segment.touch()
    assert spool.is_begun(log), "no copy holds a lock"
    segment.unlink()
    lock = spool.lock_log(log)
    assert lock is not None
    os.close(lock)
    assert spool.is_begun(log)
    assert not spool.is_begun(log + 1)
