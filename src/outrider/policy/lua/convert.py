"""Values between Python and Lua: plain ones only, so that no Python object ever gets into a script's hands.

While Lua runs, no object of lupa's may be made or used here: it would belong to the coroutine that runs,
which may be gone when it is let go of (measured: a fault at the process's end), and calls would be on
another coroutine's stack. So tables cross as rows of plain values, with a kind before each, and objects and
functions as numbers; objects.lua has the other end. Between calls, `to_lua` and `to_python` may use lupa's
tables.

Invariant: whatever is not of the types below is refused, because lupa would wrap it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

VALUES: Final = 0
LIST: Final = 1
RAISE: Final = 2
WAITS: Final = 3
SPENT: Final = 4
FLAT: Final = 5
ROOM: Final = 6
MANY: Final = 7
# what an answer of Python's to Lua begins with

_PLAIN: Final = 0
_TABLE: Final = 1
_OBJECT: Final = 2
_FUNCTION: Final = 3
_NIL: Final = 4
_ITEMS: Final = 5
# what each value in a row begins with

PLAIN: Final = frozenset((type(None), bool, int, float, bytes))
"""What lupa turns into Lua's own values and back."""

ROW_MAX: Final = 2000
"""Values passed at once; chosen: a quarter of what LuaJIT's stack takes (LUAI_MAXCSTACK)."""
DIRECT_MAX: Final = 14
"""Values of an answer that a function in C gives without asking for room: LUA_MINSTACK of lua.h is 20, some
are lupa's."""

_SHORT_LIST = 100
# chosen: a list that is worth no row
_DEPTH_MAX = 100
# chosen: deeper tables are loops
_ENTRIES_MAX = 200_000
# chosen: parts of the largest messages, some megabytes
INTEGER_MAX: Final = 1 << 53
"""A Lua number is a double."""


class LuaFunction:
    """A function that a script gave to Python; `LuaScripts.run` and `LuaSession.run` call it."""

    __slots__ = ("_on_end", "ident")

    def __init__(self, ident: int, on_end: Callable[[int], None]) -> None:
        self.ident = ident
        self._on_end = on_end

    def __del__(self) -> None:
        self._on_end(self.ident)


def kind_of(value: object) -> str:
    """What Lua calls it."""
    match value:
        case None:
            return "nil"
        case bool():
            return "a boolean"
        case bytes() | str():
            return "a string"
        case int() | float():
            return "a number"
        case dict() | list():
            return "a table"
        case LuaFunction():
            return "a function"
        case _:
            return f"a {type(value).__name__}"


class Objects(Protocol):
    """Who knows the objects behind numbers; see `objects.ObjectTable`."""

    def number_of(self, target: Any) -> tuple[int, int]:
        """Of its class and of it. Raises TypeError if its class is not registered."""
        ...

    def proxy_of(self, target: Any) -> Any:
        """The userdata for it; not while Lua runs."""
        ...

    def object_at(self, ident: int) -> Any:
        """The object with this number. Raises ValueError if it is gone."""
        ...

    def released(self, ident: int) -> None:
        """A function that Python does not hold any more."""
        ...


def plain(value: Any) -> Any:
    """A scalar as one that lupa takes; what is none comes back as it is."""
    kind = type(value)
    if kind is int:
        return value if -INTEGER_MAX <= value <= INTEGER_MAX else float(value)
    if kind in PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value).encode("utf-8", "surrogateescape")
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, int):
        return int(value)
    return value


