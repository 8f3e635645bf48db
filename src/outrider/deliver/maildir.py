"""Delivers mail that is for the server itself into Maildirs, one for each purpose.

`open`, `batch` and `close` take the dispatcher's messages as the SMTP deliverer does; a `DeliveryReport`
hears what became of each entry. Each recipient's message is a file of its own, with Return-Path, Delivered-To
and X-Outrider-Purpose before it, line ends as Unix has them.

Theory: a file is written in `tmp`, synced, and renamed into `new`, so a reader never sees half of one. Its
name follows from the entry, so what is written again after a crash replaces itself; a duplicate is possible
only when a reader has moved the first one away. A slot ends as soon as the dispatcher has nothing more for
it.

Invariant: an entry is reported exactly once, and as delivered only after its file is durable.

Standards: RFC 5321 §4.4 (Return-Path at final delivery); the layout of directories is Maildir's (maildir(5)).
"""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path as FilePath

from outrider.base.errors import SpoolError, where
from outrider.base.files import Files, write_all
from outrider.base.log import Log
from outrider.base.long_octets import line_slices
from outrider.deliver.ports import ContentSource, DeliveryReport
from outrider.deliver.smtp import failures
from outrider.model.changes import Stored
from outrider.model.dispatch import Batch, Close, Granted, Held, Open
from outrider.model.flow import Content, Outcome, Path, Phase, Traits
from outrider.model.reply import Reply
from outrider.wire.smtp.content import unstuff

WANT = 32
# chosen: a batch is some hundred milliseconds of syncs


def purpose_of(path: Path) -> str:
    """The purpose that the site of a path names (`inbound:bounce`)."""
    return path.site.partition(":")[2] or "other"


class _Slot:
    __slots__ = ("backlog", "changed", "closing", "current", "done", "path", "wanting")

    def __init__(self, path: Path, entries: Sequence[Granted]) -> None:
        self.path = path
        self.backlog = deque(entries)
        self.current: Granted | None = None
        self.changed = asyncio.Event()
        self.closing = False
        self.wanting = False
        self.done = 0


