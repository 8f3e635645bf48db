"""Sets of scripts: loaded into a fresh state, tried, and only then the ones that are asked.

In: files. Out: `LuaScripts`, whose hooks can be called, or the fault that keeps the set from being used,
with file and line; whatever set was asked before goes on.

Theory: a set is a state with all its scripts. A reload makes another one; sessions end in the one that they
began in, and its `deinit` functions run when the last of them is closed.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from outrider.base.log import Log
from outrider.policy.errors import HookError, ScriptError
from outrider.policy.lua.dialect import MOMENTUM, Precedence, translate
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.modules import Modules
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.session import LuaHook, LuaSession
from outrider.policy.lua.state import LuaState

SCRIPT_OCTETS_MAX = 1 << 20
# chosen: far above any script; reading it takes seconds at the worst
_NAME_PARTS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class ScriptFiles:
    """Reads scripts and required modules, and translates them.

    Args:
        folders: Where modules are looked for, in order.
        precedence: How the dialect's operators group.
        log: Hears of lines that the other grouping reads otherwise.
    """

    def __init__(self, folders: Sequence[Path], precedence: Precedence, log: Log) -> None:
        self._folders = tuple(folders)
        self._precedence = precedence
        self._log = log

    def translate(self, text: bytes, name: str) -> bytes:
        """A text in the dialect, for LuaJIT. Raises ScriptError."""
        translation = translate(text, name, self._precedence)
        if translation.doubts:
            self._log.warning(
                "policy.operators_group_differently", script=name, lines=list(translation.doubts)
            )
        return translation.text

    def read(self, path: Path, name: str) -> bytes:
        """A script's text for LuaJIT. Raises ScriptError."""
        try:
            with path.open("rb") as file:
                text = file.read(SCRIPT_OCTETS_MAX + 1)
        except OSError as error:
            raise ScriptError(f"cannot be read: {error.strerror}", script=name, phase="load") from error
        if len(text) > SCRIPT_OCTETS_MAX:
            raise ScriptError(f"is longer than {SCRIPT_OCTETS_MAX} octets", script=name, phase="load")
        return self.translate(text, name)

    def module(self, name: str) -> tuple[bytes, str]:
        """A module that a script requires: its text and the name that errors give it. Raises ScriptError."""
        parts = name.split(".")
        if not all(part and _NAME_PARTS.issuperset(part) for part in parts):
            raise ScriptError(f"module {name!r} not found: names are words joined by dots or slashes")
        file_name = "/".join(parts) + ".lua"
        for folder in self._folders:
            path = folder / file_name
            if path.is_file():
                return self.read(path, file_name), file_name
        looked = ", ".join(str(folder) for folder in self._folders) or "no folder is configured"
        raise ScriptError(f"module {name!r} not found ({file_name} in {looked})")


def _start(state: LuaState, hook: LuaHook) -> None:
    """Call an `init`."""
    if state.start(hook) is not True:
        reason = f"{hook.name}() of module {hook.module!r} did not return true"
        raise ScriptError(reason, script=hook.script, line=state.first_line(hook), phase=hook.name)


class LuaScripts:
    """A set of scripts that can be asked. Made by `load`."""

    def __init__(self, state: LuaState, modules: Modules, log: Log) -> None:
        self._state = state
        self._objects = state.objects
        self._modules = modules
        self._log = log
        self._open = 0
        self._is_retired = False
        self._deallocate = modules.hooks("validate_dealloc")

    @classmethod
    def load(
        cls,
        paths: Sequence[Path],
        registry: LuaRegistry,
        limits: LuaLimits,
        log: Log,
        *,
        clock: Callable[[], float] = time.thread_time,
        folders: Sequence[Path] = (),
        precedence: Precedence = MOMENTUM,
    ) -> "LuaScripts":
        """Compile scripts, run their top levels and their `init`.

        Args:
            paths: The scripts, in the order in which they are asked.
            registry: What they can call.
            limits: What they may use.
            log: For `print`, and for what is odd about them.
            clock: Seconds that time is limited by. Those of the processor, so that no hook fails because a
                machine is busy.
            folders: Where `require` looks.
            precedence: How the dialect's operators group.

        Raises:
            HookError: One of them cannot be used; nothing of the set is kept.
        """
        files = ScriptFiles(folders, precedence, log)
        modules = Modules(log)
        state = LuaState(registry, modules, limits, clock, log, files.module, files.translate)
        try:
            for path in paths:
                modules.script = path.name
                state.load(files.read(path, path.name), path.name)
            for hook in (*modules.hooks("init"), *modules.hooks("rsrc_setup")):
                _start(state, hook)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they refer to the state
            state.close()
            raise
        return cls(state, modules, log)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modules, in order."""
        return self._modules.names

    @property
    def hook_names(self) -> frozenset[str]:
        """Names that there is a hook for."""
        return self._modules.hook_names

    def hooks(self, name: str) -> tuple[LuaHook, ...]:
        """The hooks of a name, as `validate_connect`, in the order in which they are asked."""
        return self._modules.hooks(name)

    def first_line(self, hook: LuaHook) -> int:
        """Where a hook begins in its file."""
        return self._state.first_line(hook)

    def watch(self, hears: Callable[[int], None] | None) -> None:
        """Tell `hears` each line of a script that calls a function of the API; None ends that."""
        self._state.watch(hears)

    def session(self) -> LuaSession:
        """For a session that begins."""
        self._open += 1
        return self._state.new_session(self._deallocate, self._closed)

    @property
    def current(self) -> LuaSession:
        """The session that a Python function was called for.

        To be asked before the function waits: another may be the current one afterwards.
        """
        return self._objects.session

    def run(self, function: Any, *values: Any) -> Any:
        """Call a function that a script gave, outside of any session; a result, or something to await."""
        self._objects.sweep()
        return self._state.root.run(function, *values)

    def _closed(self) -> None:
        self._open -= 1
        self._end_if_unused()

    def close(self) -> None:
        """The set is not asked any more; `deinit` runs when its last session is closed."""
        if not self._is_retired:
            self._is_retired = True
            self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._open or not self._is_retired:
            return
        for hook in self._modules.hooks("deinit"):
            try:
                result = self._state.start(hook)
            except HookError as error:
                self._log.error("policy.deinit_failed", module=hook.module, reason=str(error))
                continue
            if result is not True:
                self._log.warning("policy.deinit_failed", module=hook.module, reason="it did not return true")
        self._state.close()
