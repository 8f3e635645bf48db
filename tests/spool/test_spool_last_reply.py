"""The last reply of an entry: found by filters; kept by the checkpoint, by replay and by the reclaimer."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import Carried, ContentRef, Entry, LastReply
from outrider.model.dispatch import Settled
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter, has_reply
from outrider.spool.recovery import Recovery, full_state, state_tuple
from tests.spool.samples import SMALL, TIME, retried, stored

LAST = LastReply("450 4.2.0 Come back later", "mx.one.example", False, TIME)
ENTRY = Entry(
    7, ContentRef(1, 1, 4096, 100), 0, "smtp", "default", "one.example", "t", "s", 0, 10, TIME, TIME
)


async def open_engine(path: Path) -> EmbeddedEngine:
    return await EmbeddedEngine.open(OsFiles(), str(path), SMALL, FakeClock(TIME + 10), ListLog())


def checkpoint_of(path: Path) -> str:
    return SpoolDirectory(OsFiles(), str(path)).checkpoint_path()


def forget_checkpoint(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(checkpoint_of(path) + suffix).unlink(missing_ok=bool(suffix))


async def accept(engine: EmbeddedEngine) -> Entry:
    first = engine.writer.reserve(1)
    await engine.commit([stored(first, b"x\r\n")], [[b"x\r\n"]])
    (entry,) = await engine.list(QueueFilter(), 10)
    await engine.commit([retried(entry, TIME + 3600)])
    (entry,) = await engine.list(QueueFilter(), 10)
    return entry


async def test_it_is_there_after_a_restart_from_the_checkpoint_and_from_the_logs(tmp_path: Path) -> None:
    engine = await open_engine(tmp_path)
    entry = await accept(engine)
    assert entry.last is not None
    assert entry.last.text == "451 4.0.0 later"
    await engine.close()
    again = await open_engine(tmp_path)
    assert [each.last for each in await again.list(QueueFilter(reply="LATER"), 10)] == [entry.last]
    await again.close()
    forget_checkpoint(tmp_path)
    rebuilt = await open_engine(tmp_path)
    assert [each.last for each in await rebuilt.list(QueueFilter(reply="451*lat"), 10)] == [entry.last]
    assert await rebuilt.list(QueueFilter(reply="greylist"), 10) == []
    await rebuilt.close()


async def test_a_changed_row_is_noticed(tmp_path: Path) -> None:
    engine = await open_engine(tmp_path)
    await accept(engine)
    await engine.close()
    with sqlite3.connect(checkpoint_of(tmp_path)) as database:
        database.execute("UPDATE lasts SET last_reply = 'something else'")
    database.close()
    log = ListLog()
    again = await EmbeddedEngine.open(OsFiles(), str(tmp_path), SMALL, FakeClock(TIME + 10), log)
    (entry,) = await again.list(QueueFilter(), 10)
    assert entry.last is not None, "the logs tell it again"
    assert entry.last.text == "451 4.0.0 later"
    assert "spool.checkpoint_damaged" in [line[1] for line in log.lines]
    await again.close()


async def test_a_finished_entry_leaves_nothing(tmp_path: Path) -> None:
    engine = await open_engine(tmp_path)
    await accept(engine)
    await engine.purge(QueueFilter(), "me", "why")
    await engine.index.checkpoint()
    await engine.close()
    with sqlite3.connect(checkpoint_of(tmp_path)) as database:
        assert database.execute("SELECT count(*) FROM lasts").fetchone() == (0,)
    database.close()


async def test_the_queue_is_counted_by_reply(tmp_path: Path) -> None:
    engine = await open_engine(tmp_path)
    await accept(engine)
    (group,) = await engine.index.summary(QueueFilter(), ("routing_domain", "last_reply"))
    assert group.names == ("one.example", "451 4.0.0 later")
    assert (group.entries, group.held, group.attempts) == (1, 0, 1)
    with pytest.raises(ValueError, match="cannot be counted"):
        await engine.index.summary(QueueFilter(), ("crc; DROP TABLE entries",))
    await engine.close()


def test_a_copied_state_brings_it_along_and_an_older_one_does_not_win() -> None:
    remembering = replace(ENTRY, version=3, last=LAST)
    carried = Carried((state_tuple(remembering),), (remembering.last,))
    (state,), (last,) = carried.states, carried.lasts
    number, known = full_state(state, last)
    assert number == ENTRY.entry
    assert Recovery().merge(ENTRY, known).last == LAST
    older = replace(LAST, text="421 4.3.2 earlier", attempted_time=TIME - 60)
    assert Recovery().merge(replace(ENTRY, last=LAST), full_state(state, older)[1]).last == LAST


def test_a_hold_does_not_make_it_forgotten() -> None:
    assert Settled(0, 1, finished=False, version=4, held="why").last is None
    (state,) = [full_state(state_tuple(replace(ENTRY, version=9, held="why")), None)[1]]
    assert Recovery().merge(replace(ENTRY, last=LAST), state).last == LAST


TEXTS = st.text("aAbB%_*\\ é", max_size=8)


@given(TEXTS, TEXTS)
def test_both_forms_of_a_filter_by_reply_mean_the_same(text: str, pattern: str) -> None:
    condition, arguments = QueueFilter(reply=pattern).sql()
    database = sqlite3.connect(":memory:")
    try:
        (found,) = database.execute(
            f"SELECT count(*) FROM (SELECT ? AS last_reply) WHERE {condition}", (text, *arguments)
        ).fetchone()
    finally:
        database.close()
    assert bool(found) == has_reply(text, pattern)


class Counted(str):
    """A text that knows how often it was compared."""

    __slots__ = ()
    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)


def test_an_entry_is_not_compared_with_each_domain_that_a_filter_means() -> None:
    many = QueueFilter(routing_domains=frozenset(f"d{number}.example" for number in range(10_000)))
    Counted.comparisons = 0
    assert not many.matches(replace(ENTRY, routing_domain=Counted("elsewhere.example")))
    assert many.matches(replace(ENTRY, routing_domain=Counted("d9999.example")))
    assert Counted.comparisons < 10


def test_a_filter_takes_as_many_domains_as_a_site_has(tmp_path: Path) -> None:
    many = frozenset(f"d{number}.example" for number in range(100_000))
    condition, arguments = QueueFilter(routing_domains=many).sql()
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE entries (routing_domain)")
        database.execute("INSERT INTO entries VALUES ('d99999.example')")
        assert database.execute(f"SELECT count(*) FROM entries WHERE {condition}", arguments).fetchone() == (
            1,
        )
    finally:
        database.close()
