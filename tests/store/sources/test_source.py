"""Cache, joining, breaker and deadline around a source that does what the test says."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.record.metrics import Metrics
from outrider.store.sources.breaker import Breaker
from outrider.store.sources.cache import Cache
from outrider.store.sources.failures import (
    SourceDownError,
    SourceError,
    SourceQueryError,
    SourceTimeoutError,
    before_asking,
)
from outrider.store.sources.measures import SourceMeasures
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.pool import Pool
from outrider.store.sources.rows import Parameters, Rows, octets_of, row_of
from outrider.store.sources.source import Source
from tests.patience import PATIENCE_SECONDS

ROWS: Rows = (row_of({"binding": "gold"}),)


class Scripted:
    """A backend whose answers the test gives: rows, or an error to raise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Parameters]] = []
        self.answer: Rows | Exception = ROWS
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.connections = 1

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        self.asked.append((query, parameters))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def execute(self, query: str, parameters: Parameters) -> int:
        await self.fetch(query, parameters)
        return 3

    def placeholders(self, query: str) -> int:
        return query.count("?")

    async def probe(self) -> None:
        await self.fetch("probe", ())

    async def close(self) -> None:
        self.connections = 0


class Site:
    """A source, its backend, its clock, log and series."""

    def __init__(self, **options: Any) -> None:
        self.backend = Scripted()
        self.clock = FakeClock()
        self.log = ListLog()
        self.metrics = Metrics("worker-1", "1")
        made = DataSourceOptions(name="shop", url="sqlite:///shop.db", **options)
        measures = SourceMeasures(self.metrics, made.name)
        self.source = Source(made, self.backend, self.clock, self.log, measures)

    def count(self, result: str, name: str = "queries_total") -> float:
        return self.metrics.cell(f"outrider_data_source_{name}", "shop", result).value


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_result_has_its_age() -> None:
    site = Site(cache={"seconds": 60, "negative_seconds": 10})
    source, backend = site.source, site.backend
    assert await source.fetch("q ?", ("a",)) is ROWS
    backend.answer = ()
    assert await source.fetch("q ?", ("b",)) == ()
    site.clock.advance(9.9)
    assert source.peek("q ?", ("a",)) is ROWS
    assert source.peek("q ?", ("b",)) == ()
    site.clock.advance(0.1)
    assert source.peek("q ?", ("b",)) is None
    assert source.peek("q ?", ("a",)) is ROWS
    site.clock.advance(50)
    assert source.peek("q ?", ("a",)) is None
    assert await source.fetch("q ?", ("a",)) == ()
    assert (site.count("hit", "cache_total"), site.count("miss", "cache_total")) == (3, 3)
    source.forget()
    assert source.peek("q ?", ("a",)) is None


async def test_names_are_remembered_apart_from_their_order() -> None:
    site = Site()
    await site.source.fetch("q", {"a": 1, "b": 2})
    assert site.source.peek("q", {"b": 2, "a": 1}) is ROWS
    assert site.source.peek("q", {"b": 1, "a": 2}) is None
    assert site.source.peek("q", (1, 2)) is None


async def test_no_cache_means_none() -> None:
    site = Site()
    await site.source.fetch("q", use_cache=False)
    assert site.source.peek("q") is None
    await site.source.fetch("q")
    await site.source.fetch("q", use_cache=False)
    assert len(site.backend.asked) == 3


async def test_equal_questions_are_asked_once_and_failures_are_shared_but_not_kept() -> None:
    site = Site()
    site.backend.gate.clear()
    site.backend.answer = SourceDownError("gone")
    asking = [asyncio.ensure_future(site.source.fetch("q ?", (1,))) for _ in range(50)]
    await turns()
    site.backend.gate.set()
    errors = await asyncio.gather(*asking, return_exceptions=True)
    assert len(site.backend.asked) == 1
    assert {str(error) for error in errors} == {"data source shop: gone"}
    assert len(set(map(id, errors))) == 50  # each raises one of its own
    assert site.count("down") == 1
    site.backend.answer = ROWS
    assert await site.source.fetch("q ?", (1,)) is ROWS


async def test_whoever_goes_away_takes_nobody_along() -> None:
    site = Site()
    site.backend.gate.clear()
    first, second, third, fourth = (asyncio.ensure_future(site.source.fetch("q")) for _ in range(4))
    await turns()
    assert len(site.backend.asked) == 1
    second.cancel()
    first.cancel()
    await turns()
    assert len(site.backend.asked) == 2  # the third asks now, for the fourth too
    assert site.backend.cancelled == 1
    site.backend.gate.set()
    assert await third is ROWS
    assert await fourth is ROWS
    for gone in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert site.source._flights == {}


