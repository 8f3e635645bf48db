"""The reading side: one frame by its place, or a whole log in order.

Theory: every process reads every log with `pread`; a segment's salt is read once, when it is opened. `scan`
walks frame by frame. A frame whose header is whole but whose payload is not is stepped over by its length;
where there is no header, the next one is searched for. What is damaged and lies before the segment's sealed
end, or before a later whole frame, was written and synced once: it is reported. What is unreadable at the
very end of the last segment is a torn tail, which nobody was promised anything about.

Invariant: nothing is returned that was not written as that frame at that place.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from outrider.base.errors import SpoolError
from outrider.base.files import stands_at
from outrider.base.long_octets import LONG_OCTETS, part
from outrider.model.changes import Change, ContentRef, Stored
from outrider.model.dispatch import Position
from outrider.model.ports import SpoolKeys
from outrider.spool.codec import PREFIX_OCTETS, FrameDecoder, KeyGoneError, Place, stated_length
from outrider.spool.directory import SpoolDirectory
from outrider.spool.frames import (
    FRAME_HEADER,
    FRAME_MAGIC,
    HEADER_REGION,
    TYPE_SEAL,
    FrameDamagedError,
    FrameGoneError,
    FrameHeader,
    content_length,
    decode_changes,
    decode_seals,
    find_content,
    is_whole,
    parse_header,
    parse_segment_header,
    refuse_newer,
)
from outrider.spool.options import SpoolOptions

CHUNK_OCTETS = 1 << 20  # chosen: a scan reads 1 MiB at a time, some 1 ms
READ_TRIES = 3  # chosen: what fails three times running is no hiccup of a cable or a network
FRAMES_PER_SLICE = 500  # chosen: decoding 500 frames takes some 5 ms


class Damage(NamedTuple):
    """What a scan could not read.

    Attributes:
        log: The log.
        segment: The segment.
        offset: Where the damage begins.
        octets: What was found there.
        reason: In words.
        is_locked: It is no damage: the frame is whole, and its key is mislaid.
        is_unread: It may be no damage: the disk did not give what is there.
    """

    log: int
    segment: int
    offset: int
    octets: bytes
    reason: str
    is_locked: bool = False
    is_unread: bool = False


class Scanned(NamedTuple):
    """One whole frame of a scan.

    Attributes:
        position: Behind it.
        ref: Its place.
        changes: Its changes.
        content_octets: Octets of content behind the changes.
    """

    position: Position
    ref: ContentRef
    changes: list[Change]
    content_octets: int


OnDamage = Callable[[Damage], None]


def _ignore(_: Damage) -> None:
    pass


class _Open:
    """An open segment."""

    __slots__ = ("fd", "salt")

    def __init__(self, fd: int, salt: bytes) -> None:
        self.fd = fd
        self.salt = salt


class FrameReader:
    """Implements `model.ports.Reader`, and scans logs. Not for use by two threads at once.

    Args:
        directory: An opened spool.
        options: `open_segments` bounds the descriptors.
        keys: The spool's keys, for frames that are encrypted.
    """

    def __init__(
        self, directory: SpoolDirectory, options: SpoolOptions, keys: SpoolKeys | None = None
    ) -> None:
        self._decoder = FrameDecoder(keys)
        self._directory = directory
        self._files = directory.files
        self._limit = options.open_segments
        self._open: OrderedDict[tuple[int, int], _Open] = OrderedDict()

    def _segment(self, log: int, segment: int) -> _Open:
        key = log, segment
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
            return found
        try:
            found = self._open_segment(log, segment)
        except FileNotFoundError as error:
            raise FrameGoneError(
                f"segment {segment} of log {log} is gone", log=log, segment=segment
            ) from error
        except OSError as error:
            raise FrameDamagedError(
                f"segment {segment} of log {log} cannot be read: {error}", log=log, segment=segment
            ) from error
        self._open[key] = found
        while len(self._open) > self._limit:
            _, oldest = self._open.popitem(last=False)
            self._files.close(oldest.fd)
        return found

    def _open_segment(self, log: int, segment: int) -> _Open:
        fd = self._files.open(self._directory.segment_path(log, segment), os.O_RDONLY)
        try:
            header = parse_segment_header(self._pread(fd, HEADER_REGION, 0))
        except BaseException:
            self._files.close(fd)
            raise
        if header is None or header.log != log or header.segment != segment:
            self._files.close(fd)
            raise FrameDamagedError(
                f"segment {segment} of log {log} has no readable header", log=log, segment=segment
            )
        return _Open(fd, header.salt)

    def _pread(self, fd: int, octets: int, offset: int) -> bytes:
        for _ in range(READ_TRIES - 1):
            with suppress(OSError):
                return self._files.pread(fd, octets, offset)
        return self._files.pread(fd, octets, offset)

    def forget(self, log: int, segment: int) -> None:
        """Close a segment that is being removed."""
        found = self._open.pop((log, segment), None)
        if found is not None:
            self._files.close(found.fd)

    def close(self) -> None:
        """Close everything."""
        for found in self._open.values():
            self._files.close(found.fd)
        self._open.clear()

    def frame(self, ref: ContentRef) -> tuple[list[Change], bytes, int]:
        """The changes of the frame at `ref`, its payload, and where the content starts in it.

        Raises:
            FrameGoneError: The segment was dropped; the entry has a new place.
            FrameDamagedError: The frame is not what was written.
            FormatError: A newer program wrote it.
        """
        try:
            return self._frame(ref)
        except FrameDamagedError:
            if not self._is_replaced(ref.log, ref.segment):
                raise
        self.forget(ref.log, ref.segment)
        return self._frame(ref)

    def _is_replaced(self, log: int, segment: int) -> bool:
        """The segment is open here, and another file has its name now: its writer wrote it again."""
        found = self._open.get((log, segment))
        with suppress(OSError):
            return found is not None and not stands_at(found.fd, self._directory.segment_path(log, segment))
        return False

    def _frame(self, ref: ContentRef) -> tuple[list[Change], bytes, int]:
        segment = self._segment(ref.log, ref.segment)
        try:
            if ref.length <= LONG_OCTETS:
                octets = self._pread(segment.fd, ref.length, ref.offset)
                payload = octets[FRAME_HEADER:]
            else:
                octets = self._pread(segment.fd, FRAME_HEADER, ref.offset)
                payload = self._pread(segment.fd, ref.length - FRAME_HEADER, ref.offset + FRAME_HEADER)
        except OSError as error:
            raise FrameDamagedError(f"frame at {ref} cannot be read: {error}") from error
        header = parse_header(octets, segment.salt, ref.offset)
        if header is None or header.length != ref.length or not is_whole(header, payload):
            raise FrameDamagedError(
                f"frame at offset {ref.offset} of segment {ref.segment} of log {ref.log} is damaged",
                log=ref.log,
                segment=ref.segment,
                offset=ref.offset,
            )
        if header.flags:
            payload = self.decoded(header, payload, Place(ref.log, ref.segment, segment.salt, ref.offset))
        return decode_changes(payload, header), payload, header.list_length

    def plain_length(self, ref: ContentRef) -> int:
        """The octets of a frame before it was compressed, as it says; 0 where that cannot be read."""
        try:
            segment = self._segment(ref.log, ref.segment)
            octets = self._files.pread(segment.fd, FRAME_HEADER + PREFIX_OCTETS, ref.offset)
        except (SpoolError, OSError):
            return 0  # `frame` says why
        header = parse_header(octets, segment.salt, ref.offset)
        if header is None or not header.flags:
            return ref.length
        return stated_length(octets[FRAME_HEADER:])

    def decoded(self, header: FrameHeader, payload: bytes, place: Place) -> bytes:
        """The payload of a whole frame with flags as it was before it was compressed and encrypted.

        Raises:
            FrameDamagedError: Its key is gone, or it is not what was written at this place.
            FormatError: A newer program wrote it.
        """
        refuse_newer(header)
        return self._decoder.decode(payload, place, header.kind, header.flags, header.list_length)

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message that holds `entry` and its content; see `model.ports.Reader`."""
        changes, payload, start = self.frame(ref)
        found = find_content(changes, entry)
        if found is None:
            raise FrameDamagedError(f"frame at {ref} does not hold entry {entry}", log=ref.log)
        stored, place = found
        return stored, part(payload, start + place, start + place + stored.size)

    def sealed_end(self, log: int, segment: int, later: list[int]) -> int | None:
        """Where `segment` ends by the seal in one of the `later` segments; None when none of them says so."""
        for number in later:
            try:
                found = self._segment(log, number)
                start = self._pread(found.fd, CHUNK_OCTETS >> 8, HEADER_REGION)
                header = parse_header(start, found.salt, HEADER_REGION)
                if header is None or header.kind != TYPE_SEAL:
                    continue
                if header.length > len(start):  # a disk that failed for long leaves many segments to seal
                    start = self._pread(found.fd, header.length, HEADER_REGION)
            except (OSError, FrameDamagedError, FrameGoneError):
                continue
            payload = start[FRAME_HEADER : header.length]
            if is_whole(header, payload):
                ends = dict(decode_seals(payload))
                if segment in ends:
                    return ends[segment]
        return None

    def scan(
        self,
        log: int,
        start: Position = Position(0, 0),  # noqa: B008 - frozen
        until: Position | None = None,
        damaged: OnDamage = _ignore,
    ) -> Iterator[Scanned]:
        """The whole frames of a log in order, from `start` to the end or `until`.

        Frames that become durable while the scan runs may or may not be seen. Take a few at a time.

        Raises:
            FormatError: A newer program wrote it.
        """
        numbers = self._directory.segments(log)
        for index, number in enumerate(numbers):
            if number < start.segment:
                continue
            if until is not None and number > until.segment:
                return
            later = numbers[index + 1 :]
            end = self.sealed_end(log, number, later)
            if until is not None and number == until.segment:
                end = until.offset if end is None else min(end, until.offset)
            first = max(HEADER_REGION, start.offset if number == start.segment else 0)
            yield from self._scan_segment(log, number, first, end, damaged)

    def _scan_segment(
        self, log: int, number: int, first: int, end: int | None, damaged: OnDamage
    ) -> Iterator[Scanned]:
        if self._is_replaced(log, number):
            self.forget(log, number)
        try:
            segment = self._segment(log, number)
            size = self._files.size(segment.fd)
        except FrameGoneError:
            return
        except (OSError, FrameDamagedError) as error:
            is_unread = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
            damaged(Damage(log, number, 0, b"", str(error), is_unread=is_unread))
            return
        place = Position(number, first)
        yield from _SegmentScan(self, segment, place, log, end=end, size=size, damaged=damaged).frames()

    def read_at(self, segment: _Open, octets: int, offset: int) -> bytes:
        """Octets of an open segment, for scans."""
        return self._pread(segment.fd, octets, offset)


