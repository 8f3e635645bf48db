"""A call that uses up its budget ends, whatever it does to go on; the next one finds the state as it was."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from outrider.policy.errors import BudgetError, ScriptError
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.registry import LuaRegistry

Evaluate = Callable[..., Any]

SMALL = LuaLimits(instructions=300_000, seconds=30.0, growth_octets=8 << 20, memory_octets=48 << 20)
"""Only instructions and memory end a call with it: a busy machine changes nothing."""
FOREVER = "while true do end"

INSTRUCTIONS = [
    FOREVER,
    f"pcall(function() {FOREVER} end)",
    f"while true do pcall(function() {FOREVER} end) end",
    f"xpcall(function() {FOREVER} end, function(e) {FOREVER} end)",
    f"xpcall(error, function(e) {FOREVER} end)",
    f"while true do xpcall(function() {FOREVER} end, function(e) return e end) end",
    f"while true do coroutine.resume(coroutine.create(function() {FOREVER} end)) end",
    f"while true do pcall(coroutine.wrap(function() {FOREVER} end)) end",
    "while true do coroutine.wrap(function() coroutine.yield(1) end)() end",
    f"while true do pcall(table.sort, {{3, 2, 1}}, function() {FOREVER} end) end",
    f"while true do pcall(string.gsub, 'x', 'x', function() {FOREVER} end) end",
    f"local t = setmetatable({{}}, {{__index = function() {FOREVER} end}}) pcall(function() return t.x end)",
    f"return setmetatable({{}}, {{__add = function() {FOREVER} end}}) + 1",
    f"return setmetatable({{}}, {{__concat = function() {FOREVER} end}}) .. 'x'",
    f"local m = {{__eq = function() {FOREVER} end}} return setmetatable({{}}, m) == setmetatable({{}}, m)",
    f"return tostring(setmetatable({{}}, {{__tostring = function() {FOREVER} end}}))",
    f"error(setmetatable({{}}, {{__tostring = function() {FOREVER} end}}))",
    f"error(setmetatable({{}}, {{__tostring = function() pcall(function() {FOREVER} end) {FOREVER} end}}))",
    "local function f() return f() end return f()",
    "local function f() pcall(f) f() end f()",
    "local function f() pcall(f) pcall(f) end f()",
    "local function f(a, b, c) pcall(f, a, b, c) f(1, 2, 3) end f()",
    "local function f() xpcall(f, print) f() end f()",
    "local function f() xpcall(f, function(e) return e end) f() end f()",
    "local function f() coroutine.wrap(function() pcall(f) f() end)() f() end f()",
    "local function f() coroutine.resume(coroutine.create(f)) f() end f()",
    "local function f() pcall(string.gsub, 'x', 'x', f) f() end f()",
    "local t = {} for i = 1, 1e9 do t[i % 10] = i end",
    "for i = 1, 1e9 do local s = i .. '' end",
    "repeat until false",
    "goto a ::a:: goto a",
    "local co co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
    f"for k in function() {FOREVER} end do end",
    "local s = ('a'):rep(3000) while true do s:find('b', 1, true) end",
]


@pytest.mark.parametrize("body", INSTRUCTIONS)
def test_instructions_are_counted_wherever_they_run(evaluate: Evaluate, body: str) -> None:
    with pytest.raises(BudgetError, match="too many instructions") as caught:
        evaluate(body, limits=SMALL)
    assert (caught.value.script, caught.value.line) == ("script.lua", 3)
    assert caught.value.phase == "validate_connect"


def test_strings_that_are_loaded_are_counted_too(evaluate: Evaluate) -> None:
    with pytest.raises(BudgetError, match="too many instructions") as caught:
        evaluate("while true do loadstring('return 1')() end", limits=SMALL)
    assert (caught.value.script, caught.value.line) in {("script.lua", 3), ("loadstring", 1)}


PATTERNS = [
    "return ('a'):rep(30000):find(('a*'):rep(10) .. 'b')",
    "return ('a'):rep(30000):match('.-.-.-b$')",
    "return ('a'):rep(100):find(('a-'):rep(20) .. 'b')",
    "return ('a'):rep(60):find(('a?'):rep(60) .. 'b')",
    "for w in ('a'):rep(300000):gmatch('a-a-b') do end",
    "return (('a'):rep(300000):gsub('a*a*b', ''))",
    "return ('('):rep(300000):find('%b()%b()')",
    "return ('a'):rep(3000):find('(a+)%1b')",
    "return ('a '):rep(300000):find('%a+%s+%a+x')",
    "return ('ab'):rep(20000):find(('ab'):rep(9000) .. 'c', 1, true)",
    "return ('ab'):rep(20000):find(('ab'):rep(9000) .. 'c')",
    "return pcall(string.find, ('a'):rep(30000), ('a*'):rep(10) .. 'b')",
]


@pytest.mark.parametrize("body", PATTERNS)
def test_patterns_are_counted(evaluate: Evaluate, body: str) -> None:
    with pytest.raises(BudgetError, match="too many instructions"):
        evaluate(body, limits=SMALL)


LETTER = "local s = ('lorem ipsum dolor sit amet consectetur\\r\\n'):rep(6000)\n"
"""A body of a quarter of a megabyte."""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("local n = 0 for l in s:gmatch('([^\\r\\n]*)\\r\\n') do n = n + 1 end return n", 6_000),
        ("local n = 0 for l in s:gmatch('(.-)\\r\\n') do n = n + #l end return n", 228_000),
        ("return s:match('^(.-)\\r\\n\\r\\n')", None),
        ("return s:match('[%w._-]+@[%w-]+%.%a+')", None),
        ("return (s .. 'x@y.test'):match('([%w._-]+)@[%w-]+%.%a+')", b"x"),
        ("return s:find('<[bB][oO][dD][yY][^>]*>')", None),
        ("return #s:gsub('%s+$', '')", 239_998),
        ("return #s:gsub('^%s*(.-)%s*$', '%1')", 239_998),
        ("return select(2, s:gsub('%f[%a](%a)(%a*)', string.upper))", 36_000),
        ("return #s:match('.*dolor')", 239_977),
    ],
)
def test_ordinary_patterns_read_a_large_body(evaluate: Evaluate, body: str, found: object) -> None:
    assert evaluate(LETTER + body, limits=LuaLimits(seconds=30.0)) == found


MEMORY = [
    "return ('x'):rep(1e9)",
    "return pcall(string.rep, 'x', 1e9)",
    "local s = ('x'):rep(1e6) return (pcall(function() for i = 1, 9 do s = s .. s end end))",
    "local s = ('x'):rep(1e6) return (xpcall(function() for i = 1, 9 do s = s .. s end end, print))",
    "return coroutine.resume(coroutine.create(function() local s = 'x' while true do s = s .. s end end))",
    "return ('x'):rep(1e6, ('y'):rep(1e6))",
    "local s = ('x'):rep(1e6) while true do s = s .. s end",
    "local s = ('x'):rep(1e6) while true do pcall(function() s = s .. s end) end",
    "local s = ('x'):rep(1e6) while true do coroutine.wrap(function() s = s .. s end)() end",
    "local t = {} for i = 1, 1e3 do t[i] = ('x'):rep(1e5) end return table.concat(t)",
    "local s = ('x'):rep(1e6) local t = {} for i = 1, 100 do t[i] = s end return table.concat(t)",
    "local t = {} for i = 1, 1000 do t[i] = {} for j = 1, 1000 do t[i][j] = {} end end",
    "local t = {} while true do t = {t, {}, {}, {}, {}, {}, {}} end",
    "return (('x'):rep(1e6):gsub('x', ('y'):rep(1000)))",
    "local t = {x = ('y'):rep(1e5)} return (('x'):rep(1e4):gsub('x', t))",
    "local s = ('x'):rep(5e6) return string.format(('%s'):rep(12), s, s, s, s, s, s, s, s, s, s, s, s)",
    "local t = {} for i = 1, 7000 do t[i] = i end while true do t[#t + 1] = {unpack(t, 1, 7000)} end",
]


@pytest.mark.parametrize("body", MEMORY)
def test_memory_is_limited(evaluate: Evaluate, body: str) -> None:
    limits = LuaLimits(instructions=100_000_000, seconds=30.0, growth_octets=8 << 20, memory_octets=48 << 20)
    with pytest.raises(BudgetError, match="too much memory"):
        evaluate(body, limits=limits)


def test_time_is_limited(load: Callable[..., Any]) -> None:
    """The clock moves on each time that it is looked at, so that nothing depends on the machine."""
    times = iter(range(10_000_000))
    limits = LuaLimits(instructions=1_000_000_000, seconds=50.0)
    bench = load(
        f"local mod = {{}}\nfunction mod:validate_connect()\npcall(function()\n{FOREVER}\nend)\nend\n"
        "msys.registerModule('m', mod)",
        limits=limits,
        clock=lambda: float(next(times)),
    )
    with pytest.raises(BudgetError, match="too long without waiting") as caught:
        bench.call()
    assert caught.value.line == 4


@pytest.mark.parametrize("call", ["s:find('x', 1, true)", "s:rep(300)", "s:match('xy')", "s:gsub('xy', '')"])
def test_what_runs_outside_the_interpreter_looks_at_the_clock(load: Callable[..., Any], call: str) -> None:
    """Four looks end it; its instructions alone would be two."""
    times = iter(range(10_000_000))
    bench = load(
        "local mod = {}\nfunction mod:validate_connect()\nlocal s = ('a'):rep(300)\n"
        f"for i = 1, 66 do {call} end\nend\nmsys.registerModule('m', mod)",
        limits=LuaLimits(seconds=3.5),
        clock=lambda: float(next(times)),
    )
    with pytest.raises(BudgetError, match="too long without waiting"):
        bench.call()


def test_the_next_call_has_a_budget_of_its_own(load: Callable[..., Any]) -> None:
    bench = load(
        """
        local mod = {}
        function mod:validate_connect(n)
          local x = 0
          for i = 1, n do x = x + 1 end
          return x
        end
        msys.registerModule("m", mod)
        """,
        limits=SMALL,
    )
    for _ in range(20):
        assert bench.call(50_000) == 50_000
    with pytest.raises(BudgetError):
        bench.call(1_000_000)
    for _ in range(20):
        assert bench.call(50_000) == 50_000


@pytest.mark.parametrize(
    "body", [INSTRUCTIONS[1], INSTRUCTIONS[3], INSTRUCTIONS[6], MEMORY[0], MEMORY[3], PATTERNS[0]]
)
def test_a_spent_budget_breaks_nothing(load: Callable[..., Any], body: str) -> None:
    bench = load(
        f"""
        local mod = {{}}
        function mod:validate_connect() {body} end
        function mod:validate_ehlo(n) x = (x or 0) + n return x end
        msys.registerModule("m", mod)
        """,
        limits=LuaLimits(instructions=3_000_000, seconds=30.0, growth_octets=8 << 20, memory_octets=48 << 20),
    )
    for n in range(1, 8):
        with pytest.raises(BudgetError):
            bench.call()
        assert bench.call(1, hook="validate_ehlo") == n
        with pytest.raises(BudgetError):
            bench.call(session=bench.scripts.session())


def test_recursion_ends_as_an_error(evaluate: Evaluate) -> None:
    with pytest.raises(ScriptError, match="stack overflow"):
        evaluate("local function f() return 1 + f() end return f()")
    assert evaluate("local function f() return 1 + f() end return (pcall(f))") is False


GSUB = "(('x'):gsub('x', {}))"
DEEP = [
    f"local function f() return {GSUB.format('f')} end return f()",
    "m = {__index = function() return (('x'):gsub('x', setmetatable({}, m))) end} return m.__index()",
    "local function f() table.sort({2, 1, 3}, f) end return f()",
    "local function s() table.sort({setmetatable({}, m), setmetatable({}, m)}) end m = {__lt = s} return s()",
    "local function f() return 1 + coroutine.wrap(f)() end return f()",
    "local function f() local r, e = coroutine.resume(coroutine.create(f)) if e then error(e, 0) end end f()",
    f"local function f() return coroutine.wrap(function() return {GSUB.format('f')} end)() end return f()",
    "local function f() local ok, e = pcall(string.gsub, 'x', 'x', f) if not ok then error(e, 0) end end f()",
]


@pytest.mark.parametrize("body", DEEP)
def test_callbacks_within_callbacks_end_as_an_error(load: Callable[..., Any], body: str) -> None:
    """Each takes C's stack, whose end is the process's; while scripts are loaded nothing else stops it."""
    bench = load(
        f"""
        local function deep() {body} end
        local ok, why = pcall(deep)
        loaded = tostring(why)
        local mod = {{}}
        function mod:validate_connect() return loaded end
        function mod:validate_ehlo() return deep() end
        function mod:validate_mailfrom() pcall(deep) return (("x"):gsub("x", function() return "y" end)) end
        msys.registerModule("m", mod)
        """
    )
    assert b"C stack overflow" in bench.call()
    with pytest.raises(ScriptError, match="C stack overflow"):
        bench.call(hook="validate_ehlo")
    assert bench.call(hook="validate_mailfrom") == b"y"


def test_what_is_left_may_be_as_deep_again(evaluate: Evaluate) -> None:
    body = """
    local function deep(n) return n > 0 and (("x"):gsub("x", function() return deep(n - 1) end)) or "end" end
    local s = ""
    for i = 1, 5 do
      s = deep(150)
      pcall(deep, 1000)
      coroutine.wrap(function() pcall(deep, 1000) coroutine.yield() end)()
    end
    return s
    """
    assert evaluate(body) == b"end"


def test_a_stack_without_room_for_pythons_answer_is_an_error(evaluate: Evaluate) -> None:
    """LuaJIT's own error would leave Python's frames by a jump, and the process without its lock."""
    registry = LuaRegistry()
    registry.register(
        "msys", {"many": lambda: [b"x"] * 1900, "rows": lambda: [{b"a": [n]} for n in range(700)]}
    )
    body = """
    local function f(n, get) if n == 0 then return #get() end local r = f(n - 1, get) return r end
    local low, high = 1, 70000
    while low < high do
      local middle = math.floor((low + high + 1) / 2)
      if pcall(f, middle, function() return {} end) then low = middle else high = middle - 1 end
    end
    local well, full = false, false
    for n = low, low - 3000, -29 do
      for _, get in ipairs({msys.many, msys.rows}) do
        local ok, why = pcall(f, n, get)
        well, full = well or ok, full or not ok
        if not ok and not why:find("stack overflow") and not why:find("too many results") then return why end
      end
    end
    return tostring(well) .. tostring(full)
    """
    limits = LuaLimits(instructions=1_000_000_000, seconds=60.0)
    assert evaluate(body, registry=registry, limits=limits) == b"truetrue"


@pytest.mark.parametrize(
    "call",
    ["msys.take(unpack(t))", "msys.take(t)", "msys.take({t, t})", "msys.take({[t[1] .. 'x'] = 1, [1] = t})"],
)
def test_what_is_passed_to_python_is_within_the_memory_too(evaluate: Evaluate, call: str) -> None:
    """A string that a table holds a thousand times is a thousand strings there."""
    taken: list[Any] = []
    registry = LuaRegistry()
    registry.register("msys", {"take": lambda *values: taken.extend(values)})
    body = "local s, t = ('x'):rep(1e5), {} for i = 1, 1000 do t[i] = s end pcall(function() CALL end)"
    limits = LuaLimits(instructions=100_000_000, seconds=30.0, memory_octets=48 << 20)
    with pytest.raises(BudgetError, match="too much memory"):
        evaluate(body.replace("CALL", call), registry=registry, limits=limits)
    assert taken == []


def test_a_state_that_is_full_of_what_scripts_keep_says_so(load: Callable[..., Any]) -> None:
    bench = load(
        """
        local kept = {}
        local mod = {}
        function mod:validate_connect() kept[#kept + 1] = ("x"):rep(2e6 + #kept) return #kept end
        function mod:validate_ehlo() kept = {} return true end
        msys.registerModule("m", mod)
        """,
        limits=LuaLimits(seconds=30.0, memory_octets=20 << 20),
    )

    def fill() -> None:
        for _ in range(20):
            bench.call()

    with pytest.raises(BudgetError, match="too much memory"):
        fill()
    assert bench.call(hook="validate_ehlo") is True
    assert bench.call() == 1


def test_what_python_gives_is_within_the_memory_too(evaluate: Evaluate) -> None:
    registry = LuaRegistry()
    registry.register(
        "msys",
        {
            "large": lambda: b"x" * (30 << 20),
            "many": lambda: [b"x" * 1000 + b"%d" % n for n in range(40_000)],
            "some": lambda: [b"x" * 1000 + b"%d" % n for n in range(4_000)],
        },
    )
    limits = LuaLimits(instructions=100_000_000, seconds=30.0, growth_octets=8 << 20, memory_octets=24 << 20)
    for name in ("large", "many"):
        with pytest.raises(BudgetError, match="too much memory"):
            evaluate(f"return #msys.{name}()", registry=registry, limits=limits)
    body = "local n = 0 for i = 1, 20 do n = n + #msys.some() end return n"
    assert evaluate(body, registry=registry, limits=limits) == 80_000


KEEPING = """
kept = ("k"):rep(8 * 1024 * 1024)
local mod = {}
function mod:validate_connect() return #msys.large() end
function mod:validate_ehlo()
  local n = 0
  for i = 1, 60000 do
    local t = {i, {}, {}}
    n = n + #t
  end
  return n
end
msys.registerModule("m", mod)
"""
"""With so much that lives, the collector lets as much garbage be before it begins."""


def test_garbage_makes_room_for_what_python_gives(load: Callable[..., Any]) -> None:
    registry = LuaRegistry()
    registry.register("msys", {"large": lambda: b"x" * (5 << 20)})
    limits = LuaLimits(seconds=30.0, growth_octets=16 << 20, memory_octets=20 << 20)
    bench = load(KEEPING, registry=registry, limits=limits)
    assert [bench.call() for _ in range(8)] == [5 << 20] * 8


def test_garbage_is_no_growth(load: Callable[..., Any]) -> None:
    limits = LuaLimits(instructions=100_000_000, seconds=30.0, growth_octets=1 << 20)
    bench = load(KEEPING, limits=limits)
    assert bench.call(hook="validate_ehlo") == 180_000


def test_loading_has_a_budget_too(load: Callable[..., Any]) -> None:
    with pytest.raises(BudgetError) as caught:
        load(f"local x = 1\n{FOREVER}", limits=LuaLimits(load_instructions=100_000, load_seconds=30.0))
    assert (caught.value.script, caught.value.line, caught.value.phase) == ("script.lua", 2, "load")


@pytest.mark.parametrize("body", ["", "pcall(function()", "xpcall(function()"])
def test_an_interrupt_of_pythons_is_not_the_scripts_to_catch(evaluate: Evaluate, body: str) -> None:
    class StopError(BaseException):
        pass

    def stop() -> None:
        raise StopError

    registry = LuaRegistry()
    registry.register("msys", {"stop": stop})
    ends = {"": "", "pcall(function()": "end)", "xpcall(function()": "end, print)"}
    with pytest.raises(StopError):
        evaluate(f"while true do {body} msys.stop() {ends[body]} end", registry=registry)


def test_a_busy_hook_costs_its_budget_and_little_more(evaluate: Evaluate) -> None:
    """No figure is asserted: that it comes back at all within the test's time-out is the point."""
    began = time.process_time()
    with pytest.raises(BudgetError):
        evaluate("local t = {} for i = 1, 2e4 do t[i] = i end while true do table.insert(t, 1, 1) end")
    assert time.process_time() > began
