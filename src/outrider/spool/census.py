"""What of a spool depends on which key, read from the headers of its frames alone.

In: a spool directory. Out: for each version of the `spool` key how many frames and octets it encrypted, and
which versions a running server encrypts with now. Nothing is decrypted, and nothing is changed; a living
server may write meanwhile.

Not here: which of the messages in them are still queued; only the dispatcher knows.
"""

from typing import NamedTuple

from outrider.base.errors import SpoolError
from outrider.spool.codec import PREFIX_OCTETS, key_version
from outrider.spool.directory import SpoolDirectory
from outrider.spool.frames import FRAME_HEADER, HEADER_REGION, parse_header, parse_segment_header


class Sealed(NamedTuple):
    """Frames and octets that one key encrypted."""

    frames: int
    octets: int


def sealed_by_version(directory: SpoolDirectory) -> dict[int, Sealed]:
    """For each version of the key what it encrypted; 0 stands for frames that are not encrypted.

    Raises:
        SpoolError: The spool cannot be read.
    """
    counts: dict[int, Sealed] = {}
    try:
        for log in directory.logs():
            for segment in directory.segments(log):
                _count_segment(directory, log, segment, counts)
    except OSError as error:
        raise SpoolError(f"spool {directory.path} cannot be read: {error}") from error
    return counts


def versions_in_use(directory: SpoolDirectory) -> set[int]:
    """Versions that encrypt what living writers write: a segment keeps the one that it began with.

    Raises:
        SpoolError: The spool cannot be read.
    """
    versions: set[int] = set()
    try:
        for log in filter(directory.is_alive, directory.logs()):
            for segment in reversed(directory.segments(log)):
                found: dict[int, Sealed] = {}
                _count_segment(directory, log, segment, found)
                if begun := found.keys() - {0}:  # else it is one that was only prepared
                    versions |= begun
                    break
    except OSError as error:
        raise SpoolError(f"spool {directory.path} cannot be read: {error}") from error
    return versions


def _count_segment(directory: SpoolDirectory, log: int, segment: int, counts: dict[int, Sealed]) -> None:
    files = directory.files
    try:
        fd = files.open(directory.segment_path(log, segment), 0)
    except FileNotFoundError:  # dropped since it was listed
        return
    try:
        header = parse_segment_header(files.pread(fd, HEADER_REGION, 0))
        offset = HEADER_REGION
        while header is not None:
            octets = files.pread(fd, FRAME_HEADER + PREFIX_OCTETS, offset)
            frame = parse_header(octets, header.salt, offset)
            if frame is None:
                return
            version = key_version(octets[FRAME_HEADER:], frame.flags)
            before = counts.get(version, Sealed(0, 0))
            counts[version] = Sealed(before.frames + 1, before.octets + frame.length)
            offset += frame.length
    finally:
        files.close(fd)
