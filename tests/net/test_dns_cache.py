"""The DNS cache with time in the test's hand and no socket."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.net.answers import Answer, Kind, Status
from outrider.net.cache import STALE_TTL_SECONDS, DnsCache
from outrider.net.options import NetOptions

NAME = "provider.example"


class Source:
    """Gives the answer it holds and counts; `gate` holds fetches until it is set."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.fetches = 0
        self.gate: asyncio.Event | None = None

    async def fetch(self, name: str, kind: Kind) -> Answer:
        self.fetches += 1
        if self.gate is not None:
            await self.gate.wait()
        return self.answer


def found(ttl: float = 300.0, address: str = "192.0.2.1") -> Answer:
    return Answer(Status.FOUND, ttl, addresses=(address,))


FAILED = Answer(Status.FAILED, 1.0, trouble="silence")


async def test_positive_answer_lives_for_its_ttl_and_counts_down() -> None:
    clock = FakeClock()
    cache = DnsCache(NetOptions(), clock)
    source = Source(found(300.0))
    assert (await cache.get(NAME, Kind.A, source.fetch)).ttl_seconds == 300.0
    clock.advance(100)
    assert (await cache.get(NAME, Kind.A, source.fetch)).ttl_seconds == 200.0
    clock.advance(199.9)
    await cache.get(NAME, Kind.A, source.fetch)
    assert source.fetches == 1
    clock.advance(0.1)
    await cache.get(NAME, Kind.A, source.fetch)
    assert source.fetches == 2


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (found(0.0), 60.0),
        (found(10_000_000.0), 86_400.0),
        (Answer(Status.NO_NAME, 1_800.0), 1_800.0),
        (Answer(Status.NO_DATA, 500_000.0), 3_600.0),
        (Answer(Status.NO_NAME, 0.0), 60.0),
        (FAILED, 30.0),
    ],
)
async def test_time_to_live_is_bounded_both_ways(answer: Answer, kept: float) -> None:
    cache = DnsCache(NetOptions(), FakeClock())
    assert (await cache.get(NAME, Kind.MX, Source(answer).fetch)).ttl_seconds == kept


async def test_types_of_one_name_are_kept_apart() -> None:
    cache = DnsCache(NetOptions(), FakeClock())
    four, six = Source(found()), Source(Answer(Status.NO_DATA, 300.0))
    await cache.get(NAME, Kind.A, four.fetch)
    assert (await cache.get(NAME, Kind.AAAA, six.fetch)).status is Status.NO_DATA
    assert (four.fetches, six.fetches) == (1, 1)


async def test_stale_answer_serves_while_dns_is_down_and_no_longer_than_allowed() -> None:
    clock = FakeClock()
    cache = DnsCache(NetOptions(serve_stale_seconds=1_000), clock)
    source = Source(found(300.0))
    await cache.get(NAME, Kind.A, source.fetch)
    source.answer = FAILED
    clock.advance(400)
    stale = await cache.get(NAME, Kind.A, source.fetch)
    assert stale == Answer(Status.FOUND, STALE_TTL_SECONDS, addresses=("192.0.2.1",), stale=True)
    await cache.get(NAME, Kind.A, source.fetch)
    assert source.fetches == 2, "a stale answer is not asked for again at once"
    clock.advance(890)
    last = await cache.get(NAME, Kind.A, source.fetch)
    assert (last.stale, last.ttl_seconds) == (True, 10.0), "never beyond expiry + serve_stale_seconds"
    clock.advance(10)
    assert (await cache.get(NAME, Kind.A, source.fetch)).status is Status.FAILED


async def test_recovery_replaces_a_stale_answer() -> None:
    clock = FakeClock()
    cache = DnsCache(NetOptions(), clock)
    source = Source(found())
    await cache.get(NAME, Kind.A, source.fetch)
    clock.advance(301)
    source.answer = FAILED
    assert (await cache.get(NAME, Kind.A, source.fetch)).stale
    clock.advance(STALE_TTL_SECONDS)
    source.answer = found(address="192.0.2.2")
    fresh = await cache.get(NAME, Kind.A, source.fetch)
    assert (fresh.addresses, fresh.stale, fresh.ttl_seconds) == (("192.0.2.2",), False, 300.0)


