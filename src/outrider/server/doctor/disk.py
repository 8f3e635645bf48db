"""The disk below the state directory: room, and what a sync costs and whether it is one."""

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outrider.base.clock import Clock
from outrider.base.files import Files
from outrider.server.doctor.finding import Finding, fault, good, warning

SYNCS = 60
# chosen: enough for a p99 of sorts, half a second on a slow disk
OCTETS = 4096
# chosen: one small message
SLOW_SECONDS = 0.02
# chosen: as long as a finish may wait for its sync (spool.finish_delay_seconds)
VERY_SLOW_SECONDS = 0.25
# chosen: a client's 250 waits for it, and programs that send one message after the other crawl
MIN_INODES = 10_000
# chosen: a segment and an event file take one each
VOLATILE = frozenset({"tmpfs", "ramfs", "overlay"})
# file systems whose content a restart of the machine, or of its container, loses


@dataclass(frozen=True, slots=True)
class SyncTimes:
    """Seconds of write and fdatasync."""

    median: float
    p99: float


def measure_syncs(files: Files, directory: Path, clock: Clock, count: int = SYNCS) -> SyncTimes:
    """Write and sync a small block again and again, in a file that is gone afterwards.

    Raises:
        OSError: It cannot be written.
    """
    path = str(directory / f".doctor-{os.getpid()}")
    # whoever else may write there cannot have laid a link to another file in our way
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    took = []
    try:
        files.allocate(descriptor, OCTETS * count)
        files.fdatasync(descriptor)
        for number in range(count):
            start = clock.now()
            files.pwritev(descriptor, [b"\xa5" * OCTETS], OCTETS * number)
            files.fdatasync(descriptor)
            took.append(clock.now() - start)
    finally:
        files.close(descriptor)
        files.unlink(path)
    took.sort()
    return SyncTimes(statistics.median(took), took[min(len(took) - 1, len(took) * 99 // 100)])


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Kind of the file system that `path` is on; empty when unknown."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        fields = line.split()
        place = fields[1].replace("\\040", " ") if len(fields) > 2 else ""
        inside = real == place or real.startswith(f"{place.rstrip('/')}/")
        if place and inside and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind


def check_syncs(times: SyncTimes) -> Finding:
    """What the times mean."""
    check = "disk.sync"
    what = f"a sync takes {times.median * 1000:.2f} ms (median), {times.p99 * 1000:.2f} ms (p99)"
    if times.median > VERY_SLOW_SECONDS:
        return fault(check, f"{what}; each message waits for one", "put the state directory on a faster disk")
    if times.median > SLOW_SECONDS or times.p99 > VERY_SLOW_SECONDS:
        return warning(
            check,
            f"{what}; clients wait for it before they hear 250",
            "put the state directory on a faster disk, best with a protected write cache",
        )
    return good(check, what)


def check_room(files: Files, directory: Path, min_free_octets: int) -> list[Finding]:
    """Room on the disk."""
    free = files.free(str(directory))
    mebibyte = 1 << 20
    what = f"{free.octets // mebibyte} MiB are free below {directory}"
    if free.octets < min_free_octets:
        found = [
            fault(
                "disk.room",
                f"{what}; below {min_free_octets // mebibyte} MiB new mail is refused",
                "free space, or move the state directory to a larger disk",
            )
        ]
    elif free.octets < 4 * min_free_octets:
        found = [
            warning(
                "disk.room",
                f"{what}; below {min_free_octets // mebibyte} MiB new mail is refused",
                "make room before a busy hour does it for you",
            )
        ]
    else:
        found = [good("disk.room", what)]
    if free.inodes is not None and free.inodes < MIN_INODES:
        found.append(
            fault(
                "disk.inodes", f"{free.inodes} files can still be made", "remove small files from that disk"
            )
        )
    return found


def check_kind(kind: str) -> Finding:
    """Whether what is synced is there after a power cut."""
    check = "disk.kind"
    if kind in VOLATILE:
        return warning(
            check,
            f"the state directory is on {kind}, which forgets when the machine or container ends",
            "put server.state_directory on a disk: a 250 promises that the message is kept",
        )
    return good(check, f"the state directory is on {kind or 'a file system of unknown kind'}")


def check_disk(
    files: Files,
    directory: Path,
    min_free_octets: int,
    clock: Clock,
    kind_of: Callable[[Path], str] = file_system_of,
) -> Sequence[Finding]:
    """All of it, where the directory can be used."""
    try:
        times = measure_syncs(files, directory, clock)
    except OSError as error:
        return [
            fault(
                "disk.write",
                f"{directory} cannot be written: {error.strerror}",
                "make it, and give it to the server's user",
            )
        ]
    return [
        check_syncs(times),
        *check_room(files, directory, min_free_octets),
        check_kind(kind_of(directory)),
    ]
