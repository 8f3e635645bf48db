"""The file primitive and its faults."""

import errno
import os
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.base.faults import SHORT, Fault, FaultyFiles, parse_faults
from outrider.base.files import IOV_MAX, Files, OsFiles, directory_of, read_file, write_all, write_atomic


@pytest.fixture(params=["os", "faulty"])
def files(request: pytest.FixtureRequest) -> Files:
    return OsFiles() if request.param == "os" else FaultyFiles(OsFiles(), [])


def test_everything_works_on_a_real_file(files: Files, tmp_path: Path) -> None:
    folder = str(tmp_path / "folder")
    files.mkdir(folder)
    path = f"{folder}/file"
    fd = files.open(path, os.O_RDWR | os.O_CREAT)
    assert not os.get_inheritable(fd)
    files.allocate(fd, 100)
    assert files.size(fd) == 100
    assert files.pwritev(fd, [b"ab", b"cd"], 10) == 4
    files.fdatasync(fd)
    assert files.pread(fd, 6, 9) == b"\0abcd\0"
    files.truncate(fd, 12)
    assert files.lock(fd)
    other = files.open(path, os.O_RDWR)
    assert not files.lock(other)
    files.close(fd)
    assert files.lock(other)
    files.close(other)
    files.rename(path, f"{folder}/new")
    files.sync_directory(folder)
    assert files.listdir(folder) == ["new"]
    assert read_file(files, f"{folder}/new") == bytes(10) + b"ab"
    files.unlink(f"{folder}/new")
    files.rmdir(folder)
    assert not Path(folder).exists()
    assert files.free(str(tmp_path)).octets > 0


def test_more_buffers_than_one_call_takes_are_written(files: Files, tmp_path: Path) -> None:
    fd = files.open(str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    buffers = [b"%05d" % number for number in range(IOV_MAX * 2 + 7)]
    assert write_all(files, fd, buffers, 3) == len(buffers) * 5
    assert files.pread(fd, 1 << 20, 3) == b"".join(buffers)
    files.close(fd)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_short_writes_go_on_where_they_stopped(tmp_path: Path, at: int) -> None:
    files = FaultyFiles(OsFiles(), [Fault("pwritev", "*", at, SHORT, 3)])
    fd = files.open(str(tmp_path / "file"), os.O_RDWR | os.O_CREAT)
    buffers = [b"%05d" % number for number in range(IOV_MAX * 2 + 7)]
    assert write_all(files, fd, buffers, 0) == len(buffers) * 5
    assert files.pread(fd, 1 << 20, 0) == b"".join(buffers)
    files.close(fd)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    write_atomic(OsFiles(), path, b"old")
    for operation in ("open", "pwritev", "fdatasync", "rename"):
        files = FaultyFiles(OsFiles(), [Fault(operation, "*", 1, errno.EIO)])
        with pytest.raises(OSError, match="Input/output error"):
            write_atomic(files, path, b"new")
        assert Path(path).read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    write_atomic(FaultyFiles(OsFiles(), [Fault("pwritev", "*", 1, SHORT)]), path, b"longer than before")
    assert Path(path).read_bytes() == b"longer than before"


def test_faults_strike_when_and_where_they_are_told(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), [Fault("unlink", "*/b*", 2, errno.ENOSPC, 1)])
    for name in ("a", "b1", "b2", "b3"):
        (tmp_path / name).touch()
    files.unlink(str(tmp_path / "a"))
    files.unlink(str(tmp_path / "b1"))
    with pytest.raises(OSError, match="No space left"):
        files.unlink(str(tmp_path / "b2"))
    files.unlink(str(tmp_path / "b3"))
    assert [path.name for path in tmp_path.iterdir()] == ["b2"]


def test_faults_are_read_from_text() -> None:
    assert parse_faults("") == []
    assert parse_faults("fdatasync:*/logs/*:3:EIO,pwritev:*.log:10:SHORT:0") == [
        Fault("fdatasync", "*/logs/*", 3, errno.EIO),
        Fault("pwritev", "*.log", 10, SHORT, 0),
    ]


@pytest.mark.parametrize(
    "text", ["x", "fdatasync:*:1", "fdatasync:*:one:EIO", "fdatasync:*:1:EWHAT", "seek:*:1:EIO"]
)
def test_faults_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="file fault"):
        parse_faults(text)


@pytest.mark.parametrize(
    ("path", "expected"), [("a/b", "a"), ("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b/c", "a/b")]
)
def test_the_directory_of_a_name(path: str, expected: str) -> None:
    assert directory_of(path) == expected
