"""Functions that wait suspend the script, wherever it is; where they cannot, the script is told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from outrider.base.errors import UnavailableError
from outrider.policy.errors import BudgetError, ForbiddenError, ScriptError, TooSlowError
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.registry import LuaRegistry

Load = Callable[..., Any]
Evaluate = Callable[..., Any]


def registry() -> LuaRegistry:
    """`msys.wait(x)` waits for a turn of the loop and gives what it got; `msys.cached(1)` has it at once."""

    async def wait(*values: Any) -> Any:
        await asyncio.sleep(0)
        return values

    async def fail(text: bytes) -> None:
        await asyncio.sleep(0)
        raise UnavailableError(text.decode())

    def cached(key: int) -> Any:
        return b"at once" if key == 1 else wait(b"later")

    made = LuaRegistry()
    made.register("msys", {"wait": wait, "fail": fail, "cached": cached, "now": lambda: 1})
    return made


WRAP = "local co = coroutine.wrap(function()"


def hook(body: str, arguments: str = "") -> str:
    """A script with one hook."""
    function = f"function mod:validate_connect({arguments}) {body} end"
    return f"local mod = {{}} {function} msys.registerModule('m', mod)"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return msys.wait(7)", 7),
        ("local a = msys.wait(1) local b = msys.wait(2) return a + b", 3),
        ("local n = 0 for i = 1, 200 do n = n + msys.wait(i) end return n", 20_100),
        ("return select(2, pcall(msys.wait, 7))", 7),
        ("local ok, v = pcall(function() return msys.wait(7) + 1 end) return ok and v", 8),
        ("return select(2, xpcall(function() return msys.wait(7) end, print))", 7),
        ("return select('#', msys.wait(nil, nil))", 2),
        ("return msys.wait({1, {a = 'x'}})[2].a", b"x"),
        (f"{WRAP} coroutine.yield(msys.wait(1)) return msys.wait(2) end) return co() + co()", 3),
        ("local co = coroutine.create(msys.wait) return select(2, coroutine.resume(co, 5))", 5),
        (f"{WRAP} {WRAP} return msys.wait(4) end) return co() + msys.wait(1) end) return co()", 5),
        ("local t = setmetatable({}, {__index = function(_, k) return msys.wait(k) end}) return t.x", b"x"),
        ("return setmetatable({}, {__add = function() return msys.wait(3) end}) + 1", 3),
        ("return setmetatable({}, {__call = function(_, x) return msys.wait(x) end})(6)", 6),
        ("for v in function(_, last) return msys.wait(not last and 5 or nil) end do return v end", 5),
        ("return tostring(setmetatable({}, {__tostring = function() return msys.wait('t') end}))", b"t"),
        ("return msys.cached(2)", b"later"),
        ("return {msys.wait(1), msys.wait(2)}", [1, 2]),
    ],
)
async def test_waits(evaluate: Evaluate, body: str, expected: object) -> None:
    assert await evaluate(body, registry=registry()) == expected


@pytest.mark.parametrize("body", ["return msys.now()", "return msys.cached(1) == 'at once' and 1"])
def test_without_a_wait_there_is_nothing_to_await(evaluate: Evaluate, body: str) -> None:
    assert evaluate(body, registry=registry()) == 1


NOT_HERE = [
    "table.sort({3, 2, 1}, function(a, b) msys.wait(1) return a < b end)",
    "('x'):gsub('x', function() return msys.wait('y') end)",
    "(('x'):rep(300000) .. 'y'):gsub('x-y', function() return msys.wait('y') end)",
    "table.sort({2, 1}, function() return coroutine.wrap(function() return msys.wait(true) end)() end)",
    "('x'):gsub('x', function() pcall(coroutine.wrap(function() msys.wait(1) end)) msys.wait(1) end)",
    "xpcall(error, function() msys.wait(1) end) error('a function that waits: its handler failed')",
]


@pytest.mark.parametrize("body", NOT_HERE)
def test_a_wait_where_lua_cannot_yield_is_a_clear_error(evaluate: Evaluate, body: str) -> None:
    limits = LuaLimits(instructions=1_000_000_000, seconds=30.0)
    with pytest.raises(ScriptError, match="a function that waits") as caught:
        evaluate(body, registry=registry(), limits=limits)
    assert (caught.value.script, caught.value.line) == ("script.lua", 3)


@pytest.mark.parametrize("body", NOT_HERE[:5])
async def test_after_such_an_error_waits_work(evaluate: Evaluate, body: str) -> None:
    limits = LuaLimits(instructions=1_000_000_000, seconds=30.0)
    text = f"local ok, e = pcall(function() {body} end) return not ok and msys.wait(e)"
    assert b"a function that waits" in await evaluate(text, registry=registry(), limits=limits)


async def test_a_failed_wait_is_an_error_at_the_scripts_line(evaluate: Evaluate) -> None:
    with pytest.raises(TooSlowError, match="no answer") as caught:
        await evaluate("local x = 1\nmsys.fail('no answer')", registry=registry())
    assert (caught.value.script, caught.value.line) == ("script.lua", 4)
    assert (
        await evaluate("return select(2, pcall(msys.fail, 'no answer'))", registry=registry())
        == b"script.lua:3: no answer"
    )


async def test_a_forbidden_function_stays_forbidden(evaluate: Evaluate) -> None:
    async def later() -> None:
        raise ForbiddenError("not in this phase")

    def at_once() -> None:
        raise ForbiddenError("not in this phase")

    made = LuaRegistry()
    made.register("msys", {"later": later, "at_once": at_once})
    with pytest.raises(ForbiddenError, match="not in this phase") as caught:
        await evaluate("\nmsys.later()", registry=made)
    assert (caught.value.script, caught.value.line, caught.value.phase) == (
        "script.lua",
        4,
        "validate_connect",
    )
    with pytest.raises(ForbiddenError) as caught:
        evaluate("\n\nmsys.at_once()", registry=made)
    assert caught.value.line == 5


SESSIONS = """
local mod = {}
function mod:validate_connect(n)
  self.n, x, _TLS.y = n, n, n
  local function check()
    return self.n == n and x == n and _TLS.y == n and _G.x == n and rawget(_G, "x") == n
  end
  for i = 1, 5 do
    msys.wait(i)
    if not check() then return "mixed up" end
    coroutine.wrap(function() msys.wait(i) x = x end)()
  end
  return check() and n
