"""One LuaJIT state: made, filled, closed to the outside, and called.

In: a registry, and scripts as text. Out: what their functions return, or something to await, or a
`HookError`.

Theory: the runtime within is written in Lua, in the files beside this one; each is a chunk that gets the
table `R` and adds to it. They are read in the order of `_CHUNKS`. LuaJIT's compiler is off, because
compiled loops do not call hooks. Scripts never get at a Python object: what they can call are closures in
Lua around Python functions that only take and give plain values (`entries.py`, `convert.py`), and objects are
userdata with a number (`objects.py`).

Memory: LuaJIT's allocator refuses at `memory_octets` and a reserve; the budget ends calls before that. The
reserve is what lupa itself may need while it converts values, when an error of the allocator would end the
process.

Invariant: scripts reach no Python object; a state that is closed calls nothing and holds nothing of Lua's.
"""

import secrets
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Final

import lupa.luajit21  # type: ignore[import-untyped]

from outrider.base.log import Log
from outrider.policy.lua.answers import Answers
from outrider.policy.lua.calls import Calls
from outrider.policy.lua.convert import VALUES, Converter, LuaFunction
from outrider.policy.lua.entries import Entries, Staged
from outrider.policy.lua.environment import Environment
from outrider.policy.lua.failures import Failures
from outrider.policy.lua.heads import Heads
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.modules import Modules
from outrider.policy.lua.objects import ObjectTable
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.session import LuaHook, LuaSession

_CHUNKS: Final = ("budget", "operators", "patterns", "text", "head", "objects", "environment", "calls")
_CLOSE: Final = b"""
local globals, error = _G, error
for name in next, globals do globals[name] = nil end
"""
# no code of ours looks there any more; lupa would look for `debug`, and scripts must not find their way there
_RESERVE_OCTETS: Final = 16 << 20
# chosen: twice the largest answer of a Python function
_SEED_BITS: Final = 31
# chosen: what a script's own seed, as the time, is added to and stays exact
_OBJECTS_MAX: Final = 3
# that calls.lua has a function for: what hooks that are asked about a message get


def _deny(_object: object, _name: object, _is_setting: object) -> str:
    raise AttributeError("nothing of Python is for scripts")


