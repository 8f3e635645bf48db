"""What scripts can call: modules of functions and constants, classes of objects, modules written in Lua.

In: Python functions by the names that scripts use. Out: a description that each state is filled from; the
registry itself holds no state and may serve several.

A function gets plain values: None, booleans, numbers (int if whole), octets for strings, dicts and lists
for tables, `LuaFunction` for functions, and the Python object for an object of a registered class. It gives
back the same; a str becomes UTF-8, a tuple several values. An `OutriderError` that it raises becomes a Lua
error at the script's own line; with `ForbiddenError` the call fails as forbidden even if the script does
not know what hit it. A function that waits is an `async def`, or gives an awaitable when it must.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """How scripts see objects of a Python class.

    Attributes:
        name: What `tostring` and error messages call it.
        methods: By name; the first argument is the object.
        getters: Fields that can be read, by name; called with the object.
        setters: Fields that can be set; called with the object and the value.
        length: For `#object`, or None.
        text: For `tostring(object)` and `..`, or None.
        head: Called with the object when a hook is asked about it; gives its header fields in the form of
            `wire.message.searchable`, in which its method `header` then finds them without asking Python, or
            None. None for a class without.
    """

    name: str
    methods: Mapping[str, Function] = field(default_factory=dict)
    getters: Mapping[str, Function] = field(default_factory=dict)
    setters: Mapping[str, Function] = field(default_factory=dict)
    length: Function | None = None
    text: Function | None = None
    head: Function | None = None


class LuaRegistry:
    """Collects what a state is filled with; see the module."""

    def __init__(self) -> None:
        self.modules: dict[str, dict[str, Any]] = {}
        self.classes: dict[type, ObjectClass] = {}
        self.sources: dict[str, bytes] = {}
        self.globals: dict[str, Any] = {}

    def register(self, module: str, members: Mapping[str, Any]) -> None:
        """Functions and constants of a module, as `msys.core`; several calls add up.

        Raises:
            ValueError: A member is there already.
        """
        known = self.modules.setdefault(module, {})
        twice = sorted(known.keys() & members.keys())
        if twice:
            raise ValueError(f"{module} has {', '.join(twice)} already")
        known.update(members)

    def register_globals(self, members: Mapping[str, Any]) -> None:
        """Functions and constants without a module."""
        self.globals.update(members)

    def register_class(self, python_class: type, description: ObjectClass) -> None:
        """How scripts see objects of exactly this class."""
        self.classes[python_class] = description

    def register_source(self, module: str, text: bytes) -> None:
        """A module written in Lua, in the dialect; it runs when a script requires it."""
        self.sources[module] = text
