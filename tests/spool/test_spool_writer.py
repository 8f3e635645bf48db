"""Group commit: order, batches, and what happens when the disk does not."""

import asyncio
import errno
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.faults import SHORT, Fault, FaultyFiles
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import Change, ContentRef, Finished, Stored, log_of
from outrider.model.dispatch import Position
from outrider.spool.await_commit import begin_commit, commit_and_wait
from outrider.spool.directory import SpoolDirectory
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import Damage, FrameReader
from outrider.spool.segments import BROKEN_PAUSE_MAX_SECONDS
from outrider.spool.writer import LogWriter, Synced
from tests.spool.samples import CODECS, SMALL, finished, spool_keys, stored

CONTENT = b"x" * 998 + b"\r\n"


def _note(order: list[int], number: int, _: ContentRef | None) -> None:
    order.append(number)


class Desk:
    """A writer with everything around it."""

    def __init__(
        self,
        path: Path,
        options: SpoolOptions = SMALL,
        codec: str = "plain",
        files: FaultyFiles | None = None,
    ) -> None:
        options = options.model_copy(update=CODECS[codec])
        self.files = FaultyFiles(OsFiles(), []) if files is None else files
        self.directory = SpoolDirectory(self.files, str(path / "spool"))
        self.directory.open()
        self.clock = FakeClock()
        self.log = ListLog()
        self.batches: list[list[Synced]] = []
        self.positions: list[Position] = []
        self.writer = LogWriter(
            self.directory,
            options,
            self.clock,
            self.log,
            self.synced,
            salts=lambda: b"salty!!!",
            keys=spool_keys(),
        )
        self.reader = FrameReader(self.directory, options, spool_keys())

    def synced(self, position: Position, batch: object) -> None:
        self.positions.append(position)
        self.batches.append(list(batch))  # type: ignore[call-overload]

    def message(self, content: bytes = CONTENT) -> Stored:
        return stored(self.writer.reserve(1), content)

    def begin(self, content: bytes = CONTENT) -> asyncio.Future[ContentRef | None]:
        return begin_commit(self.writer, [self.message(content)], [[content]])

    def is_full(self) -> bool:
        return self.writer.is_full

    async def one(self, content: bytes = CONTENT) -> ContentRef:
        return await commit_and_wait(self.writer, [self.message(content)], [[content]])

    def fail(self, operation: str, error: int, *, at: int = 1, times: int = 1) -> None:
        self.files.faults.append(Fault(operation, "*/logs/*.log", at, error, times))

    def found(self) -> tuple[list[Change], list[Damage]]:
        """What a scan of the log finds now."""
        damage: list[Damage] = []
        reader = FrameReader(self.directory, SMALL, spool_keys())
        changes = [
            change
            for scanned in reader.scan(self.writer.number, damaged=damage.append)
            for change in scanned.changes
        ]
        reader.close()
        return changes, damage


@pytest.fixture(params=["plain", "aes"])
async def desk(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, codec=request.param)
    yield desk
    desk.files.faults.clear()
    await desk.writer.close()


async def test_what_was_committed_is_read_back(desk: Desk) -> None:
    message = desk.message()
    ref = await commit_and_wait(desk.writer, [message], [[CONTENT[:10], CONTENT[10:]]])
    assert log_of(message.first_entry) == desk.writer.number == ref.log
    assert desk.reader.read(ref, message.first_entry) == (message, CONTENT)
    assert desk.positions == [Position(0, ref.offset + ref.length)] == [desk.writer.position]


async def test_everything_of_one_turn_is_one_batch_and_answers_come_in_order(desk: Desk) -> None:
    order: list[int] = []
    for _ in range(50):
        message = desk.message()
        done = partial(_note, order, message.first_entry & 0xFF)
        desk.writer.commit([message], [[CONTENT]], done)
    await desk.writer.drain()
    assert order == list(range(50))
    assert [len(batch) for batch in desk.batches] == [50]
    assert desk.writer.counts.batches == 1
    assert desk.writer.pending_octets == 0


async def test_what_arrives_during_a_sync_is_the_next_batch(desk: Desk) -> None:
    desk.begin()
    await asyncio.sleep(0)  # handed over
    second, third = desk.begin(), desk.begin()
    assert await third
    assert await second
    assert [len(batch) for batch in desk.batches] == [1, 2]