async def test_name_that_is_gone_is_not_served_stale() -> None:
    clock = FakeClock()
    cache = DnsCache(NetOptions(), clock)
    source = Source(found())
    await cache.get(NAME, Kind.A, source.fetch)
    clock.advance(301)
    source.answer = Answer(Status.NO_NAME, 300.0)
    assert (await cache.get(NAME, Kind.A, source.fetch)).status is Status.NO_NAME


async def test_serve_stale_can_be_switched_off() -> None:
    clock = FakeClock()
    cache = DnsCache(NetOptions(serve_stale_seconds=0), clock)
    source = Source(found())
    await cache.get(NAME, Kind.A, source.fetch)
    clock.advance(300)
    source.answer = FAILED
    assert (await cache.get(NAME, Kind.A, source.fetch)).status is Status.FAILED


async def test_least_recently_used_goes_first() -> None:
    cache = DnsCache(NetOptions(cache_entries=100), FakeClock())
    source = Source(found())
    for number in range(100):
        await cache.get(f"n{number}.example", Kind.A, source.fetch)
    assert cache.peek("n0.example", Kind.A) is not None
    await cache.get("new.example", Kind.A, source.fetch)
    assert len(cache) == 100
    assert cache.peek("n0.example", Kind.A) is not None
    assert cache.peek("n1.example", Kind.A) is None
    assert cache.counts.evicted == 1


async def test_askers_of_one_question_share_one_fetch() -> None:
    cache = DnsCache(NetOptions(), FakeClock())
    source = Source(found())
    source.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        askers = [group.create_task(cache.get(NAME, Kind.A, source.fetch)) for _ in range(50)]
        await asyncio.sleep(0)
        assert cache.counts.joined == 49
        source.gate.set()
    assert {asker.result().addresses for asker in askers} == {("192.0.2.1",)}
    assert source.fetches == 1


async def test_cancelled_asker_takes_no_one_with_it() -> None:
    cache = DnsCache(NetOptions(), FakeClock())
    source = Source(found())
    source.gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(cache.get(NAME, Kind.A, source.fetch))
        await asyncio.sleep(0)
        others = [group.create_task(cache.get(NAME, Kind.A, source.fetch)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        others[1].cancel()
        await asyncio.sleep(0)
        source.gate.set()
    assert first.cancelled()
    assert others[1].cancelled()
    assert [other.result().addresses for other in (others[0], others[2])] == [("192.0.2.1",)] * 2
    assert source.fetches == 2, "one more, by the next in the queue"


async def test_fault_of_the_fetch_reaches_the_asker_and_leaves_nothing_behind() -> None:
    cache = DnsCache(NetOptions(), FakeClock())

    async def broken(name: str, kind: Kind) -> Answer:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await cache.get(NAME, Kind.A, broken)
    assert (await cache.get(NAME, Kind.A, Source(found()).fetch)).status is Status.FOUND


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 150),
            st.sampled_from([Status.FOUND, Status.NO_NAME, Status.NO_DATA, Status.FAILED]),
            st.floats(0, 1e6),
            st.floats(0, 5_000),
        ),
        max_size=60,
    )
)
def test_every_answer_is_bounded_and_so_is_the_memory(steps: list[tuple[int, Status, float, float]]) -> None:
    async def run() -> None:
        clock = FakeClock()
        options = NetOptions(cache_entries=100)
        cache = DnsCache(options, clock)
        for number, status, ttl, seconds in steps:
            source = Source(Answer(status, ttl))
            answer = await cache.get(f"n{number}.example", Kind.A, source.fetch)
            assert 0 < answer.ttl_seconds <= options.ttl_max_seconds
            assert len(cache) <= 100
            clock.advance(seconds)

    asyncio.run(run())