class MaildirDeliverer:
    """See the module.

    Args:
        directory: Holds one Maildir for each purpose; made when something comes for it.
        hostname: Part of the files' names.
        files: Writes them.
        source: Gives messages.
        report: Hears of everything.
        log: Server log.
    """

    def __init__(
        self,
        directory: FilePath,
        *,
        hostname: str,
        files: Files,
        source: ContentSource,
        report: DeliveryReport,
        log: Log,
    ) -> None:
        self._directory = directory
        self._host = hostname.replace("/", "_").replace(":", "_")
        self._files = files
        self._source = source
        self._report = report
        self._log = log
        self._slots: dict[int, _Slot] = {}
        self._group: asyncio.TaskGroup | None = None
        self._draining = False
        self._stopped = asyncio.Event()
        self._empty = asyncio.Event()

    # the dispatcher's messages

    def has(self, slot: int) -> bool:
        """The slot is one of these."""
        return slot in self._slots

    def open(self, message: Open) -> None:
        """Write the entries, then ask for more."""
        slot = self._slots[message.slot] = _Slot(message.path, message.entries)
        self._empty.clear()
        if self._draining:
            self._end(message.slot, slot)
        elif self._group is not None:
            self._group.create_task(self._work(message.slot, slot))

    def batch(self, message: Batch) -> None:
        """More entries, or none: the slot then ends."""
        slot = self._slots[message.slot]
        slot.wanting = False
        slot.backlog.extend(message.entries)
        slot.closing = slot.closing or not message.entries
        slot.changed.set()

    def close(self, message: Close) -> None:
        """End when what is here is written."""
        slot = self._slots[message.slot]
        slot.closing = True
        slot.changed.set()

    def held(self) -> tuple[Held, ...]:
        """The slots with their entries, for a new dispatcher."""
        found = []
        for number, slot in self._slots.items():
            entries = [granted.entry for granted in slot.backlog]
            if slot.current is not None:
                entries.insert(0, slot.current.entry)
            found.append(Held(number, slot.path, tuple(entries)))
        return tuple(found)

    def ask_again(self) -> None:
        """Say every outstanding want once more."""
        for number, slot in self._slots.items():
            if slot.wanting:
                self._report.want(number, WANT)

    # its life

    async def run(self) -> None:
        """Work until `shutdown`."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for number, slot in self._slots.items():
                    group.create_task(self._work(number, slot))
                await self._stopped.wait()
        finally:
            self._group = None
            for number, slot in tuple(self._slots.items()):
                self._end(number, slot)

    async def shutdown(self, deadline_seconds: float) -> None:
        """Return what was not begun and finish the file that is being written."""
        self._draining = True
        for slot in self._slots.values():
            slot.changed.set()
        if self._slots:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_seconds):
                    await self._empty.wait()
        self._stopped.set()

    # inside

    async def _work(self, number: int, slot: _Slot) -> None:
        try:
            while not self._draining:
                if slot.backlog:
                    slot.current = slot.backlog.popleft()
                    await self._take(number, slot, slot.current)
                    slot.current = None
                elif slot.closing:
                    break
                else:
                    slot.wanting = True
                    slot.changed.clear()
                    self._report.want(number, WANT)
                    await slot.changed.wait()
        finally:
            self._end(number, slot)

    def _end(self, number: int, slot: _Slot) -> None:
        if self._slots.pop(number, None) is None:
            return
        left = [granted.entry for granted in slot.backlog]
        if slot.current is not None:
            left.insert(0, slot.current.entry)
        if left:
            self._report.returned(number, tuple(left))
        self._report.closed(number, None, slot.done)
        if not self._slots:
            self._empty.set()

    async def _take(self, number: int, slot: _Slot, granted: Granted) -> None:
        try:
            loading = self._source.load(granted.ref, granted.entry)
            stored, wire = self._source.read(granted.ref, granted.entry) if loading is None else await loading
        except SpoolError as error:
            self._log.error(
                "deliver.unreadable", path=str(slot.path), entry=granted.entry, error=error.message
            )
            outcome = Outcome(failures.UNREADABLE, Phase.QUEUE, ours=True)
            self._report.unreadable(slot.path, number, granted, outcome)
            return
        purpose = purpose_of(slot.path)
        name = f"{int(stored.received_time)}.{stored.message_id}_{granted.entry}.{self._host}"
        try:
            await asyncio.to_thread(self._write, purpose, name, stored, granted.index, wire)
            outcome = Outcome(Reply(250, "2.0.0", (f"Kept in {purpose} as {name}",)), Phase.BODY)
            slot.done += 1
        except OSError as error:
            self._log.error("deliver.maildir_failed", purpose=purpose, error=str(error))
            reply = Reply(451, "4.3.0", (f"The directory for {purpose} cannot be written: {error.strerror}",))
            outcome = Outcome(reply, Phase.BODY, ours=True)
        except Exception as error:
            self._log.error("deliver.maildir_failed", purpose=purpose, **where(error))
            outcome = Outcome(failures.INTERNAL, Phase.BODY, ours=True)
        self._report.outcome(slot.path, number, granted, stored, outcome)

    def _write(self, purpose: str, name: str, stored: Stored, index: int, wire: bytes) -> None:
        """In a thread: write one file durably. Raises OSError; then only `tmp` may hold something."""
        files = self._files
        folder = str(self._directory / purpose)
        for path in (str(self._directory), folder, *(f"{folder}/{each}" for each in ("tmp", "new", "cur"))):
            with suppress(FileExistsError):
                files.mkdir(path)
                files.sync_directory(path.rpartition("/")[0])
        traits = Traits(stored.traits)
        lines = (unstuff(Content(each, traits, 0)).replace(b"\r\n", b"\n") for each in line_slices(wire))
        sender = "" if stored.mail_from is None else str(stored.mail_from)
        head = (
            f"Return-Path: <{sender}>\n"
            f"Delivered-To: {stored.deliveries[index].recipient.address}\n"
            f"X-Outrider-Purpose: {purpose}\n"
        )
        unfinished = f"{folder}/tmp/{name}"  # noqa: S108 - the Maildir's own
        fd = files.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(files, fd, [head.encode(), *lines], 0)
            files.fdatasync(fd)
        finally:
            files.close(fd)
        files.rename(unfinished, f"{folder}/new/{name}")
        files.sync_directory(f"{folder}/new")