async def test_a_finish_waits_for_company_but_not_for_long(desk: Desk) -> None:
    desk.writer.commit([finished(1)], (), None)
    await desk.one()
    assert [len(batch) for batch in desk.batches] == [2], "it travelled with the commit"
    desk.writer.commit([finished(2)], (), None)
    while len(desk.batches) < 2:  # noqa: ASYNC110 - the writer's own timer ends it
        await asyncio.sleep(0.001)
    assert [synced.changes for synced in desk.batches[1]] == [[finished(2)]]


async def test_segments_follow_each_other_and_large_messages_get_their_own(desk: Desk) -> None:
    contents = [
        bytes([65 + number]) * size for number, size in enumerate([30_000, 30_000, 30_000, 200_000, 100])
    ]
    refs = [await desk.one(content) for content in contents]
    segments = [ref.segment for ref in refs]
    assert segments == sorted(segments)
    assert len(set(segments)) >= 3
    for ref, content in zip(refs, contents, strict=True):
        changes, payload, start = desk.reader.frame(ref)
        assert payload[start:] == content
        assert isinstance(changes[0], Stored)
    changes, damage = desk.found()
    assert len(changes) == 5
    assert not damage


async def test_a_batch_over_several_segments_is_whole(desk: Desk) -> None:
    futures = [desk.begin(b"y" * 20_000) for _ in range(20)]
    refs = await asyncio.gather(*futures)
    assert all(refs)
    assert len({ref.segment for ref in refs if ref is not None}) > 4
    assert len(desk.batches) == 1
    assert len(desk.found()[0]) == 20


