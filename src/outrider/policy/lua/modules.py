"""What `msys.registerModule` collected: the hooks of a set of scripts, in the order of their scripts.

In: modules as they are registered. Out: hooks by name. A module without any hook is said to the log and
never asked; so is a function whose name is almost a hook's.
"""

import difflib

from outrider.base.log import Log
from outrider.policy.lua.hook_names import RECEPTION, WAY_OUT, is_hook
from outrider.policy.lua.session import LuaHook


class Modules:
    """Collects; `script` is the file that is being loaded."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._names: list[str] = []
        self._name = ""
        self._found = 0
        self._hooks: dict[str, list[LuaHook]] = {}
        self.script = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modules, in order."""
        return tuple(self._names)

    def begin(self, name: str) -> str | None:
        """A module is registered; why it cannot be, or None."""
        if name in self._names:
            return f"a module {name!r} is registered already"
        self._names.append(name)
        self._name = name
        self._found = 0
        return None

    def function(self, key: str, number: int) -> None:
        """One of its functions: its name and its number in the state."""
        if is_hook(key):
            self._found += 1
            hook = LuaHook(key, self._name, self.script, number)
            self._hooks.setdefault(key, []).append(hook)
            return
        almost = difflib.get_close_matches(key, (*RECEPTION, *WAY_OUT), 1, 0.85)
        if almost:
            text = f"{key} is no hook and never asked; {almost[0]} is one"
            self._log.warning(
                "policy.hook_not_asked", hook=key, script=self.script, modules=[self._name], text=text
            )

    def end(self) -> None:
        """All its functions were given."""
        if not self._found:
            text = f"scriptlet: no usable methods found for module {self._name} in registerModule call"
            self._log.warning("policy.no_hooks", script=self.script, module=self._name, text=text)

    def hooks(self, name: str) -> tuple[LuaHook, ...]:
        """The hooks of a name, in order."""
        return tuple(self._hooks.get(name, ()))

    @property
    def hook_names(self) -> frozenset[str]:
        """Names that there is a hook for."""
        return frozenset(self._hooks)
