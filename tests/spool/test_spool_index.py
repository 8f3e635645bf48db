"""The index: due times in windows, checkpoints, and replay in every order of the logs."""

import itertools
import sqlite3
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import (
    Altered,
    Carried,
    Change,
    ContentRef,
    Entry,
    Forgotten,
    LastReply,
    Moved,
    Stored,
    entry_id,
)
from outrider.model.dispatch import Position, Settled
from outrider.spool.announce import arrived_of
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.checkpoint import Write
from outrider.spool.directory import SpoolDirectory
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import FORMAT
from outrider.spool.index import Index
from outrider.spool.replay import new_entry
from outrider.spool.stamp import stamp
from outrider.spool.table import QueueKey
from outrider.spool.writer import LogWriter
from tests.spool.samples import SMALL, TIME, finished, retried, stored

CONTENT = b"content\r\n"
ALL = QueueFilter()
LATER = TIME + 1e6


def open_index(path: Path, log: ListLog | None = None) -> Index:
    return Index.open(OsFiles(), str(path / "spool"), SMALL, FakeClock(), log or ListLog())


def everywhere(_: QueueKey) -> int:
    return 1_000


def arrive(
    index: Index, count: int, domain: str = "one.example", *, first: int = 0, log: int = 1
) -> list[int]:
    """Messages that a worker announced; nothing is on disk of them."""
    numbers = []
    for number in range(first, first + count):
        message = stored(entry_id(log, number), CONTENT, (domain,), number=number)
        ref = (log, 0, 4096 + number, 100)
        index.arrive(log, arrived_of(message, ContentRef(*ref)))
        numbers.append(message.first_entry)
    return numbers


