"""Objects of Python's by number, as scripts know them.

In: objects of registered classes, and numbers that come back from Lua. Out: their numbers, the userdata for
them, and the objects behind numbers.

Theory: a script holds a userdata with a number (`objects.lua`), never the object. Numbers are given out once
in a state. An object belongs to the session that runs when it is given; what is given outside of any belongs
to `root`, and all sessions know it.

Invariant: a number leads to an object only in the session that the object belongs to, and only until that
session releases it.
"""

from collections.abc import Callable
from typing import Any, Final

from outrider.policy.lua.session import LuaSession

_SWEEP_MIN: Final = 1_000
# chosen: what scripts keep for good is less; twice as many as were kept the last time is the next one


class ObjectTable:
    """See the module; fits `convert.Objects`.

    Args:
        root: What is outside of any session, as a session.
        new_proxy: A userdata, of the numbers of its class and object.
        collect: Lets Lua's collector run.
        is_held: Whether a script holds the userdata of a number.

    Attributes:
        session: The one that runs, or ran last.
        class_index: The number of each registered class.
        ended: Numbers of functions of Lua's that Python does not hold any more.
    """

    def __init__(
        self,
        root: LuaSession,
        new_proxy: Callable[[int, int], Any],
        collect: Callable[[], None],
        is_held: Callable[[int], bool],
    ) -> None:
        self.root = root
        self.session = root
        self.class_index: dict[type, int] = {}
        self.ended: list[int] = []
        self._new_proxy = new_proxy
        self._collect = collect
        self._is_held = is_held
        self._next_id = 0
        self._sweep_at = _SWEEP_MIN

    def close(self) -> None:
        """Nothing of lupa's is held any more; there is no userdata to be had, and no `sweep`."""
        del self._new_proxy, self._collect, self._is_held

    def object_at(self, ident: int) -> Any:
        """The object with this number. Raises ValueError: it is gone."""
        found = self.session.objects.get(ident, self.root.objects.get(ident))
        if found is None:
            raise ValueError("an object is gone, or belongs to another session")
        return found

    def number_of(self, target: Any) -> tuple[int, int]:
        """Of its class and of it. Raises TypeError: its class is not registered."""
        session = self.session
        known = session.numbers.get(id(target))
        if known is not None:
            return known
        index = self.class_index.get(type(target))
        if index is None:
            raise TypeError(f"scripts cannot have a {type(target).__name__}")
        self._next_id += 1
        session.objects[self._next_id] = target
        session.numbers[id(target)] = (index, self._next_id)
        return index, self._next_id

    def proxy_of(self, target: Any) -> Any:
        """The userdata for it; not while Lua runs. Raises TypeError: its class is not registered."""
        known = self.session.proxies.get(id(target))
        if known is None:
            known = self._new_proxy(*self.number_of(target))
            self.session.proxies[id(target)] = known
        return known

    def released(self, ident: int) -> None:
        """A function that Python does not hold any more. Called at any time, by Python's collector too."""
        self.ended.append(ident)

    def take_ended(self, most: int) -> list[int]:
        """The first of what `ended` holds; the rest stays for the next time."""
        taken = self.ended[:most]
        del self.ended[:most]  # in place: the collector may have added some meanwhile
        return taken

    def sweep(self) -> None:
        """Let go of objects that no script holds any more, of those that are given outside of any session.

        Between calls. A session's end with it; what runs outside of any, as timers, would gather them.
        """
        objects = self.root.objects
        if len(objects) < self._sweep_at:
            return
        self._collect()
        for ident, target in list(objects.items()):
            if not self._is_held(ident):
                self.root.release(target)
        self._sweep_at = max(_SWEEP_MIN, 2 * len(objects))
