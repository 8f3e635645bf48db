"""Numbers that processes count together: exact, bounded, kept where it is asked."""

import errno
import os
import signal
import stat
from math import inf
from pathlib import Path

import pytest

from outrider.base.errors import StoreError, UnavailableError
from outrider.policy.shared import attach_cells, create_cells, owner_of


def test_numbers_begin_at_nothing_and_add_up() -> None:
    cells = create_cells(None, 64)
    key = cells.key(b"series", b"a")
    assert cells.get(key, 0.0) is None
    assert [cells.add(key, delta, 1.0) for delta in (3, -5, 1)] == [3, -2, -1]
    assert (cells.get(key, 2.0), cells.touched(key)) == (-1, 1.0)
    assert cells.get(cells.key(b"series", b"b"), 0.0) is None
    assert cells.get(cells.key(b"serie", b"sa"), 0.0) is None


def test_a_number_ends() -> None:
    cells = create_cells(None, 64)
    key = cells.key(b"x")
    cells.add(key, 7, 1.0, until=5.0)
    assert (cells.get(key, 4.9), cells.get(key, 5.0)) == (7, None)
    assert cells.add(key, 1, 6.0, until=9.0) == 1


def test_a_full_bucket_drops_what_ends_first_and_never_what_has_no_end() -> None:
    cells = create_cells(None, 1)
    keys = [cells.key(b"%d" % number) for number in range(65)]
    for number, key in enumerate(keys):
        cells.add(key, number, 0.0, until=100.0 + number)
    assert [cells.get(key, 0.0) for key in keys] == [None, *range(1, 65)]
    assert cells.dropped == 1
    forever = create_cells(None, 1)
    for number in range(64):
        forever.add(forever.key(b"%d" % number), 1, 0.0)
    with pytest.raises(StoreError, match=r"policy\.shared_numbers"):
        forever.add(forever.key(b"64"), 1, 0.0)
    assert forever.drop(forever.key(b"3"))
    assert forever.add(forever.key(b"64"), 1, 0.0) == 1


def test_an_owners_oldest_are_forgotten() -> None:
    cells = create_cells(None, 1000)
    ours, theirs = owner_of(b"ours"), owner_of(b"theirs")
    for number in range(50):
        cells.add(cells.key(b"%d" % number), 1, float(number), inf, ours)
        cells.add(cells.key(b"their %d" % number), 1, 0.0, inf, theirs)
    cells.forget_oldest(ours, 20, 60.0)
    assert [cells.get(cells.key(b"%d" % number), 60.0) for number in range(50)] == [None] * 20 + [1] * 30
    assert (cells.count(ours, 60.0), cells.count(theirs, 60.0)) == (30, 50)


def test_what_is_meant_to_be_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    cells = create_cells(path, 64)
    cells.add(cells.key(b"a", is_kept=True), 5, 0.0)
    cells.add(cells.key(b"a"), 6, 0.0)
    worker = attach_cells(path)
    assert (worker.get(worker.key(b"a", is_kept=True), 0.0), worker.get(worker.key(b"a"), 0.0)) == (5, 6)
    worker.close()
    cells.close()
    again = create_cells(path, 64)
    assert (again.get(again.key(b"a", is_kept=True), 0.0), again.get(again.key(b"a"), 0.0)) == (5, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again.close()
    larger = create_cells(path, 6400)
    assert larger.get(larger.key(b"a", is_kept=True), 0.0) is None


@pytest.mark.parametrize("text", [b"", b"x", b"ORCELLS1" + bytes(32), b"x" * 300_000])
def test_a_file_that_is_none_of_ours_is_begun_anew_and_not_attached(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(text)
    with pytest.raises(StoreError):
        attach_cells(path)
    cells = create_cells(path, 64)
    assert cells.add(cells.key(b"a"), 1, 0.0) == 1


def test_a_full_disk_is_met_at_the_start_and_not_at_a_page(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    create_cells(path, 64_000).close()
    held = path.stat()
    assert held.st_blocks * 512 >= held.st_size


def test_a_number_that_no_script_could_read_is_refused() -> None:
    cells = create_cells(None, 64)
    cells.add(cells.key(b"a"), (1 << 53) - 1, 0.0)
    with pytest.raises(StoreError, match="larger"):
        cells.add(cells.key(b"a"), 1, 0.0)


def test_processes_lose_nothing(tmp_path: Path) -> None:
    """Four processes add to the same keys at once."""
    path = tmp_path / "numbers"
    create_cells(path, 256)
    children = []
    for _ in range(4):
        pid = os.fork()
        if not pid:  # what the child does; it must leave without pytest noticing
            try:
                cells = attach_cells(path)
                for number in range(1500):
                    cells.add(cells.key(b"%d" % (number % 40)), 1, 0.0)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children) == [0, 0, 0, 0]
    cells = attach_cells(path)
    total = [cells.get(cells.key(b"%d" % number), 0.0) or 0 for number in range(40)]
    assert sum(total) == 6000
    assert set(total) == {148, 152}


def test_a_process_that_dies_in_the_middle_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    cells = create_cells(path, 64)
    cells.add(cells.key(b"a"), 1, 0.0)
    pid = os.fork()
    if not pid:
        try:
            with attach_cells(path)._locked():
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cells.add(cells.key(b"a"), 1, 0.0) == 2


def test_one_who_does_not_let_go_is_not_waited_for_long(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    cells = create_cells(path, 64)
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with attach_cells(path)._locked():
                os.write(ready[1], b"x")
                os.close(done[1])
                os.read(done[0], 1)
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(UnavailableError, match="held by another process"):
        cells.add(cells.key(b"a"), 1, 0.0)
    assert cells.get(cells.key(b"a"), 0.0) is None
    for end in (*ready, *done):
        os.close(end)
    os.waitpid(pid, 0)
    assert cells.add(cells.key(b"a"), 1, 0.0) == 1


def test_a_disk_without_room_is_told_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(_fd: int, _offset: int, _octets: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StoreError, match="cannot be used: No space left on device"):
        create_cells(tmp_path / "numbers", 64)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
