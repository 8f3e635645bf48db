"""The spool directory: its layout, its format, its log numbers.

    format            version of everything below
    next_log          number that the next log gets; never handed out twice
    next_log.lock     held while a number is drawn
    logs/<log>/lock   held by the living writer of the log
    logs/<log>/<segment>.log
    quarantine/       damaged frames and checkpoints, kept for people
    checkpoint.sqlite the dispatcher's index

Theory: entry ids contain the log's number, so a number that was used twice would resurrect or lose mail. The
counter is replaced atomically *before* its number is used; when the file is lost, `LOST_COUNTER_GAP` steps
over numbers that logs may have had which are gone already.

Invariant: a name that this module has created is durable when the method returns.
"""

import contextlib
import errno
import os
import re
import time

from outrider.base.errors import SpoolError
from outrider.base.files import Files, directory_of, read_file, write_atomic
from outrider.model.changes import LOG_NUMBER_MAX
from outrider.spool.frames import FORMAT, FormatError

LOST_COUNTER_GAP = 1000  # chosen: more starts than anybody makes between two logs that stay on disk
FORMAT_MIN = 1  # the first that there was
_LOCK_PATIENCE = 200  # chosen: 200 times 5 ms; a log number is drawn in less than a millisecond
LOCKED_SUFFIX = "locked"
"""What the name of a frame in quarantine ends in when only its key is missing."""
UNREAD_SUFFIX = "unread"
"""What it ends in when the disk did not give what is there."""
_KEPT_NAME = re.compile(rf"([0-9]+)-([0-9]{{8}})-[0-9]+\.(?:{LOCKED_SUFFIX}|{UNREAD_SUFFIX})")
_SEGMENT_NAME = re.compile(r"([0-9]{8})\.log")


def segment_name(segment: int) -> str:
    """File name of a segment; sorts by number."""
    return f"{segment:08d}.log"


