"""Lua's patterns in Lua find what LuaJIT's own matcher finds, and a bounded subject costs it bounded time."""

import time
from collections.abc import Callable
from typing import Any

import lupa.luajit21  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outrider.base.log import NullLog
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.modules import Modules
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.state import LuaState

_RUN = b"""
function(f)
  return function(...)
    local function pack(ok, ...)
      local out = {n = select("#", ...), ...}
      if not ok then return "error" end
      for i = 1, out.n do out[i] = type(out[i]) .. ":" .. tostring(out[i]) end
      return table.concat(out, "|", 1, out.n)
    end
    return pack(pcall(f, ...))
  end
end
"""
_ALL = b"""
function(gmatch)
  return function(s, p)
    local out = {}
    for a, b in gmatch(s, p) do out[#out + 1] = tostring(a) .. "," .. tostring(b) end
    return table.concat(out, ";")
  end
end
"""

Matcher = Callable[..., bytes]


def _make() -> tuple[dict[str, Matcher], dict[str, Matcher], Any]:
    """LuaJIT's functions, ours, and what bounds LuaJIT's."""
    log = NullLog()

    def unread(name: str) -> tuple[bytes, str]:
        raise AssertionError(name)

    state = LuaState(
        LuaRegistry(),
        Modules(log),
        LuaLimits(),
        time.thread_time,
        log,
        unread,
        lambda text, _name: text,
    )
    slow = state._r[b"slow"]
    native = lupa.luajit21.LuaRuntime(encoding=None)
    native.execute(b"jit.off()")
    run = native.eval(_RUN)
    gather = native.eval(_ALL)
    theirs = native.globals()[b"string"]
    names = ("find", "match", "gsub")

    def ours(function: Any) -> Matcher:
        def call(*values: Any) -> bytes:
            try:
                results = function(*values)
            except lupa.luajit21.LuaError:
                return b"error"
            return b"|".join(_shown(value) for value in (results if type(results) is tuple else (results,)))

        return call

    def ours_all(s: bytes, p: bytes) -> bytes:
        found: list[bytes] = []
        try:
            step = slow[b"gmatch"](s, p)
            while True:
                results = step()
                first, second = results[:2] if type(results) is tuple else (results, None)
                if first is None:
                    return b";".join(found)
                found.append(b",".join(_shown(value).partition(b":")[2] for value in (first, second)))
        except lupa.luajit21.LuaError:
            return b"error"

    return (
        {name: run(theirs[name.encode()]) for name in names} | {"gmatch": run(gather(theirs[b"gmatch"]))},
        {name: ours(slow[name.encode()]) for name in names}
        | {"gmatch": lambda s, p: b"string:" + ours_all(s, p)},
        state._r[b"subject_max"],
    )


def _shown(value: Any) -> bytes:
    match value:
        case None:
            return b"nil:nil"
        case bytes():
            return b"string:" + value
        case _:
            return b"number:%d" % value


NATIVE, OURS, SUBJECT_MAX = _make()

ITEMS = st.sampled_from(
    b"a b . %a %d %s %w %S %. %% [ab] [^a] [%w_] [a-z] []] [^]a] [a-] %z \xe9 - x %bab %b() %f[%w] %f[^a] $ ^"
    b" %1 ( ) () (a) (.-) %2 % [ [a %b %f %g %p %c %u %l".split(b" ")
)
SUFFIXES = st.sampled_from([b"", b"", b"", b"*", b"+", b"-", b"?"])
PATTERNS = st.builds(
    lambda anchor, items, tail: anchor + b"".join(item + suffix for item, suffix in items) + tail,
    st.sampled_from([b"", b"", b"^"]),
    st.lists(st.tuples(ITEMS, SUFFIXES), max_size=6),
    st.sampled_from([b"", b"", b"$"]),
)
SUBJECTS = st.lists(
    st.sampled_from([b"a", b"b", b"ab", b"1", b" ", b"()", b"\xe9", b"\0", b"-", b"%", b"_"]), max_size=12
).map(b"".join)


@settings(max_examples=400)
@given(SUBJECTS, PATTERNS)
@example(b"", b"")
@example(b"aaa", b"(a)%1")
@example(b"THE (quick) fox", b"%((%a+)%)")
@example(b"x" * 40, b"(x)" * 33)
def test_find_and_match_agree(subject: bytes, pattern: bytes) -> None:
    assert OURS["find"](subject, pattern) == NATIVE["find"](subject, pattern)
    assert OURS["match"](subject, pattern) == NATIVE["match"](subject, pattern)
    assert OURS["gmatch"](subject, pattern) == _gathered(NATIVE["gmatch"](subject, pattern))


def _gathered(shown: bytes) -> bytes:
    return b"string:error" if shown == b"error" else shown


@settings(max_examples=400)
@given(SUBJECTS, PATTERNS, st.integers(-14, 14))
def test_starts_agree(subject: bytes, pattern: bytes, init: int) -> None:
    assert OURS["find"](subject, pattern, init) == NATIVE["find"](subject, pattern, init)


@settings(max_examples=400)
@given(
    SUBJECTS,
    PATTERNS,
    st.sampled_from([b"", b"x", b"%0", b"%1", b"<%0%1>", b"%2", b"%%", b"%", b"%a"]),
    st.integers(0, 14),
)
def test_replacements_agree(subject: bytes, pattern: bytes, replacement: bytes, limit: int) -> None:
    assert OURS["gsub"](subject, pattern, replacement, limit) == NATIVE["gsub"](
        subject, pattern, replacement, limit
    )


@pytest.mark.parametrize(
    ("pattern", "length"),
    [
        (b"a*b", 1_000_000),
        (b"a*a*b", 1_000_000),
        (b"a-" * 20 + b"b", 1_000_000),
        (b"%s+$", 1_000_000),
        (b"(.-)%1c", 1_000_000),
        (b"%b()" * 2, 1_000_000),
        (b"a?" * 40 + b"b", 1_000_000),
    ],
)
def test_what_could_take_long_is_not_given_to_luajit(pattern: bytes, length: int) -> None:
    assert SUBJECT_MAX(pattern) < length / 500


@pytest.mark.parametrize("pattern", [b"\r\n", b"%s+", b"^%s*$", b"[%w_]+", b"^From: (.*)$", b"%d%d%d"])
def test_what_is_quick_is(pattern: bytes) -> None:
    assert SUBJECT_MAX(pattern) > 1000