class _Row:
    """Writes values into a row."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._entries = 0
        self.values: list[Any] = []

    def write(self, value: Any, depth: int = 0) -> None:
        put = self.values.append
        value = plain(value)
        if value is None:
            put(_NIL)
        elif type(value) in PLAIN:
            put(_PLAIN)
            put(value)
        elif isinstance(value, (list, tuple)):
            self._enter(len(value), depth)
            put(_ITEMS)
            put(len(value))
            for item in value:
                self.write(item, depth + 1)
        elif isinstance(value, dict):
            self._enter(len(value), depth)
            put(_TABLE)
            put(len(value))
            for key, item in value.items():
                put(self._key(key))
                self.write(item, depth + 1)
        elif isinstance(value, LuaFunction):
            put(_FUNCTION)
            put(value.ident)
        else:
            put(_OBJECT)
            self.values.extend(self._objects.number_of(value))

    def _enter(self, count: int, depth: int) -> None:
        self._entries += count
        if depth >= _DEPTH_MAX or self._entries > _ENTRIES_MAX:
            raise ValueError("what it gave is too deep or too large for a table")

    @staticmethod
    def _key(key: Any) -> Any:
        made = plain(key)
        if made is None or type(made) not in PLAIN:
            raise TypeError(f"a {type(key).__name__} cannot be a key of a table")
        return made


class Converter:
    """Converts; see the module.

    Args:
        new_table: lupa's `table_from`.
        kind_of: lupa's `lua_type`.
        identify: The number behind a userdata.
        function_of: The function with a number.
        keep: The number of a function of Lua's.
        objects: Who knows objects.
    """

    def __init__(
        self,
        new_table: Callable[[Any], Any],
        kind_of: Callable[[Any], str | None],
        identify: Callable[[Any], int],
        function_of: Callable[[int], Any],
        keep: Callable[[Any], int],
        objects: Objects,
    ) -> None:
        self._new_table = new_table
        self._kind_of = kind_of
        self._identify = identify
        self._function_of = function_of
        self._keep = keep
        self._objects = objects

    def close(self) -> None:
        """Nothing of lupa's is held any more; what is for between calls cannot be called."""
        del self._new_table, self._kind_of, self._identify, self._function_of, self._keep

    # While Lua runs.

    def read_row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that Lua staged. Raises ValueError: an object is gone."""
        values = iter(row)
        return tuple([self._read(kind, values) for kind in values])

    def _read(self, kind: int, values: Iterator[Any]) -> Any:
        match kind:
            case 0:  # _PLAIN
                return next(values)
            case 1:  # _TABLE
                pairs = {}
                for _ in range(next(values)):
                    key = next(values)
                    pairs[key] = self._read(next(values), values)
                return _as_list(pairs)
            case 2:  # _OBJECT
                return self._objects.object_at(next(values))
            case 3:  # _FUNCTION
                return LuaFunction(next(values), self._objects.released)
            case _:
                return None

    def answer(self, result: Any) -> tuple[Any, ...]:
        """What a Python function gave, as an answer; what is longer than ROW_MAX is the caller's to split.

        Raises:
            TypeError: It gave what scripts cannot have.
            ValueError: It gave too much.
        """
        result = plain(result)
        if type(result) in PLAIN:
            return (VALUES, result)
        kind = type(result)
        if kind is tuple or (kind is list and len(result) <= _SHORT_LIST):
            values = [plain(value) for value in result]
            if all(type(value) in PLAIN for value in values):
                return (VALUES if kind is tuple else LIST, *values)
        row = _Row(self._objects)
        results = result if kind is tuple else (result,)
        row.values.append(len(results))
        for value in results:
            row.write(value)
        return (FLAT, *row.values)

    # Between calls.

    def to_python(self, value: Any) -> Any:
        """A value of Lua's. Raises ValueError: a table too deep or too large; a stale object."""
        return self._to_python(value, 0, [0])

    def _to_python(self, value: Any, depth: int, entries: list[int]) -> Any:
        if type(value) in PLAIN:
            return value
        match self._kind_of(value):
            case "table":
                return self._table(value, depth, entries)
            case "function":
                return LuaFunction(self._keep(value), self._objects.released)
            case "userdata":
                return self._objects.object_at(self._identify(value))
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
        return _as_list(items)

    def to_lua(self, value: Any) -> Any:
        """A value for Lua. Raises TypeError: it is of a type that scripts cannot have."""
        value = plain(value)
        if type(value) in PLAIN:
            return value
        if isinstance(value, (list, tuple)):
            return self._new_table([self.to_lua(item) for item in value])
        if isinstance(value, dict):
            return self._new_table({self.to_lua(key): self.to_lua(item) for key, item in value.items()})
        if isinstance(value, LuaFunction):
            return self._function_of(value.ident)
        return self._objects.proxy_of(value)


def _as_list(items: dict[Any, Any]) -> dict[Any, Any] | list[Any]:
    """A table with the keys 1 to n is a list; an empty one stays a dict."""
    count = len(items)
    if count and all(index in items for index in range(1, count + 1)):
        return [items[index] for index in range(1, count + 1)]
    return items
