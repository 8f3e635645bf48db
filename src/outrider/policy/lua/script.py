"""Scripts in Lua as whoever asks hooks sees them: each module that was registered is one script.

In: the Lua scripts of a configuration, in order. Out: a `policy.script.Script` for each of them; all run in
one state.

Theory: what a hook returns only says whether others are asked; whether a command or message is refused is
what it said with `vctx:set_code`. A refusal ends the phase. A hook that answers VALIDATE_AGAIN is asked again
after a pause that doubles, until the time that it may wait is used up.

Invariant: a hook that returns what it may not is a failure, and so is a script that registers no module, or
one of another name than its own. Hooks of the way out, which are our own, may give nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final, Protocol, cast

from outrider.base.log import Log
from outrider.model.hooks import HookPhase
from outrider.policy.answers import DONE, Answer, Code
from outrider.policy.budget import SpentError
from outrider.policy.connection import Connection
from outrider.policy.declare import HOOKS
from outrider.policy.errors import BudgetError, HookError, ScriptError
from outrider.policy.lua.api.coverage_hooks import HOOK_ROWS
from outrider.policy.lua.conversation import Conversation
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.dialect import MOMENTUM, Precedence
from outrider.policy.lua.hook_names import LIFE
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.session import LuaHook, LuaSession
from outrider.policy.lua.waiting import Waiting
from outrider.policy.mail import Mail

VALIDATE_CONT: Final = 0
VALIDATE_DONE: Final = 1
VALIDATE_AGAIN: Final = 2
# chosen: scripts only pass and compare them

_FREE: Final = frozenset(hook.lua for hook in HOOKS.values() if hook.lua_returns == "never")
# hooks whose result says nothing
_SILENT: Final = frozenset(hook.lua for hook in HOOKS.values() if hook.lua_returns == "perhaps")
# hooks that may give nothing
_ENDS_SESSION: Final = 421
# RFC 5321 §3.8; Momentum's `disconnect` too asks nobody else
_PAUSE_SECONDS: Final = 0.01
# chosen: the first pause before a hook is asked again
_PAUSE_MAX_SECONDS: Final = 1.0
# chosen


def hooks_of_phase(phase: HookPhase) -> tuple[str, ...]:
    """Names of the functions that a phase asks."""
    hook = HOOKS[phase]
    return (hook.lua, *hook.lua_also)


class Follower(Protocol):
    """Keeps something for a set of scripts and its sessions."""

    def release(self, connection: object) -> None:
        """A session has ended."""
        ...

    def retire(self) -> None:
        """Sessions that begin ask others from now on."""
        ...

    def end(self) -> None:
        """The set has ended."""
        ...


class NoHook:
    """What a function of the API sees outside of any hook."""

    phase: HookPhase | None = None
    connection: Connection | None = None
    mail: Mail | None = None


@dataclass(slots=True)
class Place:
    """Where functions of the API find the hook that called them; made before the state is.

    Attributes:
        scripts: The state, once it is loaded.
        conversations: By the id of their session.
        followers: Told when a session, or the set, has ended.
    """

    scripts: LuaScripts | None = None
    conversations: dict[int, Conversation] = field(default_factory=dict)
    followers: list[Follower] = field(default_factory=list)

    def current(self) -> Conversation | NoHook:
        """The hook under way."""
        if self.scripts is not None:
            found = self.conversations.get(id(self.scripts.current))
            if found is not None:
                return found
        return NoHook()

    def run(self, function: Any, *values: Any) -> Any:
        """Call a function that a script gave, outside of any session."""
        if self.scripts is None:
            raise ScriptError("nothing is called while scripts are loaded")
        return self.scripts.run(function, *values)


class LuaSet:
    """All scripts in Lua of a configuration, loaded. Made by `load`."""

    def __init__(self, scripts: LuaScripts, place: Place, log: Log) -> None:
        self._scripts = scripts
        self._place = place
        self._log = log
        self._users = 0
        place.scripts = scripts

    def join(self, connection: Connection) -> Conversation:
        """A script's part in what scripts in Lua share for a session."""
        conversation: Conversation = connection.shared(self, lambda: self._begin(connection))
        conversation.join()
        return conversation

    def _begin(self, connection: Connection) -> Conversation:
        session = self._scripts.session()
        conversation = Conversation(connection, session, self._end)
        self._place.conversations[id(session)] = conversation
        return conversation

    def _end(self, session: LuaSession, faults: Sequence[BaseException]) -> None:
        conversation = self._place.conversations.pop(id(session), None)
        if conversation is not None:
            for follower in self._place.followers:
                follower.release(conversation.connection)
        for fault in faults:
            self._log.error("policy.dealloc_failed", error=str(fault))

    def hooks(self, module: str) -> dict[HookPhase, tuple[LuaHook, ...]]:
        """A module's hooks for each phase that it has any for."""
        found = {
            phase: tuple(
                hook
                for name in hooks_of_phase(phase)
                for hook in self._scripts.hooks(name)
                if hook.module == module
            )
            for phase in HookPhase
        }
        return {phase: hooks for phase, hooks in found.items() if hooks}

    def first_line(self, hook: LuaHook) -> int:
        """Where a hook begins in its file."""
        return self._scripts.first_line(hook)

    def watch(self, hears: Callable[[int], None] | None) -> None:
        """Tell `hears` each line of a script that calls a function of the API; None ends that."""
        self._scripts.watch(hears)

    def retire(self) -> None:
        """Sessions that begin ask others from now on; told once, or once for each script."""
        for follower in self._place.followers:
            follower.retire()

    def enter(self) -> None:
        """A session, or a script that may be asked."""
        self._users += 1

    def leave(self) -> None:
        """One less; with the last one the set ends."""
        self._users -= 1
        if not self._users:
            self._scripts.close()
            for follower in self._place.followers:
                follower.end()


