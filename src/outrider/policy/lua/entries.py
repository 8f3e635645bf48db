"""What scripts can call, as Lua calls it: a registry's functions and classes, and the arguments they get.

In: a registry. Out: modules, globals and classes of the runtime, filled with closures around its functions.

Theory: Lua calls a Python function in one of two ways. Plain arguments are passed as they are; where there is
any other, all are staged before in rows of plain values, and read here. A method gets the number of its
object first. `objects.lua` has the other end.

Invariant: nothing here calls into Lua while Lua runs, and no entry raises: each answers with a code.
"""

from collections.abc import Callable, Mapping
from typing import Any

from outrider.policy.lua.answers import SHORT_OCTETS, Answers
from outrider.policy.lua.convert import RAISE, VALUES, Converter
from outrider.policy.lua.failures import Failures
from outrider.policy.lua.heads import Heads
from outrider.policy.lua.objects import ObjectTable
from outrider.policy.lua.registry import Function, LuaRegistry, ObjectClass


class Staged:
    """The arguments of the next call, as rows that Lua gives before it."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def stage(self, *values: Any) -> None:
        """One row more."""
        self._values.extend(values)

    def take(self) -> list[Any]:
        """All of them; there are none then."""
        values, self._values = self._values, []
        return values


class Entries:
    """Fills a runtime; see the module.

    Args:
        r: The runtime's table `R`: what `environment.lua` and `objects.lua` offer.
        new_table: lupa's `table_from`.
        objects: Has the objects that methods are called of.
        staged: Has arguments that are not plain.
        converter: Reads them.
        answers: Turns results into answers.
        failures: Turns exceptions into answers.
        heads: Hears of header fields that are read.
    """

    def __init__(
        self,
        r: Any,
        new_table: Callable[[Any], Any],
        objects: ObjectTable,
        staged: Staged,
        converter: Converter,
        answers: Answers,
        failures: Failures,
        heads: Heads,
    ) -> None:
        self._r = r
        self._new_table = new_table
        self._objects = objects
        self._staged = staged
        self._converter = converter
        self._answers = answers
        self._failures = failures
        self._heads = heads

    def fill(self, registry: LuaRegistry) -> None:
        """Make its modules, globals and classes known to scripts."""
        for module, members in registry.modules.items():
            # where a part in Lua stands before them, scripts know that one's name
            prefix = module.removeprefix("outrider.") + "."
            self._r[b"fill"](module.encode(), self._members(prefix, members))
        self._r[b"fill_globals"](self._members("", registry.globals))
        for python_class, description in registry.classes.items():
            self._objects.class_index[python_class] = self._define(description)
            if description.head is not None:
                self._heads.register(python_class, description.head)

    def _members(self, prefix: str, members: Mapping[str, Any]) -> Any:
        wrap = self._r[b"wrap"]
        return self._new_table(
            {
                name.encode(): wrap(*self._function(prefix + name, member))
                if callable(member)
                else self._converter.to_lua(member)
                for name, member in members.items()
            }
        )

    def _define(self, description: ObjectClass) -> int:
        header = "" if description.head is None else "header"

        def table(functions: Mapping[str, Function], which: int) -> Any:
            made = {
                name: self._method(
                    f"{description.name}:{name}", self._heads.noted(each) if name == header else each
                )
                for name, each in functions.items()
            }
            return self._new_table({name.encode(): entries[which] for name, entries in made.items()})

        def entry(function: Function | None) -> Any:
            return None if function is None else self._method(description.name, function)[0]

        return int(
            self._r[b"define"](
                description.name.encode(),
                table(description.methods, 0),
                table(description.methods, 1),
                table(description.getters, 0),
                table(description.setters, 0),
                entry(description.length),
                entry(description.text),
                header.encode() or None,
            )
        )

    def _function(self, name: str, function: Function) -> tuple[Function, Function]:
        """A Python function as Lua calls it: with plain arguments, and with those that were staged."""
        answer, failed = self._answers.answer, self._failures.to_lua

        def entry(*values: Any) -> tuple[Any, ...]:
            try:
                result = function(*values)
            except BaseException as error:
                return failed(name, function, values, error)
            if result is None or result is True or result is False:
                return (VALUES, result)
            return answer(name, result)

        return entry, self._staged_entry(name, entry)

    def _method(self, name: str, function: Function) -> tuple[Function, Function]:
        """The same for a method: the first value is the number of its object."""
        objects, answer, failed = self._objects, self._answers.answer, self._failures.to_lua

        def entry(ident: int, *values: Any) -> tuple[Any, ...]:
            target = objects.session.objects.get(ident)
            if target is None and (target := objects.root.objects.get(ident)) is None:
                return (RAISE, f"{name}: this object is gone, or belongs to another session".encode())
            try:
                result = function(target, *values)
            except BaseException as error:
                return failed(name, function, (target, *values), error)
            if result is None or result is True or result is False:
                return (VALUES, result)
            if type(result) is bytes and len(result) < SHORT_OCTETS:
                return (VALUES, result)
            return answer(name, result)

        return entry, self._staged_entry(name, entry)

    def _staged_entry(self, name: str, entry: Function) -> Function:
        read_row, take = self._converter.read_row, self._staged.take

        def staged(*head: Any) -> Any:
            try:
                values = read_row(take())
            except ValueError as error:
                return (RAISE, f"{name}: {error}".encode())
            return entry(*head, *values)

        return staged
