"""Sets of scripts: what is loaded, what they see, how they are replaced."""

import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outrider.base.log import ListLog
from outrider.policy.errors import BudgetError, HookError, ScriptError
from outrider.policy.lua.dialect import LUA53, MOMENTUM
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

Load = Callable[..., Any]
Evaluate = Callable[..., Any]

HOOK = "function mod:{}({}) {} end"


def script(name: str, body: str, arguments: str = "", hook: str = "validate_connect") -> str:
    return f"local mod = {{}}\n{HOOK.format(hook, arguments, body)}\nmsys.registerModule('{name}', mod)"


def test_hooks_are_asked_in_the_order_of_scripts(load: Load) -> None:
    bench = load({name: script(name[0], f"return '{name}'") for name in ("b.lua", "a.lua", "c.lua")})
    hooks = bench.scripts.hooks("validate_connect")
    assert [hook(bench.session) for hook in hooks] == [b"b.lua", b"a.lua", b"c.lua"]
    assert [(hook.module, hook.script) for hook in hooks] == [("b", "b.lua"), ("a", "a.lua"), ("c", "c.lua")]
    assert bench.scripts.names == ("b", "a", "c")
    assert bench.scripts.hooks("validate_ehlo") == ()
    assert bench.scripts.hook_names == {"validate_connect"}


def test_one_script_may_register_several_modules(load: Load) -> None:
    bench = load(script("a", "return 1") + "\n" + script("b", "return 2"))
    assert [hook(bench.session) for hook in bench.scripts.hooks("validate_connect")] == [1, 2]


def test_a_module_without_hooks_is_said_to_the_log(load: Load) -> None:
    bench = load("msys.registerModule('idle', {helper = function() end, validate_connect = 5})")
    assert bench.scripts.hook_names == frozenset()
    [(level, event, fields)] = bench.log.lines
    assert (level, event, fields["module"]) == ("warning", "policy.no_hooks", "idle")
    assert fields["text"] == "scriptlet: no usable methods found for module idle in registerModule call"


NAMES = """
    init deinit validate_dealloc validate_rcptto_list_final msg_gen_data_spool core_log_delivery_v1
    smpp_MT_pdu_eval generic_delivery_msg_dispose
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_names_of_hooks(load: Load, name: str) -> None:
    bench = load(script("m", "return true", hook=name))
    assert [hook.name for hook in bench.scripts.hooks(name)] == [name]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("local x = 1\nlocal y = = 2", 2, "unexpected symbol near '='"),
        ("x = 'a\n'", 1, "does not end on its line"),
        ("\n\nx = a |", 3, "missing after"),
        ("\nerror('no', 0)", 2, "no"),
        ("\n\nlocal x = nil + 1", 3, "arithmetic on a nil value"),
        ("\nrequire('absent')", 2, "module 'absent' not found"),
        ("\nmsys.registerModule('a')", 2, "takes a name and a table"),
        ("msys.registerModule('a', {})\nmsys.registerModule('a', {})", 2, "registered already"),
        ("x = f\n(g or h)()", 2, "ambiguous syntax"),
        ("\nreturn undefined.x", 2, "attempt to index global 'undefined'"),
    ],
)
def test_what_cannot_be_loaded_says_where(load: Load, text: str, line: int, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        load(text)
    assert (caught.value.script, caught.value.line, caught.value.phase) == (
        "script.lua",
        line,
        "load",
    )


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"gone\.lua: load: cannot be read: No such file"):
        LuaScripts.load([tmp_path / "gone.lua"], LuaRegistry(), LuaLimits(), ListLog(), clock=lambda: 0.0)


@pytest.mark.parametrize("answer", ["", "return false", "return 1", "return nil"])
@pytest.mark.parametrize("name", ["init", "rsrc_setup"])
def test_init_must_return_true(load: Load, name: str, answer: str) -> None:
    with pytest.raises(ScriptError, match="did not return true") as caught:
        load(script("m", answer, hook=name))
    assert (caught.value.script, caught.value.phase) == ("script.lua", name)
    assert caught.value.line > 0


def test_init_runs_when_all_are_loaded_and_defines_for_all(load: Load) -> None:
    bench = load(
        {
            "a.lua": "mod = {}\nfunction mod:init() shared = other .. 'a' return self == mod end\n"
            "function mod:validate_connect() return shared end\nmsys.registerModule('a', mod)",
            "b.lua": "other = 'b'",
        }
    )
    assert bench.call() == b"ba"
    assert bench.call(session=bench.scripts.session()) == b"ba"


def test_a_wait_while_loading_is_refused(load: Load) -> None:
    async def wait() -> None:
        raise AssertionError

    registry = LuaRegistry()
    registry.register("msys", {"wait": wait})
    for text in (
        "\nmsys.wait()",
        "\n" + script("m", "msys.wait() return true", hook="init").replace("\n", " "),
    ):
        with pytest.raises(ScriptError, match="cannot be called while a script is loaded") as caught:
            load(text, registry=registry)
        assert caught.value.line == 2


GLOBALS = """
counter = 10
local mod = {}
function bump() counter = counter + 1 return counter end
local function helper() return bump() end
function mod:validate_connect()
  self.calls = (self.calls or 0) + 1
  return helper() * 100 + self.calls