end
msys.registerModule("m", mod)
"""


async def test_waiting_sessions_do_not_see_each_other(load: Load) -> None:
    bench = load(SESSIONS, registry=registry())
    calls = [bench.call(n, session=bench.scripts.session()) for n in range(50)]
    assert await asyncio.gather(*calls) == list(range(50))


async def test_instructions_are_counted_over_all_waits(evaluate: Evaluate) -> None:
    limits = LuaLimits(instructions=100_000, seconds=30.0)
    body = "while true do for i = 1, 5000 do end msys.wait(1) end"
    with pytest.raises(BudgetError, match="too many instructions"):
        await evaluate(body, registry=registry(), limits=limits)


async def test_waiting_costs_no_time(load: Load) -> None:
    """The clock moves only while nothing of the script runs."""
    at = [0.0]

    async def wait() -> None:
        at[0] += 100
        await asyncio.sleep(0)

    made = LuaRegistry()
    made.register("msys", {"wait": wait})
    bench = load(
        hook("for i = 1, 20 do msys.wait() for j = 1, 5000 do end end return 1"),
        registry=made,
        clock=lambda: at[0],
    )
    assert await bench.call() == 1


async def test_a_call_that_is_cancelled_leaves_nothing(load: Load) -> None:
    never = asyncio.get_running_loop().create_future()
    made = registry()
    made.register("msys.test", {"never": lambda: never})
    bench = load(
        hook("if n then return msys.wait(n) end msys.test.never()", "n"),
        registry=made,
    )
    task = asyncio.ensure_future(_awaited(bench.call()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert never.cancelled()
    assert await bench.call(3) == 3


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def test_a_session_that_ends_while_it_waits(load: Load) -> None:
    bench = load(
        hook("return msys.wait(1)"),
        registry=registry(),
    )
    waiting = bench.call()
    bench.session.close()
    with pytest.raises(ScriptError, match="session ended while it waited"):
        await waiting


@pytest.mark.parametrize(
    "answer", [None, 1, b"x", (1, 2), [b"x"] * 200, {b"a": 1}, UnavailableError("no answer")]
)
async def test_what_waits_outside_of_any_session_ends_with_its_set(load: Load, answer: Any) -> None:
    later: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    kept: list[Any] = []
    made = registry()
    made.register("msys.test", {"keep": kept.append, "later": lambda: later})
    bench = load(hook("return 1") + " msys.test.keep(function() return msys.test.later() end)", registry=made)
    waiting = bench.scripts.run(kept[0])
    bench.session.close()
    bench.scripts.close()
    if isinstance(answer, Exception):
        later.set_exception(answer)
    else:
        later.set_result(answer)
    with pytest.raises(ScriptError, match="session ended while it waited"):
        await waiting
    assert bench.log.lines == []


async def test_a_script_is_not_called_from_within_a_script(load: Load) -> None:
    faults: list[BaseException] = []

    def again() -> None:
        try:
            bench.call()
        except RuntimeError as error:
            faults.append(error)

    made = LuaRegistry()
    made.register("msys", {"again": again})
    bench = load(
        hook("msys.again() return 1"),
        registry=made,
    )
    assert bench.call() == 1
    assert ["from within" in str(fault) for fault in faults] == [True]


async def test_a_function_of_a_script_is_called_by_python(load: Load) -> None:
    kept: list[Any] = []

    async def run(function: Any, *values: Any) -> Any:
        await asyncio.sleep(0)
        result = bench.session.run(function, *values)
        return await result if hasattr(result, "__await__") else result

    made = registry()
    made.register("msys.pool", {"run": run, "keep": kept.append})
    bench = load(
        """
        local mod = {}
        function mod:validate_connect()
          x = 1
          msys.pool.keep(function(n) x = x + n return x end)
          return msys.pool.run(function(a, b) x = x + a return msys.wait(x + b) end, 10, 100)
        end
        msys.registerModule("m", mod)
        """,
        registry=made,
    )
    assert await bench.call() == 111
    assert bench.session.run(kept[0], 5) == 16
    other = bench.scripts.session()
    with pytest.raises(ScriptError, match="arithmetic on global 'x'"):
        other.run(kept[0], 5)
    functions = bench.scripts._state._r[b"functions"]
    assert len(list(functions)) > 0
    kept.clear()
    assert await bench.call() == 111
    kept.clear()
    bench.session.run(_first(bench, kept), 1)
    assert len(list(functions)) <= 2


def _first(bench: Any, kept: list[Any]) -> Any:
    """Calls without keeping: what Python let go of, Lua lets go of at the next call."""
    waiting = bench.call()
    waiting.close()
    return kept.pop()
