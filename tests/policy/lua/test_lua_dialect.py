"""Momentum's dialect becomes LuaJIT's, token by token, and no line moves."""

from collections.abc import Callable
from typing import Any

import lupa.luajit21  # type: ignore[import-untyped]
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from outrider.policy.errors import ScriptError
from outrider.policy.lua.dialect import LUA53, MOMENTUM, PRECEDENCES, translate
from outrider.policy.lua.tokens import count_lines, tokenize


def shown(text: str, **options: Any) -> str:
    return translate(text.encode(), "s.lua", **options).text.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = a != b", "x = a ~= b"),
        ("x = 'a != b' --  | !=\n", "x = 'a != b' --  | !=\n"),
        ("x = [[a != b | \\@]]", "x = [[a != b | \\@]]"),
        ("x = a & b | c", "x = __dialect_or(__dialect_and(a , b) , c)"),
        ("x = a | b | c", "x = __dialect_or(__dialect_or(a , b) , c)"),
        ("x = a & b == 0", "x = __dialect_and(a , b) == 0"),
        ("x = a + b \\ c", "x = a + __dialect_intdiv(b , c)"),
        ("x = a \\ b * c", "x = __dialect_intdiv(a , b) * c"),
        ("x = ~a | b", "x = __dialect_or(__dialect_not(a) , b)"),
        ("x = ~a ^ b", "x = __dialect_not(a ^ b)"),
        ("x = ~-#a", "x = __dialect_not(-#a)"),
        ("x = not a & b", "x = __dialect_and(not a , b)"),
        ("x = -a << 2", "x = __dialect_shl(-a , 2)"),
        ("x = a ~= ~b", "x = a ~= __dialect_not(b)"),
        ("x = a or b | c and d", "x = a or __dialect_or(b , c) and d"),
        ("f(a | b, c)", "f(__dialect_or(a , b), c)"),
        ("f(a)[b | c].d:e(1) = 2", "f(a)[__dialect_or(b , c)].d:e(1) = 2"),
        ("x = f(a).b:c'd' | {1, 2}", "x = __dialect_or(f(a).b:c'd' , {1, 2})"),
        ("x = (a | b) & c", "x = __dialect_and((__dialect_or(a , b)) , c)"),
        (
            "x = {a | b, [c & d] = e ^^ f; 1}",
            "x = {__dialect_or(a , b), [__dialect_and(c , d)] = __dialect_xor(e , f); 1}",
        ),
        ("x = a | 1\n(f or g)()", "x = __dialect_or(a , 1)\n(f or g)()"),
        ("x = a | 1 y = 2", "x = __dialect_or(a , 1) y = 2"),
        ("x = a | b y = 2", "x = __dialect_or(a , b) y = 2"),
        ("x = a | {}\n(f or g)()", "x = __dialect_or(a , {})\n(f or g)()"),
        ("x = a | function() end\n(f or g)()", "x = __dialect_or(a , function() end)\n(f or g)()"),
        (
            "return a | function(b) return b & 1 end",
            "return __dialect_or(a , function(b) return __dialect_and(b , 1) end)",
        ),
        ("if a & 1 != 0 then b() end", "if __dialect_and(a , 1) ~= 0 then b() end"),
        (
            "repeat a = a >> 1 until a & 1 == 1",
            "repeat a = __dialect_shr(a , 1) until __dialect_and(a , 1) == 1",
        ),
        ("for i = a | 1, b \\ 2 do end", "for i = __dialect_or(a , 1), __dialect_intdiv(b , 2) do end"),
        ("while a & b do c() end d = 1", "while __dialect_and(a , b) do c() end d = 1"),
        ("function f.a:b(c) return c | 1 end", "function f.a:b(c) return __dialect_or(c , 1) end"),
        (
            "local function f(...) return ... | 1 end",
            "local function f(...) return __dialect_or(... , 1) end",
        ),
        ("x = a --| b\n | --c\n b", "x = __dialect_or(a --| b\n , --c\n b)"),
        ("x = '\\@a' .. \"\\.\\%\\d\"", "x = '@a' .. \".%d\""),
        ("x = '\\\\@ \\n\\065\\x41\\z'", "x = '\\\\@ \\n\\065\\x41z'"),
        ("x = '\\u00e9\\u{e9}\\u20ac'", "x = '\\195\\169\\u{e9}\\226\\130\\172'"),
        ("x = '\\u01F600\\u123'", "x = '\\240\\159\\152\\128\\u123'"),
        ("open(f, 0644)", "open(f, 420)"),
        ("x = 0 + 08 + 00 + 0x10 + 0.7 + 010", "x = 0 + 08 + 0 + 0x10 + 0.7 + 8"),
    ],
)
def test_translation(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\ny = a |\n", 2, "missing after '|'"),
        ("x = \n\n | a", 3, "missing before '|'"),
        ("x = (a & )", 1, "missing after '&'"),
        ("x = a ~ b", 1, "exclusive or is written"),
        ("x = (a | b\nend", 2, "'end' closes nothing; '\\(' of line 1 is open"),
        ("x = a | b\n)", 2, r"'\)' closes nothing"),
        ("x = a | b until c", 1, "'until' closes nothing"),
        ("x = 'a\nb'", 1, "does not end on its line"),
    ],
)
def test_faults_say_script_and_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        translate(text.encode(), "s.lua")
    assert (caught.value.script, caught.value.line) == ("s.lua", line)


