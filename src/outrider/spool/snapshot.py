"""A copy of the logs as they were at one moment, taken while the server writes, without asking it anything.

In: a spool. Out: its segments, each held open with the place where it ended at that moment.

Theory: a frame whose message was acknowledged was written whole before that, so what a segment holds at one
moment holds all that was promised until then. Segments may be dropped meanwhile, but only after what lives in
them was written into a later segment. So a list of the segments that could all be opened is complete:
whatever was dropped before the list was taken stands in a segment that is on it. If one of them is gone
when it is opened, the list is taken again; once open, its octets stay, even if its name goes.

What was written but not yet synced is in the copy too. If the writer's sync fails, the writer tells its
client so and seals the segment at an earlier place; `sealed_ends` looks for such seals once more after the
copy.

Invariant: every change that was durable when `pin` was called is in what it returns.
Not here: writing the copy (server.backup.make).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from outrider.base.errors import SpoolError
from outrider.base.files import Files
from outrider.spool.directory import SpoolDirectory
from outrider.spool.frames import HEADER_REGION
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import FrameReader

TRIES = 50
# chosen: opening takes milliseconds, and segments are dropped at most a few times a second
CHUNK_OCTETS = 1 << 20
TAIL_OCTETS = 1 << 16
# chosen: zeros at the end of a frame belong to it; no frame ends in so many


@dataclass(slots=True)
class Pinned:
    """One segment, held open.

    Attributes:
        log: Number of the log.
        segment: Number of the segment.
        fd: Its file.
        end: What counts lies before it.
        is_sealed: A later segment says where it ends, so it never changes again.
    """

    log: int
    segment: int
    fd: int
    end: int
    is_sealed: bool


@contextmanager
def pin(directory: SpoolDirectory, options: SpoolOptions) -> Iterator[list[Pinned]]:
    """All segments of the spool as they are now, in order; closed at the end of the block.

    Raises:
        SpoolError: The spool cannot be read, or changes faster than it can be opened.
    """
    pinned: list[Pinned] = []
    try:
        for _ in range(TRIES):
            if _open_all(directory, pinned):
                break
            _close(directory.files, pinned)
        else:
            raise SpoolError(f"segments of {directory.path} go faster than they can be opened; try again")
        _measure(directory, options, pinned)
        yield pinned
    except OSError as error:
        raise SpoolError(f"spool {directory.path} cannot be read: {error}", path=directory.path) from error
    finally:
        _close(directory.files, pinned)


def sealed_ends(
    directory: SpoolDirectory, options: SpoolOptions, pinned: list[Pinned]
) -> dict[tuple[int, int], int]:
    """For segments that were sealed before their pinned end since `pin`, where they really end."""
    reader = FrameReader(directory, options)
    cut: dict[tuple[int, int], int] = {}
    try:
        for one in pinned:
            if one.is_sealed:
                continue
            later = [number for number in directory.segments(one.log) if number > one.segment]
            end = reader.sealed_end(one.log, one.segment, later)
            if end is not None and end < one.end:
                cut[one.log, one.segment] = end
    finally:
        reader.close()
    return cut


def _open_all(directory: SpoolDirectory, pinned: list[Pinned]) -> bool:
    """Open every segment; False when one went between the list and its opening."""
    listed = [(log, number) for log in directory.logs() for number in directory.segments(log)]
    for log, number in listed:
        try:
            fd = directory.files.open(directory.segment_path(log, number), os.O_RDONLY)
        except FileNotFoundError:
            return False
        pinned.append(Pinned(log, number, fd, 0, is_sealed=False))
    return True


def _close(files: Files, pinned: list[Pinned]) -> None:
    for one in pinned:
        files.close(one.fd)
    pinned.clear()


def _measure(directory: SpoolDirectory, options: SpoolOptions, pinned: list[Pinned]) -> None:
    reader = FrameReader(directory, options)
    segments: dict[int, list[int]] = {}
    for one in pinned:
        segments.setdefault(one.log, []).append(one.segment)
    try:
        for one in pinned:
            later = [number for number in segments[one.log] if number > one.segment]
            sealed = reader.sealed_end(one.log, one.segment, later)
            size = directory.files.size(one.fd)
            one.is_sealed = sealed is not None
            one.end = min(size, sealed) if sealed is not None else last_written(directory.files, one.fd, size)
    finally:
        reader.close()


def last_written(files: Files, fd: int, size: int) -> int:
    """The end of what was written: behind it, the space that was reserved is zeros."""
    place = size
    while place > HEADER_REGION:
        start = max(HEADER_REGION, place - CHUNK_OCTETS)
        octets = files.pread(fd, place - start, start).rstrip(b"\0")
        if octets:
            return min(size, start + len(octets) + TAIL_OCTETS)
        place = start
    return min(size, HEADER_REGION)