class LuaScript:
    """One module of a set, as a `policy.script.Script`.

    Args:
        name: Its name in the configuration, under which it is registered.
        file_name: What errors in Lua call it.
        lua: The set.
    """

    def __init__(self, name: str, file_name: str, lua: LuaSet) -> None:
        self.name = name
        self._file_name = file_name
        self._lua = lua
        self._hooks = lua.hooks(name)
        self.phases = frozenset(self._hooks)
        lua.enter()

    def open(self, connection: Connection) -> "LuaScriptSession":
        self._lua.enter()
        return LuaScriptSession(self, self._lua, connection)

    def close(self) -> None:
        self._lua.retire()
        self._lua.leave()

    def line_of(self, phase: HookPhase) -> int:
        """Where the first hook of a phase begins."""
        return self._lua.first_line(self._hooks[phase][0])

    def watch(self, hears: Callable[[int], None] | None) -> None:
        """As `LuaSet.watch`, of all scripts of its set."""
        self._lua.watch(hears)

    def ask(self, conversation: Conversation, phase: HookPhase, values: Sequence[Any], place: int = 0) -> Any:
        """Ask its hooks of a phase, from one on; an answer, or something to await. Raises HookError."""
        hooks = self._hooks[phase]
        session, vctx = conversation.session, conversation.vctx
        for at in range(place, len(hooks)):
            try:
                result = session.call(hooks[at], values)
            except (HookError, SpentError) as error:
                raise self._named(error, phase) from error.__cause__
            if result == VALIDATE_CONT and type(result) is int and vctx.code is None:  # the usual
                continue
            if result == VALIDATE_AGAIN and _is_again(phase, hooks[at], result):
                return self._go_on(conversation, phase, values, at, None)
            if type(result) is not int and isawaitable(result):
                return Waiting(self._go_on(conversation, phase, values, at, result), result)
            if self._is_last(conversation, phase, hooks[at], result):
                return _answer(conversation, is_last=True)
        return None if vctx.code is None else _answer(conversation, is_last=False)

    def _call(
        self, conversation: Conversation, phase: HookPhase, hook: LuaHook, values: Sequence[Any]
    ) -> Any:
        try:
            return conversation.session.call(hook, values)
        except (HookError, SpentError) as error:
            raise self._named(error, phase) from error.__cause__

    async def _go_on(
        self,
        conversation: Conversation,
        phase: HookPhase,
        values: Sequence[Any],
        at: int,
        pending: Awaitable[Any] | None,
    ) -> Answer:
        """The rest of a phase, from a hook that waits, or wants to be asked again."""
        hook = self._hooks[phase][at]
        pause = _PAUSE_SECONDS
        while True:
            if pending is None:
                conversation.session.waiting_line = 0
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_MAX_SECONDS)
                result = self._call(conversation, phase, hook, values)
                pending = result if isawaitable(result) else None
            if pending is not None:
                try:
                    result = await pending
                except (HookError, SpentError) as error:
                    raise self._named(error, phase) from error.__cause__
                pending = None
            if not _is_again(phase, hook, result):
                break
        if self._is_last(conversation, phase, hook, result):
            return _answer(conversation, is_last=True)
        rest: Any = self.ask(conversation, phase, values, at + 1)
        return cast("Answer", await rest if isawaitable(rest) else rest)

    def _is_last(self, conversation: Conversation, phase: HookPhase, hook: LuaHook, result: Any) -> bool:
        """True when nobody else is asked in this phase, after a hook that is through."""
        is_free = hook.name in _FREE or (result is None and hook.name in _SILENT)
        if not is_free and (type(result) is not int or result not in (VALIDATE_CONT, VALIDATE_DONE)):
            got = f"{result}".lower() if type(result) in (int, float, bool) else kind_of(result)
            wanted = "VALIDATE_CONT or VALIDATE_DONE"
            if phase is not HookPhase.SET_BINDING:
                wanted = f"{wanted}, or VALIDATE_AGAIN"
            reason = f"{hook.name} returns {wanted} (of msys.core), not {got}"
            raise ScriptError(reason, script=self.name, line=self._lua.first_line(hook), phase=phase)
        if result == VALIDATE_DONE and not is_free:
            return True
        code = conversation.vctx.code
        return code is not None and code[0] == _ENDS_SESSION

    def _named(self, error: HookError | SpentError, phase: HookPhase) -> HookError:
        """The same, of the script's name in the configuration."""
        if not isinstance(error, HookError):
            return BudgetError("it used up its processor time", script=self.name, phase=phase)
        if error.script and error.script != self._file_name:
            return type(error)(error.reason, script=error.script, line=error.line, phase=phase)
        return type(error)(error.reason, script=self.name, line=error.line, phase=phase)


