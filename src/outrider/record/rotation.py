"""Rotation of a file that lines are appended to: when it is closed, by which name, and what is removed.

The files of `name.ext` are `name-1.ext`, `name-2.ext` … (closed, oldest first) and `name.ext` itself (open).
Event files and the server's log follow the same rules with options of their own.

Not here: how the next file is begun (events: `writer`; the server's log: `log_file`).
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is closed, and how long closed ones stay.

    Attributes:
        rotate_bytes: Octets from which on it is closed.
        rotate_seconds: Age from which on it is closed.
        keep_seconds: A closed file stays for so long after its last line.
        keep_files: Most closed files; None is no bound.
    """

    rotate_bytes: int
    rotate_seconds: float
    keep_seconds: float
    keep_files: int | None = None

    def is_due(self, octets: int, age_seconds: float) -> bool:
        """True when a file of this size and age is to be closed."""
        return octets >= self.rotate_bytes or age_seconds >= self.rotate_seconds

    def expired(self, closed: Iterable[Path], now_time: float) -> list[Path]:
        """Which of the closed files of one open file, oldest first, are to be removed (Unix seconds)."""
        found = list(closed)
        beyond = 0 if self.keep_files is None else max(0, len(found) - self.keep_files)
        return [*found[:beyond], *older(found[beyond:], now_time - self.keep_seconds)]


def closed_paths(path: Path) -> list[Path]:
    """The closed files of the open file `path`, oldest first."""
    name = re.compile(rf"{re.escape(path.stem)}-(\d+){re.escape(path.suffix)}")
    found = []
    if path.parent.is_dir():
        for each in path.parent.iterdir():
            match = name.fullmatch(each.name)
            if match is not None:
                found.append((int(match[1]), each))
    return [each for _, each in sorted(found)]


def next_closed_path(path: Path) -> Path:
    """The name that the open file `path` gets when it is closed."""
    closed = closed_paths(path)
    number = int(closed[-1].stem.rpartition("-")[2]) + 1 if closed else 1
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def older(paths: Iterable[Path], before_time: float) -> list[Path]:
    """Those that were last written before `before_time` (Unix seconds) and are still there."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before_time:
                found.append(path)
    return found