class SpoolDirectory:
    """One spool on disk.

    Args:
        files: The file primitive.
        path: The directory; `open` creates it when its parent exists.
    """

    __slots__ = ("files", "path")

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.path = path

    def open(self) -> None:
        """Create the layout where it is missing, and check the format.

        Raises:
            FormatError: A newer program made this spool.
            SpoolError: The directory cannot be used, or nothing says which format its logs have.
        """
        try:
            for name in ("", "logs", "quarantine"):
                self._ensure_directory(self._join(name) if name else self.path)
            self._check_format()
        except OSError as error:
            raise SpoolError(f"spool {self.path} cannot be used: {error}", path=self.path) from error

    def _join(self, *names: str) -> str:
        return "/".join((self.path, *names))

    def _ensure_directory(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            self.files.mkdir(path)
        self.files.sync_directory(
            directory_of(path)
        )  # also when it exists: we may have died before this line

    def _check_format(self) -> None:
        try:
            found = self.read_format()
        except FileNotFoundError:
            if any(self.segments(log) for log in self.logs()):  # the format is there before the first of them
                raise SpoolError(
                    f"{self._join('format')} is gone, and logs are there: restore it (this program writes "
                    f"{FORMAT}), or move {self.path} away"
                ) from None
            found = 0
        if (
            found < FORMAT
        ):  # before anything of the new format is written, so that an older program stops here
            write_atomic(self.files, self._join("format"), b"%d\n" % FORMAT)

    def read_format(self) -> int:
        """The format of the spool, one that this program reads.

        Raises:
            FileNotFoundError: Nothing was ever written here.
            FormatError: A newer program made this spool.
            SpoolError: What stands there is no format.
        """
        path = self._join("format")
        text = read_file(self.files, path).strip()
        if not text.isdigit() or int(text) < FORMAT_MIN:
            raise SpoolError(
                f"{path} does not hold a format number: restore it (this program writes {FORMAT})"
            )
        if int(text) > FORMAT:
            raise FormatError(
                f"spool {self.path} has format {int(text)}, this program knows {FORMAT}: start the newer "
                "version, or drain the spool with it first"
            )
        return int(text)

    def _take_lock(self, path: str) -> int | None:
        fd = self.files.open(path, os.O_RDWR | os.O_CREAT)
        if self.files.lock(fd):
            return fd
        self.files.close(fd)
        return None

    def allocate_log(self) -> int:
        """A number that no log of this spool ever had, with its directory.

        Raises:
            SpoolError: The counter cannot be written, or all numbers are used up.
        """
        try:
            guard = self._patient_lock(self._join("next_log.lock"))
            try:
                number = self._next_number()
                if number > LOG_NUMBER_MAX:
                    raise SpoolError(
                        "all log numbers of this spool are used up: drain it and begin a new one"
                    )
                write_atomic(self.files, self._join("next_log"), b"%d\n" % (number + 1))
                self._ensure_directory(self.log_path(number))
            finally:
                self.files.close(guard)
        except OSError as error:
            raise SpoolError(f"no log can be opened in spool {self.path}: {error}", path=self.path) from error
        return number

    def _patient_lock(self, path: str) -> int:
        for _ in range(_LOCK_PATIENCE):
            fd = self._take_lock(path)
            if fd is not None:
                return fd
            time.sleep(0.005)
        raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK), path)

    def _next_number(self) -> int:
        existing = max(self.logs(), default=0)
        try:
            text = read_file(self.files, self._join("next_log")).strip()
        except FileNotFoundError:
            text = b""
        if text.isdigit() and int(text) > existing:
            return int(text)
        return existing + LOST_COUNTER_GAP if existing or text else 1

    def logs(self) -> list[int]:
        """Numbers of the logs that have a directory."""
        return sorted(int(name) for name in self.files.listdir(self._join("logs")) if name.isdigit())

    def log_path(self, log: int) -> str:
        return self._join("logs", str(log))

    def segment_path(self, log: int, segment: int) -> str:
        return self._join("logs", str(log), segment_name(segment))

    def segments(self, log: int) -> list[int]:
        """Numbers of the segments of a log; none when the log has no directory."""
        try:
            names = self.files.listdir(self.log_path(log))
        except FileNotFoundError:
            return []
        return sorted(int(found[1]) for name in names if (found := _SEGMENT_NAME.fullmatch(name)))

    def segment_size(self, log: int, segment: int) -> int:
        """Octets of a segment's file."""
        fd = self.files.open(self.segment_path(log, segment), os.O_RDONLY)
        try:
            return self.files.size(fd)
        finally:
            self.files.close(fd)

    def make_log_again(self, log: int) -> None:
        """The directory of a log that is being written, where somebody removed it.

        Raises:
            OSError: It cannot be made.
        """
        for path in (self.path, self._join("quarantine"), self._join("logs"), self.log_path(log)):
            self._ensure_directory(path)
        with contextlib.suppress(FileNotFoundError):
            if self.read_format():
                return
        write_atomic(self.files, self._join("format"), b"%d\n" % FORMAT)

    def lock_path(self, log: int) -> str:
        return self._join("logs", str(log), "lock")

    def lock_log(self, log: int) -> int | None:
        """Take the writer's lock of a log: a descriptor to keep open, or None while its writer lives."""
        return self._take_lock(self.lock_path(log))

    def is_alive(self, log: int) -> bool:
        """True while a process writes the log."""
        try:
            fd = self.files.open(self.lock_path(log), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not self.files.lock(fd)
        finally:
            self.files.close(fd)

    def is_begun(self, log: int) -> bool:
        """False while a log has an empty directory: it is being made, or its removal was cut short.

        Its lock is made first and removed last; one that a copy brought back has none.
        """
        try:
            return bool(self.files.listdir(self.log_path(log)))
        except FileNotFoundError:
            return False

    def remove_segment(self, log: int, segment: int) -> None:
        """Unlink a segment, durably. One that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.files.unlink(self.segment_path(log, segment))
        self.files.sync_directory(self.log_path(log))

    def remove_log(self, log: int) -> bool:
        """Remove the directory of a dead log without segments; False when something is in it."""
        path = self.log_path(log)
        if self.segments(log) or self.is_alive(log):
            return False
        with contextlib.suppress(FileNotFoundError):
            self.files.unlink(f"{path}/lock")
        try:
            self.files.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        self.files.sync_directory(self._join("logs"))
        return True

    def quarantine(self, name: str, data: bytes) -> str:
        """Keep `data` for people under a name; the same name is written once."""
        path = self._join("quarantine", name)
        if name not in self.files.listdir(self._join("quarantine")):
            write_atomic(self.files, path, data)
        return path

    def kept_segments(self) -> set[tuple[int, int]]:
        """(log, segment) of which frames are in quarantine that may be read some day; people remove them."""
        names = self.files.listdir(self._join("quarantine"))
        return {(int(found[1]), int(found[2])) for name in names if (found := _KEPT_NAME.fullmatch(name))}

    def checkpoint_path(self) -> str:
        return self._join("checkpoint.sqlite")

    def free_octets(self) -> int:
        """Octets free on the spool's file system."""
        return self.files.free(self.path).octets
