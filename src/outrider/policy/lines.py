"""Where in a script something happened: lines of Python scripts, for whoever tries them out.

In: files of scripts. Out: `observed.Lines`, while `watching`.

Theory: the interpreter tells of each call and return (`sys.setprofile`); a call of one of our setters from a
script's file is a change at that line. It costs some microseconds for each call, so it is for trying out and
never for live mail. Scripts in Lua know their lines when they fail only.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from outrider.model.hooks import HookPhase
from outrider.policy.connection import Context
from outrider.policy.mail import Mail

_MESSAGE_FOLDER: Final = str(Path("wire", "message"))
# what is called there by a script changes the content, or reads it
_FRAMES_MAX: Final = 8
# chosen: a setter is called by the script, or by a method that it called


def _setters() -> dict[CodeType, str]:
    found = {
        attribute.fset.__code__: name
        for name, attribute in vars(Mail).items()
        if isinstance(attribute, property) and attribute.fset is not None
    }
    named = (
        (Mail.try_binding, "binding"),
        (Mail.sign, "signatures"),
        (Mail.leave_unsigned, "signatures"),
        (Mail.discard, "discarded"),
    )
    return found | {function.__code__: name for function, name in named}


_NOTING: Final = {Context.__setitem__.__code__, Context.__delitem__.__code__}


class ScriptLines:
    """See the module.

    Args:
        files: The scripts.
    """

    def __init__(self, files: list[Path]) -> None:
        self._files = {str(file) for file in files}
        self._setters = _setters()
        self._changes: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Lines are noted as long as this lasts."""
        sys.setprofile(self._happened)
        try:
            yield
        finally:
            sys.setprofile(None)

    def begin(self) -> None:
        self._changes.clear()
        self._ends.clear()

    def ended(self, phase: HookPhase) -> int:
        return self._ends.get(phase, 0)

    def changed(self, what: str) -> int:
        return self._changes.get(what, 0)

    def _happened(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "return":
            if code.co_filename in self._files:
                self._ends[code.co_name] = frame.f_lineno
            return
        if event != "call":
            return
        name = self._setters.get(code, "")
        if not name and code in _NOTING:
            name = f"note {frame.f_locals.get('name', '')}"
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
            caller = caller.f_back