@pytest.mark.parametrize(
    ("text", "doubts"),
    [
        ("x = a | b", ()),
        ("x = a & b == c", ()),
        ("x = a | b | c + d * e", (1,)),
        ("x = (a | b) & c", ()),
        ("\nx = a | b & c", (2,)),
        ("x = 1\ny = a & b | c\nz = a << 2 + 1", (3,)),
    ],
)
def test_lines_that_are_grouped_in_two_ways_are_said(text: str, doubts: tuple[int, ...]) -> None:
    assert translate(text.encode(), "s.lua").doubts == doubts


GROUPED = [
    ("a | b & c", "__dialect_and(__dialect_or(a , b) , c)", "__dialect_or(a , __dialect_and(b , c))"),
    ("a ^^ b & c", "__dialect_and(__dialect_xor(a , b) , c)", "__dialect_xor(a , __dialect_and(b , c))"),
    ("a << 1 + 2", "__dialect_shl(a , 1) + 2", "__dialect_shl(a , 1 + 2)"),
    ("a + b >> c", "a + __dialect_shr(b , c)", "__dialect_shr(a + b , c)"),
    ("a .. b << c", "a .. __dialect_shl(b , c)", "__dialect_shl(a .. b , c)"),
    ("a * b | c", "__dialect_or(a * b , c)", "__dialect_or(a * b , c)"),
    ("a - b | c", "__dialect_or(a - b , c)", "__dialect_or(a - b , c)"),
    (
        "a | b == c & d",
        "__dialect_or(a , b) == __dialect_and(c , d)",
        "__dialect_or(a , b) == __dialect_and(c , d)",
    ),
    (
        "a | b & c << 1 + 2",
        "__dialect_and(__dialect_or(a , b) , __dialect_shl(c , 1)) + 2",
        "__dialect_or(a , __dialect_and(b , __dialect_shl(c , 1 + 2)))",
    ),
]


@pytest.mark.parametrize(("text", "momentum", "lua53"), GROUPED)
def test_operators_group_as_is_asked(text: str, momentum: str, lua53: str) -> None:
    assert shown(text) == shown(text, precedence=MOMENTUM) == momentum
    assert shown(text, precedence=LUA53) == lua53
    doubts = (1,) if momentum != lua53 else ()
    for precedence in PRECEDENCES.values():
        assert translate(text.encode(), "s.lua", precedence).doubts == doubts


# Programs without dialect, grown from the grammar.
NAMES = st.sampled_from(["a", "b", "msg", "x1", "_"])
LEAVES = NAMES | st.sampled_from(
    ["nil", "true", "1", "0x1F", "3.5", "'s'", '"\\n\\\\"', "[[l\n|]]", "...", "{}"]
)


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(["+", "-", "*", "/", "%", "^", "..", "<", "<=", "==", "~=", "and", "or"])
    return (
        st.builds("{} {} {}".format, inner, binary, inner)
        | st.builds("{}({})".format, NAMES, inner)
        | st.builds("({}).b[ {} ]".format, inner, inner)
        | st.builds("not {}".format, inner)
        | st.builds("- {}".format, inner)
        | st.builds("#{}".format, NAMES)
        | st.builds("{{{}, x = {}; [ {} ] = 1}}".format, inner, inner, inner)
        | st.builds("function(a, ...) return {} end".format, inner)
        | st.builds("{}:m{{{}}}".format, NAMES, inner)
    )