async def test_the_breaker_opens_waits_and_lets_one_through() -> None:
    site = Site(breaker={"failures": 3, "open_seconds": 5}, cache={"seconds": 0, "negative_seconds": 0})
    source, backend = site.source, site.backend
    backend.answer = SourceTimeoutError("late")
    for number in range(6):
        with pytest.raises(SourceDownError):
            await source.fetch("q ?", (number,))
    assert len(backend.asked) == 3
    assert (site.count("timeout"), site.count("refused")) == (3, 3)
    assert source.is_open
    assert site.metrics.cell("outrider_data_source_open", "shop").value == 1
    site.clock.advance(4.9)
    with pytest.raises(SourceDownError, match=r"left alone, for 0\.1 s"):
        await source.fetch("q")
    site.clock.advance(0.2)
    with pytest.raises(SourceTimeoutError):
        await source.fetch("q")  # the one that is let through
    assert len(backend.asked) == 4
    site.clock.advance(5)
    backend.gate.clear()
    backend.answer = ROWS
    probe = asyncio.ensure_future(source.fetch("probe"))
    await turns()
    with pytest.raises(SourceDownError, match="left alone"):
        await source.fetch("q")  # only one at a time
    probe.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probe
    backend.gate.set()
    assert await source.fetch("q") is ROWS  # another may try after one that went away
    assert site.metrics.cell("outrider_data_source_open", "shop").value == 0
    assert [(line[0], line[1]) for line in site.log.lines] == [
        ("warning", "source.down"),
        ("info", "source.back"),
    ]
    assert site.log.lines[0][2] == {"source": "shop", "reason": "late", "probe_seconds": 5}


async def test_a_refused_query_is_an_answer() -> None:
    site = Site(breaker={"failures": 1})
    site.backend.answer = SourceQueryError("no such table")
    for _ in range(3):
        with pytest.raises(SourceQueryError, match="data source shop: no such table"):
            await site.source.fetch("q")
    assert not site.source.is_open
    assert site.count("error") == 3


async def test_the_deadline_is_the_sources_own() -> None:
    site = Site(query_seconds=0.02)
    site.backend.gate.clear()
    with pytest.raises(SourceTimeoutError, match=r"no answer within 0\.02 s"):
        await site.source.fetch("q")
    with pytest.raises(SourceTimeoutError):
        await site.source.probe()
    assert site.backend.cancelled == 2


async def test_a_fault_of_a_driver_is_a_failure_like_others() -> None:
    site = Site()
    site.backend.answer = ZeroDivisionError("erika@example.test")
    with pytest.raises(SourceDownError, match="ZeroDivisionError") as failed:
        await site.source.fetch("q")
    assert "erika" not in str(failed.value)
    assert site.log.lines[0][:2] == ("error", "source.failed")
    assert "erika" not in repr(site.log.lines)


async def test_named_queries() -> None:
    query = {"name": "customer", "text": "SELECT ? , ?", "parameters": ("domain", "stream")}
    site = Site(query=(query,))
    assert await site.source.ask("customer", {"domain": "a.example", "other": 1}) is ROWS
    assert site.backend.asked == [("SELECT ? , ?", ("a.example", None))]
    with pytest.raises(SourceQueryError, match="it has no query 'x'; it has: customer"):
        await site.source.ask("x", {})


async def test_statements_go_past_the_cache() -> None:
    site = Site()
    assert await site.source.execute("u ?", (1,)) == 3
    site.backend.answer = SourceDownError("gone")
    with pytest.raises(SourceDownError, match="data source shop: gone"):
        await site.source.execute("u")


async def test_a_parameter_that_is_no_value_reaches_the_source_which_says_so() -> None:
    site = Site()
    wrong: Any = ([1, 2],)
    assert site.source.peek("q ?", wrong) is None
    await site.source.fetch("q ?", wrong)
    assert site.backend.asked == [("q ?", wrong)]


def test_the_breaker_counts_failures_in_a_row() -> None:
    breaker = Breaker(2, 10)
    assert not breaker.failed(0)
    assert not breaker.answered()
    assert not breaker.failed(1)
    assert breaker.failed(2)
    assert not breaker.admits(11.9)
    assert breaker.wait_seconds(4) == 8
    assert breaker.admits(12)
    assert not breaker.admits(12)
    breaker.abandoned(was_probe=True)
    assert breaker.admits(12)
    assert not breaker.failed(13, was_probe=True)  # open already
    assert not breaker.admits(22)
    assert breaker.admits(23)
    assert breaker.answered()
    assert breaker.admits(23)