class _SegmentScan:
    """The walk through one segment. `end` is None in a segment that nothing has sealed."""

    def __init__(
        self,
        reader: FrameReader,
        segment: _Open,
        place: Position,
        log: int,
        *,
        end: int | None,
        size: int,
        damaged: OnDamage,
    ) -> None:
        self._reader = reader
        self._segment = segment
        self._log = log
        self._number = place.segment
        first = self._offset = place.offset
        self._sealed = end
        self._end = size if end is None else min(end, size)
        self._damaged = damaged
        self._chunk = b""
        self._chunk_at = first
        self._bad_from: int | None = None  # start of what could not be read since the last whole frame
        self._reason = ""
        self._is_unread = False

    def _octets(self, offset: int, count: int) -> bytes:
        """Up to `count` octets at `offset`, of which the first are in the chunk most of the time."""
        start = offset - self._chunk_at
        if start >= 0 and start + count <= len(self._chunk):
            return self._chunk[start : start + count]
        wanted = min(max(count, CHUNK_OCTETS), self._end - offset)
        try:
            self._chunk = self._reader.read_at(self._segment, wanted, offset) if wanted > 0 else b""
        except OSError as error:
            self._reason = f"cannot be read: {error}"
            self._is_unread = True
            self._chunk = b""
        self._chunk_at = offset
        return self._chunk[:count]

    def frames(self) -> Iterator[Scanned]:
        while self._offset + FRAME_HEADER <= self._end:
            offset = self._offset
            header = parse_header(self._octets(offset, FRAME_HEADER), self._segment.salt, offset)
            if header is None:
                if not self._find_next():
                    break
                continue
            payload = self._octets(offset + FRAME_HEADER, header.payload_length)
            self._offset = offset + header.length
            if not is_whole(header, payload):
                self._note(offset, "its checksum is wrong")
                continue
            if self._bad_from is not None:
                self._report(offset)
            if header.kind == TYPE_SEAL:
                continue
            if header.flags:
                try:
                    payload = self._decoded(header, payload, offset)
                except FrameDamagedError as error:  # each such frame is told by itself, with its own reason
                    self._note(offset, error.message)
                    is_mislaid = isinstance(error, KeyGoneError) and not error.fields["destroyed"]
                    self._report(self._offset, is_locked=is_mislaid)
                    continue
            yield self._scanned(header, payload, offset)
        if self._sealed is not None and (self._bad_from is not None or self._offset < self._sealed):
            self._note(self._offset, "it is cut off")
            self._report(self._sealed)
        elif self._bad_from is not None and self._is_unread:  # no torn tail: nobody knows what is there
            self._report(self._end)

    def _decoded(self, header: FrameHeader, payload: bytes, offset: int) -> bytes:
        place = Place(self._log, self._number, self._segment.salt, offset)
        return self._reader.decoded(header, payload, place)

    def _scanned(self, header: FrameHeader, payload: bytes, offset: int) -> Scanned:
        changes = decode_changes(payload, header)
        return Scanned(
            Position(self._number, self._offset),
            ContentRef(self._log, self._number, offset, header.length),
            changes,
            content_length(changes),
        )

    def _note(self, offset: int, reason: str) -> None:
        if self._bad_from is None:
            self._bad_from = offset
            self._reason = self._reason or reason

    def _find_next(self) -> bool:
        """Move to the next frame header behind the current place; False when there is none.

        Zeros all the way are the unused rest of the segment and no damage.
        """
        start = self._offset
        self._octets(start, 1)
        is_empty = not self._chunk.strip(b"\0") and self._sealed is None and not self._anything_behind(start)
        if is_empty and not self._is_unread:
            return False
        self._note(start, "no frame begins here")
        place = start + 1
        while place + FRAME_HEADER <= self._end:
            octets = self._octets(place, min(CHUNK_OCTETS, self._end - place))
            if not octets:  # unreadable stretch
                place += CHUNK_OCTETS
                continue
            found = octets.find(FRAME_MAGIC)
            while found >= 0:
                header = parse_header(
                    self._octets(place + found, FRAME_HEADER), self._segment.salt, place + found
                )
                if header is not None:
                    self._offset = place + found
                    return True
                octets = self._octets(place, min(CHUNK_OCTETS, self._end - place))
                found = octets.find(FRAME_MAGIC, found + 1)
            place += max(1, len(octets) - FRAME_HEADER)
        self._offset = self._end
        return False

    def _anything_behind(self, start: int) -> bool:
        """True when something other than zeros follows."""
        for place in range(start, self._end, CHUNK_OCTETS):
            if self._octets(place, min(CHUNK_OCTETS, self._end - place)).strip(b"\0"):
                return True
        return False

    def _report(self, end: int, *, is_locked: bool = False) -> None:
        """Tell what lies between the start of the damage and `end`."""
        start = self._bad_from if self._bad_from is not None else end
        octets = bytearray()
        place = start
        while place < min(end, self._end):
            try:
                more = self._reader.read_at(self._segment, min(CHUNK_OCTETS, self._end - place), place)
            except OSError as error:
                self._reason = f"cannot be read: {error}"
                self._is_unread = True
                break
            octets += more[: end - place]
            place += len(more) or CHUNK_OCTETS
        found = Damage(
            self._log, self._number, start, bytes(octets), self._reason, is_locked, self._is_unread
        )
        self._damaged(found)
        self._bad_from = None
        self._reason = ""
        self._is_unread = False