@pytest.mark.parametrize("operation", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_failed_write_or_sync_is_not_tried_again_on_the_same_file(
    desk: Desk, operation: str, error: int
) -> None:
    good = await desk.one()
    desk.fail(operation, error)
    first, second = desk.begin(), desk.begin()
    assert (await first, await second) == (None, None)
    after = await desk.one()
    assert after.segment > good.segment
    changes, damage = desk.found()
    assert [change.first_entry & 0xFF for change in changes if isinstance(change, Stored)] == [0, 3]
    assert not damage, "the sealed end hides what was refused"
    assert desk.writer.counts.failures == 1
    assert [line[1] for line in desk.log.lines if line[0] == "error"] == ["spool.write_failed"]


async def test_what_was_refused_is_not_found_even_when_the_cut_fails_too(desk: Desk) -> None:
    await desk.one()
    desk.fail("fdatasync", errno.EIO)
    desk.fail("truncate", errno.EIO, times=0)
    assert await desk.begin() is None
    await desk.one()
    assert len(desk.found()[0]) == 2


async def test_finishes_survive_a_failed_batch(desk: Desk) -> None:
    desk.fail("fdatasync", errno.EIO)
    desk.writer.commit([finished(7)], (), None)
    refused = desk.begin()
    assert await refused is None
    await desk.writer.drain()
    changes, _ = desk.found()
    assert changes == [finished(7)]
    assert [synced.changes for batch in desk.batches for synced in batch] == [[finished(7)]]


async def test_finishes_survive_a_disk_that_is_away_for_a_while(desk: Desk) -> None:
    desk.fail("fdatasync", errno.EIO, times=6)
    for number in range(3):
        desk.writer.commit([finished(number)], (), None)
    await desk.writer.drain()
    assert [change.entry for change in desk.found()[0] if isinstance(change, Finished)] == [0, 1, 2]


class DataUnsynced(FaultyFiles):
    """While `is_broken` no data of a segment can be synced, only its header; and no segment can be cut.

    Nothing is really synced, which nobody notices while the machine is up.
    """

    def __init__(self) -> None:
        super().__init__(OsFiles(), [])
        self.is_broken = False
        self.with_header: set[int] = set()

    def close(self, fd: int) -> None:
        self.with_header.discard(fd)
        super().close(fd)

    def fdatasync(self, fd: int) -> None:
        if self.is_broken and fd in self.with_header:
            raise OSError(errno.EIO, "the data is lost")
        self.with_header.add(fd)

    def sync_directory(self, path: str) -> None: ...

    def truncate(self, fd: int, octets: int) -> None:
        if self.is_broken:
            raise OSError(errno.EIO, "it cannot be cut")
        super().truncate(fd, octets)


async def test_what_a_disk_refused_for_long_does_not_come_back(tmp_path: Path) -> None:
    """The seal of hundreds of segments is over 4 KiB, and still says where each of them ends."""
    files = DataUnsynced()
    desk = Desk(tmp_path, files=files)
    before = desk.message()
    await commit_and_wait(desk.writer, [before], [[CONTENT]])
    files.is_broken = True
    for _ in range(400):
        assert await desk.begin() is None
        desk.clock.advance(BROKEN_PAUSE_MAX_SECONDS)
    files.is_broken = False
    after = desk.message()
    await commit_and_wait(desk.writer, [after], [[CONTENT]])
    assert desk.found() == ([before, after], [])
    await desk.writer.close()


async def test_a_disk_that_syncs_nothing_is_asked_now_and_then(tmp_path: Path) -> None:
    """Each try costs two segments, which stay for the next start to read."""
    files = DataUnsynced()
    desk = Desk(tmp_path, files=files)
    files.is_broken = True
    for _ in range(300):
        assert await desk.begin() is None
        desk.clock.advance(1.0)
    made = desk.writer.counts.segments
    assert 2 * 300 / BROKEN_PAUSE_MAX_SECONDS <= made <= 3 * 300 / BROKEN_PAUSE_MAX_SECONDS
    desk.writer.commit([finished(1)], (), None)
    files.is_broken = False
    assert await desk.begin() is None, "nobody has asked the disk yet"
    desk.clock.advance(BROKEN_PAUSE_MAX_SECONDS)
    await desk.one()
    assert await desk.begin() is not None
    files.is_broken = True
    assert await desk.begin() is None
    desk.writer.commit([finished(2)], (), None)
    files.is_broken = False
    await desk.writer.close()
    assert desk.writer.facts_lost == 0, "the last try is made at once"
    assert [change.entry for change in desk.found()[0] if isinstance(change, Finished)] == [1, 2]


async def test_a_short_write_goes_on(desk: Desk) -> None:
    desk.fail("pwritev", SHORT)
    ref = await desk.one()
    assert desk.reader.frame(ref)[1].endswith(CONTENT)


async def test_a_full_disk_refuses_mail_keeps_room_for_finishes_and_recovers(desk: Desk) -> None:
    desk.fail("allocate", errno.ENOSPC, times=0)
    accepted = 0
    while await desk.begin(b"z" * 3_000) is not None:
        accepted += 1
        assert accepted < 50
    assert accepted > 10
    assert desk.is_full()
    assert desk.writer.is_without_room
    desk.writer.commit([finished(1)], (), None)
    await desk.writer.drain()
    assert finished(1) in desk.found()[0]
    desk.files.faults.clear()
    desk.clock.advance(10)
    await desk.begin()  # the thread asks the disk again
    while desk.is_full():
        await desk.begin()
    assert (await desk.one()).length
    assert len(desk.found()[0]) >= accepted + 2


async def test_too_much_pending_is_refused_in_order(tmp_path: Path) -> None:
    options = SpoolOptions(**{**SMALL.model_dump(), "pending_octets": 1 << 20})
    desk = Desk(tmp_path, options)
    answers: list[bool] = []
    for _ in range(12):
        message = desk.message(b"w" * 100_000)
        desk.writer.commit([message], [[b"w" * 100_000]], lambda ref: answers.append(ref is not None))
    assert desk.writer.is_full or desk.writer.refused
    assert not desk.writer.is_without_room
    assert answers == [], "nobody is answered before his turn"
    await desk.writer.drain()
    assert answers == [True] * 11 + [False]
    assert desk.writer.refused == 1
    assert not desk.writer.is_full
    await desk.writer.close()


async def test_what_follows_is_taken_or_refused_as_what_it_follows(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SpoolOptions(**{**SMALL.model_dump(), "pending_octets": 1 << 20}))
    answers: list[bool] = []

    def commit(*, follows: bool) -> None:
        message = desk.message(b"w" * 400_000)
        done = lambda ref: answers.append(ref is not None)  # noqa: E731
        desk.writer.commit([message], [[b"w" * 400_000]], done, follows=follows)

    for follows in (False, True, True, True, False, True):
        commit(follows=follows)
    await desk.writer.drain()
    commit(follows=False)
    await desk.writer.drain()
    assert answers == [True, True, True, True, False, False, True]
    await desk.writer.close()


@pytest.mark.parametrize("operation", ["open", "allocate", "pwritev", "fdatasync", "sync_directory"])
@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("octets", [30_000, 200_000])
async def test_what_belongs_together_is_stored_together_or_not_at_all(
    desk: Desk, operation: str, at: int, octets: int
) -> None:
    """Six of them are more than a segment, whatever was before; the disk fails at any moment, once."""
    contents = [bytes([65 + number]) * octets for number in range(6)]
    before = desk.begin(b"z" * 20_000)
    messages = [desk.message(content) for content in contents]
    pattern = "*/logs/*" if operation == "sync_directory" else "*/logs/*.log"
    desk.files.faults.append(Fault(operation, pattern, at, errno.EIO))
    refs: list[ContentRef | None] = []
    for number, message in enumerate(messages):
        desk.writer.commit([message], [[contents[number]]], refs.append, follows=number > 0)
    after = desk.begin(b"z" * 20_000)
    told = [await before, await after]
    assert len(refs) == 6
    assert all(refs) or not any(refs)
    if all(refs):
        assert len({ref.segment for ref in refs if ref is not None}) == 1
    desk.files.faults.clear()
    await desk.writer.close()  # its thread may be making the next segment, which has no header yet
    changes, damage = desk.found()
    stored_now = [change.first_entry for change in changes if isinstance(change, Stored)]
    of_group = [message.first_entry for message in messages if message.first_entry in stored_now]
    assert len(of_group) == (6 if all(refs) else 0), "what was refused is not found either"
    assert len(stored_now) - len(of_group) == sum(ref is not None for ref in told)
    assert damage == []


async def test_a_message_over_the_limit_of_what_is_pending_has_its_turn(tmp_path: Path) -> None:
    """A listener may take messages of 1 GiB; they are not for ever told to come back."""
    desk = Desk(tmp_path, SpoolOptions(**{**SMALL.model_dump(), "pending_octets": 1 << 20}))
    large = b"w" * (2 << 20)
    first, second = desk.begin(large), desk.begin()
    assert desk.is_full()
    assert (ref := await first) is not None
    assert await second is None
    assert desk.reader.frame(ref)[1].endswith(large)
    assert await desk.begin() is not None
    await desk.writer.close()


async def test_a_callback_that_raises_harms_nobody_else(desk: Desk) -> None:
    def raises(_: ContentRef | None) -> None:
        raise RuntimeError("bug")

    desk.writer.commit([desk.message()], [[CONTENT]], raises)
    assert await desk.begin()
    assert [line[1] for line in desk.log.lines if line[0] == "error"] == ["spool.callback_failed"]


async def test_after_closing_nothing_is_taken_and_the_lock_is_free(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.writer.commit([finished(1)], (), None)
    assert desk.directory.is_alive(desk.writer.number)
    await desk.writer.close()
    assert not desk.directory.is_alive(desk.writer.number)
    assert desk.found()[0] == [finished(1)]
    with pytest.raises(SpoolError):
        desk.writer.commit([finished(2)], (), None)
    await desk.writer.close()


async def test_closing_gives_up_what_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.fail("fdatasync", errno.EIO, times=0)
    desk.writer.commit([finished(1)], (), None)
    await desk.writer.close()
    assert desk.writer.facts_lost == 1
    assert "spool.facts_lost" in [line[1] for line in desk.log.lines]


async def test_a_writer_needs_its_first_segment(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.fail("allocate", errno.ENOSPC, times=0)
    with pytest.raises(SpoolError, match="cannot be opened"):
        LogWriter(desk.directory, SMALL, desk.clock, desk.log)
    assert not desk.directory.is_alive(2)
    desk.files.faults.clear()
    await desk.writer.close()


async def test_entry_ids_never_repeat(tmp_path: Path) -> None:
    seen: set[int] = set()
    for _ in range(3):
        desk = Desk(tmp_path)
        for count in (1, 3):
            first = desk.writer.reserve(count)
            assert not seen & set(range(first, first + count))
            seen |= set(range(first, first + count))
        await desk.writer.close()
