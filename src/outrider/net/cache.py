"""The DNS cache: bounded in entries and in time, and one question at a time for each name.

In: a name, a type and a way to ask. Out: an `Answer`, from memory where it may be.

Theory: positive, negative and failed answers are kept alike, each with its own bounds on the time to live.
An expired positive answer stays for a while; when the nameservers fail it is served again, for short
periods, as RFC 8767 §4 describes, so that mail flows on while DNS is down. Askers of a question that is on
the wire wait for the same answer; when the one who asks is cancelled, the next waiter asks.

Invariants: at most `cache_entries` entries; at most one fetch per question at a time; a cancelled asker
takes no one with it.
Standards: RFC 2308 §5 (negative answers), RFC 2308 §7.1 (failures), RFC 8767 §4 (stale answers).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from outrider.base.clock import Clock
from outrider.net.answers import Answer, Kind, Status
from outrider.net.options import NetOptions

STALE_TTL_SECONDS = 30.0
# RFC 8767 §4: an expired answer is served with a TTL of 30 seconds.

Question = tuple[str, Kind]
Fetch = Callable[[str, Kind], Awaitable[Answer]]


class _Entry(NamedTuple):
    answer: Answer
    expires_at: float
    stale_until_at: float


class CacheCounts(msgspec.Struct):
    """What happened so far, for metrics."""

    hits: int = 0
    misses: int = 0
    joined: int = 0
    stale: int = 0
    evicted: int = 0


class DnsCache:
    """See the module. One per process; used from one event loop."""

    __slots__ = ("_clock", "_entries", "_options", "_waiting", "counts")

    def __init__(self, options: NetOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._entries: dict[Question, _Entry] = {}
        self._waiting: dict[Question, asyncio.Future[Answer | None]] = {}
        self.counts = CacheCounts()

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, name: str, kind: Kind) -> Answer | None:
        """The answer in memory, with the time left, if it may still be used."""
        question = (name, kind)
        entry = self._entries.get(question)
        now = self._clock.now()
        if entry is None or entry.expires_at <= now:
            return None
        self._entries[question] = self._entries.pop(question)  # most recently used goes last
        return msgspec.structs.replace(entry.answer, ttl_seconds=entry.expires_at - now)

    async def get(self, name: str, kind: Kind, fetch: Fetch) -> Answer:
        """The answer from memory, or from `fetch`, asked once for all who wait.

        Cancelling one asker leaves the others waiting; the fetch starts again for them.
        """
        question = (name, kind)
        while True:
            answer = self.peek(name, kind)
            if answer is not None:
                self.counts.hits += 1
                return answer
            waiting = self._waiting.get(question)
            if waiting is None:
                break
            self.counts.joined += 1
            shared = await asyncio.shield(waiting)
            if shared is not None:
                return shared
        self.counts.misses += 1
        return await self._ask(question, fetch)

    async def _ask(self, question: Question, fetch: Fetch) -> Answer:
        turn = self._waiting[question] = asyncio.get_running_loop().create_future()
        kept: Answer | None = None
        try:
            kept = self._keep(question, await fetch(*question))
        finally:
            del self._waiting[question]
            turn.set_result(kept)  # None: whoever asked was cancelled or failed; the next one asks
        return kept

    def _keep(self, question: Question, answer: Answer) -> Answer:
        now = self._clock.now()
        old = self._entries.pop(question, None)
        if (
            answer.status is Status.FAILED
            and old is not None
            and old.answer.status is Status.FOUND
            and now < old.stale_until_at
        ):
            self.counts.stale += 1
            ttl = min(STALE_TTL_SECONDS, old.stale_until_at - now)
            answer = msgspec.structs.replace(old.answer, ttl_seconds=ttl, stale=True)
            stale_until_at = old.stale_until_at
        else:
            answer = msgspec.structs.replace(answer, ttl_seconds=self._bounded(answer))
            stale_until_at = now + answer.ttl_seconds + self._options.serve_stale_seconds
        self._entries[question] = _Entry(answer, now + answer.ttl_seconds, stale_until_at)
        while len(self._entries) > self._options.cache_entries:
            del self._entries[next(iter(self._entries))]
            self.counts.evicted += 1
        return answer

    def _bounded(self, answer: Answer) -> float:
        options = self._options
        if answer.status is Status.FAILED:
            return options.failure_ttl_seconds
        highest = (
            options.ttl_max_seconds if answer.status is Status.FOUND else options.negative_ttl_max_seconds
        )
        return min(max(answer.ttl_seconds, options.ttl_min_seconds), highest)