def _answer(conversation: Conversation, *, is_last: bool) -> Answer:
    """What its hooks of a phase have said together."""
    code = conversation.vctx.code
    if code is not None:
        return Code(*code, is_last)
    return DONE if is_last else None


def _is_again(phase: HookPhase, hook: LuaHook, result: Any) -> bool:
    """The hook wants to be asked again, where it may."""
    return (
        type(result) is int
        and result == VALIDATE_AGAIN
        and phase is not HookPhase.SET_BINDING
        and hook.name not in _FREE
    )


class LuaScriptSession:
    """A script's part of one session; nothing of Lua is made before its first hook."""

    __slots__ = ("_connection", "_conversation", "_is_closed", "_lua", "_script")

    def __init__(self, script: LuaScript, lua: LuaSet, connection: Connection) -> None:
        self._is_closed = False
        self._script = script
        self._lua = lua
        self._connection = connection
        self._conversation: Conversation | None = None

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:
        conversation = self._conversation
        if conversation is None:
            if self._is_closed:  # another script waited when the client went; nobody closes what begins now
                reason = "the session ended before it was asked"
                raise ScriptError(reason, script=self._script.name, phase=phase)
            conversation = self._conversation = self._lua.join(self._connection)
        values = conversation.enter(phase, arguments)
        answer: Answer | Awaitable[Answer] = self._script.ask(conversation, phase, values)
        return answer

    def line_of(self, phase: HookPhase) -> int:
        """See `script.Placed`."""
        return self._script.line_of(phase)

    def waited_at(self, phase: HookPhase, error: BaseException) -> int:  # noqa: ARG002 - the port's shape
        """See `script.Placed`; where it was to be asked again, the line where it begins."""
        line = 0
        if self._conversation is not None:
            line = self._conversation.session.waiting_line
        return line or self._script.line_of(phase)

    def close(self) -> None:
        self._is_closed = True
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.leave()
        self._lua.leave()


def load(
    files: Sequence[tuple[str, Path]],
    registry: Callable[[Place], LuaRegistry],
    limits: LuaLimits,
    log: Log,
    folders: Sequence[Path] = (),
    precedence: Precedence = MOMENTUM,
) -> list[LuaScript]:
    """Load scripts into a state of their own.

    Args:
        files: Name in the configuration and file of each, in order.
        registry: Makes what they can call, given where the hook under way is found.
        limits: What they may use.
        log: For `print`, and for what is odd about them.
        folders: Where `require` looks.
        precedence: How the dialect's operators group.

    Raises:
        HookError: One of them cannot be used; nothing is kept.
    """
    place = Place()
    paths = {path.name: str(path) for _, path in files}
    try:
        scripts = LuaScripts.load(
            [path for _, path in files], registry(place), limits, log, folders=folders, precedence=precedence
        )
    except HookError as error:
        raise _of_file(error, paths) from error.__cause__
    lua = LuaSet(scripts, place, log)
    try:
        _check_names(files, scripts)
    except ScriptError as error:
        scripts.close()
        raise _of_file(error, paths) from None
    for name in sorted(scripts.hook_names - _ASKED):
        modules = [each.module for each in scripts.hooks(name)]
        log.warning("policy.hook_not_asked", hook=name, modules=modules, text=_NOT_ASKED.get(name, _UNKNOWN))
    return [LuaScript(name, path.name, lua) for name, path in files]


_NOT_ASKED: Final = {row.name: row.note for row in HOOK_ROWS}
_UNKNOWN: Final = "no hook of this name is known: is it misspelt?"
_ASKED: Final = frozenset((*LIFE, *(name for phase in HookPhase for name in hooks_of_phase(phase))))


def _of_file(error: HookError, paths: Mapping[str, str]) -> HookError:
    """The same, with the path of its file, as for scripts in Python."""
    script = paths.get(error.script, error.script)
    return type(error)(error.reason, script=script, line=error.line, phase=error.phase)


def _check_names(files: Sequence[tuple[str, Path]], scripts: LuaScripts) -> None:
    names = {name for name, _ in files}
    script_of = {hook.module: hook.script for each in scripts.hook_names for hook in scripts.hooks(each)}
    for name in scripts.names:
        if name not in names:
            reason = (
                f"registers {name!r}, and no script has that name; give the script the name that it registers"
            )
            raise ScriptError(reason, script=script_of.get(name, ""), phase="load")
    for name, path in files:
        if name not in scripts.names:
            reason = f"registers no module {name!r}; end it with msys.registerModule({name!r}, …)"
            raise ScriptError(reason, script=path.name, phase="load")