class LuaState:
    """See the module.

    Args:
        registry: What scripts can call.
        modules: Hears of `registerModule`.
        limits: What they may use.
        clock: Seconds that time is limited by.
        log: For `print` and faults of ours.
        read: The text of a module that is required, in LuaJIT's Lua, and its name; raises ScriptError.
        translate: A text in the dialect for LuaJIT; raises ScriptError.
        random_bits: So many bits by chance: each worker's scripts draw numbers of their own.

    Attributes:
        root: What is outside of any session, as a session.
        objects: Those that scripts know, and the session that runs.
    """

    def __init__(
        self,
        registry: LuaRegistry,
        modules: Modules,
        limits: LuaLimits,
        clock: Callable[[], float],
        log: Log,
        read: Callable[[str], tuple[bytes, str]],
        translate: Callable[[bytes, str], bytes],
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._limits = limits
        self._random_bits = random_bits
        self._clock = clock
        runtime = self._runtime = lupa.luajit21.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_deny,
            unpack_returned_tuples=True,
            max_memory=limits.memory_octets + _RESERVE_OCTETS,
        )
        runtime.execute(b"jit.off() jit.flush()")
        r = self._r = self._build()
        self.root = LuaSession(self, r[b"base"], runtime.table())
        self.objects = ObjectTable(self.root, r[b"object"], r[b"collect"], r[b"is_held"])
        self._converter = Converter(
            runtime.table_from,
            lupa.luajit21.lua_type,
            r[b"identify"],
            r[b"function_at"],
            r[b"keep"],
            self.objects,
        )
        staged, failures, self._heads = Staged(), Failures(log), Heads()
        self._failures = failures
        self._answers = Answers(self._converter, failures, self._memory_used, limits.memory_octets)
        self._calls = Calls(
            r, self._deadline, self._collect, self.objects, staged, self._converter, self._answers, failures
        )
        self._environment = Environment(modules, log, read, translate)
        self._offer(staged)
        Entries(
            r,
            runtime.table_from,
            self.objects,
            staged,
            self._converter,
            self._answers,
            failures,
            self._heads,
        ).fill(registry)
        for module, text in registry.sources.items():
            name = f"{module}.lua"
            r[b"add_source"](module.encode(), self._environment.source(text, name), name.encode())

    def _build(self) -> Any:
        """Read the chunks; the table `R`, with all that they offer."""
        runtime = self._runtime
        r = runtime.table()
        r[b"clock"] = self._clock
        r[b"seed"] = self._random_bits(_SEED_BITS)
        r[b"memory"] = self._limits.memory_octets / 1024
        r[b"growth"] = self._limits.growth_octets / 1024
        r[b"ticks"] = self._limits.instructions // 1000
        r[b"load_ticks"] = self._limits.load_instructions // 1000
        load = runtime.eval(b"function(text, name, R) return assert(loadstring(text, name, 't'))(R) end")
        package = files("outrider.policy.lua")
        for name in _CHUNKS:
            load((package / f"{name}.lua").read_bytes(), f"=({name}.lua)".encode(), r)
        runtime.execute(_CLOSE)
        self._new_globals = r[b"new_globals"]
        self._begin = r[b"begin"]
        self._hook = r[b"hook"]
        self._hook_objects = r[b"hook_objects"]
        self._hook_head = r[b"hook_head"]
        return r

    def _offer(self, staged: Staged) -> None:
        """Give the chunks what they call while scripts run."""
        answers, environment = self._answers, self._environment
        for name, function in {
            b"drop": answers.drop,
            b"more": answers.more,
            b"again": answers.again,
            b"stage": staged.stage,
            b"unstage": staged.take,
            b"print": environment.print,
            b"read": environment.read,
            b"translate": environment.translate,
            b"is_script": environment.is_script,
            b"register": environment.register,
            b"register_function": environment.register_function,
            b"registered": environment.registered,
        }.items():
            self._r[name] = function

    def close(self) -> None:
        """Nothing is called any more; the memory is given back at once."""
        self.root.let_go()
        for part in (self.objects, self._converter, self._calls):
            part.close()  # whatever holds a thing of lupa's keeps the runtime
        vars(self).clear()

    def _memory_used(self) -> int:
        return int(self._runtime.get_memory_used())

    def _collect(self) -> None:
        """Lets go of what nobody holds, even when the allocator refuses everything."""
        self._runtime.set_max_memory(0)
        self._r[b"collect"]()
        self._runtime.set_max_memory(self._limits.memory_octets + _RESERVE_OCTETS)

    def _deadline(self) -> float:
        """Until when a step may run that begins now."""
        return self._clock() + self._limits.seconds

    def new_session(self, deallocate: Sequence[LuaHook], on_close: Callable[[], None]) -> LuaSession:
        """A session with globals of its own."""
        return LuaSession(self, self._new_globals(), self._runtime.table(), deallocate, on_close)

    def call(self, session: LuaSession, phase: str, function: LuaFunction, values: Sequence[Any]) -> Any:
        """Call a function that a script gave; its first result, or something to await."""
        return self._calls.run(session, phase, self._begin, self._given(session, function), values)

    def call_whole(
        self, session: LuaSession, phase: str, function: LuaFunction, values: Sequence[Any]
    ) -> Any:
        """As `call`, for all its results, as a tuple, within the budget that such calls of a hook share."""
        calls = self._calls
        given = self._given(session, function)
        return calls.run(session, phase, self._r[b"begin_pool"], given, values, calls.whole)

    def _given(self, session: LuaSession, function: LuaFunction) -> tuple[Any, ...]:
        return (session.lua_globals, self._deadline(), self._r[b"function_at"](function.ident))

    def hook(self, session: LuaSession, hook: LuaHook, values: Sequence[Any]) -> Any:
        """Call a hook with the session's `self`; its first result, or something to await."""
        number = hook.number
        heads = self._heads
        heads.hook_number = number
        enter = self._hook
        given: tuple[Any, ...] = (session.lua_globals, self._deadline(), session.selves, number)
        if 0 < len(values) <= _OBJECTS_MAX:
            objects = self.objects
            objects.session = session
            class_index = objects.class_index
            numbers: tuple[int, ...] = ()
            for value in values:
                if type(value) not in class_index:
                    break
                numbers += objects.number_of(value)
            else:
                enter = self._hook_objects
                given += numbers
                if number in heads.readers:
                    head = heads.of(values[0])
                    if head is not None:
                        enter = self._hook_head
                        given = head + given
                values = ()
        self._failures.raised = None
        calls = self._calls
        out = calls.step(session, hook.name, enter, given, values)
        if len(out) > 1 and out[0] == VALUES and type(out[1]) is int:
            return out[1]
        return calls.outcome(session, hook.name, out, None)

    def load(self, text: bytes, name: str) -> None:
        """Run a script's top level; `text` is in LuaJIT's Lua."""
        self._environment.know(name)
        deadline = self._clock() + self._limits.load_seconds
        self._calls.run(self.root, "load", self._r[b"load"], (deadline, text, name.encode()), ())

    def start(self, hook: LuaHook) -> Any:
        """Call a hook as part of loading, as `init`; its first result."""
        deadline = self._clock() + self._limits.load_seconds
        return self._calls.run(self.root, hook.name, self._r[b"start"], (deadline, hook.number), ())

    def first_line(self, hook: LuaHook) -> int:
        """Where a hook begins in its file."""
        return int(self._r[b"first_line"](hook.number))

    def watch(self, hears: Callable[[int], None] | None) -> None:
        """Tell `hears` each line of a script that calls a function of the API; None ends that."""
        self._r[b"watch"](None if hears is None else lambda _script=None, line=0: hears(line))
