"""Event files on disk: their names, their tails, their end of life.

The open file of log *l* is `<l>.jsonl`; closed ones are `<l>-1.jsonl`, `<l>-2.jsonl` … (see `rotation`).
The first line of each is an `opened` event that names the last log-derived event before it.

Theory: after a crash the end of an open file may be a torn line, and after a loss of power pages that were
never synced may read as zeros although later ones were written. A JSON line holds no NUL octet, so the first
NUL marks the first hole: everything from that line on is cut off and derived from the log again.

Invariant: `resume` leaves a file of whole lines, and gives the place of the last event in it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from outrider.base.files import Files
from outrider.record.derive import Place, parse_id
from outrider.record.events import Opened, decode_line
from outrider.record.rotation import closed_paths, older

_CHUNK: Final = 1 << 20  # chosen: octets read at once, some thousand lines

_NAME: Final = re.compile(r"(\d+)(?:-(\d+))?\.jsonl")


class _Head(msgspec.Struct):
    id: str
    type: str
    after: str = ""


_HEAD: Final = msgspec.json.Decoder(_Head)


def open_path(directory: Path, log: int) -> Path:
    """The file that events of `log` are appended to."""
    return directory / f"{log}.jsonl"


def event_paths(directory: Path) -> list[Path]:
    """All event files, by log and then by age, oldest first."""
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if _NAME.fullmatch(path.name)), key=_key)


def _key(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of an event file")
    number = match.group(2)
    return int(match.group(1)), int(number) if number else 1 << 62


def resume(files: Files, directory: Path, log: int) -> Place | None:
    """Mend the files of `log` after a crash and find where they stand.

    Returns:
        The place of the last event derived from the log, or None when there was none yet.
    """
    path = open_path(directory, log)
    if path.exists():
        if opening(path) is not None:
            return _mend(files, path)
        files.unlink(str(path))  # not even its first line was written; those before it tell where it stood
        files.sync_directory(str(directory))
    closed = closed_paths(open_path(directory, log))
    return _mend(files, closed[-1]) if closed else None


def _mend(files: Files, path: Path) -> Place | None:
    fd = files.open(str(path), os.O_RDWR)
    try:
        end = _sound_end(files, fd)
        if end != files.size(fd):
            files.truncate(fd, end)
            files.fdatasync(fd)
        for line in lines_backwards(files, fd, end):
            head = _HEAD.decode(line)
            place = parse_id(head.id)
            if place is not None:
                return place
            if head.type == "opened":
                return parse_id(head.after)
    finally:
        files.close(fd)
    return None


def _sound_end(files: Files, fd: int) -> int:
    """The end of the last whole line before which no octet is missing."""
    size = files.size(fd)
    position = sound = 0
    while position < size:
        chunk = files.pread(fd, _CHUNK, position)
        if not chunk:
            break
        hole = chunk.find(b"\0")
        newline = chunk.rfind(b"\n", 0, hole if hole >= 0 else len(chunk))
        if newline >= 0:
            sound = position + newline + 1
        if hole >= 0:
            break
        position += len(chunk)
    for line in lines_backwards(files, fd, sound):
        try:
            _HEAD.decode(line)
        except (msgspec.DecodeError, RecursionError):
            sound -= len(line) + 1
        else:
            break
    return sound


def lines_backwards(files: Files, fd: int, end: int) -> Iterator[bytes]:
    """The lines before `end`, last first, without their line feeds. `end` is the end of a line."""
    rest = b""
    position = end
    while position > 0:
        size = min(_CHUNK, position)
        position -= size
        lines = (files.pread(fd, size, position) + rest).split(b"\n")
        if position + size == end and lines[-1] == b"":
            lines.pop()
        rest = lines.pop(0)
        yield from reversed(lines)
    if end > 0:
        yield rest


def opening(path: Path) -> Opened | None:
    """The first line of an event file, None when the file is empty or was cut short there."""
    with path.open("rb") as file:
        line = file.readline(_CHUNK)
    if not line.endswith(b"\n"):
        return None
    try:
        event = decode_line(line)
    except (msgspec.DecodeError, RecursionError):  # zeros where the first page was never written
        return None
    return event if isinstance(event, Opened) else None


def expired_paths(directory: Path, before_time: float, live_logs: frozenset[int]) -> list[Path]:
    """Files that nobody writes to and that were last written before `before_time` (Unix seconds)."""
    over = (
        path for path in event_paths(directory) if not ("-" not in path.stem and _key(path)[0] in live_logs)
    )
    return older(over, before_time)
