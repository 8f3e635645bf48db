"""One LuaJIT state: made, filled, closed to the outside, and called.

In: a registry, and scripts as text. Out: what their functions return, or something to await, or a
`HookError`.

Theory: the runtime within is written in Lua, in the files beside this one; each is a chunk that gets the
table `R` and adds to it. They are read in the order of `_CHUNKS`. LuaJIT's compiler is off, because
compiled loops do not call hooks. Scripts never get at a Python object: what they can call are closures in
Lua around Python functions that only take and give plain values (`convert.py`), and objects are userdata
with a number.

Memory: LuaJIT's allocator refuses at `memory_octets` and a reserve; the budget ends calls before that. The
reserve is what lupa itself may need while it converts values, when an error of the allocator would end the
process.

Invariant: no exception of Python's passes through Lua; every entry answers with a code.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import lupa.luajit21  # type: ignore[import-untyped]

from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.log import Log
from outrider.policy.errors import BudgetError, HookError, ScriptError, TooSlowError
from outrider.policy.lua.convert import (
    DIRECT_MAX,
    LIST,
    MANY,
    PLAIN,
    RAISE,
    ROOM,
    ROW_MAX,
    SPENT,
    VALUES,
    WAITS,
    Converter,
    LuaFunction,
)
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.modules import Modules
from outrider.policy.lua.registry import Function, LuaRegistry, ObjectClass
from outrider.policy.lua.session import LuaHook, LuaSession
from outrider.policy.lua.waiting import Waiting, let_go

_CHUNKS: Final = ("budget", "operators", "patterns", "text", "head", "objects", "environment", "calls")
_CLOSE: Final = b"""
local globals, error = _G, error
for name in next, globals do globals[name] = nil end
"""
# no code of ours looks there any more; lupa would look for `debug`, and scripts must not find their way there
_RESERVE_OCTETS: Final = 16 << 20
# chosen: twice the largest answer of a Python function, see LARGE_MAX
_LARGE_OCTETS: Final = 65_536
# chosen: answers below it always fit into the reserve
_SMALL: Final = PLAIN - {bytes}
_SWEEP_MIN: Final = 1_000
# chosen: what scripts keep for good is less; twice as many as were kept the last time is the next one
_PRINT_MAX: Final = 2000
# octets, chosen: what a log line holds
_LOADSTRING_MAX: Final = 8192
# octets, chosen: translated in some 30 ms
_OBJECTS_MAX: Final = 3
# that calls.lua has a function for: what hooks that are asked about a message get
_FEW: Final = 8
# values, chosen: more than a header has
_SHORT_OCTETS: Final = 4096
# chosen: so many of these are below what is worth asking for room
_BUDGETS: Final = {
    "instructions": "it ran too many instructions",
    "time": "it ran too long without waiting",
    "memory": "it used too much memory",
}


def _deny(_object: object, _name: object, _is_setting: object) -> str:
    raise AttributeError("nothing of Python is for scripts")


def weigh(value: Any) -> int:
    """About how many octets a value is in Lua."""
    match value:
        case bytes() | str() | bytearray():
            return 40 + len(value)
        case list() | tuple():
            return 80 + sum(weigh(item) for item in value)
        case dict():
            return 80 + sum(40 + weigh(key) + weigh(item) for key, item in value.items())
        case _:
            return 40


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
    ) -> None:
        self._modules = modules
        self._limits = limits
        self._clock = clock
        self._log = log
        self._read = read
        self._translate = translate
        self._names: set[str] = set()
        self._pending: Awaitable[Any] | None = None
        self._interrupt: BaseException | None = None
        self._raised: OutriderError | None = None
        self._is_running = False
        self._staged: list[Any] = []
        self._rest: tuple[Any, ...] = ()
        self._rest_at = 0
        self._held: Any = None
        self._ended_functions: list[int] = []
        self._next_id = 0
        self._sweep_at = _SWEEP_MIN
        self._class_index: dict[type, int] = {}
        self._head_of: dict[type, Function] = {}
        self._reads_header: set[int] = set()
        self._hook_number = 0
        self._runtime = lupa.luajit21.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_deny,
            unpack_returned_tuples=True,
            max_memory=limits.memory_octets + _RESERVE_OCTETS,
        )
        self._runtime.execute(b"jit.off() jit.flush()")
        self._r = self._build()
        self.converter = Converter(
            self._runtime.table_from,
            lupa.luajit21.lua_type,
            self._r[b"identify"],
            self._r[b"function_at"],
            self._r[b"keep"],
            self,
        )
        self.root = LuaSession(self, self._r[b"base"], self._runtime.table())
        self.session = self.root
        self._fill(registry)

    # Building.

    def _build(self) -> Any:
        runtime = self._runtime
        r = runtime.table()
        r[b"clock"] = self._clock
        r[b"memory"] = self._limits.memory_octets / 1024
        r[b"growth"] = self._limits.growth_octets / 1024
        r[b"ticks"] = self._limits.instructions // 1000
        r[b"load_ticks"] = self._limits.load_instructions // 1000
        r[b"drop"] = self._drop
        r[b"stage"] = self._on_stage
        r[b"unstage"] = self._on_unstage
        r[b"more"] = self._on_more
        r[b"again"] = self._on_again
        r[b"print"] = self._print
        r[b"read"] = self._on_read
        r[b"translate"] = self._on_translate
        r[b"is_script"] = self._is_script
        r[b"register"] = self._on_register
        r[b"register_function"] = self._on_register_function
        r[b"registered"] = self._on_registered
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
        self._go_on = r[b"go_on"]
        return r

    def _fill(self, registry: LuaRegistry) -> None:
        for module, members in registry.modules.items():
            self._r[b"fill"](module.encode(), self._members(module + ".", members))
        self._r[b"fill_globals"](self._members("", registry.globals))
        for python_class, description in registry.classes.items():
            self._class_index[python_class] = self._define(description)
            if description.head is not None:
                self._head_of[python_class] = description.head
        for module, text in registry.sources.items():
            name = f"{module}.lua"
            self.know(name)
            self._r[b"add_source"](module.encode(), self._translate(text, name), name.encode())

    def _members(self, prefix: str, members: Mapping[str, Any]) -> Any:
        wrap = self._r[b"wrap"]
        return self._runtime.table_from(
            {
                name.encode(): wrap(*self._entries(prefix + name, member))
                if callable(member)
                else self.converter.to_lua(member)
                for name, member in members.items()
            }
        )

    def _define(self, description: ObjectClass) -> int:
        header = "" if description.head is None else "header"

        def table(functions: Mapping[str, Function], which: int) -> Any:
            made = {
                name: self._methods(
                    f"{description.name}:{name}", self._noted(each) if name == header else each
                )
                for name, each in functions.items()
            }
            return self._runtime.table_from({name.encode(): entries[which] for name, entries in made.items()})

        def entry(function: Function | None) -> Any:
            return None if function is None else self._methods(description.name, function)[0]

        return int(
            self._r[b"define"](
                description.name.encode(),
                table(description.methods, 0),
                table(description.methods, 1),
                table(description.getters, 0),
                table(description.setters, 0),
                entry(description.length),
                entry(description.text),
                header.encode() or None,
            )
        )

    def _noted(self, read_header: Function) -> Function:
        """The same; the hook that calls it is given the header along from then on."""

        def read(*values: Any) -> Any:
            self._reads_header.add(self._hook_number)
            return read_header(*values)

        return read

    # What Lua calls. None of it may call into Lua, and none of it raises.

    def _entries(self, name: str, function: Function) -> tuple[Function, Function]:
        """A Python function as Lua calls it: with plain arguments, and with those that were staged."""
        answer = self._answer

        def entry(*values: Any) -> tuple[Any, ...]:
            try:
                result = function(*values)
            except BaseException as error:
                return self._failed(name, function, values, error)
            if result is None or result is True or result is False:
                return (VALUES, result)
            return answer(name, result)

        return entry, self._staged_entry(name, entry)

    def _methods(self, name: str, function: Function) -> tuple[Function, Function]:
        """The same for a method: the first value is the number of its object."""
        answer = self._answer

        def entry(ident: int, *values: Any) -> tuple[Any, ...]:
            target = self.session.objects.get(ident)
            if target is None and (target := self.root.objects.get(ident)) is None:
                return (RAISE, f"{name}: this object is gone, or belongs to another session".encode())
            try:
                result = function(target, *values)
            except BaseException as error:
                return self._failed(name, function, (target, *values), error)
            if result is None or result is True or result is False:
                return (VALUES, result)
            if type(result) is bytes and len(result) < _SHORT_OCTETS:
                return (VALUES, result)
            return answer(name, result)

        return entry, self._staged_entry(name, entry)

    def _staged_entry(self, name: str, entry: Function) -> Function:
        def staged(*head: Any) -> Any:
            try:
                values = self.converter.read_row(self._on_unstage())
            except ValueError as error:
                return (RAISE, f"{name}: {error}".encode())
            return entry(*head, *values)

        return staged

    def _on_stage(self, *values: Any) -> None:
        self._staged.extend(values)

    def _on_unstage(self) -> list[Any]:
        staged, self._staged = self._staged, []
        return staged

    def _on_more(self) -> tuple[Any, ...]:
        begin = self._rest_at
        self._rest_at += ROW_MAX
        return self._rest[begin : self._rest_at]

    def _answer(self, name: str, result: Any) -> tuple[Any, ...]:
        """What a Python function gave, for Lua; something to await is kept until Lua has yielded."""
        kind = type(result)
        if kind is bytes and len(result) < _LARGE_OCTETS:
            return (VALUES, result)
        if kind is str and len(result) < _SHORT_OCTETS:
            return (VALUES, result.encode("utf-8", "surrogateescape"))
        if kind is list and len(result) <= _FEW:
            # the values of a header: the answer that is given most often
            for value in result:
                if type(value) is not bytes or len(value) > _SHORT_OCTETS:
                    break
            else:
                return (LIST, *result)
        if hasattr(kind, "__await__"):
            self._pending = result
            return (WAITS,)
        try:
            if kind not in _SMALL and not self._has_room(weigh(result)):
                self._held = (name, result)
                return (ROOM,)
            return self._split(self.converter.answer(result))
        except Exception as error:
            return self._failed(name, None, (), error)

    def _on_again(self) -> tuple[Any, ...]:
        """An answer for which there was no room before Lua's garbage was collected."""
        (name, result), self._held = self._held, None
        try:
            if not self._has_room(weigh(result)):
                return (SPENT, b"memory")
            return self._split(self.converter.answer(result))
        except Exception as error:
            return self._failed(name, None, (), error)

    def _split(self, answer: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(answer) <= DIRECT_MAX:
            return answer
        self._rest, self._rest_at = answer, 0
        return (MANY,)

    def _has_room(self, octets: int) -> bool:
        if octets < _LARGE_OCTETS:
            return True
        return bool(self._runtime.get_memory_used() + octets <= self._limits.memory_octets)

    def _failed(
        self, name: str, function: Function | None, values: tuple[Any, ...], error: BaseException
    ) -> tuple[Any, ...]:
        """A failure of a Python function, as an answer."""
        if isinstance(error, OutriderError):
            self._raised = error
            return (RAISE, _text_of(error).encode("utf-8", "replace"))
        if isinstance(error, TypeError) and function is not None:
            fault = _signature_fault(function, values)
            if fault:
                return (RAISE, f"bad arguments to '{name}': {fault}".encode("utf-8", "replace"))
        if isinstance(error, ValueError):
            return (RAISE, f"{name}: {error}".encode("utf-8", "replace"))
        if not isinstance(error, Exception):
            self._interrupt = error
            return (SPENT, b"time")
        self._log.error("policy.api_fault", function=name, error=type(error).__name__, traceback=error)
        return (RAISE, f"{name} failed: {type(error).__name__}".encode())

    def _drop(self) -> None:
        """Nobody will await it."""
        pending, self._pending = self._pending, None
        let_go(pending)

    def _print(self, text: bytes) -> None:
        self._log.info("policy.print", text=text[:_PRINT_MAX].decode("utf-8", "replace"))

    def _on_read(self, name: bytes) -> tuple[Any, Any]:
        try:
            text, chunk = self._read(name.decode("utf-8", "replace"))
        except HookError as error:
            return (
                None,
                (f"{error.script}:{error.line}: " if error.line else "").encode() + error.reason.encode(),
            )
        self.know(chunk)
        return (text, chunk.encode())

    def _on_translate(self, text: Any, name: bytes) -> tuple[Any, Any]:
        if type(text) is not bytes or len(text) > _LOADSTRING_MAX:
            return (None, b"loadstring takes a string of at most %d octets" % _LOADSTRING_MAX)
        try:
            return (self._translate(text, name.decode("utf-8", "replace")), None)
        except HookError as error:
            return (None, str(error).encode("utf-8", "replace"))

    def _is_script(self, name: bytes) -> bool:
        return name.decode("utf-8", "replace") in self._names

    def _on_register(self, name: bytes) -> bytes | None:
        wrong = self._modules.begin(name.decode("utf-8", "replace"))
        return None if wrong is None else wrong.encode()

    def _on_register_function(self, _name: bytes, key: bytes, number: int) -> None:
        self._modules.function(key.decode("utf-8", "replace"), number)

    def _on_registered(self, _name: bytes) -> None:
        self._modules.end()

    def close(self) -> None:
        """Nothing is called any more; the memory is given back at once."""
        self.root.let_go()
        for name in list(vars(self)):
            if name != "_ended_functions":
                delattr(self, name)

    def know(self, name: str) -> None:
        """A script's name, as it stands before a line's number in messages."""
        self._names.add(name)

    # Objects.

    def object_at(self, ident: int) -> Any:
        found = self.session.objects.get(ident, self.root.objects.get(ident))
        if found is None:
            raise ValueError("an object is gone, or belongs to another session")
        return found

    def number_of(self, target: Any) -> tuple[int, int]:
        session = self.session
        known = session.numbers.get(id(target))
        if known is not None:
            return known
        index = self._class_index.get(type(target))
        if index is None:
            raise TypeError(f"scripts cannot have a {type(target).__name__}")
        self._next_id += 1
        session.objects[self._next_id] = target
        session.numbers[id(target)] = (index, self._next_id)
        return index, self._next_id

    def proxy_of(self, target: Any) -> Any:
        known = self.session.proxies.get(id(target))
        if known is None:
            known = self._r[b"object"](*self.number_of(target))
            self.session.proxies[id(target)] = known
        return known

    def released(self, ident: int) -> None:
        self._ended_functions.append(ident)

    def sweep(self) -> None:
        """Let go of objects that no script holds any more, of those that are given outside of any session.

        Between calls. A session's end with it; what runs outside of any, as timers, would gather them.
        """
        objects = self.root.objects
        if len(objects) < self._sweep_at:
            return
        self._r[b"collect"]()
        is_held = self._r[b"is_held"]
        for ident, target in list(objects.items()):
            if not is_held(ident):
                self.root.release(target)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(objects))

    # Calls.

    def new_session(self, deallocate: Sequence[LuaHook], on_close: Callable[[], None]) -> LuaSession:
        """A session with globals of its own."""
        return LuaSession(self, self._new_globals(), self._runtime.table(), deallocate, on_close)

    def call(self, session: LuaSession, phase: str, function: LuaFunction, values: Sequence[Any]) -> Any:
        """Call a function that a script gave; its first result, or something to await."""
        deadline = self._clock() + self._limits.seconds
        given = (session.lua_globals, deadline, self._r[b"function_at"](function.ident))
        return self._result(session, phase, self._begin, given, values)

    def call_whole(
        self, session: LuaSession, phase: str, function: LuaFunction, values: Sequence[Any]
    ) -> Any:
        """As `call`, for all its results, as a tuple, within the budget that such calls of a hook share."""
        deadline = self._clock() + self._limits.seconds
        given = (session.lua_globals, deadline, self._r[b"function_at"](function.ident))
        return self._result(session, phase, self._r[b"begin_pool"], given, values, self._values)

    def hook(self, session: LuaSession, hook: LuaHook, values: Sequence[Any]) -> Any:
        """Call a hook with the session's `self`; its first result, or something to await."""
        deadline = self._clock() + self._limits.seconds
        number = hook.number
        self._hook_number = number
        enter = self._hook
        given: tuple[Any, ...] = (session.lua_globals, deadline, session.selves, number)
        if 0 < len(values) <= _OBJECTS_MAX:
            self.session = session
            class_index = self._class_index
            numbers: tuple[int, ...] = ()
            for value in values:
                if type(value) not in class_index:
                    break
                numbers += self.number_of(value)
            else:
                enter = self._hook_objects
                given += numbers
                if number in self._reads_header:
                    head_of = self._head_of.get(type(values[0]))
                    head = None if head_of is None else head_of(values[0])
                    if head is not None:
                        enter = self._hook_head
                        given = head + given
                values = ()
        self._raised = None
        out = self._step(session, hook.name, enter, given, values)
        if len(out) > 1 and out[0] == VALUES and type(out[1]) is int:
            return out[1]
        return self._outcome(session, hook.name, out, None)

    def load(self, text: bytes, name: str) -> None:
        """Run a script's top level; `text` is in LuaJIT's Lua."""
        self.know(name)
        deadline = self._clock() + self._limits.load_seconds
        self._result(self.root, "load", self._r[b"load"], (deadline, text, name.encode()), ())

    def first_line(self, hook: LuaHook) -> int:
        """Where a hook begins in its file."""
        return int(self._r[b"first_line"](hook.number))

    def watch(self, hears: Callable[[int], None] | None) -> None:
        """Tell `hears` each line of a script that calls a function of the API; None ends that."""
        self._r[b"watch"](None if hears is None else lambda _script=None, line=0: hears(line))

    def start(self, hook: LuaHook) -> Any:
        """Call a hook as part of loading, as `init`; its first result."""
        deadline = self._clock() + self._limits.load_seconds
        return self._result(self.root, hook.name, self._r[b"start"], (deadline, hook.number), ())

    def _result(
        self,
        session: LuaSession,
        phase: str,
        enter: Any,
        given: tuple[Any, ...],
        values: Sequence[Any],
        take: Callable[[str, tuple[Any, ...]], Any] | None = None,
    ) -> Any:
        self._raised = None
        out = self._step(session, phase, enter, given, values)
        return self._outcome(session, phase, out, take)

    def _outcome(
        self,
        session: LuaSession,
        phase: str,
        out: tuple[Any, ...],
        take: Callable[[str, tuple[Any, ...]], Any] | None,
    ) -> Any:
        """What a step says: what the call gave, or something to await."""
        take = take or self._value
        if out[0] == WAITS:
            pending = self._taken()
            return Waiting(self._waits(session, phase, out[1], pending, take), pending)
        return take(phase, out)

    def _values(self, phase: str, out: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([self._value(phase, (VALUES, value)) for value in out[1:]])

    def _value(self, phase: str, out: tuple[Any, ...]) -> Any:
        if len(out) == 1:
            return None
        value = out[1]
        if type(value) in PLAIN:
            return value
        try:
            return self.converter.to_python(value)
        except ValueError as error:
            raise ScriptError(f"it returned what cannot be used: {error}", phase=phase) from None

    def _step(
        self, session: LuaSession, phase: str, enter: Any, given: tuple[Any, ...], values: Sequence[Any]
    ) -> tuple[Any, ...]:
        """One step of a call: until it ends or waits.

        Raises:
            HookError: It failed.
        """
        if self._is_running:
            raise RuntimeError("a script is called from within a script")
        self.session = session
        if self._ended_functions:
            ended, self._ended_functions = self._ended_functions, []
            self._r[b"release"](*ended[:ROW_MAX])
        if values:
            given += tuple([self.converter.to_lua(value) for value in values])
        self._is_running = True
        try:
            out = enter(*given)
        except lupa.luajit21.LuaMemoryError:
            raise self._error(phase, b"memory", b"", b"", 0) from None
        except lupa.luajit21.LuaError as error:
            raise ScriptError(f"the Lua runtime failed: {error}", phase=phase) from None
        finally:
            self._is_running = False
        results: tuple[Any, ...] = out if type(out) is tuple else (out,)
        if results[0] == RAISE:
            raise self._error(phase, *results[1:])
        return results

    def _taken(self) -> Awaitable[Any]:
        pending, self._pending = self._pending, None
        if pending is None:
            raise RuntimeError("a script waits for nothing")
        return pending

    async def _waits(
        self,
        session: LuaSession,
        phase: str,
        record: Any,
        pending: Awaitable[Any],
        take: Callable[[str, tuple[Any, ...]], Any],
    ) -> Any:
        """The rest of a call that waits."""
        while True:
            try:
                result = await pending
                self.session = session
                answer = self._answer("a function that waited", result)
            except asyncio.CancelledError:
                if not session.is_closed:
                    session.waiting_line = self._r[b"waiting_line"](record) or 0
                raise
            except Exception as error:
                answer = self._failed("a function that waited", None, (), error)
            if session.is_closed:
                raise ScriptError("the session ended while it waited", phase=phase)
            deadline = self._clock() + self._limits.seconds
            out = self._step(session, phase, self._go_on, (record, deadline, *answer), ())
            if out[0] != WAITS:
                return take(phase, out)
            record, pending = out[1], self._taken()

    def _error(self, phase: str, kind: bytes, text: bytes, script: bytes, line: int) -> BaseException:
        """What a failure of Lua's is in Python."""
        self._staged, self._rest, self._held = [], (), None
        self._drop()
        raised, self._raised = self._raised, None
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            return interrupt
        name = script.decode("utf-8", "replace")
        if kind != b"error":
            if kind == b"memory":
                self._collect_all()
            return BudgetError(_BUDGETS[kind.decode()], script=name, line=line, phase=phase)
        reason = text.decode("utf-8", "replace")
        kind_of: type[HookError] = ScriptError
        is_raised = raised is not None and _text_of(raised) == reason
        if is_raised:
            if isinstance(raised, HookError):
                kind_of = type(raised)
            elif isinstance(raised, UnavailableError):
                kind_of = TooSlowError
        failure = kind_of(reason, script=name, line=line, phase=phase)
        if is_raised:
            failure.__cause__ = raised
        return failure

    def _collect_all(self) -> None:
        """Lets go of what nobody holds, even when the allocator refuses everything."""
        self._runtime.set_max_memory(0)
        self._r[b"collect"]()
        self._runtime.set_max_memory(self._limits.memory_octets + _RESERVE_OCTETS)


def _text_of(error: OutriderError) -> str:
    """What a script hears of an error."""
    return error.reason if isinstance(error, HookError) else error.message


def _signature_fault(function: Function, values: tuple[Any, ...]) -> str:
    """Why a function cannot be called with these; empty if it can."""
    try:
        inspect.signature(function).bind(*values)
    except TypeError as error:
        return str(error)
    return ""
