"""No way out: what a script can reach is Lua, the functions that are registered, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from outrider.policy.errors import BudgetError, ScriptError
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

Evaluate = Callable[..., Any]


class Thing:
    """An object that scripts get."""

    secret = b"secret"


def registry(seen: list[Any] | None = None) -> LuaRegistry:
    made = LuaRegistry()
    kept: list[Any] = [] if seen is None else seen
    thing = Thing()
    made.register("msys", {"see": lambda *values: kept.extend(values), "thing": lambda: thing})
    made.register_class(
        Thing, ObjectClass("thing", methods={"name": lambda _thing: "n"}, text=lambda _thing: "T")
    )
    return made


ABSENT = """
    os io debug ffi jit python newproxy getfenv setfenv dofile loadfile load gcinfo bit rawlen package.loadlib
    package.loaders package.preload package.searchpath package.cpath.x string.dump package.loaded.os
    package.loaded.io package.loaded.debug package.loaded.ffi package.loaded._G package.loaded.package
    package.loaded.python coroutine.isyieldable coroutine.main
"""


@pytest.mark.parametrize("name", ABSENT.split())
def test_it_is_not_there(evaluate: Evaluate, name: str) -> None:
    assert evaluate(f"return {name} == nil")


@pytest.mark.parametrize(
    "name", ["os", "io", "debug", "ffi", "jit", "bit", "jit.util", "python", "_G", "package"]
)
def test_it_cannot_be_required(evaluate: Evaluate, name: str) -> None:
    with pytest.raises(ScriptError, match="not found"):
        evaluate(f"return require('{name}')")


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc/passwd", "a/../../b", "a..b", "", "a\\0b", "a%", ".", "script.", "~"]
)
def test_require_stays_in_its_folders(evaluate: Evaluate, name: str) -> None:
    with pytest.raises(ScriptError, match="names are words"):
        evaluate(f"return require('{name}')")


@pytest.mark.parametrize("name", ["string", "table", "math", "coroutine"])
def test_a_standard_library_is_a_module_too(evaluate: Evaluate, name: str) -> None:
    """Lua 5.1 reference manual, section 5.3: they are in `package.loaded`."""
    assert evaluate(f"return require('{name}') == {name} and package.loaded['{name}'] == {name}")


KINDS = """
local allowed = {["nil"]=1, boolean=1, number=1, string=1, table=1, ["function"]=1, thread=1}
local seen, found = {}, {}
local function walk(value, path)
  local kind = type(value)
  if not allowed[kind] then found[#found + 1] = path .. ":" .. kind return end
  if kind == "table" and not seen[value] then
    seen[value] = true
    for k, v in pairs(value) do walk(k, path .. ".key") walk(v, path .. "." .. tostring(k)) end
    walk(getmetatable(value), path .. ".meta")
  end
end
"""


def test_everything_reachable_is_of_lua(evaluate: Evaluate) -> None:
    """Tables are walked from the globals on, with metatables; a Python object would be a userdata."""
    names = [
        "string",
        "table",
        "math",
        "coroutine",
        "os",
        "package",
        "msys",
        "_TLS",
        "_OSTLS",
        "_G",
        "print",
        "require",
    ]
    roots = " ".join(f"walk({name}, '{name}')" for name in names)
    assert (
        evaluate(f"{KINDS} {roots} walk(getmetatable(''), 'string meta') return table.concat(found, ' ')")
        == b""
    )


@pytest.mark.parametrize(
    "body",
    [
        "return getmetatable('')",
        "return getmetatable('').__index",
        "return getmetatable(_G)",
        "return getmetatable(string)",
        "return getmetatable(msys)",
        "return getmetatable(print)",
        "return getmetatable(coroutine.create(print))",
    ],
)
def test_metatables_are_closed(evaluate: Evaluate, body: str) -> None:
    try:
        assert evaluate(body) in (None, False)
    except ScriptError as error:
        assert "attempt to index" in error.reason  # noqa: PT017 - either is closed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("setmetatable(_G, {})", "protected metatable"),
        ("setmetatable(string, {})", "protected metatable"),
        ("string.format = nil", "changes only while a script is loaded"),
        ("rawset(string, 'x', 1)", "changes only while a script is loaded"),
        ("msys.core.X = 1", "changes only while a script is loaded"),
        ("coroutine.create = nil", "changes only while a script is loaded"),
        ("package.loaded.x = 1", "changes only while a script is loaded"),
        ("msys.registerModule('x', {})", "works only while a script is loaded"),
        ("module('x')", "works only while a script is loaded"),
        ("require('strict')", "is required while a script is loaded"),
        ("table.insert(_G, 1)", "cannot be a list"),
        ("table.insert(string, 1)", "cannot be a list"),
        ("table.insert(msys.core, 1, 1)", "cannot be a list"),
        ("table.remove(_G)", "cannot be a list"),
        ("table.sort(package)", "cannot be a list"),
        ("table.move({1}, 1, 1, 1, _G)", "cannot be a list"),
    ],
)
def test_what_all_share_cannot_be_changed(evaluate: Evaluate, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        evaluate(body)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "body",
    [
        "return thing.__class__",
        "return thing.secret",
        "return thing.__dict__",
        "return thing['__init__']",
        "return getmetatable(thing).__index",
    ],
)
def test_an_object_gives_only_what_is_registered(evaluate: Evaluate, body: str) -> None:
    assert evaluate(f"local thing = msys.thing() {body}", registry=registry()) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("thing.secret = 1", "no field 'secret' that can be set"),
        ("thing.name()", "bad self for 'thing:name': thing expected, got nil"),
        ("thing.name({})", "bad self"),
        ("thing.name(setmetatable({}, getmetatable(thing)))", "bad argument #2 to 'setmetatable'"),
        ("return thing()", "attempt to call"),
        ("return #thing", "attempt to get length"),
        ("return thing + 1", "attempt to perform arithmetic"),
        ("return thing < thing", "attempt to compare"),
        ("rawset(thing, 'x', 1)", "bad argument #1 to 'rawset'"),
        ("for k in pairs(thing) do end", "bad argument #1 to 'pairs'"),
    ],
)
def test_an_object_is_nothing_else(evaluate: Evaluate, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        evaluate(f"local thing = msys.thing() {body}", registry=registry())


def test_a_method_is_for_its_own_class(evaluate: Evaluate) -> None:
    class Other:
        pass

    made = registry()
    other = Other()
    made.register("msys.test", {"other": lambda: other})
    made.register_class(Other, ObjectClass("other", methods={"name": lambda _other: "o"}))
    with pytest.raises(ScriptError, match="bad self for 'thing:name'"):
        evaluate("return msys.thing().name(msys.test.other())", registry=made)


def test_its_metatable_says_its_name(evaluate: Evaluate) -> None:
    body = "local t = msys.thing() return getmetatable(t) .. type(t) .. tostring(t) .. t .. 'x'"
    assert evaluate(body, registry=registry()) == b"thinguserdataTTx"


def test_an_error_of_pythons_is_text(evaluate: Evaluate) -> None:
    def fail() -> None:
        raise KeyError("x")

    made = LuaRegistry()
    made.register("msys", {"fail": fail})
    assert evaluate("local ok, e = pcall(msys.fail) return type(e) .. ':' .. e", registry=made) == (
        b"string:script.lua:3: msys.fail failed: KeyError"
    )


@pytest.mark.parametrize(
    "value",
    [object(), Thing, len, lambda: 1, {1: object()}, [[object()]], (1, object()), {object(): 1}, 1j, {1}],
)
def test_a_python_object_never_gets_in(evaluate: Evaluate, value: object) -> None:
    made = LuaRegistry()
    made.register("msys", {"leak": lambda: value})
    with pytest.raises(ScriptError, match=r"msys\.leak failed: TypeError"):
        evaluate("return msys.leak()", registry=made)


def test_callbacks_come_as_functions_and_objects_as_themselves(evaluate: Evaluate) -> None:
    seen: list[Any] = []
    evaluate("msys.see(msys.thing(), {msys.thing()}, 'x', {a = 1}, nil)", registry=registry(seen))
    assert [type(value).__name__ for value in seen] == ["Thing", "list", "bytes", "dict", "NoneType"]
    assert seen[1][0] is seen[0]


@pytest.mark.parametrize(
    ("lua", "python"),
    [
        ("{}", {}),
        ("{1, 2}", [1, 2]),
        ("{1, nil, 3}", {1: 1, 3: 3}),
        ("{[0] = 'a', 'b'}", {0: b"a", 1: b"b"}),
        ("{a = {b = {true, 1.5}}}", {b"a": {b"b": [True, 1.5]}}),
        ("2 ^ 40", 2**40),
    ],
)
def test_values_for_python(evaluate: Evaluate, lua: str, python: object) -> None:
    seen: list[Any] = []
    evaluate(f"msys.see({lua})", registry=registry(seen))
    assert seen == [python]
    if lua != "2 ^ 40":
        assert evaluate(f"return {lua}") == python


def test_arguments_that_were_not_all_passed_are_forgotten(load: Callable[..., Any]) -> None:
    """The budget ends while a table is on its way to Python; the next table is not mixed with it."""
    seen: list[Any] = []
    bench = load(
        """
        local mod, large = {}, {}
        for i = 1, 20000 do large[i] = i end
        function mod:validate_connect(n) msys.see(n == 1 and large or {n}) end
        msys.registerModule("m", mod)
        """,
        registry=registry(seen),
        limits=LuaLimits(instructions=200_000, seconds=30.0),
    )
    with pytest.raises(BudgetError):
        bench.call(1)
    bench.call(2)
    assert seen == [[2]]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("local t = {} t.t = t msys.see(t)", "holds itself"),
        ("msys.see(coroutine.create(print))", "a thread cannot be passed"),
        ("msys.see({[{}] = 1})", "neither a string nor a number"),
        ("local t = {} for i = 1, 2e5 + 1 do t[i] = i end msys.see(t)", "more than 200000 entries"),
    ],
)
def test_what_cannot_be_passed_is_an_error(evaluate: Evaluate, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        evaluate(body, registry=registry())
    assert caught.value.line == 3


@pytest.mark.parametrize("literal", ["1LL", "0x10ull", "2i", "1e3I", "7uLL"])
def test_there_are_no_numbers_of_ffi(evaluate: Evaluate, literal: str) -> None:
    """LuaJIT reads them as objects of its `ffi` library, which then is loaded."""
    with pytest.raises(ScriptError, match=f"malformed number near '{literal}'") as caught:
        evaluate(f"return {literal}")
    assert caught.value.line == 3
    assert b"malformed number" in evaluate(f"local f, e = loadstring('return {literal}') return e")


RESUMED = """
local kept
local mod = {}
function mod:validate_connect()
  kept = coroutine.create(function() return msys.wait() end)
  local ok, answer = coroutine.resume(kept)
  return tostring(answer)
end
function mod:validate_ehlo(...)
  local ok, why = coroutine.resume(kept, ...)
  return tostring(ok) .. ": " .. tostring(why)
end
msys.registerModule("m", mod)
"""


@pytest.mark.parametrize("forged", [(0, b"forged"), (4, b"forged"), (5, 1, 2, 1, 1), (7,), (6,)])
async def test_only_the_answer_resumes_a_coroutine_that_waits(
    load: Callable[..., Any], forged: tuple[Any, ...]
) -> None:
    """Else a script could give what Python's answers are made of: objects by their numbers, other codes."""
    made = LuaRegistry()

    async def wait() -> bytes:
        return b"answer"

    made.register("msys", {"wait": wait})
    bench = load(RESUMED, registry=made)
    waiting = bench.call()
    assert bench.call(*forged, hook="validate_ehlo") == b"false: cannot resume a coroutine that waits"
    assert await waiting == b"answer"


def test_a_module_cannot_be_left_half_loaded(load: Callable[..., Any]) -> None:
    """A yield would leave the state as it is while scripts are loaded: without globals for each session."""
    bench = load(
        """
        local mod = {}
        function mod:validate_connect()
          local ok, why = pcall(coroutine.wrap(function() require("half") end))
          mine = (mine or 0) + 1
          return tostring(why) .. mine
        end
        function mod:validate_ehlo() string.format = nil end
        msys.registerModule("m", mod)
        """,
        modules={"half.lua": "coroutine.yield(1)", "whole.lua": ""},
    )
    wrong = b"half.lua:1: attempt to yield from the top level of a module1"
    assert bench.call() == wrong
    assert bench.call(session=bench.scripts.session()) == wrong
    with pytest.raises(ScriptError, match="changes only while a script is loaded"):
        bench.call(hook="validate_ehlo")


def test_a_module_may_use_coroutines_of_its_own(evaluate: Evaluate) -> None:
    module = "local next_one = coroutine.wrap(function() coroutine.yield(7) end)\nreturn {seven = next_one()}"
    body = "return coroutine.wrap(function() coroutine.yield(require('own').seven) end)()"
    assert evaluate(body, modules={"own.lua": module}) == 7


def test_what_cannot_be_returned_is_the_scripts_failure(evaluate: Evaluate) -> None:
    with pytest.raises(ScriptError, match=r"it returned what cannot be used: .*holds itself"):
        evaluate("local t = {} t.t = t return t")


def test_compiled_code_is_not_loaded(evaluate: Evaluate) -> None:
    assert b"compiled code" in evaluate("local f, e = loadstring('\\27LJ\\2\\10') return e")


def test_a_loaded_string_sees_the_sessions_globals_and_the_dialect(evaluate: Evaluate) -> None:
    body = """
    x = 5
    local f = loadstring('y = x | 2 return os, x != 6')
    local o, d = f()
    return tostring(o) .. tostring(d) .. y
    """
    assert evaluate(body) == b"niltrue7"


def test_coroutines_and_closures_have_no_other_globals(evaluate: Evaluate) -> None:
    body = """
    local found = coroutine.wrap(function() return _G == getmetatable, debug, os, io, python end)
    local a, b, c, d, e = found()
    local sorted table.sort({2, 1}, function(x, y) sorted = (debug == nil and os == nil) return x < y end)
    local g ("x"):gsub("x", function() g = (debug == nil) end)
    local _, m = pcall(function() return (setmetatable({}, {__index = function() return debug end})).x end)
    return not (a or b or c or d or e or m) and sorted and g
    """
    assert evaluate(body) is True


def test_an_object_of_another_session_is_refused(load: Callable[..., Any]) -> None:
    made = LuaRegistry()
    made.register_class(Thing, ObjectClass("thing", methods={"name": lambda _thing: "n"}))
    bench = load(
        """
        local kept
        local mod = {}
        function mod:validate_connect(thing) kept = kept or thing return kept:name() end
        msys.registerModule("m", mod)
        """,
        registry=made,
    )
    first = Thing()
    assert bench.call(first) == b"n"
    other = bench.scripts.session()
    with pytest.raises(ScriptError, match="belongs to another session"):
        bench.call(Thing(), session=other)
    assert bench.call(first) == b"n"
    bench.session.release(first)
    with pytest.raises(ScriptError, match="is gone"):
        bench.call(first)