def test_the_cache_is_bounded_by_entries_and_octets() -> None:
    clock = FakeClock()
    cache = Cache(3, 1 << 20, 10, 10, clock.now)
    for number in range(4):
        cache.put(number, ROWS)
    assert [cache.get(number) for number in range(4)] == [None, ROWS, ROWS, ROWS]
    cache.get(1)
    cache.put(4, ROWS)
    assert cache.get(2) is None  # 1 was used since
    assert cache.get(1) is ROWS
    small = Cache(1_000, 2_000, 10, 10, clock.now)
    big: Rows = (row_of({"note": "x" * 3_000}),)
    small.put("big", big)
    assert len(small) == 0
    for number in range(100):
        small.put(number, ROWS)
        assert small.octets <= 2_000
    assert 1 < len(small) < 100
    small.put(99, ())
    small.drop(99)
    small.clear()
    assert (len(small), small.octets) == (0, 0)
    assert octets_of(big) > 3_000


class Connections:
    """A connector that counts."""

    def __init__(self) -> None:
        self.made = 0
        self.alive: set[int] = set()
        self.dead: set[int] = set()
        self.hold: Callable[[], Any] | None = None

    async def connect(self) -> int:
        if self.hold is not None:
            await self.hold()
        self.made += 1
        self.alive.add(self.made)
        return self.made

    def is_usable(self, connection: int) -> bool:
        return connection not in self.dead

    def drop(self, connection: int) -> None:
        self.alive.remove(connection)

    async def close(self, connection: int) -> None:
        self.alive.remove(connection)


def pool_of(
    connect_seconds: float = PATIENCE_SECONDS, **options: Any
) -> tuple[Pool[int], Connections, FakeClock]:
    made = DataSourceOptions(name="shop", url="sqlite:///x", pool=options)
    connections, clock = Connections(), FakeClock()
    return Pool(connections, made.pool, connect_seconds, clock), connections, clock


async def nothing(connection: int) -> int:
    await asyncio.sleep(0)
    return connection


async def test_the_pool_is_bounded_and_uses_the_last_one_again() -> None:
    pool, connections, clock = pool_of(min=1, max=3, idle_seconds=60)
    await asyncio.gather(*(pool.run(nothing, may_repeat=True) for _ in range(20)))
    assert connections.made == pool.open == 3
    last = await pool.run(nothing, may_repeat=True)
    clock.advance(61)
    assert await pool.run(nothing, may_repeat=True) == last
    assert pool.open == 1  # the others had been idle for too long
    clock.advance(61)
    assert await pool.run(nothing, may_repeat=True) == last
    assert connections.alive == {last}