EXPRESSIONS = st.recursive(LEAVES, _expressions, max_leaves=8)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.lists(inner, max_size=3).map("\n".join)
        | st.builds("if {} then {} else {} end".format, EXPRESSIONS, inner, inner)
        | st.builds("while {} do {} end".format, EXPRESSIONS, inner)
        | st.builds("repeat {} until {}".format, inner, EXPRESSIONS)
        | st.builds("for {} = {}, 2 do {} end --c |\n".format, NAMES, EXPRESSIONS, inner)
        | st.builds("for k, v in {} do {} end".format, EXPRESSIONS, inner)
        | st.builds("local function {}(a, ...) {} end".format, NAMES, inner)
        | st.builds("do {} end".format, inner)
    )


STATEMENTS = (
    st.builds("{} = {};".format, NAMES, EXPRESSIONS)
    | st.builds("local {} = {} --[[ != ]]".format, NAMES, EXPRESSIONS)
    | st.builds("{}({})\t".format, NAMES, EXPRESSIONS)
)
PROGRAMS = st.recursive(STATEMENTS, _blocks, max_leaves=6)


@given(PROGRAMS)
def test_a_program_without_dialect_stays_as_it_is(text: str) -> None:
    assert translate(text.encode(), "s.lua").text == text.encode()
    # and with an operator elsewhere, which has all of it read, only that changes
    assert (
        translate(f"{text}\nz = y | 1".encode(), "s.lua").text == f"{text}\nz = __dialect_or(y , 1)".encode()
    )


LUA = lupa.luajit21.LuaRuntime(encoding=None)
LOADS = LUA.eval(b"function(text) return loadstring(text) ~= nil end")
OPERATORS = st.sampled_from(["|", "&", "^^", "<<", ">>", "\\", "+", "==", "!=", "and", "..", "\n|", "--c\n&"])


@settings(max_examples=300)
@given(
    EXPRESSIONS,
    OPERATORS,
    st.sampled_from(["", "~", "- ", "not "]),
    EXPRESSIONS,
    OPERATORS,
    EXPRESSIONS,
    PROGRAMS,
)
def test_what_is_translated_loads_and_keeps_its_lines(
    a: str, first: str, unary: str, b: str, second: str, c: str, program: str
) -> None:
    plain = f"x = ({a}) + ({b}) + ({c})\n{program}"
    assume(LOADS(plain.encode()))
    text = f"x = {a} {first} {unary}{b} {second} {c}\n{program}".encode()
    translated = translate(text, "s.lua").text
    assert LOADS(translated)
    assert count_lines(translated) == count_lines(text)
    before = [token.line for token in tokenize(text, "s.lua") if token.text in (b"=", b"x")]
    after = [token.line for token in tokenize(translated, "s.lua") if token.text in (b"=", b"x")]
    assert after == before


SCRAPS = "a 1 | & ~ ( ) [ ] { } function end if then do repeat until = , . : 's' \\ not\n"


@given(st.lists(st.sampled_from(SCRAPS.split(" "))))
def test_whatever_it_is_it_is_translated_or_refused(pieces: list[str]) -> None:
    text = " ".join(pieces).encode()
    try:
        translated = translate(text, "s.lua").text
    except ScriptError:
        return
    assert count_lines(translated) == count_lines(text)


@pytest.mark.parametrize("piece", ["~", "a|", "a^^b^", "-~", "a & -", "f() | #"])
def test_deep_nesting_costs_what_its_length_does(piece: str) -> None:
    """A recursive reader would end in a RecursionError, a quadratic one in the time-out."""
    operators = sum(piece.count(each) for each in ("|", "&", "~", "^^"))
    text = (piece * 10_000 + "1 | 2").encode()
    translated = translate(text, "s.lua").text
    assert translated.count(b"__dialect_") == 1 + 10_000 * operators