end
function mod:validate_ehlo()
  local names = {}
  for name in pairs(_G) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, " ")
end
msys.registerModule("m", mod)
"""


def test_each_session_has_its_globals_and_self(load: Load) -> None:
    bench = load(GLOBALS)
    other = bench.scripts.session()
    assert [bench.call() for _ in range(3)] == [1101, 1202, 1303]
    assert [bench.call(session=other) for _ in range(2)] == [1101, 1202]
    assert bench.call() == 1404
    assert bench.call(session=bench.scripts.session()) == 1101
    assert bench.call(hook="validate_ehlo") == b"_TLS counter"


def test_self_is_private_to_the_module(load: Load) -> None:
    bench = load(
        {
            "a.lua": script("a", "self.x = 'a' x = 'global' return self.helper and self.x"),
            "b.lua": "local mod = {}\nfunction mod:helper() return 'helped' end\n"
            "function mod:validate_connect() return tostring(self.x) .. self:helper() .. x end\n"
            "msys.registerModule('b', mod)",
        }
    )
    first, second = bench.scripts.hooks("validate_connect")
    assert first(bench.session) is None
    assert second(bench.session) == b"nilhelpedglobal"


def test_an_assignment_that_hides_nothing_is_still_the_sessions(load: Load) -> None:
    bench = load(
        "list = {}\n"
        + script("m", "_G.a = 1 rawset(_G, 'b', 2) _G['c'] = 3 return (a or 0) + (b or 0) + (c or 0)")
        + "\nlocal m2 = {} function m2:validate_ehlo() return a == nil and b == nil and c == nil end"
        "\nmsys.registerModule('m2', m2)"
    )
    assert bench.call() == 6
    assert bench.call(hook="validate_ehlo", session=bench.scripts.session()) is True


MODULES = {
    "lib/tools.lua": "local M = {} function M.double(x) return x * 2 end loads = (loads or 0) + 1 return M",
    "site/policy.lua": "module('site.policy', package.seeall)\nseen = 0\n"
    "function note(x) seen = seen + x return seen, tostring(x) end",
    "broken.lua": "local x = 1\nx = = 2",
    "failing.lua": "\n\nerror('it fails')",
    "loop.lua": "require('loop')",
    "no_value.lua": "y = 5",
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return require('lib.tools').double(4)", 8),
        ("return require 'lib/tools'.double(4)", 8),
        ("return require('lib.tools') == require('lib/tools') and loads", 1),
        ("return require('no_value') == true and y", 5),
        ("require('site.policy') return site.policy.note(3)", 3),
        ("return require('site.policy') == site.policy", True),
        ("return require('site.policy')._NAME .. site.policy._PACKAGE", b"site.policysite."),
        ("require('site.policy') return seen == nil and note == nil", True),
        ("return require('msys') == msys and require('msys.core') == msys.core and msys.pcre ~= nil", True),
        ("return require('msys.core').CONT", 0),
        ("return require('written').value()", b"x!"),
        ("require('extra') return extra == nil and msys.ts.logger.f()", 1),
    ],
)
def test_require(load: Load, body: str, expected: object) -> None:
    registry = LuaRegistry()
    registry.register("msys.core", {"CONT": 0})
    registry.register("msys.ts.logger", {"f": lambda: 1})
    registry.register_source("written", b"local M = {}\nfunction M.value() return 'x' .. '\\!' end\nreturn M")
    registry.register_source("extra", b"return {}")
    bench = load(script("m", body), registry=registry, modules=MODULES)
    assert bench.call() == expected
    assert bench.call(session=bench.scripts.session()) == expected


@pytest.mark.parametrize(
    ("name", "where", "reason"),
    [
        ("broken", ("broken.lua", 2), "unexpected symbol"),
        ("failing", ("failing.lua", 3), "it fails"),
        ("loop", ("loop.lua", 1), "loop or previous error"),
        ("absent.module", ("script.lua", 2), r"absent/module\.lua in "),
    ],
)
def test_a_module_that_fails_says_where(load: Load, name: str, where: tuple[str, int], reason: str) -> None:
    bench = load(script("m", f"require('{name}')"), modules=MODULES)
    for _ in range(2):
        with pytest.raises(ScriptError, match=reason) as caught:
            bench.call()
        assert (caught.value.script, caught.value.line) == where


def test_globals_of_a_module_are_the_sessions_when_a_session_writes_them(load: Load) -> None:
    bench = load("require('site.policy')\n" + script("m", "return (site.policy.note(1))"), modules=MODULES)
    other = bench.scripts.session()
    assert [bench.call(), bench.call(), bench.call(session=other)] == [1, 2, 1]


def test_a_module_required_by_a_session_is_there_for_all(load: Load) -> None:
    bench = load(
        script("m", "if n then require('no_value') end return y", "n"),
        modules=MODULES,
    )
    assert bench.call() is None
    assert bench.call(True) == 5
    assert bench.call(session=bench.scripts.session()) == 5


def test_strict_refuses_what_was_never_assigned(load: Load) -> None:
    bench = load("require('strict')\nknown = 1\n" + script("m", "here = known return here, typo", "n"))
    with pytest.raises(ScriptError, match="variable 'typo' is not declared"):
        bench.call()


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("mine = nil return tostring(mine)", b"nil"),
        ("_G.mine = nil return tostring(_G['mine'])", b"nil"),
        ("rawset(_G, 'mine', nil) return tostring(mine)", b"nil"),
        ("mine = 1 mine = nil return tostring(mine)", b"nil"),
        ("mine = nil mine = 2 return tostring(mine)", b"2"),
        ("print = nil return tostring(print)", b"nil"),
        ("other = nil return tostring(mine)", b"script's"),
        ("here.forget() return tostring(here.look())", b"nil"),
        ("here.forget() here.set(3) return tostring(here.look())", b"3"),
    ],
)
def test_what_a_session_sets_to_nil_is_nil_in_it_and_in_no_other(load: Load, body: str, found: bytes) -> None:
    here = (
        "module('here', package.seeall)\nword = \"module's\"\n"
        "function forget() word = nil end\nfunction set(x) word = x end\nfunction look() return word end"
    )
    text = (
        script("m", body) + "\n" + script("n", "return tostring(mine) .. here.look()", hook="validate_ehlo")
    )
    bench = load(f"require('here') mine = \"script's\"\n{text}", modules={"here.lua": here})
    assert bench.call() == found
    other = bench.scripts.session()
    assert bench.call(hook="validate_ehlo", session=other) == b"script'smodule's"


@pytest.mark.parametrize(
    "call",
    [
        "pcall(string.gsub, 'x', 'x', wrong)",
        "xpcall(function() string.gsub('x', 'x', wrong) end, function(e) return e end)",
        "coroutine.resume(coroutine.create(function() string.gsub('x', 'x', wrong) end))",
        "pcall(coroutine.wrap(function() string.gsub('x', 'x', wrong) end))",
    ],
)
def test_an_error_of_a_function_in_c_tells_no_line_of_ours(load: Load, call: str) -> None:
    body = f"local function wrong() return {{}} end local ok, e = {call} return e"
    assert load(script("m", body)).call() == b"invalid replacement value (a table)"


DRAWS = "local out = {} for i = 1, 9 do out[i] = math.random(1, 1e9) end return table.concat(out, ' ')"


@pytest.mark.parametrize("seed", ["", "math.randomseed(5) ", "math.randomseed('5') "])
def test_each_state_draws_numbers_of_its_own(load: Load, seed: str) -> None:
    """Workers would make the same names for messages, because they begin in the same second."""
    assert load(script("m", seed + DRAWS)).call() != load(script("m", seed + DRAWS)).call()


def test_equal_seeds_give_equal_numbers(load: Load) -> None:
    """Lua 5.1 reference manual, section 5.6."""
    bench = load(script("m", f"math.randomseed(7) {DRAWS}"))
    assert bench.call() == bench.call()


def test_a_seed_is_a_number(load: Load) -> None:
    with pytest.raises(ScriptError, match="bad argument #1 to 'randomseed'"):
        load(script("m", "math.randomseed({}) return 1")).call()


def test_registered_globals(load: Load) -> None:
    registry = LuaRegistry()
    registry.register_globals({"VCTX_MESS": 1, "MM7_CONTINUE": 0, "helper": lambda x: x + 1})
    bench = load(script("m", "return helper(VCTX_MESS) + MM7_CONTINUE"), registry=registry)
    assert bench.call() == 2


def test_print_goes_to_the_log(load: Load) -> None:
    bench = load(script("m", "print('a', 1, nil, {} ~= nil)"))
    bench.call()
    said = {"script": "script.lua", "line": 2, "text": "a\t1\tnil\ttrue"}
    assert bench.log.lines == [("info", "policy.print", said)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("'010'", 8),
        ("'-017 '", -15),
        ("'0644', 10", 420),
        ("'089'", 89),
        ("'0'", 0),
        ("'0.5'", 0.5),
        ("'0x10'", 16),
        ("' 010'", 10),
        ("'10', 8", 8),
        ("'x'", None),
        ("10", 10),
    ],
)
def test_a_leading_zero_is_octal_as_in_literals(load: Load, text: str, number: float | None) -> None:
    assert load(script("m", f"return tonumber({text})")).call() == number


def test_operators_group_as_the_set_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "script.lua"
    path.write_text(script("m", "return 1 | 1 + 1"))
    for precedence, number in ((MOMENTUM, 2), (LUA53, 3)):
        loaded = LuaScripts.load([path], LuaRegistry(), LuaLimits(), ListLog(), precedence=precedence)
        assert loaded.session().call(loaded.hooks("validate_connect")[0]) == number


def test_lines_that_are_grouped_in_two_ways_are_said_to_the_log(load: Load) -> None:
    bench = load("local x = 1 | 2 & 3\n" + script("m", "return 1"))
    assert bench.log.lines == [
        ("warning", "policy.operators_group_differently", {"script": "script.lua", "lines": [1]})
    ]


class Thing:
    """An object that scripts get."""

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}
        self.priority = 0


MISSING_KEY = b"script.lua:2: bad arguments to 'thing:set': missing a required argument: 'key'"


def things() -> LuaRegistry:
    registry = LuaRegistry()
    registry.register_class(
        Thing,
        ObjectClass(
            "thing",
            methods={
                "set": lambda thing, key, value=None: thing.values.update({key: value}),
                "me": lambda thing: thing,
            },
            getters={"priority": lambda thing: thing.priority, "values": lambda thing: thing.values},
            setters={"priority": lambda thing, value: setattr(thing, "priority", value)},
            length=lambda thing: len(thing.values),
            text=lambda thing: f"thing of {len(thing.values)}",
        ),
    )
    return registry


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("t:set('a', 1) t:set('b', {1, 2}) return t.values.b[2]", 2),
        ("t.priority = t.priority + 3 return t.priority", 3),
        ("t:set('a', 1) return #t .. tostring(t)", b"1thing of 1"),
        ("return t:me() == t", True),
        ("t:set('f', function() end) return type(t.values.f)", b"function"),
        ("t:set('t', t) return t.values.t == t", True),
        ("t:set('x') return t.values.x == nil and #t", 1),
        ("local ok, e = pcall(t.set, t) return e", MISSING_KEY),
        ("return t.absent", None),
    ],
)
def test_objects(load: Load, body: str, expected: object) -> None:
    bench = load(script("m", body, "t"), registry=things())
    assert bench.call(Thing()) == expected


def test_nothing_of_a_closed_session_is_held(load: Load) -> None:
    bench = load(script("m", "kept = t self.t = t", "t"), registry=things())
    thing = Thing()
    alive = weakref.ref(thing)
    session = bench.scripts.session()
    bench.call(thing, session=session)
    del thing
    assert alive() is not None
    assert session.close() == ()
    assert alive() is None


def test_dealloc_runs_for_modules_that_ran(load: Load) -> None:
    bench = load(
        {
            "a.lua": "local mod = {}\nfunction mod:validate_connect() self.x = 5 end\n"
            "function mod:validate_dealloc() print('a', self.x) end\nmsys.registerModule('a', mod)",
            "b.lua": script("b", "print('b')", hook="validate_dealloc"),
            "c.lua": "local mod = {}\nfunction mod:validate_connect() end\n"
            "function mod:validate_dealloc() error('c') end\nmsys.registerModule('c', mod)",
        }
    )
    for hook in bench.scripts.hooks("validate_connect"):
        hook(bench.session)
    [fault] = bench.session.close()
    assert isinstance(fault, HookError)
    assert (fault.script, fault.line, fault.phase) == ("c.lua", 3, "validate_dealloc")
    assert [fields["text"] for _, _, fields in bench.log.lines] == ["a\t5"]
    assert bench.session.close() == ()


def test_a_session_ends_in_the_set_that_it_began_in(load: Load) -> None:
    old = load(script("m", "return 'old'") + "\n" + script("n", "print('deinit') return true", hook="deinit"))
    assert old.call() == b"old"
    new = load(script("m", "return 'new'"))
    old.scripts.close()
    assert (new.call(), old.call()) == (b"new", b"old")
    assert old.log.lines == []
    old.session.close()
    assert old.log.lines == [("info", "policy.print", {"script": "script.lua", "line": 5, "text": "deinit"})]


@pytest.mark.parametrize(
    ("body", "reason"), [("return 1", "it did not return true"), ("error('x')", "n.lua")]
)
def test_deinit_that_fails_is_said(load: Load, body: str, reason: str) -> None:
    bench = load({"n.lua": script("n", body, hook="deinit")})
    bench.session.close()
    bench.scripts.close()
    [(_, event, fields)] = bench.log.lines
    assert event == "policy.deinit_failed"
    assert reason in fields["reason"]


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        ("error('plain')", 3, "plain"),
        ("error('level', 0)", 3, "level"),
        ("error({code = 5})", 3, r"\(error object is a table value\)"),
        ("error(setmetatable({}, {__tostring = function() return 'shown' end}))", 3, "shown"),
        ("error(setmetatable({}, {__tostring = function() error('x') end}))", 3, "error object is a table"),
        ("error()", 3, "error object is a nil value"),
        ("error(5)", 3, "5"),
        ("error('other:7: text', 0)", 3, "other:7: text"),
        ("local ok, e = pcall(error, 'a') error(e, 0)", 3, "a"),
        ("\nlocal f = function()\n  return nil .. 'x'\nend\nf()", 5, "concatenate a nil value"),
        ("coroutine.wrap(function()\nerror('inner')\nend)()", 4, "inner"),
        ("coroutine.yield()", 3, "yield from outside a coroutine"),
        ("('x'):rep({})", 3, "bad argument"),
        ("local p = ('x'):find('[')", 3, "malformed pattern"),
        ("\nreturn ('x'):find('[')", 2, "malformed pattern"),
        ("error('x\\ny: 5: z')", 3, "x\ny: 5: z"),
        ("error(('long'):rep(1000), 0)", 3, "^script.lua:3: validate_connect: (long){250}$"),
    ],
)
def test_errors_have_the_scripts_line(evaluate: Evaluate, body: str, line: int, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        evaluate(body)
    assert (caught.value.script, caught.value.line, caught.value.phase) == (
        "script.lua",
        line,
        "validate_connect",
    )


def test_an_error_in_a_required_module_has_its_line(load: Load) -> None:
    modules = {"lib/x.lua": "local M = {}\n\nfunction M.f()\n  error('here')\nend\nreturn M"}
    bench = load("local x = require('lib.x')\n" + script("m", "x.f()"), modules=modules)
    with pytest.raises(ScriptError, match="here") as caught:
        bench.call()
    assert (caught.value.script, caught.value.line) == ("lib/x.lua", 4)


def test_errors_of_python_are_an_operators_to_read(load: Load) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    registry = LuaRegistry()
    registry.register("msys", {"fault": fault})
    bench = load(script("m", "\nmsys.fault()"), registry=registry)
    with pytest.raises(ScriptError, match=r"msys\.fault failed: ZeroDivisionError") as caught:
        bench.call()
    assert caught.value.line == 3
    [(level, event, fields)] = bench.log.lines
    assert (level, event, fields["function"]) == ("error", "policy.api_fault", "msys.fault")


def test_a_registry_refuses_a_name_twice() -> None:
    registry = LuaRegistry()
    registry.register("msys.x", {"a": 1})
    registry.register("msys.x", {"b": 1})
    with pytest.raises(ValueError, match=r"msys\.x has a already"):
        registry.register("msys.x", {"a": 2, "c": 3})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1, 2, 3], b"list 3"),
        (list(range(5_000)), b"list 5000"),
        ({"a": {"b": [1, {"c": None}]}}, b"table"),
        ({0: b"", 1: b"x"}, b"list 1"),
        ((1, 2), b"1"),
        ((), b"nil"),
        ("ü", "ü".encode()),
        (2**60, b"1.1529215046068e+18"),
        (True, b"true"),
        (1.5, b"1.5"),
        (bytearray(b"x"), b"x"),
        ([[1], [2]], b"list 2"),
    ],
)
def test_values_from_python(load: Load, value: object, shown: bytes) -> None:
    registry = LuaRegistry()
    registry.register("msys", {"get": lambda: value})
    body = """
    local v = msys.get()
    if type(v) ~= 'table' then return tostring(v) end
    return v[1] and 'list ' .. #v or 'table'
    """
    assert load(script("m", body), registry=registry).call() == shown
    body = body.replace("msys.get()", "...")
    if not isinstance(value, tuple):
        assert load(script("m", body, "..."), registry=registry).call(value) == shown


def test_the_state_that_spends_its_budget_in_a_module_can_be_asked_again(load: Load) -> None:
    bench = load(
        script("m", "if n == 1 then require('slow') end return (pcall(rawset, string, 'x', 1))", "n"),
        modules={"slow.lua": "while true do end"},
        limits=LuaLimits(instructions=100_000, seconds=30.0),
    )
    for _ in range(2):
        with pytest.raises(BudgetError):
            bench.call(1)
        assert bench.call(2) is False


class Clock:
    """Held by the runtime alone, once a test has let go of it."""

    def __call__(self) -> float:
        return 0.0


def test_nothing_of_a_set_that_ended_is_held(load: Load) -> None:
    """Lua and Python hold each other; the memory of a set is given back at once all the same."""
    clock = Clock()
    bench = load(
        script("m", "kept = t return function() return kept end", "t"), registry=things(), clock=clock
    )
    function = bench.call(Thing())
    assert isinstance(bench.session.run(function), Thing)
    alive = weakref.ref(clock)
    del clock, function
    bench.scripts.close()
    assert alive() is not None
    bench.session.close()
    assert alive() is None
    assert bench.log.lines == []


def test_nothing_of_a_set_that_failed_is_held(load: Load) -> None:
    clock = Clock()
    alive = weakref.ref(clock)
    with pytest.raises(ScriptError):
        load(script("m", "return false", hook="init"), clock=clock)
    del clock
    assert alive() is None


AT_EXIT = """
import asyncio
from pathlib import Path
from outrider.policy.errors import BudgetError
from outrider.base.log import NullLog
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.registry import LuaRegistry

