"""Values between Python and Lua: plain ones only, so that no Python object ever gets into a script's hands.

Every answer of Python's to Lua is a tuple that begins with a code; objects.lua has its other end. Whatever
is not of the types below is refused, because lupa would wrap it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

VALUES: Final = 0
LIST: Final = 1
RAISE: Final = 2
WAITS: Final = 3
SPENT: Final = 4

PLAIN: Final = frozenset((type(None), bool, int, float, bytes))
"""What lupa turns into Lua's own values and back."""

_SHORT_LIST = 100
# chosen: values that fit on Lua's stack in any case (LUAI_MAXCSTACK is 8000)
_DEPTH_MAX = 100
# chosen: deeper tables are loops
_ENTRIES_MAX = 200_000
# chosen: parts of the largest messages, some megabytes
_INTEGER_MAX = 1 << 53
# a Lua number is a double


class LuaFunction:
    """A function that a script gave to Python; `scripts.run` and `session.run` call it."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw


class Converter:
    """Converts; `object_of` knows the objects behind userdata, `proxy_of` makes userdata for objects.

    Args:
        new_table: lupa's `table_from`.
        kind_of: lupa's `lua_type`.
        object_of: The Python object behind a userdata; raises ValueError if there is none.
        proxy_of: The userdata for a Python object; raises TypeError if its class is not registered.
    """

    def __init__(
        self,
        new_table: Callable[[Any], Any],
        kind_of: Callable[[Any], str | None],
        object_of: Callable[[Any], Any],
        proxy_of: Callable[[Any], Any],
    ) -> None:
        self._new_table = new_table
        self._kind_of = kind_of
        self._object_of = object_of
        self._proxy_of = proxy_of

    def to_python(self, value: Any) -> Any:
        """A value of Lua's.

        Raises:
            ValueError: A table that is too deep, too large or holds itself; a coroutine; a stale object.
        """
        if type(value) in PLAIN:
            return value
        return self._to_python(value, 0, [0])

    def _to_python(self, value: Any, depth: int, entries: list[int]) -> Any:
        if type(value) in PLAIN:
            return value
        match self._kind_of(value):
            case "table":
                return self._table(value, depth, entries)
            case "function":
                return LuaFunction(value)
            case "userdata":
                return self._object_of(value)
            case kind:
                raise ValueError(f"a {kind} cannot be passed")

    def _table(self, table: Any, depth: int, entries: list[int]) -> dict[Any, Any] | list[Any]:
        if depth >= _DEPTH_MAX:
            raise ValueError(f"a table is nested deeper than {_DEPTH_MAX}, or holds itself")
        items = {}
        for key, value in table.items():
            entries[0] += 1
            if entries[0] > _ENTRIES_MAX:
                raise ValueError(f"a table has more than {_ENTRIES_MAX} entries")
            if type(key) not in PLAIN:
                raise ValueError("a table's key is neither a string nor a number")
            items[key] = value if type(value) in PLAIN else self._to_python(value, depth + 1, entries)
        count = len(items)
        if count and all(index in items for index in range(1, count + 1)):
            return [items[index] for index in range(1, count + 1)]
        return items

    def answer(self, result: Any) -> tuple[Any, ...]:
        """What a Python function gave, as an answer to Lua.

        Raises:
            TypeError: It gave what scripts cannot have.
        """
        kind = type(result)
        if kind in PLAIN and kind is not int:
            return (VALUES, result)
        if kind is str:
            return (VALUES, result.encode("utf-8", "surrogateescape"))
        if kind is tuple:
            return (VALUES, *(self.to_lua(value) for value in result))
        if kind is list and len(result) <= _SHORT_LIST:
            return (LIST, *(self.to_lua(value) for value in result))
        return (VALUES, self.to_lua(result))

    def to_lua(self, value: Any) -> Any:
        """A value for Lua.

        Raises:
            TypeError: It is of a type that scripts cannot have.
        """
        kind = type(value)
        if kind is int:
            return value if -_INTEGER_MAX <= value <= _INTEGER_MAX else float(value)
        if kind in PLAIN:
            return value
        if kind is str:
            return value.encode("utf-8", "surrogateescape")
        if kind is list or kind is tuple:
            return self._new_table([self.to_lua(item) for item in value])
        if kind is dict:
            return self._new_table({self.to_lua(key): self.to_lua(item) for key, item in value.items()})
        if kind is bytearray or kind is memoryview:
            return bytes(value)
        if kind is LuaFunction:
            return value.raw
        if isinstance(value, (int, str)):  # an enumeration's member
            return self.to_lua(value.value if hasattr(value, "value") else kind.__mro__[1](value))
        return self._proxy_of(value)

    def arguments(self, values: Sequence[Any]) -> list[Any]:
        """Arguments of a call into Lua."""
        return [value if type(value) in (bytes, float, bool) else self.to_lua(value) for value in values]
