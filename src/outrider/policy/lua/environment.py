"""What `environment.lua` asks of Python for scripts: texts to run, modules to register, lines to log.

In: names and texts of scripts, octets. Out: texts in LuaJIT's Lua under the names that errors give them, or
why there are none.

Invariant: nothing here calls into Lua, and no fault of a script's is raised: it is the second value.
"""

from collections.abc import Callable
from typing import Any, Final

from outrider.base.log import Log
from outrider.policy.errors import HookError
from outrider.policy.lua.modules import Modules

_PRINT_MAX: Final = 2000
# octets, chosen: what a log line holds
_LOADSTRING_MAX: Final = 8192
# octets, chosen: translated in some 30 ms


class Environment:
    """See the module.

    Args:
        modules: Hears of `registerModule`.
        log: For `print`.
        read: The text of a module that is required, in LuaJIT's Lua, and its name; raises ScriptError.
        translate: A text in the dialect for LuaJIT; raises ScriptError.
    """

    def __init__(
        self,
        modules: Modules,
        log: Log,
        read: Callable[[str], tuple[bytes, str]],
        translate: Callable[[bytes, str], bytes],
    ) -> None:
        self._modules = modules
        self._log = log
        self._read = read
        self._translate = translate
        self._names: set[str] = set()

    def know(self, name: str) -> None:
        """A script's name, as it stands before a line's number in messages."""
        self._names.add(name)

    def is_script(self, name: bytes) -> bool:
        """Whether messages begin with it, and a line's number."""
        return name.decode("utf-8", "replace") in self._names

    def source(self, text: bytes, name: str) -> bytes:
        """The text of a module that is registered, for LuaJIT. Raises ScriptError."""
        self.know(name)
        return self._translate(text, name)

    def read(self, name: bytes) -> tuple[Any, Any]:
        """A module that is required: its text and name; or None and why not."""
        try:
            text, chunk = self._read(name.decode("utf-8", "replace"))
        except HookError as error:
            return (
                None,
                (f"{error.script}:{error.line}: " if error.line else "").encode() + error.reason.encode(),
            )
        self.know(chunk)
        return (text, chunk.encode())

    def translate(self, text: Any, name: bytes) -> tuple[Any, Any]:
        """A text that `loadstring` is given: as LuaJIT's, and None; or None and why not."""
        if type(text) is not bytes or len(text) > _LOADSTRING_MAX:
            return (None, b"loadstring takes a string of at most %d octets" % _LOADSTRING_MAX)
        try:
            return (self._translate(text, name.decode("utf-8", "replace")), None)
        except HookError as error:
            return (None, str(error).encode("utf-8", "replace"))

    def print(self, text: bytes, script: bytes, line: int) -> None:
        """A line for the log, and where it comes from."""
        shown = text[:_PRINT_MAX].decode("utf-8", "replace")
        self._log.info("policy.print", script=script.decode("utf-8", "replace"), line=line, text=shown)

    def register(self, name: bytes) -> bytes | None:
        """A module begins; why it cannot, or None."""
        wrong = self._modules.begin(name.decode("utf-8", "replace"))
        return None if wrong is None else wrong.encode()

    def register_function(self, _name: bytes, key: bytes, number: int) -> None:
        """One of the functions of the module."""
        self._modules.function(key.decode("utf-8", "replace"), number)

    def registered(self, _name: bytes) -> None:
        """The module has no more functions."""
        self._modules.end()
