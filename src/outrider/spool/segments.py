"""The writing end of one log, without threads: a batch of payloads in, synced frames out.

Theory: a segment is made ahead, filled with zeros, its header and its directory entry synced, before anything
is written to it. A batch is one write and one `fdatasync`. When either fails, nothing that was not synced
counts: the segment is cut at its last synced octet, the next one begins with a *seal* that states this end,
and the batch is not tried again here. A failed sync is never repeated on the same file, because the kernel
may have dropped the pages and called it clean.

Invariant: what `write` returned places for is durable; what it raised for will not be read back, provided the
cut or the seal reached the disk.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.files import stands_at, write_again, write_all
from outrider.base.log import Log
from outrider.model.changes import ContentRef
from outrider.model.dispatch import Position
from outrider.spool.codec import FrameEncoder, Packed, Place
from outrider.spool.directory import SpoolDirectory
from outrider.spool.frames import (
    FRAME_HEADER,
    HEADER_REGION,
    LENGTH_MAX,
    TYPE_CHANGES,
    TYPE_SEAL,
    SegmentHeader,
    encode_seals,
    format_header,
    format_segment_header,
    payload_checksum,
)

SALT_OCTETS = 8
PREPARE_PAUSE_SECONDS = 1.0  # chosen: a full disk is asked once a second
BROKEN_PAUSE_MAX_SECONDS = 10.0  # chosen: one that syncs nothing costs two segments with each try
SMALL_SHARE = 4
# chosen: of a segment, what a log begins with where there is no room for a whole one; twice its reserve
LEAST_SHARE = 16
# chosen: of a segment, where there is no room for that either; half of the reserve, so that no mail is taken
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
_SEAL_OCTETS = 16  # most that one sealed segment takes in a seal: MessagePack list, two numbers under 2^32


class Payload(NamedTuple):
    """An encoded change set that waits for its place.

    Attributes:
        changes: The encoded change list.
        contents: Chunks of contents behind it.
        length: Octets of both.
        crc: Checksum of both; None where it is made when they are written, because they are long.
        follows: It is written with the one before it, or neither is.
    """

    changes: bytes
    contents: Sequence[Sequence[bytes]]
    length: int
    crc: int | None
    follows: bool = False


@dataclass(slots=True)
class _Segment:
    number: int
    fd: int
    salt: bytes
    capacity: int
    offset: int = HEADER_REGION


@dataclass(slots=True)
class SegmentCounts:
    """What happened to the log since it was opened, for metrics."""

    segments: int = 0
    batches: int = 0
    frames: int = 0
    octets: int = 0
    failures: int = 0


class SegmentWriter:
    """Writes one log; used by one thread at a time.

    Args:
        directory: The spool.
        log_number: A number from `allocate_log`, used by nobody else.
        segment_octets: Length of a segment.
        salts: Gives 8 random octets.
        log: Where failures are told.
        sequence: The next entry sequence number, asked for when a segment is made.
        clock: For the pause after a segment could not be made ahead.
        encoder: Compresses and encrypts frames; None writes them as they are.

    Raises:
        SpoolError: The log's lock is held, or its first segment cannot be made.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        log_number: int,
        segment_octets: int,
        *,
        salts: Callable[[], bytes],
        log: Log,
        sequence: Callable[[], int],
        clock: Clock,
        encoder: FrameEncoder | None = None,
    ) -> None:
        self._encoder = encoder
        self._directory = directory
        self._files = directory.files
        self.log_number = log_number
        self._segment_octets = segment_octets
        self._salts = salts
        self._log = log
        self._sequence = sequence
        self._clock = clock
        self.grows = True  # False from a failure to make a segment until one is made
        self._not_before_at = 0.0
        self._broken: OSError | None = None  # why not even a seal could be synced, until something can
        self._broken_pause_seconds = PREPARE_PAUSE_SECONDS
        self.counts = SegmentCounts()
        self._next_number = 0
        self._ahead: _Segment | None = None
        self._current: _Segment | None = None
        self._seals: list[tuple[int, int]] = []  # closed segments whose ends the next batch must state
        try:
            lock = directory.lock_log(log_number)
            if lock is None:
                raise SpoolError(f"log {log_number} is being written by another process", log=log_number)
            self._lock = lock
            try:
                self._current = self._first()
            except OSError:
                self._files.close(lock)
                raise
        except OSError as error:
            raise SpoolError(f"log {log_number} cannot be opened: {error}", log=log_number) from error

    @property
    def position(self) -> Position:
        """Everything before it is synced."""
        current = self._current
        return Position(self._next_number, 0) if current is None else Position(current.number, current.offset)

    @property
    def room(self) -> int:
        """Octets that fit before a segment has to be made that does not exist yet."""
        return sum(part.capacity - part.offset for part in (self._current, self._ahead) if part is not None)

    def _first(self) -> _Segment:
        """The first segment, a small one where the disk has no room for a whole one.

        Raises:
            OSError: Not even that can be made.
        """
        for share in (1, SMALL_SHARE):
            try:
                first = self._make(self._segment_octets // share)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._fail("spool.segment_not_made", error)
            else:
                self.grows = share == 1
                return first
        least = self._make(self._segment_octets // LEAST_SHARE)
        self.grows = False
        return least

    def _make_for(self, needed: int) -> _Segment:
        """A segment that takes so much; the least that does where the disk has no room for a whole one.

        Raises:
            OSError: It cannot be made.
        """
        try:
            return self._make(max(self._segment_octets, needed))
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        least = self._make(max(self._segment_octets // LEAST_SHARE, needed))
        self.grows = False
        return least

    def _make(self, capacity: int) -> _Segment:
        """Make a segment whose name and header are durable.

        Raises:
            OSError: It cannot be made; its number is not used again.
        """
        number = self._next_number
        self._next_number += 1
        path = self._directory.segment_path(self.log_number, number)
        salt = self._salts()
        header = SegmentHeader(self.log_number, number, self._sequence(), salt)
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self._files.allocate(fd, capacity)
            write_all(self._files, fd, [format_segment_header(header)], 0)
            self._files.fdatasync(fd)
            self._files.sync_directory(self._directory.log_path(self.log_number))
        except OSError:
            self._files.close(fd)
            with contextlib.suppress(OSError):
                self._files.unlink(path)
            raise
        self.grows = True
        self.counts.segments += 1
        self._log.debug("spool.segment_made", log=self.log_number, segment=number)
        return _Segment(number, fd, salt, capacity)

    def prepare(self) -> bool:
        """Make the next segment ahead when the current one is half full; False when that failed.

        Where the last one could not be made, or only a small one, the disk is asked again whatever is left.
        """
        current = self._current
        is_half_full = current is None or current.offset * 2 >= current.capacity
        if self._ahead is not None or (self.grows and not is_half_full):
            return True
        now = self._clock.now()
        if now < self._not_before_at:
            return False
        try:
            self._ahead = self._make(self._segment_octets)
        except OSError as error:
            self.grows = False
            self._not_before_at = now + PREPARE_PAUSE_SECONDS
            self._fail("spool.segment_not_made", error)
            return False
        return True

    def give_back(self) -> int:
        """Give the file system what is reserved, but for as much as a log begins with on a full disk.

        Returns:
            The octets given; less than a segment, so that no other writer takes them for one.
        """
        current = self._current
        if current is None:
            return 0
        capacity = current.offset + self._segment_octets // SMALL_SHARE
        given = current.capacity - capacity
        if given <= 0:
            return 0
        try:
            self._files.truncate(current.fd, capacity)
        except OSError as error:
            self._fail("spool.room_not_given", error)
            return 0
        current.capacity = capacity
        return given

    def take_back(self) -> None:
        """Reserve again what `give_back` gave, when there is room for it and as much again."""
        current = self._current
        if current is None or current.capacity >= self._segment_octets:
            return
        capacity = self._segment_octets
        try:
            if self._directory.free_octets() < 2 * (capacity - current.capacity):
                return
            self._files.allocate(current.fd, capacity)
            self._files.fdatasync(current.fd)
        except OSError as error:
            self._fail("spool.room_not_taken", error)
            with contextlib.suppress(OSError):
                self._files.truncate(current.fd, current.capacity)
            return
        current.capacity = capacity

    def restore(self) -> list[str]:
        """Write again what somebody removed of this log while it is written: its lock, the open segments.

        Returns:
            Their paths; none where nothing is missing.

        Raises:
            OSError: It cannot be done now.
        """
        restored: list[str] = []
        path = self._directory.lock_path(self.log_number)
        if not stands_at(self._lock, path):  # first, so that nobody takes the log's writer for dead
            self._directory.make_log_again(self.log_number)
            lock = self._directory.lock_log(self.log_number)
            if lock is None:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
            self._files.close(self._lock)
            self._lock = lock
            restored.append(path)
        for part in (self._current, self._ahead):
            if part is None:
                continue
            path = self._directory.segment_path(self.log_number, part.number)
            if not stands_at(part.fd, path):
                fd = write_again(self._files, part.fd, path, part.offset, part.capacity)
                self._files.close(part.fd)
                part.fd = fd
                restored.append(path)
        return restored

    def _look_after_current(self) -> None:
        """Nothing is written into a file that no start would find.

        Raises:
            OSError: It was removed, and cannot be written again.
        """
        current = self._current
        if current is None:
            return
        if not stands_at(current.fd, self._directory.segment_path(self.log_number, current.number)):
            for path in self.restore():
                self._log.error("spool.file_restored", log=self.log_number, file=path)

    def hurry(self) -> None:
        """Have the next write tried, however lately the last one failed: there will be no other."""
        self._not_before_at = 0.0

    def write(self, payloads: Sequence[Payload]) -> tuple[list[ContentRef], OSError | None]:
        """Write the payloads as frames, in order, and sync them.

        Returns:
            The places of those that are durable, always a prefix, and why the rest is not. It ends with none
            whose follower is not durable: they are in one segment, written and synced at once.
        """
        refs: list[ContentRef] = []
        ready: Sequence[Payload | Packed] = payloads
        if self._encoder is not None:
            pack = self._encoder.pack
            ready = [pack(payload.changes, payload.contents, payload.length) for payload in payloads]
        needs = [FRAME_HEADER + each.length for each in ready]
        for place in range(len(payloads) - 1, 0, -1):
            if payloads[place].follows:
                needs[place - 1] += needs[place]
        return self._write(ready, needs, refs)

    def _write(
        self, payloads: Sequence[Payload | Packed], needs: Sequence[int], refs: list[ContentRef]
    ) -> tuple[list[ContentRef], OSError | None]:
        """As `write`; each needs so much room, with all that follow it."""
        if self._broken is not None and self._clock.now() < self._not_before_at:
            return refs, self._broken
        try:
            self._look_after_current()
        except OSError as error:
            self._fail("spool.file_gone", error)
            return refs, error
        first = 0
        while first < len(payloads):
            try:
                segment = self._segment_for(needs[first])
            except OSError as error:  # nothing was written, so the current segment stays good
                self.grows = False
                self._fail("spool.segment_not_made", error)
                return refs, error
            try:
                first = self._fill(segment, payloads, needs, first, refs)
            except OSError as error:
                self._fail("spool.write_failed", error)
                self._abandon(segment)
                self._begin_sealed()
                return refs, error
        self.counts.batches += 1
        self.counts.frames += len(refs)
        return refs, None

    def _segment_for(self, need: int) -> _Segment:
        """A segment with so much room."""
        if need - FRAME_HEADER > LENGTH_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        current = self._current
        if current is None or current.offset + need + self._seal_room() > current.capacity:
            current = self._roll(need + FRAME_HEADER + _SEAL_OCTETS * (len(self._seals) + 1))
        return current

    def _seal_room(self) -> int:
        return FRAME_HEADER + _SEAL_OCTETS * len(self._seals) if self._seals else 0

    def _roll(self, needed: int) -> _Segment:
        old, ahead = self._current, self._ahead
        if ahead is not None and HEADER_REGION + needed <= ahead.capacity:
            new, self._ahead = ahead, None
        else:
            new = self._make_for(HEADER_REGION + needed)
            if ahead is not None:  # too small for this frame; numbers must rise, so it stays empty
                self._retire(ahead)
                self._ahead = None
        if old is not None:
            self._retire(old)
        self._current = new
        return new

    def _retire(self, segment: _Segment) -> None:
        """Seal and close a segment; its unused space is given back, which needs no sync."""
        self._seals.append((segment.number, segment.offset))
        with contextlib.suppress(OSError):
            self._files.truncate(segment.fd, segment.offset)
        self._files.close(segment.fd)

    def _fill(
        self,
        segment: _Segment,
        payloads: Sequence[Payload | Packed],
        needs: Sequence[int],
        first: int,
        refs: list[ContentRef],
    ) -> int:
        """Write and sync what fits of `payloads[first:]`; returns the index of the first that did not."""
        offset = start = segment.offset
        salt = segment.salt
        log_number, number, room = self.log_number, segment.number, segment.capacity
        buffers: list[bytes] = []
        if self._seals:
            seal = encode_seals(self._seals)
            crc, length = payload_checksum(seal, ())
            buffers += (format_header(salt, offset, TYPE_SEAL, length, length, crc), seal)
            offset += FRAME_HEADER + length
        added: list[ContentRef] = []
        for payload, need in zip(islice(payloads, first, None), islice(needs, first, None), strict=True):
            if offset + need > room:
                break
            whole = FRAME_HEADER + payload.length
            if isinstance(payload, Payload):
                changes, contents, length, checksum, _ = payload
                crc = payload_checksum(changes, contents)[0] if checksum is None else checksum
                buffers += (format_header(salt, offset, TYPE_CHANGES, len(changes), length, crc), changes)
                for content in contents:
                    buffers += content
            else:
                buffers += self._encoded(payload, Place(log_number, number, salt, offset))
            added.append(ContentRef(log_number, number, offset, whole))
            offset += whole
        write_all(self._files, segment.fd, buffers, start)
        self._files.fdatasync(segment.fd)
        segment.offset = offset
        self._seals.clear()
        if self._broken is not None:
            self._broken = None
            self._broken_pause_seconds = PREPARE_PAUSE_SECONDS
        self.counts.octets += offset - start
        refs += added
        return first + len(added)

    def _encoded(self, packed: Packed, place: Place) -> tuple[bytes, bytes]:
        """Header and payload of a frame for its place."""
        assert self._encoder is not None  # noqa: S101 - it made what is packed
        payload = self._encoder.encode(packed, place, TYPE_CHANGES)
        crc, length = payload_checksum(payload, ())
        list_length, flags = packed.list_length, packed.flags
        header = format_header(place.salt, place.offset, TYPE_CHANGES, list_length, length, crc, flags)
        return header, payload

    def _abandon(self, segment: _Segment) -> None:
        """Never touch a segment again after a failed write or sync, except to cut it at its synced end."""
        self._current = None
        self._retire(segment)

    def _begin_sealed(self) -> None:
        """Make the seal durable in the next segment now, before anybody hears that the batch failed."""
        try:
            new, self._ahead = self._ahead or self._make(self._segment_octets), None
            self._current = new
        except OSError as error:
            self.grows = False
            self._fail("spool.segment_not_made", error)
            return
        try:
            self._fill(new, (), (), 0, [])
        except OSError as error:
            self._fail("spool.seal_failed", error)
            self._abandon(new)
            self._broken = error
            self._not_before_at = self._clock.now() + self._broken_pause_seconds
            self._broken_pause_seconds = min(2 * self._broken_pause_seconds, BROKEN_PAUSE_MAX_SECONDS)

    def _fail(self, event: str, error: OSError) -> None:
        self.counts.failures += 1
        self._log.error(event, log=self.log_number, error=str(error))

    def close(self) -> None:
        """Give back unused space and the lock. Everything written is synced already."""
        for part in (self._current, self._ahead):
            if part is not None:
                self._retire(part)
        self._current = self._ahead = None
        self._files.close(self._lock)
