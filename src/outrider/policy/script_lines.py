"""Where in a script something happened: lines of Python scripts, for whoever tries them out.

In: files of scripts. Out: `observed.Lines`, while `watching`.

Theory: the interpreter tells of each call and return (`sys.setprofile`); a call of one of our setters from a
script's file is a change at that line. Lua's runtime tells of each line that calls one of our functions, and
what that changes is a change there. It costs some microseconds for each call, so it is for trying out and
never for live mail.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from outrider.model.hooks import HookPhase
from outrider.policy.attempt import Attempt
from outrider.policy.connection import Context
from outrider.policy.lua.api.contexts import reply_of_script
from outrider.policy.lua.script import LuaScript
from outrider.policy.mail import Mail

_MESSAGE_FOLDER: Final = str(Path("wire", "message"))
# what is called there by a script changes the content, or reads it
_FRAMES_MAX: Final = 8
# chosen: a setter is called by the script, or by a method that it called
_LUA_ENTRY: Final = str(Path("policy", "lua", "state.py"))
# what is called from there is called by a script in Lua


def _setters() -> dict[CodeType, str]:
    found = {
        attribute.fset.__code__: name
        for name, attribute in (*vars(Mail).items(), *vars(Attempt).items())
        if isinstance(attribute, property) and attribute.fset is not None
    }
    named = (
        (Mail.try_binding, "binding"),
        (Mail.sign, "signatures"),
        (Mail.leave_unsigned, "signatures"),
        (Mail.seal, "seal"),
        (Mail.discard, "discarded"),
        (Attempt.hold_back, "held back"),
        (Attempt.retry_after, "tried again"),
    )
    return found | {function.__code__: name for function, name in named}


_ANSWERING: Final = {reply_of_script.__code__}
# by which a hook in Lua says what is answered
_NOTING: Final = {Context.__setitem__.__code__, Context.__delitem__.__code__}


class ScriptLines:
    """See the module.

    Args:
        files: Those in Python.
        scripts: All of them.
    """

    def __init__(self, files: list[Path], scripts: Sequence[object] = ()) -> None:
        self._files = {str(file) for file in files}
        self._lua = [script for script in scripts if isinstance(script, LuaScript)]
        self._lua_line = 0
        self._answered = 0
        self._setters = _setters()
        self._changes: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Lines are noted as long as this lasts."""
        for script in self._lua:
            script.watch(self._called)
        sys.setprofile(self._happened)
        try:
            yield
        finally:
            sys.setprofile(None)
            for script in self._lua:
                script.watch(None)

    def begin(self) -> None:
        self._changes.clear()
        self._ends.clear()
        self._answered = 0

    def ended(self, phase: HookPhase) -> int:
        return self._ends.get(phase, 0) or self._answered

    def changed(self, what: str) -> int:
        return self._changes.get(what, 0)

    def _called(self, line: int) -> None:
        self._lua_line = line

    def _happened(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "return":
            if code.co_filename in self._files:
                self._ends[code.co_name] = frame.f_lineno
            return
        if event != "call":
            return
        if code in _ANSWERING:
            self._answered = self._lua_line
            return
        name = self._setters.get(code, "")
        if not name and code in _NOTING:
            name = f"note {frame.f_locals.get('name', '')}"
        if code is Attempt.note.__code__:
            name = f"event note {frame.f_locals.get('name', '')}"
        if not name and _MESSAGE_FOLDER in code.co_filename:
            name = "content"
        if name:
            self._note(name, frame)

    def _note(self, name: str, frame: FrameType) -> None:
        caller = frame.f_back
        for _ in range(_FRAMES_MAX):
            if caller is None:
                return
            if caller.f_code.co_filename in self._files:
                self._changes[name] = caller.f_lineno
                return
            if caller.f_code.co_filename.endswith(_LUA_ENTRY):
                self._changes[name] = self._lua_line
                return
            caller = caller.f_back
