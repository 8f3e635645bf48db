"""The file primitive: every durable write of the house goes through a `Files`.

What comes in are paths and octets, what goes out are descriptors and octets; nothing is buffered here. Three
implementations exist: `OsFiles`, `base.faults.FaultyFiles` that fails on demand, and the tracing one of the
power-cut tests, which can therefore rebuild a directory as it could stand at any moment.

Invariant: when `write_atomic` has returned, the file holds exactly the data after any crash; before, it holds
the old content or is absent.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

COPY_OCTETS = 1 << 20  # chosen: some 1 ms
IOV_MAX = 1024  # most buffers of one pwritev; UIO_MAXIOV of Linux


class FreeSpace(NamedTuple):
    """What a file system has left for us: octets and inodes (None where it does not count them)."""

    octets: int
    inodes: int | None


class Files(Protocol):
    """System calls on files. Each raises OSError as the system call does."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor; `flags` as in `os.open`. It is closed on exec."""
        ...

    def close(self, fd: int) -> None: ...

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        """Write at most `IOV_MAX` buffers; may write less than all, as the system call may."""
        ...

    def pread(self, fd: int, octets: int, offset: int) -> bytes: ...

    def fdatasync(self, fd: int) -> None: ...

    def allocate(self, fd: int, octets: int) -> None:
        """Make the file `octets` long, filled with zeros, with its space reserved."""
        ...

    def truncate(self, fd: int, octets: int) -> None: ...

    def size(self, fd: int) -> int: ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def mkdir(self, path: str, mode: int = 0o700) -> None: ...

    def rmdir(self, path: str) -> None: ...

    def listdir(self, path: str) -> list[str]: ...

    def sync_directory(self, path: str) -> None:
        """Make names created, renamed and removed in the directory durable."""
        ...

    def lock(self, fd: int) -> bool:
        """Take the exclusive lock of the open file without waiting; False when another holds it."""
        ...

    def free(self, path: str) -> FreeSpace: ...


class OsFiles:
    """The operating system's files."""

    __slots__ = ()

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def pread(self, fd: int, octets: int, offset: int) -> bytes:
        return os.pread(fd, octets, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def allocate(self, fd: int, octets: int) -> None:
        os.posix_fallocate(fd, 0, octets)

    def truncate(self, fd: int, octets: int) -> None:
        os.ftruncate(fd, octets)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)  # noqa: PTH104 - the primitive itself

    def unlink(self, path: str) -> None:
        os.unlink(path)  # noqa: PTH108 - the primitive itself

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        os.mkdir(path, mode)  # noqa: PTH102 - the primitive itself

    def rmdir(self, path: str) -> None:
        os.rmdir(path)  # noqa: PTH106 - the primitive itself

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)  # noqa: PTH208 - the primitive itself

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def free(self, path: str) -> FreeSpace:
        found = os.statvfs(path)
        return FreeSpace(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def directory_of(path: str) -> str:
    """The directory that holds the name `path`."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def write_all(files: Files, fd: int, buffers: Sequence[bytes], offset: int) -> int:
    """Write all buffers at `offset`, going on after short writes; returns the octets written.

    Raises:
        OSError: A write failed; what it left behind in the file is unknown.
    """
    start = offset
    first = 0
    while first < len(buffers):
        group = buffers[first : first + IOV_MAX]
        wanted = sum(map(len, group))
        written = files.pwritev(fd, group, offset)
        while written < wanted:
            if written <= 0:
                raise OSError(errno.EIO, "write made no progress")
            group = [b"".join(group)[written:]]
            offset += written
            wanted -= written
            written = files.pwritev(fd, group, offset)
        offset += written
        first += IOV_MAX
    return offset - start


def read_file(files: Files, path: str) -> bytes:
    """The whole content of a small file."""
    fd = files.open(path, os.O_RDONLY)
    try:
        chunks = []
        offset = 0
        while chunk := files.pread(fd, 1 << 16, offset):
            chunks.append(chunk)
            offset += len(chunk)
        return b"".join(chunks)
    finally:
        files.close(fd)


def stands_at(fd: int, path: str) -> bool:
    """True while the open file is the one that the path names: nobody has removed or replaced it.

    Raises:
        OSError: That cannot be found out.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - a text, as all paths of the primitive
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(found, os.fstat(fd))


def write_again(files: Files, fd: int, path: str, octets: int, reserved: int) -> int:
    """Give an open file that was removed its name again: its first `octets` in a new file.

    Args:
        files: The file primitive.
        fd: The file without a name.
        path: Its name; what stands there now is replaced.
        octets: How much of it counts.
        reserved: Octets that the new file has room for.

    Returns:
        The new file's descriptor; the old one stays open. All of it and its name are durable.

    Raises:
        OSError: It cannot be written; the name is as it was.
    """
    temporary = f"{path}.new"
    new = files.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        files.allocate(new, reserved)
        offset = 0
        while offset < octets and (chunk := files.pread(fd, min(octets - offset, COPY_OCTETS), offset)):
            offset = write_all(files, new, [chunk], offset) + offset
        files.fdatasync(new)
        files.rename(temporary, path)
        files.sync_directory(directory_of(path))
    except OSError:
        files.close(new)
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise
    return new


def write_atomic(files: Files, path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` by one that holds `data`, durably and at once.

    The temporary file beside it ends in `.new`; one that a crash left behind is overwritten.

    Raises:
        OSError: Nothing has changed, except that the new name may stand already without being durable.
    """
    temporary = f"{path}.new"
    fd = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        try:
            write_all(files, fd, [data], 0)
            files.fdatasync(fd)
        finally:
            files.close(fd)
        files.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            files.unlink(temporary)
        raise
    files.sync_directory(directory_of(path))
