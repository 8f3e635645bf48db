"""Failures, as they cross between Python and Lua.

In: exceptions of functions that Lua calls; what Lua says of a call that failed. Out: an answer that Lua makes
an error of; the exception that ends the call.

Theory: Lua knows an error of ours by its text alone. What a function raised last is remembered, and if a call
fails with just that text, the failure is of that error's kind and has it as its cause. What a script must not
catch stops it and comes out as it was: an interruption, and the end of the budget of a function that the
script waited for. A tick of the processor's time gets the place where it came.

Invariant: no exception of Python's passes through Lua.
"""

import inspect
from typing import Any, Final

from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.log import Log
from outrider.policy.budget import SpentError
from outrider.policy.errors import BudgetError, HookError, ScriptError, TooSlowError
from outrider.policy.lua.convert import RAISE, SPENT
from outrider.policy.lua.registry import Function

_BUDGETS: Final = {
    "instructions": "it ran too many instructions",
    "time": "it ran too long without waiting",
    "memory": "it used too much memory",
}

_TICKED: Final = "it used up its processor time"


class Failures:
    """See the module.

    Args:
        log: For faults of ours.

    Attributes:
        raised: What a function raised last in this call, for scripts to see.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._interrupt: BaseException | None = None
        self.raised: OutriderError | None = None

    def to_lua(
        self, name: str, function: Function | None, values: tuple[Any, ...], error: BaseException
    ) -> tuple[Any, ...]:
        """A failure of a Python function, as an answer.

        Args:
            name: The function's, for scripts.
            function: It, if a TypeError may mean that `values` are not what it takes.
            values: What it was called with.
            error: What it raised.
        """
        if isinstance(error, BudgetError):
            self._interrupt = error
            return (SPENT, b"time")
        if isinstance(error, OutriderError):
            self.raised = error
            return (RAISE, _text_of(error).encode("utf-8", "replace"))
        if isinstance(error, TypeError) and function is not None:
            fault = _signature_fault(function, values)
            if fault:
                return (RAISE, f"bad arguments to '{name}': {fault}".encode("utf-8", "replace"))
        if isinstance(error, ValueError):
            return (RAISE, f"{name}: {error}".encode("utf-8", "replace"))
        if not isinstance(error, Exception):
            self._interrupt = error
            return (SPENT, b"time")
        self._log.error("policy.api_fault", function=name, error=type(error).__name__, traceback=error)
        return (RAISE, f"{name} failed: {type(error).__name__}".encode())

    def to_python(self, phase: str, kind: bytes, text: bytes, script: bytes, line: int) -> BaseException:
        """A failure of a call, as an exception.

        Args:
            phase: What was called.
            kind: `error`, or the budget that was used up.
            text: What the error says.
            script: Where it happened; empty if it is not known.
            line: The line there, or 0.
        """
        raised, self.raised = self.raised, None
        interrupt, self._interrupt = self._interrupt, None
        name = script.decode("utf-8", "replace")
        if isinstance(interrupt, SpentError):
            return BudgetError(_TICKED, script=name, line=line, phase=phase)
        if interrupt is not None:
            return interrupt
        if kind != b"error":
            return BudgetError(_BUDGETS[kind.decode()], script=name, line=line, phase=phase)
        reason = text.decode("utf-8", "replace")
        kind_of: type[HookError] = ScriptError
        is_raised = raised is not None and _text_of(raised) == reason
        if is_raised:
            if isinstance(raised, HookError):
                kind_of = type(raised)
            elif isinstance(raised, UnavailableError):
                kind_of = TooSlowError
        failure = kind_of(reason, script=name, line=line, phase=phase)
        if is_raised:
            failure.__cause__ = raised
        return failure


def _text_of(error: OutriderError) -> str:
    """What a script hears of an error."""
    return error.reason if isinstance(error, HookError) else error.message


def _signature_fault(function: Function, values: tuple[Any, ...]) -> str:
    """Why a function cannot be called with these; empty if it can."""
    try:
        inspect.signature(function).bind(*values)
    except TypeError as error:
        return str(error)
    return ""
