"""What Python answers to Lua: the result of a function, at once, in rows, or once it was waited for.

In: what functions of the registry gave. Out: tuples of plain values that begin with a code of `convert.py`.

Theory: short answers go over at once. One that could need more memory than there is makes Lua collect its
garbage first, and ask again; one that is longer than what a function in C may give is asked for in rows. So
one answer at most is kept here, and one thing to await, until Lua has yielded.

Invariant: nothing here calls into Lua, and what Lua calls does not raise.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from outrider.policy.lua.convert import (
    DIRECT_MAX,
    LIST,
    MANY,
    PLAIN,
    ROOM,
    ROW_MAX,
    SPENT,
    VALUES,
    WAITS,
    Converter,
)
from outrider.policy.lua.failures import Failures
from outrider.policy.lua.waiting import let_go

SHORT_OCTETS: Final = 4096
"""Chosen: so many of these are below what is worth asking for room."""

_LARGE_OCTETS: Final = 65_536
# chosen: answers below it always fit into the reserve
_SMALL: Final = PLAIN - {bytes}
_FEW: Final = 8
# values, chosen: more than a header has


def weigh(value: Any) -> int:
    """About how many octets a value is in Lua."""
    match value:
        case bytes() | str() | bytearray():
            return 40 + len(value)
        case list() | tuple():
            return 80 + sum(weigh(item) for item in value)
        case dict():
            return 80 + sum(40 + weigh(key) + weigh(item) for key, item in value.items())
        case _:
            return 40


class Answers:
    """See the module.

    Args:
        converter: Writes values as Lua reads them.
        failures: For results that scripts cannot have.
        memory_used: Octets that Lua uses.
        memory_octets: How many it may.
    """

    def __init__(
        self,
        converter: Converter,
        failures: Failures,
        memory_used: Callable[[], int],
        memory_octets: int,
    ) -> None:
        self._converter = converter
        self._failures = failures
        self._memory_used = memory_used
        self._memory_octets = memory_octets
        self._pending: tuple[str, Awaitable[Any]] | None = None
        self._held: Any = None
        self._rest: tuple[Any, ...] = ()
        self._rest_at = 0

    def answer(self, name: str, result: Any) -> tuple[Any, ...]:
        """What a Python function gave, for Lua; something to await is kept until Lua has yielded."""
        kind = type(result)
        if kind is bytes and len(result) < _LARGE_OCTETS:
            return (VALUES, result)
        if kind is str and len(result) < SHORT_OCTETS:
            return (VALUES, result.encode("utf-8", "surrogateescape"))
        if kind is list and len(result) <= _FEW:
            # the values of a header: the answer that is given most often
            for value in result:
                if type(value) is not bytes or len(value) > SHORT_OCTETS:
                    break
            else:
                return (LIST, *result)
        if hasattr(kind, "__await__"):
            self._pending = name, result
            return (WAITS,)
        try:
            if kind not in _SMALL and not self._has_room(weigh(result)):
                self._held = (name, result)
                return (ROOM,)
            return self._split(self._converter.answer(result))
        except Exception as error:
            return self._failures.to_lua(name, None, (), error)

    def again(self) -> tuple[Any, ...]:
        """An answer for which there was no room before Lua's garbage was collected."""
        (name, result), self._held = self._held, None
        try:
            if not self._has_room(weigh(result)):
                return (SPENT, b"memory")
            return self._split(self._converter.answer(result))
        except Exception as error:
            return self._failures.to_lua(name, None, (), error)

    def _split(self, answer: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(answer) <= DIRECT_MAX:
            return answer
        self._rest, self._rest_at = answer, 0
        return (MANY,)

    def more(self) -> tuple[Any, ...]:
        """The next row of an answer that is split."""
        begin = self._rest_at
        self._rest_at += ROW_MAX
        return self._rest[begin : self._rest_at]

    def _has_room(self, octets: int) -> bool:
        if octets < _LARGE_OCTETS:
            return True
        return bool(self._memory_used() + octets <= self._memory_octets)

    def take_pending(self) -> tuple[str, Awaitable[Any]]:
        """What the call waits for that has just yielded, and the name of the function that gave it."""
        pending, self._pending = self._pending, None
        if pending is None:
            raise RuntimeError("a script waits for nothing")
        return pending

    def drop(self) -> None:
        """Nobody will await it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            let_go(pending[1])

    def forget(self) -> None:
        """The call has failed: nobody asks for the rest of an answer."""
        self._rest, self._held = (), None
        self.drop()
