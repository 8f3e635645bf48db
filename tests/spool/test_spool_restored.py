"""Files of a spool that somebody removes while it is written are written again; what is lost is told."""

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import OsFiles
from outrider.base.log import ListLog, NullLog
from outrider.model.changes import ContentRef
from outrider.spool import writer as writers
from outrider.spool.await_commit import begin_commit, commit_and_wait
from outrider.spool.directory import SpoolDirectory
from outrider.spool.index import Index
from outrider.spool.missing import Gone, MissingSegments
from outrider.spool.reader import Damage, FrameReader
from outrider.spool.writer import LogWriter
from tests.patience import PATIENCE_SECONDS
from tests.spool.samples import SMALL, stored

CONTENT = b"x" * 2_998 + b"\r\n"


class Desk:
    """A writer, a reader that has its segments open, and all that they stand on."""

    def __init__(self, path: Path) -> None:
        self.files = FaultyFiles(OsFiles(), [])
        self.directory = SpoolDirectory(self.files, str(path / "spool"))
        self.directory.open()
        self.log = ListLog()
        self.writer = LogWriter(self.directory, SMALL, FakeClock(), self.log)
        self.reader = FrameReader(self.directory, SMALL)

    @property
    def folder(self) -> Path:
        return Path(self.directory.log_path(self.writer.number))

    def events(self) -> list[str]:
        return [event for _, event, _ in self.log.lines if event.startswith("spool.file")]

    async def one(self, content: bytes = CONTENT) -> tuple[int, ContentRef]:
        message = stored(self.writer.reserve(1), content)
        return message.first_entry, await commit_and_wait(self.writer, [message], [[content]])

    async def watched(self) -> None:
        """Until the writer's own look has written again what was missing."""
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self.writer.watch())
            while not self.events():  # noqa: ASYNC110 - the log has nobody to wake
                await asyncio.sleep(0.01)
            watching.cancel()


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(writers, "WATCH_SECONDS", 0.01)
    return Desk(tmp_path)


def found_at_a_start(desk: Desk) -> tuple[list[int], list[Damage]]:
    """The entries that somebody finds who knows the directory alone."""
    damage: list[Damage] = []
    reader = FrameReader(desk.directory, SMALL)
    entries = [
        change.first_entry  # type: ignore[union-attr]
        for scanned in reader.scan(desk.writer.number, damaged=damage.append)
        for change in scanned.changes
    ]
    reader.close()
    return entries, damage


@pytest.mark.parametrize("what", ["segment", "log", "logs", "spool"])
@pytest.mark.parametrize("is_idle", [True, False])
async def test_what_is_acknowledged_is_found_whatever_was_removed_before(
    desk: Desk, what: str, *, is_idle: bool
) -> None:
    written = [await desk.one() for _ in range(5)]
    for entry, ref in written:
        assert desk.reader.read(ref, entry)[1] == CONTENT
    gone = {
        "segment": desk.folder / "00000000.log",
        "log": desk.folder,
        "logs": desk.folder.parent,
        "spool": desk.folder.parent.parent,
    }[what]
    gone.unlink() if gone.is_file() else shutil.rmtree(gone)
    if is_idle:
        await desk.watched()
    written += [await desk.one() for _ in range(5)]
    assert desk.directory.is_alive(desk.writer.number), "nobody takes its writer for dead"
    for entry, ref in written:
        assert desk.reader.read(ref, entry)[1] == CONTENT, "who had the old file open reads the new one too"
    SpoolDirectory(desk.files, desk.directory.path).open()
    assert set(desk.events()) == {"spool.file_restored"}
    await desk.writer.close()
    assert found_at_a_start(desk) == ([entry for entry, _ in written], [])


async def test_the_segment_made_ahead_is_made_again(desk: Desk) -> None:
    first = await desk.one(b"z" * 40_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (desk.folder / "00000001.log").exists():  # noqa: ASYNC110 - the thread makes it
            await asyncio.sleep(0.01)
    (desk.folder / "00000001.log").unlink()
    await desk.watched()
    second = await desk.one(b"z" * 40_000)
    assert second[1].segment == 1
    await desk.writer.close()
    assert found_at_a_start(desk) == ([first[0], second[0]], [])


async def test_while_it_cannot_be_written_again_mail_is_refused(desk: Desk) -> None:
    kept = await desk.one()
    (desk.folder / "00000000.log").unlink()
    desk.files.faults.append(Fault("open", "*.log.new", 1, errno.EROFS, 0))
    refused = await begin_commit(desk.writer, [stored(desk.writer.reserve(1), CONTENT)], [[CONTENT]])
    assert refused is None
    assert desk.events() == ["spool.file_gone"]
    desk.files.faults.clear()
    taken = await desk.one()
    await desk.writer.close()
    assert found_at_a_start(desk) == ([kept[0], taken[0]], [])
    assert desk.events() == ["spool.file_gone", "spool.file_restored"]


async def test_closed_segments_that_are_missing_are_told_of_once(tmp_path: Path) -> None:
    files = OsFiles()
    options = SMALL
    clock = FakeClock()
    index = Index.open(files, str(tmp_path / "spool"), options, clock, NullLog())
    writer = LogWriter(index.directory, options, clock, NullLog())
    for number in range(6):
        await commit_and_wait(
            writer, [stored(writer.reserve(1), b"y" * 30_000, number=number)], [[b"y" * 30_000]]
        )
    await index.replay(writer.number, writer.position)
    log = ListLog()
    missing = MissingSegments(index, log)
    await missing.look()
    await missing.look()
    assert missing.gone == Gone(0, 0)
    path = Path(index.directory.segment_path(writer.number, 0))
    aside = path.with_suffix(".aside")
    entries = index.table.live[writer.number, 0][0]
    os.rename(path, aside)  # noqa: PTH104 - in a test nobody waits for it
    await missing.look()
    assert missing.gone == Gone(0, 0), "its writer may be writing it again"
    for _ in range(3):
        await missing.look()
    assert missing.gone == Gone(1, entries)
    assert [(event, fields["file"]) for _, event, fields in log.lines] == [("spool.segment_gone", str(path))]
    os.rename(aside, path)  # noqa: PTH104 - as above
    await missing.look()
    assert missing.gone == Gone(0, 0)
    assert [event for _, event, _ in log.lines] == ["spool.segment_gone", "spool.segment_back"]
    os.rename(path.parent, tmp_path / "away")  # noqa: PTH104 - as above: the whole log
    for _ in range(2):
        await missing.look()
    assert missing.gone.entries == 6
    os.rename(tmp_path / "away", path.parent)  # noqa: PTH104 - as above
    await writer.close()
    await index.close()


def test_a_reader_that_finds_nothing_says_so(tmp_path: Path) -> None:
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
    directory.open()
    reader = FrameReader(directory, SMALL)
    with pytest.raises(SpoolError, match="is gone"):
        reader.read(ContentRef(1, 0, 4096, 100), 0)
