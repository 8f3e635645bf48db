"""File faults on demand: a `Files` that fails the nth call of an operation on a matching path.

For tests of a single part and of the whole server: `parse_faults` reads the text form, so that a test can
pass faults to a real process, for example `fdatasync:*/logs/*:3:EIO,pwritev:*.log:10:SHORT`.

Invariant: a call without a matching fault behaves as the wrapped `Files`.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from outrider.base.errors import ConfigError
from outrider.base.files import Files, FreeSpace

SHORT = -1  # a `Fault.error` that means: write only the first half
OPERATIONS = frozenset(
    [
        "open",
        "pwritev",
        "pread",
        "fdatasync",
        "allocate",
        "truncate",
        "rename",
        "unlink",
        "mkdir",
        "rmdir",
        "listdir",
        "sync_directory",
        "free",
    ]
)


@dataclass(slots=True)
class Fault:
    """One fault.

    Attributes:
        operation: Name of a method of `Files`.
        pattern: Shell pattern that the path must match.
        at: Which matching call fails first, from 1.
        error: Error number, or `SHORT`.
        times: How many calls fail from there on; 0 is all.
        seen: Matching calls so far.
    """

    operation: str
    pattern: str
    at: int
    error: int
    times: int = 1
    seen: int = 0

    def strikes(self, operation: str, path: str) -> bool:
        """Count a call; True when it is to fail."""
        if operation != self.operation or not fnmatchcase(path, self.pattern):
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times == 0 or self.seen < self.at + self.times)


def parse_faults(text: str) -> list[Fault]:
    """Faults from `operation:pattern:at:error[:times]`, separated by commas; empty text is no fault.

    Raises:
        ConfigError: The text is of another form.
    """
    faults = []
    for item in filter(None, text.split(",")):
        operation, *rest = item.split(":")
        try:
            pattern, at, name, *times = rest
            error = SHORT if name == "SHORT" else int(getattr(errno, name))
            fault = Fault(operation, pattern, int(at), error, *map(int, times))
        except (AttributeError, TypeError, ValueError) as cause:
            raise ConfigError(f"file fault {item!r}: expected operation:pattern:at:error[:times]") from cause
        if operation not in OPERATIONS:
            raise ConfigError(f"file fault {item!r}: unknown operation, expected one of {sorted(OPERATIONS)}")
        faults.append(fault)
    return faults


class FaultyFiles:
    """Passes every call to `files` unless one of `faults` strikes. The list may be changed at any time."""

    def __init__(self, files: Files, faults: list[Fault]) -> None:
        self._files = files
        self.faults = faults
        self._paths: dict[int, str] = {}

    def _check(self, operation: str, path: str) -> bool:
        """True for a short write.

        Raises:
            OSError: A fault strikes.
        """
        for fault in self.faults:
            if fault.strikes(operation, path):
                if fault.error == SHORT:
                    return True
                raise OSError(fault.error, os.strerror(fault.error), path)
        return False

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._check("open", path)
        fd = self._files.open(path, flags, mode)
        self._paths[fd] = path
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        self._files.close(fd)

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        if self._check("pwritev", self._paths.get(fd, "")):
            data = b"".join(buffers)
            return self._files.pwritev(fd, [data[: max(1, len(data) // 2)]], offset)
        return self._files.pwritev(fd, buffers, offset)

    def pread(self, fd: int, octets: int, offset: int) -> bytes:
        self._check("pread", self._paths.get(fd, ""))
        return self._files.pread(fd, octets, offset)

    def fdatasync(self, fd: int) -> None:
        self._check("fdatasync", self._paths.get(fd, ""))
        self._files.fdatasync(fd)

    def allocate(self, fd: int, octets: int) -> None:
        self._check("allocate", self._paths.get(fd, ""))
        self._files.allocate(fd, octets)

    def truncate(self, fd: int, octets: int) -> None:
        self._check("truncate", self._paths.get(fd, ""))
        self._files.truncate(fd, octets)

    def size(self, fd: int) -> int:
        return self._files.size(fd)

    def rename(self, source: str, target: str) -> None:
        self._check("rename", target)
        self._files.rename(source, target)

    def unlink(self, path: str) -> None:
        self._check("unlink", path)
        self._files.unlink(path)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        self._check("mkdir", path)
        self._files.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        self._check("rmdir", path)
        self._files.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        self._check("listdir", path)
        return self._files.listdir(path)

    def sync_directory(self, path: str) -> None:
        self._check("sync_directory", path)
        self._files.sync_directory(path)

    def lock(self, fd: int) -> bool:
        return self._files.lock(fd)

    def free(self, path: str) -> FreeSpace:
        self._check("free", path)
        return self._files.free(path)
