"""A call of a script's function, step by step: each ends it, fails, or waits for something.

In: a function of `calls.lua` to enter, and values. Out: what the call gave, something to await, or a
`HookError`.

Theory: a call runs in a coroutine of Lua's until it ends or a function that it called must wait. Then it
leaves a record, what it waits for is awaited, and `go_on` takes the record and the answer into the next step.
In between other calls run.

Invariant: one step runs at a time, in one session, and after a step that failed nothing of it is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import lupa.luajit21  # type: ignore[import-untyped]

from outrider.policy.errors import BudgetError, ScriptError
from outrider.policy.lua.answers import Answers
from outrider.policy.lua.convert import PLAIN, RAISE, ROW_MAX, WAITS, Converter
from outrider.policy.lua.entries import Staged
from outrider.policy.lua.failures import Failures
from outrider.policy.lua.objects import ObjectTable
from outrider.policy.lua.session import LuaSession
from outrider.policy.lua.waiting import Waiting

Take = Callable[[str, tuple[Any, ...]], Any]
"""What a call gave, of its phase and of its last step's code and results."""


class Calls:
    """See the module.

    Args:
        r: The runtime's table `R`: what `calls.lua` and `objects.lua` offer.
        deadline: Until when a step may run that begins now.
        collect: Lets go of what nobody holds in Lua.
        objects: Hears whose step it is.
        staged: Arguments, which a step that fails leaves.
        converter: For values and results that are not plain.
        answers: Has what a call waits for.
        failures: Says what a failure of Lua's is.
    """

    def __init__(
        self,
        r: Any,
        deadline: Callable[[], float],
        collect: Callable[[], None],
        objects: ObjectTable,
        staged: Staged,
        converter: Converter,
        answers: Answers,
        failures: Failures,
    ) -> None:
        self._go_on = r[b"go_on"]
        self._release = r[b"release"]
        self._waiting_line = r[b"waiting_line"]
        self._deadline = deadline
        self._collect = collect
        self._objects = objects
        self._staged = staged
        self._converter = converter
        self._answers = answers
        self._failures = failures
        self._is_running = False

    def close(self) -> None:
        """Nothing of lupa's is held any more; a call that still waits fails when it would go on."""
        del self._go_on, self._release, self._waiting_line

    def run(
        self,
        session: LuaSession,
        phase: str,
        enter: Any,
        given: tuple[Any, ...],
        values: Sequence[Any],
        take: Take | None = None,
    ) -> Any:
        """A whole call.

        Args:
            session: Whose it is.
            phase: What failures call it.
            enter: A function of `calls.lua`.
            given: What that takes first, of Lua's and plain values.
            values: What the script gets.
            take: What of the results is wanted; the first one, unless it is given.

        Returns:
            What `take` gives, or something to await.

        Raises:
            HookError: It failed.
        """
        self._failures.raised = None
        out = self.step(session, phase, enter, given, values)
        return self.outcome(session, phase, out, take)

    def step(
        self, session: LuaSession, phase: str, enter: Any, given: tuple[Any, ...], values: Sequence[Any]
    ) -> tuple[Any, ...]:
        """One step of a call: until it ends or waits.

        Returns:
            A code, and the results or the record to go on with.

        Raises:
            HookError: It failed.
        """
        if self._is_running:
            raise RuntimeError("a script is called from within a script")
        objects = self._objects
        objects.session = session
        if objects.ended:
            self._release(*objects.take_ended(ROW_MAX))
        if values:
            given += tuple([self._converter.to_lua(value) for value in values])
        self._is_running = True
        try:
            out = enter(*given)
        except lupa.luajit21.LuaMemoryError:
            raise self._error(phase, b"memory", b"", b"", 0) from None
        except lupa.luajit21.LuaError as error:
            raise ScriptError(f"the Lua runtime failed: {error}", phase=phase) from None
        finally:
            self._is_running = False
        results: tuple[Any, ...] = out if type(out) is tuple else (out,)
        if results[0] == RAISE:
            raise self._error(phase, *results[1:])
        return results

    def outcome(self, session: LuaSession, phase: str, out: tuple[Any, ...], take: Take | None) -> Any:
        """What a step says: what the call gave, or something to await."""
        take = take or self._first
        if out[0] == WAITS:
            name, pending = self._answers.take_pending()
            return Waiting(self._rest(session, phase, out[1], name, pending, take), pending)
        return take(phase, out)

    async def _rest(
        self,
        session: LuaSession,
        phase: str,
        record: Any,
        name: str,
        pending: Awaitable[Any],
        take: Take,
    ) -> Any:
        """The rest of a call that waits for what the function `name` gave."""
        while True:
            try:
                result = await pending
                self._objects.session = session
                answer = self._answers.answer(name, result)
            except asyncio.CancelledError:
                if not session.is_closed:
                    session.waiting_line = self._waiting_line(record) or 0
                raise
            except Exception as error:
                answer = self._failures.to_lua(name, None, (), error)
            if session.is_closed:
                raise ScriptError("the session ended while it waited", phase=phase)
            out = self.step(session, phase, self._go_on, (record, self._deadline(), *answer), ())
            if out[0] != WAITS:
                return take(phase, out)
            record = out[1]
            name, pending = self._answers.take_pending()

    def _first(self, phase: str, out: tuple[Any, ...]) -> Any:
        """A call's first result."""
        return None if len(out) == 1 else self._result(phase, out[1])

    def whole(self, phase: str, out: tuple[Any, ...]) -> tuple[Any, ...]:
        """All results of a call."""
        return tuple([self._result(phase, value) for value in out[1:]])

    def _result(self, phase: str, value: Any) -> Any:
        if type(value) in PLAIN:
            return value
        try:
            return self._converter.to_python(value)
        except ValueError as error:
            raise ScriptError(f"it returned what cannot be used: {error}", phase=phase) from None

    def _error(self, phase: str, kind: bytes, text: bytes, script: bytes, line: int) -> BaseException:
        """What a failure of Lua's is in Python; nothing of the step is kept."""
        self._staged.take()
        self._answers.forget()
        failure = self._failures.to_python(phase, kind, text, script, line)
        if kind == b"memory" and isinstance(failure, BudgetError):
            self._collect()
        return failure
