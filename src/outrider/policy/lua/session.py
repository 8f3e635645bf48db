"""One session's part of the scripts: its globals, its `self` tables, the objects that it was given.

In: hooks and their arguments. Out: what they return, or something to await.

Invariant: what a session's scripts wrote into globals, `self` or `_TLS` no other session sees; when it is
closed, nothing that it was given is held any more.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from outrider.policy.errors import ScriptError
from outrider.policy.lua.convert import LuaFunction
from outrider.policy.lua.waiting import Waiting


@dataclass(frozen=True, slots=True)
class LuaHook:
    """A hook function of a module.

    Attributes:
        name: As `validate_connect`.
        module: Its module's name, as it was registered.
        script: The file that registered it.
        number: Of the function, in its state.
    """

    name: str
    module: str
    script: str
    number: int

    def __call__(self, session: "LuaSession", *values: Any) -> Any:
        """Call it in a session; see `LuaSession.call`."""
        return session.call(self, values)


class Caller(Protocol):
    """What calls, see `state.LuaState`."""

    def hook(self, session: "LuaSession", hook: LuaHook, values: Sequence[Any]) -> Any: ...

    def call(
        self, session: "LuaSession", phase: str, function: LuaFunction, values: Sequence[Any]
    ) -> Any: ...

    def call_whole(
        self, session: "LuaSession", phase: str, function: LuaFunction, values: Sequence[Any]
    ) -> Any: ...


class LuaSession:
    """See the module. Made by `LuaScripts.session`.

    Args:
        caller: The state.
        lua_globals: Table of Lua for globals.
        selves: Table of Lua for the `self` of each module.
        deallocate: Hooks `validate_dealloc`, called at the end for modules that ran.
        on_close: Called once it is closed.

    Attributes:
        waiting_line: Where the script stood that was broken off last while it waited; 0 for none.
    """

    __slots__ = (
        "_caller",
        "_deallocate",
        "_on_close",
        "_ran",
        "is_closed",
        "lua_globals",
        "numbers",
        "objects",
        "proxies",
        "selves",
        "waiting_line",
    )

    def __init__(
        self,
        caller: Caller,
        lua_globals: Any,
        selves: Any,
        deallocate: Sequence[LuaHook] = (),
        on_close: Any = None,
    ) -> None:
        self._caller = caller
        self._deallocate = deallocate
        self._on_close = on_close
        self._ran: set[str] = set()
        self.is_closed = False
        self.waiting_line = 0
        self.lua_globals = lua_globals
        self.selves = selves
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, tuple[int, int]] = {}
        self.proxies: dict[int, Any] = {}

    def call(self, hook: LuaHook, values: Sequence[Any] = ()) -> Any | Awaitable[Any]:
        """Call a hook.

        Args:
            hook: One of `LuaScripts.hooks`.
            values: Plain values and objects of registered classes.

        Returns:
            What it returned first, or an awaitable of that if it waits.

        Raises:
            HookError: How it failed; the awaitable raises it too.
        """
        if self.is_closed:
            raise RuntimeError("this session is closed")
        self._ran.add(hook.module)
        return self._caller.hook(self, hook, values)

    def run(self, function: LuaFunction, *values: Any) -> Any | Awaitable[Any]:
        """Call a function that a script gave, with this session's globals. As `call`."""
        return self._caller.call(self, "function", function, values)

    def run_whole(self, function: LuaFunction, *values: Any) -> Any:
        """As `run`, for all that it returns: a tuple, or an awaitable of one."""
        return self._caller.call_whole(self, "function", function, values)

    def release(self, target: Any) -> None:
        """An object is not the session's any more: scripts that still hold it get an error."""
        self.proxies.pop(id(target), None)
        known = self.numbers.pop(id(target), None)
        if known is not None:
            del self.objects[known[1]]

    def close(self) -> tuple[BaseException, ...]:
        """The session is over: `validate_dealloc` runs, then everything is let go.

        Returns:
            How `validate_dealloc` failed, if it did. It may not wait.
        """
        if self.is_closed:
            return ()
        faults: list[BaseException] = []
        for hook in self._deallocate:
            if hook.module in self._ran:
                try:
                    _refuse_wait(self._caller.hook(self, hook, ()))
                except Exception as error:
                    faults.append(error)
        self.let_go()
        if self._on_close is not None:
            self._on_close()
        return tuple(faults)

    def let_go(self) -> None:
        """Of all that is Lua's, and of all objects; whatever still waits for it ends there."""
        self.is_closed = True
        self.objects.clear()
        self.numbers.clear()
        self.proxies.clear()
        self.lua_globals = self.selves = None


def _refuse_wait(result: Any) -> None:
    if isinstance(result, Waiting):
        result.close()
        raise ScriptError("a hook that may not wait does", phase="validate_dealloc")