class Holder:
    pass

holder = Holder()
registry = LuaRegistry()
registry.register("msys", {"never": lambda: asyncio.Future(loop=holder.loop)})
holder.loop = asyncio.new_event_loop()
holder.scripts = LuaScripts.load([Path("script.lua")], registry, LuaLimits(), NullLog())
holder.session = holder.scripts.session()
holder.hooks = holder.scripts.hooks("validate_connect")
holder.kept = holder.session.call(holder.hooks[0])
for turn in range(30):
    # the coroutine that the loading ran in waits, is given up, and is collected when memory runs out
    holder.session.call(holder.scripts.hooks("validate_mailfrom")[0]).close()
    try:
        holder.session.call(holder.scripts.hooks("validate_ehlo")[0])
    except BudgetError:
        pass
holder.loop.close()
holder.holder = holder
"""


def test_a_process_that_holds_scripts_ends_well(load: Load, tmp_path: Path) -> None:
    """What lupa made while Lua ran would be let go of on a stack that is gone."""
    fill = script("n", "local s = 'x' while true do s = s .. s end", hook="validate_ehlo")
    wait = script("w", "msys.never()", hook="validate_mailfrom")
    registry = LuaRegistry()
    registry.register("msys", {"never": lambda: None})
    load("\n".join((script("m", "return function() end"), fill, wait)), registry=registry)
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "local function log(f, ...) return string.format(f, unpack(arg)) end return log('%s-%d', 'a', 2)",
            b"a-2",
        ),
        ("local function count(...) return arg.n end return count(nil, 5, nil)", 3),
        (
            "local t = '' for word in string.gfind('a b', '%a') do t = t .. word end return t",
            b"ab",
        ),
        ("return math.mod(7, 3)", 1),
    ],
)
def test_names_of_lua_5_0_that_5_1_keeps(evaluate: Evaluate, body: str, expected: object) -> None:
    assert evaluate(body) == expected
