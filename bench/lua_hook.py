"""What a hook in Lua costs, in processor time of this process: µs per call, the least of some repeats.

Through the runtime as a server uses it: a coroutine, a budget that is counted, a session's globals, arguments
and results converted. `empty` is a hook that returns a number; `binding` reads two headers and sets a binding
through methods that are registered as the API registers them; `plain` does the same through functions that
get strings; `session` opens a session, calls `empty` and closes it; `wait` is a call that waits once for
something that is there; `loop` counts to a thousand.

Designs, for `binding`, without a budget, coroutine or session: `python` gives Lua the Python object and lets
lupa look up its methods; `closure` has methods in Lua that call one Python function with the object's number;
`table` has Python give lists as tables of lupa's instead of as several values; `dict` gives everything in one
table and takes a string, which cannot serve scripts written for Momentum.

Measured on two cores that others used too, in µs: empty 1.8, binding 6.0 (limit 20), plain 4.5, session 6.9,
wait 6.5, loop 6.5; designs: python 6.0, closure 1.6, table 2.3, dict 0.6. Chosen is `closure`: nothing of
Python's is in a script's hands. What `binding` costs beyond it is the call itself (`empty`) and checks.

Usage: lua_hook.py [--repeats N] [--calls N] [CASE …]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lupa.luajit21  # type: ignore[import-untyped]

from outrider.base.log import NullLog
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

REPEATS = 9
CALLS = 20_000

SCRIPT = """
require("msys.core")
local mod = {}
function mod:validate_connect(msg) return msys.core.VALIDATE_CONT end
function mod:validate_set_binding(msg)
  local customer = msg:header("X-Customer")
  local stream = msg:header("X-Stream")
  if customer[1] != "none" and stream[1] then msg:binding("shared") end
  return msys.core.VALIDATE_CONT
end
function mod:validate_data(msg)
  local customer = msys.header("X-Customer")
  local stream = msys.header("X-Stream")
  if customer != "none" and stream then msys.binding("shared") end
  return msys.core.VALIDATE_CONT
end
function mod:validate_ehlo() return msys.wait() end
function mod:validate_mailfrom() local n = 0 for i = 1, 1000 do n = n + i end return n end
msys.registerModule("bench", mod)
"""

DESIGN_PYTHON = b"""
return function(msg) local a, b = msg.header(msg, "X-Customer"), msg.header(msg, "X-Stream")
if a and b then msg.set_binding(msg, "shared") end return 0 end
"""
DESIGN_CLOSURE = b"""
local call, list = ...
local function finish(code, ...) if code == 1 then return {...} end return ... end
local methods = {header = function(self, ...) return finish(call(self.id, ...)) end,
  binding = function(self, ...) return finish(list(self.id, ...)) end}
return function(msg) local a, b = msg:header("X-Customer"), msg:header("X-Stream")
if a[1] and b[1] then msg:binding("shared") end return 0 end, setmetatable({id = 1}, {__index = methods})
"""
DESIGN_DICT = b"""
return function(msg) if msg.customer and msg.stream then return "shared" end end
"""


class Message:
    """As much of a message as the hook wants."""

    def __init__(self) -> None:
        self.headers = {b"x-customer": [b"4711"], b"x-stream": [b"news"]}
        self.bound = b""

    def header(self, name: bytes) -> list[bytes]:
        return self.headers.get(name.lower(), [])

    def set_binding(self, name: bytes) -> bytes:
        self.bound = name
        return name


def _scripts(message: Message) -> LuaScripts:
    registry = LuaRegistry()
    ready: asyncio.Future[int] = asyncio.get_event_loop().create_future()
    ready.set_result(0)
    registry.register("msys.core", {"VALIDATE_CONT": 0})
    registry.register(
        "msys",
        {
            "header": lambda name: message.header(name)[0],
            "binding": message.set_binding,
            "wait": lambda: ready,
        },
    )
    registry.register_class(
        Message, ObjectClass("msg", methods={"header": Message.header, "binding": Message.set_binding})
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.lua"
        path.write_text(SCRIPT)
        return LuaScripts.load([path], registry, LuaLimits(), NullLog())


def _designs(message: Message) -> dict[str, Callable[[], object]]:
    runtime = lupa.luajit21.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    runtime.execute(b"jit.off() debug.sethook(function() end, '', 1000)")

    def call(_ident: int, name: bytes) -> tuple[Any, ...]:
        return (1, *message.header(name))

    def bind(_ident: int, name: bytes) -> tuple[Any, ...]:
        return (0, message.set_binding(name))

    def tables(_ident: int, name: bytes) -> tuple[Any, ...]:
        return (0, runtime.table_from(message.header(name)))

    python = runtime.execute(DESIGN_PYTHON)
    closure, of_closure = runtime.execute(DESIGN_CLOSURE, call, bind)
    table, of_table = runtime.execute(DESIGN_CLOSURE, tables, bind)
    in_dict = runtime.execute(DESIGN_DICT)
    return {
        "design python": lambda: python(message),
        "design closure": lambda: closure(of_closure),
        "design table": lambda: table(of_table),
        "design dict": lambda: in_dict(runtime.table_from({b"customer": b"4711", b"stream": b"news"})),
    }


def _cases() -> dict[str, Callable[[], object]]:
    message = Message()
    scripts = _scripts(message)
    session = scripts.session()
    hooks = {name: scripts.hooks(name)[0] for name in scripts.hook_names}
    empty, binding, plain = (hooks[f"validate_{name}"] for name in ("connect", "set_binding", "data"))

    def once() -> None:
        opened = scripts.session()
        opened.call(empty, (message,))
        opened.close()

    def wait() -> None:
        steps = session.call(hooks["validate_ehlo"], ()).__await__()
        for _ in steps:
            raise RuntimeError("it was there")

    return {
        "empty": lambda: session.call(empty, (message,)),
        "binding": lambda: session.call(binding, (message,)),
        "plain": lambda: session.call(plain, (message,)),
        "session": once,
        "wait": wait,
        "loop": lambda: session.call(hooks["validate_mailfrom"], ()),
        **_designs(message),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    asyncio.set_event_loop(asyncio.new_event_loop())
    cases = _cases()
    for name in arguments.cases or cases:
        run = cases[name]
        least = float("inf")
        for _ in range(arguments.repeats):
            began = time.process_time()
            for _ in range(arguments.calls):
                run()
            least = min(least, time.process_time() - began)
        print(f"{name:16} {least / arguments.calls * 1e6:7.2f} µs")


if __name__ == "__main__":
    main()