async def test_connections_of_a_burst_are_closed_though_nobody_asks_any_more() -> None:
    pool, connections, clock = pool_of(min=1, max=3, idle_seconds=0.01)
    await asyncio.gather(*(pool.run(nothing, may_repeat=True) for _ in range(3)))
    assert pool.open == 3
    clock.advance(1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while pool.open > 1:  # noqa: ASYNC110 - a timer of the pool closes them
            await asyncio.sleep(0.001)
    assert len(connections.alive) == 1
    await pool.close()
    assert not connections.alive


async def test_a_connection_is_not_used_after_a_failure() -> None:
    pool, _, _ = pool_of(max=1)

    async def fail(error: BaseException) -> None:
        async def work(_connection: int) -> None:
            raise error

        with pytest.raises(type(error)):
            await pool.run(work, may_repeat=False)

    first = await pool.run(nothing, may_repeat=True)
    await fail(SourceQueryError("refused"))
    assert await pool.run(nothing, may_repeat=True) == first
    for number, error in enumerate((SourceDownError("lost"), ValueError(), asyncio.CancelledError()), 1):
        await fail(error)
        assert pool.open == 0
        assert await pool.run(nothing, may_repeat=True) == first + number


async def test_what_only_reads_is_repeated_once_on_a_fresh_connection() -> None:
    pool, connections, _ = pool_of(max=2)
    await pool.run(nothing, may_repeat=True)
    seen: list[int] = []

    async def work(connection: int) -> int:
        seen.append(connection)
        if connection == 1:
            raise SourceDownError("lost")
        return connection

    assert await pool.run(work, may_repeat=True) == 2
    assert seen == [1, 2]

    async def lose(connection: int) -> int:
        seen.append(connection)
        raise SourceDownError("lost")

    with pytest.raises(SourceDownError):
        await pool.run(lose, may_repeat=False)
    assert seen == [1, 2, 2]
    with pytest.raises(SourceDownError):
        await pool.run(lose, may_repeat=True)  # fresh already, so not again
    assert seen == [1, 2, 2, 3]
    assert connections.alive == set()


async def test_what_the_server_gave_up_is_not_asked_again_and_costs_no_other_connection() -> None:
    pool, connections, _ = pool_of(max=2)
    await asyncio.gather(*(pool.run(nothing, may_repeat=True) for _ in range(2)))
    seen: list[int] = []

    async def work(connection: int) -> int:
        seen.append(connection)
        raise SourceTimeoutError("the server gave it up")

    with pytest.raises(SourceTimeoutError):
        await pool.run(work, may_repeat=True)
    assert len(seen) == 1
    assert connections.alive == {1, 2} - set(seen)


async def test_one_that_was_closed_meanwhile_is_not_taken() -> None:
    pool, connections, _ = pool_of(max=1)
    connections.dead.add(await pool.run(nothing, may_repeat=True))
    assert await pool.run(nothing, may_repeat=False) == 2
    assert pool.open == 1


async def test_connecting_has_its_own_deadline_and_leaves_nothing_behind() -> None:
    pool, connections, _ = pool_of(max=1, connect_seconds=0.02)
    connections.hold = asyncio.Event().wait
    with pytest.raises(SourceDownError, match=r"no connection within 0\.02 s"):
        await pool.run(nothing, may_repeat=True)
    assert pool.open == 0
    pool, connections, _ = pool_of(max=1)
    connections.hold = asyncio.Event().wait
    waiting = asyncio.ensure_future(pool.run(nothing, may_repeat=True))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.open == 0
    connections.hold = None
    assert await pool.run(nothing, may_repeat=True) == 1


async def test_closing_ends_idle_ones_now_and_others_after_their_work() -> None:
    pool, connections, _ = pool_of(max=2)
    gate = asyncio.Event()

    async def work(connection: int) -> int:
        await gate.wait()
        return connection

    busy = asyncio.ensure_future(pool.run(work, may_repeat=True))
    await pool.run(nothing, may_repeat=True)
    await turns()
    await pool.close()
    assert len(connections.alive) == 1
    gate.set()
    await busy
    assert (connections.alive, pool.open) == (set(), 0)
    with pytest.raises(SourceError, match="taken out"):
        await pool.run(nothing, may_repeat=True)


def test_what_was_let_through_before_it_opened_does_not_end_its_probe() -> None:
    breaker = Breaker(1, 10)
    breaker.failed(0)
    assert breaker.admits(10)
    breaker.abandoned()
    assert not breaker.admits(10)
    breaker.failed(11)
    assert not breaker.admits(21)


async def test_an_old_question_that_is_given_up_lets_no_second_probe_through() -> None:
    site = Site(breaker={"failures": 1, "open_seconds": 5}, query_seconds=60)
    site.backend.gate.clear()
    old = asyncio.ensure_future(site.source.fetch("old"))
    await turns()
    site.backend.gate, held = asyncio.Event(), site.backend.gate
    site.backend.gate.set()
    site.backend.answer = SourceDownError("gone")
    with pytest.raises(SourceDownError, match="gone"):
        await site.source.fetch("q 1")
    site.clock.advance(5)
    site.backend.gate = held
    probe = asyncio.ensure_future(site.source.fetch("q 2"))
    await turns()
    old.cancel()
    await turns()
    with pytest.raises(SourceDownError, match="left alone"):
        await site.source.fetch("q 3")
    probe.cancel()
    await asyncio.gather(old, probe, return_exceptions=True)


async def test_what_is_refused_before_it_is_asked_says_nothing_of_the_source() -> None:
    site = Site(breaker={"failures": 2, "open_seconds": 5}, cache={"seconds": 0, "negative_seconds": 0})
    refused = SourceQueryError("a parameter is none")
    with contextlib.suppress(SourceQueryError), before_asking():
        raise refused
    for number, answer in enumerate((SourceDownError("gone"), refused, SourceDownError("gone"))):
        site.backend.answer = answer
        with pytest.raises(type(answer)):
            await site.source.fetch(f"q {number}")
    assert site.source.is_open
    site.clock.advance(5)
    site.backend.answer = refused
    with pytest.raises(SourceQueryError):
        await site.source.fetch("q")
    assert site.source.is_open
    assert [event for _, event, _ in site.log.lines] == ["source.down"]
    site.backend.answer = ROWS
    assert await site.source.fetch("q") is ROWS  # the next one is the probe
    assert not site.source.is_open


@pytest.mark.parametrize("named", [False, True], ids=["by position", "by name"])
async def test_parameters_take_memory_too(named: bool) -> None:
    """Who sends long values, as in a header field, fills the cache and not the process."""
    site = Site(cache={"octets": 100_000})
    site.backend.answer = ()
    for number in range(100):
        value = f"{number}".ljust(10_000)
        await site.source.fetch("q", {"value": value} if named else (value,))
    cache = site.source._cache
    assert len(cache) == 9
    assert cache.octets <= 100_000
    await site.source.fetch("q".ljust(200_000))
    assert len(cache) == 9
