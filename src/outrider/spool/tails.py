"""Giving back what a full disk needs first: the space that dead logs reserved and never wrote.

Theory: a writer that dies leaves segments that are as long as they were made. Its successor wants a log of
its own, and on a full disk there is room for it nowhere else. While the disk is full no more is given back
than the successor needs: less than a segment, so that no other writer takes it for one.

Invariant: nothing that was written is cut, and no log whose writer lives is touched.
"""

import os

from outrider.spool.directory import SpoolDirectory
from outrider.spool.snapshot import last_written

_TAILS = 2
# a writer has the segment that it writes, and one that it made ahead


def give_tails_back(directory: SpoolDirectory, log: int, wanted_octets: int | None = None) -> int:
    """Cut the last segments of a log where nothing was written; all of it, or about so much.

    Returns:
        The octets cut; 0 where its writer lives.

    Raises:
        OSError: The disk does not do it.
    """
    if directory.is_alive(log):
        return 0
    files = directory.files
    given = 0
    for segment in directory.segments(log)[-_TAILS:]:
        fd = files.open(directory.segment_path(log, segment), os.O_RDWR)
        try:
            size = files.size(fd)
            tail = size - last_written(files, fd, size)
            if wanted_octets is not None:
                tail = min(tail, wanted_octets - given)
            if tail > 0:
                files.truncate(fd, size - tail)
                given += tail
        finally:
            files.close(fd)
    return given


def make_room(directory: SpoolDirectory, wanted_octets: int) -> int:
    """Let so much be free, as far as the tails of dead logs have it; returns what they gave.

    Raises:
        OSError: The disk does not do it.
    """
    given = 0
    for log in directory.logs():
        missing = wanted_octets - directory.free_octets()
        if missing <= 0:
            break
        given += give_tails_back(directory, log, missing)
    return given
