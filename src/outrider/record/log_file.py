"""The file of the server's log, which all processes of a server write to.

In: whole lines. Out: a file that is closed and begun anew by size and age, or by somebody who moved it away.

Theory: the file is opened to append, and a line is one write, so the kernel puts lines of several processes
one after the other, whole. One process (the supervisor) closes it: it gives the file another name and opens
the next one by the old name. All others look before each line whether the name still leads to the file that
they have open, and open what it leads to if not. Who wrote just before the change wrote into the closed file;
that is why nothing is lost. Whoever moves the file away by hand is followed in the same way; no signal is
needed.

Invariant: a line that was written is in the open file or in a closed one, once and whole. What the disk does
not take is counted (`missed`), and never an error of whoever had something to say.
"""

import contextlib
import fcntl
import os
import re
import stat
import threading
from datetime import datetime
from pathlib import Path
from typing import Final

from outrider.base.clock import Clock
from outrider.record.rotation import Rotation, closed_paths, next_closed_path

MODE: Final = 0o640
# chosen: programs that collect logs read them as members of a group; nobody else has business there

_HEAD_OCTETS: Final = 128  # of the first line: its time is at the beginning in both formats
_TIME: Final = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


class LogFile:
    """What `structlog.BytesLogger` writes to; each process has its own after a fork, all lead to one file.

    Args:
        path: Its name; made when it is missing. Where a link leads somewhere, that is the name.
        rotation: When it is closed, and what stays.
        clock: Time.

    Raises:
        OSError: It cannot be opened.
    """

    __slots__ = (
        "__weakref__",
        "_begun_time",
        "_clock",
        "_fd",
        "_identity",
        "_is_torn",
        "_lock",
        "_path",
        "missed",
        "rotation",
    )

    def __init__(self, path: Path, rotation: Rotation, clock: Clock) -> None:
        self._path = path.resolve()
        self.rotation = rotation
        self._clock = clock
        self._lock = threading.Lock()
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._is_torn = False
        self._begun_time = 0.0
        self.missed = 0
        self._open()

    def write(self, line: bytes) -> None:
        """Append a line, with its line feed, to the file that has the name now."""
        with self._lock:
            with contextlib.suppress(OSError):  # then the one that is open still takes it
                self._follow()
            whole = b"\n" + line if self._is_torn else line
            try:
                written = os.write(self._fd, whole)
            except OSError:
                self.missed += 1
                return
            # a part of a line, as the disk is full: it is ended before the next one from here
            self._is_torn = written < len(whole)
            self.missed += self._is_torn

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close it, for whoever opened it."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1

    def follow(self) -> None:
        """Open what has the name now, so that a closed file can go from the disk.

        Raises:
            OSError: It cannot be opened; the one that is open goes on to be written to.
        """
        with self._lock:
            self._follow()

    def rotate(self) -> Path | None:
        """Close the file if it is due, begin the next one and remove what is not kept; for one process only.

        Returns:
            The closed file; None when nothing was due.

        Raises:
            OSError: Something of it was impossible; lines go on into the file that is open.
        """
        with self._lock:
            self._follow()
            size = os.fstat(self._fd).st_size
            age_seconds = self._clock.wall() - self._begun_time
            if self._identity is None or not size or not self.rotation.is_due(size, age_seconds):
                return None
            closed = self._close_and_begin()
        for path in self.rotation.expired(closed_paths(self._path), self._clock.wall()):
            path.unlink(missing_ok=True)
        return closed

    def _follow(self) -> None:
        if self._identity is None:
            return  # a pipe or a terminal has no successor
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._open()
        else:
            if (found.st_dev, found.st_ino) != self._identity:
                self._open()

    def _open(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._is_torn = False
        found = os.fstat(fd)
        is_file = stat.S_ISREG(found.st_mode)
        self._identity = (found.st_dev, found.st_ino) if is_file else None
        self._begun_time = self._clock.wall()
        if is_file and found.st_size:
            self._begun_time = begun_time(self._path) or self._begun_time

    def _close_and_begin(self) -> Path | None:
        """With the lock: two servers that share a file by mistake must not take each other's away."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        mode = stat.S_IMODE(os.fstat(self._fd).st_mode)
        closed = next_closed_path(self._path)
        self._path.rename(closed)
        self._open()
        os.fchmod(self._fd, mode)
        return closed


def begun_time(path: Path) -> float | None:
    """When the first line of a log was written (Unix seconds), so that a restart does not make it young."""
    with path.open("rb") as file:
        found = _TIME.search(file.read(_HEAD_OCTETS))
    try:
        return datetime.fromisoformat(found[0].decode()).timestamp() if found else None
    except ValueError:  # 2026-02-31
        return None
