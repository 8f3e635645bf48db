"""Header fields that are given along with a hook, so that it reads them without asking Python.

In: the hook under way, and its calls of a method that reads fields. Out: the fields of a message, for hooks
that have read some before.

Theory: to give fields along costs something too, so only hooks get them that have asked for one before.
`head.lua` finds fields in them.

Invariant: whatever could change a message makes Lua forget what was given along (`head.lua`).
"""

from typing import Any

from outrider.policy.lua.registry import Function


class Heads:
    """See the module.

    Attributes:
        hook_number: Of the hook under way.
        readers: Numbers of hooks that have read a field.
    """

    def __init__(self) -> None:
        self.hook_number = 0
        self.readers: set[int] = set()
        self._head_of: dict[type, Function] = {}

    def register(self, python_class: type, head: Function) -> None:
        """How the fields of a class are had; see `registry.ObjectClass.head`."""
        self._head_of[python_class] = head

    def noted(self, read_header: Function) -> Function:
        """The same; the hook that calls it is given the header along from then on."""

        def read(*values: Any) -> Any:
            self.readers.add(self.hook_number)
            return read_header(*values)

        return read

    def of(self, target: Any) -> tuple[Any, ...] | None:
        """Its fields, as `head.lua` takes them; None if there are none to give."""
        head_of = self._head_of.get(type(target))
        return None if head_of is None else head_of(target)