async def test_a_first_try_success_leaves_no_trace(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    [number] = arrive(index, 1)
    entry = index.get(number)
    assert entry is not None
    assert entry.due_time == TIME
    assert index.settle(Settled(1, number, finished=True)) is None
    assert index.get(number) is None
    counts = index.counts()
    assert (counts.alive, counts.changed, counts.keys) == (0, 0, 0)
    await index.close()


async def test_what_was_given_up_comes_back_when_due_and_only_as_much_as_there_is_room_for(
    tmp_path: Path,
) -> None:
    index = open_index(tmp_path)
    for domain, first in (("one.example", 0), ("two.example", 100)):
        for number in arrive(index, 50, domain, first=first):
            index.evict(number)
    await index.checkpoint()
    assert index.counts().resident == 0
    assert index.next_due() == TIME
    assert await index.due(TIME - 1, 10, everywhere) == []
    got = await index.due(TIME, 100, lambda key: 3 if key[2] == "one.example" else 0)
    assert [entry.entry for entry in got] == [entry_id(1, number) for number in range(3)]
    got = await index.due(TIME, 10, everywhere)
    assert len(got) == 10
    rest = []
    while more := await index.due(TIME, 7, everywhere):
        assert len(more) <= 7
        rest += more
    assert len(rest) == 100 - 13
    assert index.next_due() is None
    assert index.counts().resident == 100
    await index.close()


async def test_entries_come_in_order_of_their_due_times(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    numbers = arrive(index, 20)
    for place, number in enumerate(numbers):
        index.settle(Settled(1, number, False, 1, 1, LATER + (place * 7) % 20))
        index.evict(number)
    await index.checkpoint()
    assert index.next_due() == LATER
    times = []
    for at in range(20):
        times += [entry.due_time - LATER for entry in await index.due(LATER + at, 100, everywhere)]
        assert times == list(range(at + 1))
    await index.close()


async def test_a_key_with_much_to_come_waits_in_one_place(tmp_path: Path) -> None:
    """One for each entry, and one more after each checkpoint, would be most of a deferred entry's memory."""
    index = open_index(tmp_path)
    numbers = arrive(index, 200)
    for _ in range(3):
        for place, number in enumerate(numbers):
            index.settle(Settled(1, number, False, 1, 1, LATER + place))
            index.evict(number)
        await index.checkpoint()
        assert len(index.table._heap) == 1
        assert await index.due(LATER - 1, 10, everywhere) == []
    for place in (
        10,
        50,
        20,
    ):  # what is due earlier is looked at earlier, whatever was to be looked at before
        index.settle(Settled(1, numbers[place], False, 9, 1, LATER - place))
        assert await index.due(LATER - 51, 10, everywhere) == []
    assert index.next_due() == LATER - 50
    for at in (-50, -20, -10):
        assert len(await index.due(LATER + at, 10, everywhere)) == 1
    assert len(await index.due(LATER + 199, 1000, everywhere)) == 197
    assert await index.due(LATER + 1e9, 1000, everywhere) == []
    assert index.next_due() is None
    await index.close()


async def test_what_is_given_up_again_before_and_after_a_checkpoint_is_not_lost(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    numbers = set(arrive(index, 30))
    for _ in range(3):
        for number in numbers:
            index.evict(number)
        assert {entry.entry for entry in await index.due(TIME, 100, everywhere)} == numbers
        for number in numbers:
            index.evict(number)
        await index.checkpoint()
        assert {entry.entry for entry in await index.due(TIME, 100, everywhere)} == numbers
        await index.checkpoint()
    await index.close()


async def test_held_entries_are_never_due(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    number, other = arrive(index, 2)
    held = index.settle(Settled(1, number, False, 1, 1, TIME, held="unreadable"))
    assert held is not None
    assert held.held == "unreadable"
    assert index.get(number) is None
    index.evict(other)
    await index.checkpoint()
    assert [entry.entry for entry in await index.due(LATER, 10, everywhere)] == [other]
    assert index.counts().held == 1
    await index.close()


async def test_an_older_state_changes_nothing(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    [number] = arrive(index, 1)
    new = index.settle(Settled(1, number, False, 3, 2, LATER))
    assert index.settle(Settled(1, number, False, 2, 1, TIME)) is new
    assert index.settle(Settled(1, entry_id(9, 9), finished=True)) is None
    await index.checkpoint()
    assert await index.select(ALL, 10) == [new]
    await index.close()


async def test_a_finish_of_what_is_only_on_disk_is_applied(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    first, second = arrive(index, 2)
    for number in (first, second):
        index.evict(number)
    await index.checkpoint()
    index.settle(Settled(0, first, finished=True))
    index.settle(Settled(0, second, False, 1, 1, LATER))
    assert await index.due(TIME, 10, everywhere) == []
    [entry] = await index.select(ALL, 10)
    assert (entry.entry, entry.due_time, entry.attempts) == (second, LATER, 1)
    assert index.counts().alive == 1
    await index.close()


async def test_start_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    numbers = arrive(index, 10)
    index.advance(1, Position(0, 5_000), Position(0, 4_500))
    await index.checkpoint()
    arrive(index, 5, first=10)  # after the checkpoint, and gone with the crash
    await index.abandon()
    index = open_index(tmp_path)
    assert not index.rebuilt
    assert index.positions() == {1: Position(0, 5_000)}
    assert {entry.entry for entry in await index.select(ALL, 100)} == set(numbers)
    assert [entry.entry for entry in await index.load(numbers[3:5])] == numbers[3:5]
    assert index.counts().resident == 2
    await index.close()


async def test_a_checkpoint_that_fails_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    log = ListLog()
    index = open_index(tmp_path, log)
    stays, goes = arrive(index, 2)
    await index.checkpoint()
    index.settle(Settled(1, goes, finished=True))
    late, short_lived = arrive(index, 2, first=2)
    blocker = sqlite3.connect(tmp_path / "spool" / "checkpoint.sqlite", isolation_level=None)
    index._checkpoint._database.execute("PRAGMA busy_timeout = 0")
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match=r"checkpoint\.sqlite cannot be written: .*as soon as it can"):
        await index.checkpoint()
    blocker.execute("ROLLBACK")
    blocker.close()
    index.settle(Settled(1, short_lived, finished=True))
    await index.checkpoint()
    assert {entry.entry for entry in await index.select(ALL, 100)} == {stays, late}
    await index.close()
    assert [line[1] for line in log.lines if line[0] == "error"] == ["spool.checkpoint_failed"]


@pytest.mark.parametrize(
    "harm",
    [
        "garbage",
        "zeros in the middle",
        "cut",
        "a flipped row",
        "empty format",
        "old copy",
        "a missing row",
        "a narrow span",
        "an index of other rows",
    ],
)
async def test_a_damaged_checkpoint_is_put_aside_and_told(tmp_path: Path, harm: str) -> None:
    index = open_index(tmp_path)
    numbers = arrive(index, 200)
    await index.close()
    path = tmp_path / "spool" / "checkpoint.sqlite"
    octets = bytearray(path.read_bytes())
    match harm:
        case "garbage":
            octets[:] = b"not a database " * 100
        case "zeros in the middle":
            octets[8_192:24_576] = bytes(16_384)
        case "cut":
            del octets[len(octets) // 2 :]
        case "a flipped row":
            place = octets.index(b"%018d" % 77)
            octets[place + 17] ^= 1
        case "empty format" | "a missing row" | "a narrow span" | "an index of other rows":
            database = sqlite3.connect(path)
            database.executescript(
                {
                    "empty format": "UPDATE meta SET value = 'x' WHERE name = 'format'",
                    "a missing row": f"DELETE FROM entries WHERE entry = {numbers[77]}",
                    "a narrow span": "UPDATE spans SET high = high - 1",
                    "an index of other rows": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = "
                    "replace(sql, 'due, entry)', 'entry, due)') WHERE name = 'entries_due'",
                }[harm]
            )
            database.commit()
            database.close()
            octets = bytearray(path.read_bytes())
        case _:
            database = sqlite3.connect(path)
            database.execute("INSERT OR REPLACE INTO logs VALUES (1, 0, 4096, 0, 0, 1)")
            stamp(database)
            database.commit()
            database.close()
            octets = bytearray(path.read_bytes())
            (tmp_path / "spool" / "logs" / "1").mkdir()
            (tmp_path / "spool" / "logs" / "1" / "00000005.log").write_bytes(b"")
    path.write_bytes(octets)
    log = ListLog()
    index = open_index(tmp_path, log)
    assert index.rebuilt
    assert [line[1] for line in log.lines] == ["spool.checkpoint_damaged"]
    assert list((tmp_path / "spool" / "quarantine").glob("checkpoint-*.sqlite"))
    assert await index.count(ALL) == 0
    assert numbers
    await index.close()


async def test_a_checkpoint_that_is_newer_than_its_spool_is_made_anew(tmp_path: Path) -> None:
    await open_index(tmp_path).close()
    database = sqlite3.connect(tmp_path / "spool" / "checkpoint.sqlite")
    database.execute("UPDATE meta SET value = ? WHERE name = 'format'", (FORMAT + 1,))
    stamp(database)
    database.commit()
    database.close()
    log = ListLog()
    await open_index(tmp_path, log).close()
    assert [(line[1], f"format {FORMAT + 1}" in line[2]["error"]) for line in log.lines] == [
        ("spool.checkpoint_damaged", True)
    ]


async def write_logs(path: Path, logs: list[list[tuple[list[Change], list[list[bytes]]]]]) -> None:
    """Logs 1, 2, … of dead writers."""
    directory = SpoolDirectory(OsFiles(), str(path / "spool"))
    directory.open()
    for frames in logs:
        writer = LogWriter(directory, SMALL, FakeClock(), ListLog())
        for changes, contents in frames:
            await commit_and_wait(writer, changes, contents)
        await writer.close()


def history() -> list[list[tuple[list[Change], list[list[bytes]]]]]:
    """Four logs about seven entries, each entry's life spread over them."""
    message = stored(entry_id(1, 0), CONTENT, [f"{number}.example" for number in range(7)])
    [e0, e1, e2, e3, e4, e5, e6] = range(message.first_entry, message.first_entry + 7)
    fresh = {
        number: arrived_entry(message, number)
        for number in range(message.first_entry, message.first_entry + 7)
    }
    state = (e4, 1, 1, LATER, "", "default", "4.example", False)
    return [
        [([message], [[CONTENT]])],
        [
            ([finished(e0)], []),
            ([retried(fresh[e1], LATER)], []),
            ([finished(e4)], []),
        ],
        [
            ([Altered(e1, 2, LATER + 5, "", "other", None, "me")], []),
            ([Altered(e2, 1, LATER, "why", None, None, "me")], []),
            ([Moved(message, (state, (e5, 0, 0, TIME, "", "default", "5.example", False)))], [[CONTENT]]),
            ([Forgotten((e6,))], []),
        ],
        [
            ([Altered(e2, 2, LATER + 1, "", None, "moved.example", "me")], []),
            ([Carried(((e3, 4, 3, LATER + 3, "kept", "b", "c.example", True),))], []),
            ([retried(fresh[e3], LATER - 1)], []),
            ([finished(e5)], []),
        ],
    ]


def arrived_entry(message: Stored, number: int) -> Entry:
    return new_entry(message, number, ContentRef(1, 0, 4096, 100))


EXPECTED = {
    1: (2, 1, LATER + 5, "", "other", "1.example", False),
    2: (2, 0, LATER + 1, "", "default", "moved.example", False),
    3: (4, 3, LATER + 3, "kept", "b", "c.example", True),
}


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3, 4])))
@pytest.mark.parametrize("crash", [False, True])
async def test_the_order_of_the_logs_does_not_matter(
    tmp_path: Path, order: tuple[int, ...], crash: bool
) -> None:
    await write_logs(tmp_path, history())
    index = open_index(tmp_path)
    for log in order:
        if crash:
            await index.checkpoint()
            await index.abandon()
            index = open_index(tmp_path)
        await index.replay(log)
    index.recovered()
    found = {
        entry.index: (
            entry.version,
            entry.attempts,
            entry.due_time,
            entry.held,
            entry.binding,
            entry.routing_domain,
            entry.delay_notified,
        )
        for entry in await index.select(ALL, 100)
    }
    assert found == EXPECTED
    await index.close()


async def test_a_log_is_read_to_its_end_though_no_checkpoint_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, with more in memory than a checkpoint is waited for."""
    count = 3 * SMALL.checkpoint_changes
    frames: list[tuple[list[Change], list[list[bytes]]]] = [
        ([stored(entry_id(1, number), CONTENT, number=number)], [[CONTENT]]) for number in range(count)
    ]
    await write_logs(tmp_path, [frames])
    log = ListLog()
    index = open_index(tmp_path, log)
    write = index._checkpoint.write

    def fail(_: Write) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(index._checkpoint, "write", fail)
    monkeypatch.setattr("outrider.spool.index.FRAMES_PER_SLICE", 20)
    assert (await index.replay(1)).created == count
    failures = [line for line in log.lines if line[1] == "spool.checkpoint_failed"]
    assert 0 < len(failures) < 4, "it is not tried again with each slice"
    monkeypatch.setattr(index._checkpoint, "write", write)
    index.recovered()
    await index.checkpoint()
    assert await index.count(ALL) == count
    await index.close()


async def test_replay_tells_what_became_of_resident_entries(tmp_path: Path) -> None:
    await write_logs(tmp_path, history())
    index = open_index(tmp_path)
    created = await index.replay(1)
    assert (created.frames, created.created) == (1, 7)
    index.recovered()
    resident = await index.due(TIME, 100, everywhere)
    assert len(resident) == 7
    result = await index.replay(2)
    first = resident[0].entry
    assert result.finished == [entry_id(1, 0), entry_id(1, 4)]
    assert [(entry.entry, entry.attempts) for entry in result.changed] == [(entry_id(1, 1), 1)]
    assert index.get(first) is None
    assert await index.replay(2) == (0, 0, [], [], 0)
    await index.close()


async def test_replay_stops_where_it_is_told(tmp_path: Path) -> None:
    await write_logs(tmp_path, history())
    index = open_index(tmp_path)
    whole = [scanned.position for scanned in index.reader.scan(2)]
    await index.replay(1)
    result = await index.replay(2, whole[0])
    assert result.frames == 1
    assert index.positions()[2] == whole[0]
    assert (await index.replay(2)).frames == 2
    await index.close()


async def test_selection_and_counts_by_every_part_of_a_filter(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    one = arrive(index, 3)
    two = arrive(index, 2, "two.example", first=3)
    last = LastReply("450 4.2.0 Greylisted", "mx.one.example", False, TIME)
    index.settle(Settled(1, one[0], False, 1, 1, LATER, last=last))
    index.settle(Settled(1, one[2], False, 1, 0, TIME, held="a complaint"))
    filters = {
        QueueFilter(): 5,
        QueueFilter(tenant="t"): 5,
        QueueFilter(tenant="u"): 0,
        QueueFilter(stream="s", channel="smtp", binding="default"): 5,
        QueueFilter(stream="other"): 0,
        QueueFilter(channel="sms"): 0,
        QueueFilter(binding="other"): 0,
        QueueFilter(routing_domains=frozenset(("two.example", "three.example"))): 2,
        QueueFilter(received_before_time=TIME): 0,
        QueueFilter(received_before_time=TIME + 1): 5,
        QueueFilter(received_after_time=TIME - 1): 5,
        QueueFilter(received_after_time=TIME): 0,
        QueueFilter(due_before_time=TIME + 1): 4,
        QueueFilter(due_after_time=LATER): 1,
        QueueFilter(reply="grey"): 1,
        QueueFilter(reply="450*LISTED"): 1,
        QueueFilter(reply="listed*450"): 0,
        QueueFilter(attempts_min=1): 1,
        QueueFilter(attempts_max=0): 4,
        QueueFilter(held=False): 4,
        QueueFilter(held=True): 1,
        QueueFilter(held_for="a complaint"): 1,
        QueueFilter(held_for="a"): 0,
        QueueFilter(message_ids=frozenset(("000000000000000004",))): 1,
        QueueFilter(entries=frozenset((one[1], two[0], 7))): 2,
    }
    for chosen, expected in filters.items():
        assert await index.count(chosen) == expected, chosen
        entries = await index.select(chosen, 100)
        assert len(entries) == expected, chosen
        assert all(map(chosen.matches, entries))
    assert sum(map(chosen_matches, await index.select(ALL, 100))) == 2
    paged = []
    after = -1
    while entries := await index.select(ALL, 2, after):
        paged += [entry.entry for entry in entries]
        after = paged[-1]
    assert paged == [*one, *two]
    assert index.key_counts() == {
        ("smtp", "default", "one.example"): 3,
        ("smtp", "default", "two.example"): 2,
    }
    await index.close()


def chosen_matches(entry: Entry) -> bool:
    return QueueFilter(routing_domains=frozenset(("two.example",))).matches(entry)


async def test_a_summary_that_is_too_early_hides_nothing_behind_it(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    numbers = []
    for number in range(5):
        numbers += arrive(index, 1, f"{number}.example", first=number)
    for number in numbers:
        index.evict(number)
    await index.checkpoint()
    for number in numbers[:-1]:
        index.settle(Settled(0, number, False, 1, 1, LATER))
    await index.checkpoint()
    assert [entry.entry for entry in await index.due(TIME, 1, everywhere)] == numbers[-1:]
    assert await index.due(TIME, 1, everywhere) == []
    assert index.next_due() == LATER
    await index.close()
