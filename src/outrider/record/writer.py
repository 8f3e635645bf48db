"""The event file of one process: JSON lines appended as its log becomes durable.

`write_batch` takes the events of synced frames in the order of the log and writes them at once; `run` syncs
the file about each second and rotates it. `synced_position` is how far of the log the events are on disk: the
spool keeps every segment beyond it, so that after a crash `recover` derives exactly the missing events.

Theory: writing without waiting for a sync is safe because the log can tell everything again. A write that
fails is repeated with the next one, at the same offset. A sync that fails is never repeated, because the
kernel may have thrown the pages away: the file is cut back to what was synced and the writer stays *frozen*
(`frozen` is true, `synced_position` stands still) until its process starts anew and recovers. The same
happens when more than `PENDING_LIMIT` octets cannot be written, and when somebody took the file away.

Invariant: the events derived from frames before `synced_position` are on disk, each exactly once.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from outrider.base.clock import Clock
from outrider.base.files import Files, stands_at, write_all
from outrider.base.log import Log
from outrider.model.dispatch import Position
from outrider.model.flow import Origin
from outrider.model.reply import Reply
from outrider.record.derive import Act, Place, administered, noticed, parse_id, refused, when
from outrider.record.events import SCHEMA_VERSION, Event, Opened, encode_lines
from outrider.record.files import open_path, resume
from outrider.record.options import RecordOptions
from outrider.record.redact import Redactor, TokenSource
from outrider.record.rotation import next_closed_path
from outrider.record.sinks import events_redactor

PENDING_LIMIT: Final = 16 * 1024 * 1024
# chosen: some seconds of events at full rate; what is beyond stays in the log, which is where it came from


class EventWriter:
    """Appends the events of one log.

    Args:
        files: The file primitive.
        directory: Where event files are; made when it is missing.
        log: Number of the log that events are derived from.
        options: Rotation, syncs, limits.
        clock: Gives the times of events outside the log.
        server_log: Told about failures.
        tokens: Makes tokens of addresses, where the options want them.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        log: int,
        options: RecordOptions,
        clock: Clock,
        server_log: Log,
        *,
        tokens: TokenSource | None = None,
    ) -> None:
        self._files = files
        self._directory = directory
        self._log = log
        self._options = options
        self._clock = clock
        self._server_log = server_log
        self._redactor = events_redactor(options, tokens)
        self._start = f"{log}.x{int(clock.wall() * 1000):x}."
        self._count = 0
        self._pending: list[bytes] = []
        self._pending_octets = 0
        self._is_failing = False
        self._frozen = False
        self._fd = -1
        self._offset = 0
        self._synced_offset = 0
        self._opened_at = 0.0
        self._refusals_at = 0.0
        self._refusals = 0
        self._suppressed = 0
        self._is_rotating = False
        self._taken_position: Position | None = None
        self._written_position: Position | None = None
        self._synced_position: Position | None = None
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._last = resume(files, directory, log)
        self._open()

    def reshape(self, options: RecordOptions) -> None:
        """Other sizes and times from now on; redaction stays as it began."""
        self._options = options

    @property
    def redactor(self) -> Redactor:
        """The one to derive this log's events with."""
        return self._redactor

    @property
    def last(self) -> Place | None:
        """Place of the last event derived from the log, in this file or those before it."""
        return self._last

    @property
    def synced_position(self) -> Position | None:
        """Log position up to which events are on disk; None before the first sync of this process."""
        return self._synced_position

    @property
    def frozen(self) -> bool:
        """True when events are no longer written, and the process must start anew to go on."""
        return self._frozen

    @property
    def stalled(self) -> bool:
        """True while events cannot be written; nothing new should be accepted then."""
        return self._is_failing or self._frozen

    def write_batch(self, position: Position, events: Sequence[Event]) -> None:
        """Write the events of all frames up to `position`, which must be synced in the log."""
        if self._frozen:
            return
        self._taken_position = position
        if events:
            self._append(encode_lines(events))
            place = parse_id(events[-1].id)
            if place is not None:
                self._last = place
        self._write()

    def write_outside(self, event: Event) -> None:
        """Write an event that no frame holds; it goes out with the next batch or sync."""
        if not self._frozen:
            self._append(encode_lines((event,)))

    def next_id(self) -> str:
        """An id for an event outside the log."""
        self._count += 1
        return f"{self._start}{self._count}"

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        """Write a refusal; beyond `refusals_per_second` only count it, for the next one's `suppressed`."""
        now = self._clock.now()
        if now - self._refusals_at >= 1:
            self._refusals_at = now
            self._refusals = 0
        self._refusals += 1
        if self._refusals > self._options.refusals_per_second:
            self._suppressed += 1
            return
        at = self._clock.wall()
        self.write_outside(
            refused(self.next_id(), at, origin, mail_from, recipient, reply, self._redactor, self._suppressed)
        )
        self._suppressed = 0

    def noticed(self, name: str, **fields: str | float | bool) -> None:
        """Write that the server itself did something."""
        self.write_outside(noticed(self.next_id(), self._clock.wall(), name, fields, self._redactor))

    def administered(self, act: Act) -> None:
        """Write at once what an administrator did: it is rare, and no log could tell it again."""
        self.write_outside(administered(self.next_id(), self._clock.wall(), act, self._redactor))
        if not self._frozen:
            self._write()

    async def run(self) -> None:
        """Sync and rotate until cancelled, or until the writer is frozen.

        Cancellation leaves the file as it is; call `close` then.
        """
        while not self._frozen:
            await asyncio.sleep(self._options.sync_seconds)
            await self.sync()

    async def sync(self) -> None:
        """Bring what is written to disk, in a thread; rotate when the file is large or old enough."""
        self._redactor.refresh()
        self._write()
        if self._frozen:
            return
        position, offset = self._written_position, self._offset
        try:
            await asyncio.to_thread(self._sync_file)
        except FileNotFoundError as error:
            self._freeze("record.file_gone", error)
            return
        except OSError as error:
            self._freeze("record.sync_failed", error)
            return
        self._synced_position = position
        self._synced_offset = offset
        if self._is_due():
            await self._rotate()

    def _sync_file(self) -> None:
        """In a thread: what is written is on disk, in the file that readers find.

        Raises:
            FileNotFoundError: Somebody took the file or its directory away; what goes on into it is lost.
        """
        self._files.fdatasync(self._fd)
        path = str(open_path(self._directory, self._log))
        if not stands_at(self._fd, path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    async def _rotate(self) -> None:
        """Begin the next file; who is cancelled meanwhile waits, to know which file has which name."""
        first_line = self._first_line()
        self._is_rotating = True  # what comes meanwhile waits for the new file
        changing = asyncio.get_running_loop().run_in_executor(None, self._change_files, first_line)
        cancelled: asyncio.CancelledError | None = None
        while not changing.done():
            try:
                await asyncio.wait([changing])
            except asyncio.CancelledError as request:  # a thread is not stopped by it
                cancelled = request
        self._is_rotating = False
        failure = changing.exception()
        if isinstance(failure, OSError):
            self._freeze("record.rotate_failed", failure)
        elif failure is not None:
            raise failure
        else:
            self._begin_file(changing.result(), first_line)
        if cancelled is not None:
            raise cancelled

    def _begin_file(self, fd: int, first_line: bytes) -> None:
        self._files.close(self._fd)
        self._fd = fd
        self._offset = self._synced_offset = len(first_line)
        self._synced_position = self._written_position
        self._opened_at = self._clock.now()
        self._write()

    def _change_files(self, first_line: bytes) -> int:
        """In a thread: the old file is whole on disk before the new one has its name."""
        opened = open_path(self._directory, self._log)
        path = str(opened)
        directory = str(self._directory)
        self._files.fdatasync(self._fd)
        fd = self._files.open(f"{path}.new", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._files, fd, [first_line], 0)
            self._files.fdatasync(fd)
            self._files.rename(path, str(next_closed_path(opened)))
            self._files.sync_directory(directory)
            self._files.rename(f"{path}.new", path)
            self._files.sync_directory(directory)
        except OSError:
            self._files.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Write and sync what is left, at the end of the process. Blocks for one sync."""
        if self._fd < 0:
            return
        self._write()
        if not self._frozen:
            try:
                self._files.fdatasync(self._fd)
            except OSError as error:
                self._freeze("record.sync_failed", error)
            else:
                self._synced_position = self._written_position
                self._synced_offset = self._offset
        self._files.close(self._fd)
        self._fd = -1

    def _append(self, lines: bytes) -> None:
        self._pending.append(lines)
        self._pending_octets += len(lines)

    def _write(self) -> None:
        if self._frozen or self._is_rotating:
            return
        if self._pending:
            try:
                self._offset += write_all(self._files, self._fd, self._pending, self._offset)
            except OSError as error:
                self._keep_pending(error)
                return
            self._pending.clear()
            self._pending_octets = 0
            if self._is_failing:
                self._is_failing = False
                self._server_log.info("record.write_recovered", log=self._log)
        self._written_position = self._taken_position

    def _keep_pending(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._server_log.error("record.write_failed", log=self._log, error=error.strerror)
        if self._pending_octets > PENDING_LIMIT:
            self._freeze("record.pending_full", error)

    def _freeze(self, event: str, error: OSError) -> None:
        self._frozen = True
        self._pending.clear()
        self._pending_octets = 0
        self._server_log.error(event, log=self._log, error=error.strerror)
        with contextlib.suppress(OSError):  # then recovery finds more than it needs to trust, and mends it
            self._files.truncate(self._fd, self._synced_offset)

    def _is_due(self) -> bool:
        return self._options.events_rotation.is_due(self._offset, self._clock.now() - self._opened_at)

    def _open(self) -> None:
        path = str(open_path(self._directory, self._log))
        self._fd = self._files.open(path, os.O_RDWR | os.O_CREAT)
        self._offset = self._synced_offset = self._files.size(self._fd)
        self._opened_at = self._clock.now()
        if self._offset == 0:
            self._append(self._first_line())
            self._write()
            self._files.sync_directory(str(self._directory))

    def _first_line(self) -> bytes:
        after = "" if self._last is None else f"{self._log}.{'.'.join(map(str, self._last))}"
        time = when(self._clock.wall())
        first = Opened(id=self.next_id(), time=time, log=self._log, schema=SCHEMA_VERSION, after=after)
        return encode_lines((first,))
