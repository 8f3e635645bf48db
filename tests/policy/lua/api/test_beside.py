"""Timers, mutexes, the log: what goes on beside the hooks, and what ends with them."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from outrider.base.errors import UnavailableError
from outrider.model.hooks import HookPhase
from outrider.policy.connection import Connection
from outrider.policy.errors import ScriptError
from outrider.policy.lua.api.host import ApiLimits
from tests.policy.acting import SMTP
from tests.policy.lua.api.service_stage import Make, ServiceStage


class Loop:
    """Only `call_later`, by hand."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Any]] = []

    def call_later(self, delay: float, function: Any) -> "Loop":
        self.calls.append((delay, function))
        return self

    def cancel(self) -> None:
        self.calls.clear()

    def run(self) -> list[float]:
        """What is due; and when."""
        calls, self.calls = self.calls, []
        for _, function in calls:
            function()
        return [delay for delay, _ in calls]


def begin(made: ServiceStage) -> Loop:
    loop = Loop()
    made.services.begin(loop)  # type: ignore[arg-type]
    return loop


async def test_timers_wait_for_the_scripts_and_end_with_them(stage: Make) -> None:
    made = stage(
        "return n",
        init="n = 0 msys.timer.after(5, function() n = n + 1 end) msys.timer.at(0, function() n = n"
        " + 10 end)",
    )
    assert await made.call() == 0
    loop = begin(made)
    assert sorted(delay for delay, _ in loop.calls) == [0, 5]
    loop.run()
    assert await made.call() == 11
    assert loop.run() == []
    made.services.end()


async def test_every_goes_on_and_stops(stage: Make) -> None:
    made = stage(
        "if ... then t:stop() end return n", top="local t",
        init="n = 0 t = msys.timer.every(10, function() n = n + 1 end, 'tick')",
    )  # fmt: skip
    loop = begin(made)
    for expected in (1, 2, 3):
        made.clock.advance(10)
        assert loop.run() == [10]
        assert await made.call() == expected
    await made.call("data", True)
    assert loop.run() == []


async def test_a_timer_that_fails_is_told_and_goes_on(stage: Make) -> None:
    made = stage("return 1", init="msys.timer.every(1, function() error('broken') end, 'tick')")
    loop = begin(made)
    made.clock.advance(1)
    loop.run()
    made.clock.advance(1)
    loop.run()
    told = made.logged("policy.timer_failed")
    assert [(each["timer"], "broken" in each["reason"]) for each in told] == [("tick", True)] * 2


async def test_what_timers_make_is_let_go_of(stage: Make) -> None:
    make = "local c = msys.counter.open('site/x') msys.counter.inc(c) msys.counter.inc(kept)"
    made = stage(
        "return {msys.counter.read('site/kept'), msys.counter.read('site/x')}",
        init=f"kept = msys.counter.open('site/kept') msys.timer.every(1, function() {make} end)",
    )
    loop = begin(made)
    for _ in range(4000):
        made.clock.advance(1)
        loop.run()
    assert len(made.scripts._state.root.objects) <= 2000
    assert await made.call() == [4000, 4000]


async def test_a_timer_may_wait(stage: Make) -> None:
    made = stage(
        "return name",
        init="msys.timer.after(0, function() name = msys.db.fetch_row('crm', 'SELECT 7 AS n').n end)",
    )
    loop = begin(made)
    loop.run()
    [work] = made.work
    await work
    assert await made.call() == 7


async def test_what_a_timer_waits_for_is_let_go_of_where_too_much_runs(stage: Make) -> None:
    def refuse(work: Coroutine[Any, Any, Any]) -> None:
        work.close()
        raise UnavailableError("too much runs")

    init = "msys.timer.after(0, function() msys.db.fetch_row('crm', 'SELECT 7 AS n') end, 'tick')"
    made = stage("return 1", init=init, spawn=refuse)
    begin(made).run()  # a coroutine that nobody awaits is a warning, which is an error here
    gc.collect()
    [told] = made.logged("policy.timer_failed")
    assert told["reason"] == "too much runs"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("msys.timer.every(0, function() end)", "every 0.01 seconds"),
        ("msys.timer.every('nan', function() end)", "a number, not NaN"),
        ("msys.timer.after(1, 'x')", "calls a function, not a string"),
        ("for i = 1, 20 do msys.timer.after(1, function() end) end", "at most 10 timers"),
        ("thread.mutex(7)", "MUTEX_NORMAL"),
        ("thread.mutex({})", "a number, not a table"),
        ("msys.os.statvfs_read('x')", "statvfs_subscribe"),
    ],
)
async def test_faults(stage: Make, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        await stage(body, limits=ApiLimits(timers=10)).call()


async def test_a_mutex_is_between_sessions(stage: Make) -> None:
    made = stage(
        "local what = ... if what == 'lock' then return m:lock() elseif what == 'try' then return"
        " m:trylock() end"
        " return m:unlock()",
        top="local m = thread.mutex()",
    )
    first, second = made.connection, Connection(SMTP)
    assert await made.call("data", b"lock") is True
    made.another(second)
    assert await made.call("data", b"try") is False
    with pytest.raises(ScriptError, match="not held by the session"):
        await made.call("data", b"unlock")
    waiting = asyncio.ensure_future(made.call("data", b"lock"))
    await asyncio.sleep(0)
    assert not waiting.done()
    made.services.release(first)
    assert await waiting is True
    made.services.release(second)
    assert await made.call("data", b"try") is True


async def test_a_recursive_mutex_counts(stage: Make) -> None:
    made = stage(
        "m:lock() m:lock() m:unlock() local a = m:trylock() m:unlock() m:unlock() return a and not"
        " pcall(m.unlock, m)",
        top="local m = thread.mutex(thread.MUTEX_RECURSIVE)",
    )
    assert await made.call() is True


async def test_lines_of_scripts_are_in_the_log_and_bounded(stage: Make) -> None:
    made = stage(
        "msys.ts.chunk_logger.log('hello') msys.ts.chunk_logger.log(('x'):rep(100))",
        limits=ApiLimits(log_line_octets=10),
    )
    await made.call(HookPhase.CONNECT)
    assert [each["text"] for each in made.logged("policy.log")] == ["hello", "x" * 10]


async def test_pools_are_names(stage: Make) -> None:
    made = stage(
        "local p = msys.threadpool return {p.count(), p.find('IO'), p.find(2), tostring(p.find('none')),"
        " p.stat('CPU').num_threads, p.stat(1).name, tostring(p.stat(9))}"
    )
    assert await made.call() == [2, 1, b"CPU", b"nil", 0, b"IO", b"nil"]