@pytest.mark.parametrize("piece", ["(", "a|(", "{a&", "f(", "function() return a|", "if a|b then "])
def test_deep_brackets_are_refused_where_they_are_not_closed(piece: str) -> None:
    with pytest.raises(ScriptError, match=r"line 1 is open|missing") as caught:
        translate((piece * 10_000 + "1 | 2 until a").encode(), "s.lua")
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("6 & 3", 2),
        ("6 | 3", 7),
        ("6 ^^ 3", 5),
        ("1 << 4", 16),
        ("256 >> 4", 16),
        ("-16 >> 2", -4),
        ("~0", -1),
        ("~5 & 0xFF", 250),
        ("7 \\ 2", 3),
        ("-7 \\ 2", -4),
        ("7.9 \\ 1.5", 5),
        ("'7' \\ 2", 3),
        ("1 \\ 0", float("inf")),
        ("7.9 \\ 2", 3),
        ("1 << 40", 1 << 40),
        ("1 << 64", 0),
        ("1 << -1", 0),
        ("4 >> -1", 8),
        ("0x1FFFFFFFFFF & 0xFFFFFFFF00", 0xFFFFFFFF00),
        ("3.9 | 0", 3),
        ("-3.9 | 0", -3),
        ("'12' | 1", 13),
        ("(1 | 2) == 3 and 'yes'", b"yes"),
        ("setmetatable({}, {__or = function(a, b) return 'or' .. b end}) | 4", b"or4"),
        ("4 & setmetatable({}, {__and = function(a, b) return a end})", 4),
        ("~setmetatable({}, {__not = function(a, b) return a == b end})", True),
        ("setmetatable({}, {__intdiv = function() return 'div' end}) \\ 2", b"div"),
        ("1 << setmetatable({}, {__shl = function(a) return a + 1 end})", 2),
        ("setmetatable({}, {__shr = function() return 9 end}) >> 1", 9),
        ("setmetatable({}, {__xor = function() return 8 end}) ^^ 1", 8),
    ],
)
def test_operators(evaluate: Callable[..., Any], expression: str, result: object) -> None:
    assert evaluate(f"return {expression}") == result


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("nil | 1", "bitwise operation on a nil value"),
        ("1 & nil", "bitwise operation on a nil value"),
        ("1 \\ nil", "arithmetic on a nil value"),
        ("1 & {}", "bitwise operation on a table value"),
        ("1 | 'x'", "bitwise operation on a string value"),
        ("~print", "bitwise operation on a function value"),
        ("(0/0) | 1", "no integer representation"),
        ("(1/0) & 1", "no integer representation"),
    ],
)
def test_operators_fail_at_the_scripts_line(
    evaluate: Callable[..., Any], expression: str, reason: str
) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        evaluate(f"\n\nlocal x = {expression}")
    assert (caught.value.script, caught.value.line) == ("script.lua", 5)


WORDS = st.integers(-(2**62), 2**62).map(float).map(int) | st.integers(-(2**33), 2**33)


@pytest.fixture(scope="module")
def both() -> Callable[[bytes, int, int], Any]:
    runtime = lupa.luajit21.LuaRuntime(encoding=None)
    r = runtime.table()
    from importlib.resources import files

    text = (files("outrider.policy.lua") / "operators.lua").read_bytes()
    runtime.eval(b"function(text, R) assert(loadstring(text))(R) end")(text, r)
    operators = r[b"operators"]
    return lambda name, a, b: operators[b"__dialect_" + name](float(a), float(b))


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


@given(a=WORDS, b=WORDS, n=st.integers(-70, 70))
def test_operators_are_those_of_64_bits(
    both: Callable[[bytes, int, int], Any], a: int, b: int, n: int
) -> None:
    assert both(b"and", a, b) == float(a & b)
    assert both(b"or", a, b) == float(a | b)
    assert both(b"xor", a, b) == float(a ^ b)
    left = _signed(a << n) if 0 <= n < 64 else 0 if n >= 64 else a >> min(-n, 63)
    if abs(left) < 2**53 or n < 0:
        assert both(b"shl", a, n) == pytest.approx(float(left))


MADE = "local arg=__dialect_arg(...);"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("function f(...) return arg.n end", "function f(...) @return arg.n end"),
        ("x = function(a, ...)\n  g(unpack(arg)) end", "x = function(a, ...)\n  @g(unpack(arg)) end"),
        (
            "function f(...) return function() return arg end end",
            "function f(...) @return function() return arg end end",
        ),
        (
            "function f(...) if x then h(arg[1] | 1) end end",
            "function f(...) @if x then h(__dialect_or(arg[1] , 1)) end end",
        ),
        (
            "function f(...) return function(...) return ... end, arg end",
            "function f(...) @return function(...) return ... end, arg end",
        ),
        ("function f(...) return arg, ... end", None),
        ("function f(...) local t = {...} return arg end", None),
        ("function f(...) return t.arg, t:arg() end", None),
        ("function f(arg) return arg end", None),
        ("function f(...) end function g() return arg end", None),
        ("return arg, ...", None),
        ("function f(...) return 'arg' end -- arg", None),
    ],
)
def test_extra_arguments_are_in_a_table_where_lua_5_1_has_them(text: str, expected: str | None) -> None:
    assert shown(text) == (expected or text).replace("@", MADE)
