"""A hook that waits, driven step by step: its own steps cost processor time, its waits do not.

In: the hook's coroutine. Out: what it gives.

Theory: who is cancelled may clean up, also with waits, for `CLEAN_UP_SECONDS`; then it is broken off,
whatever it catches, so that no script keeps a session, a stop or a time-out from its end.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Final

from outrider.policy.budget import CpuBudget, SpentError

CLEAN_UP_SECONDS: Final = 1.0
# chosen: a connection goes back to its pool within milliseconds
_CLOSINGS: Final = 3
# chosen: of nested handlers that catch everything; a loop around one is left to itself


class _Grace:
    """Time to clean up, from the first cancellation on."""

    __slots__ = ("_task", "is_over", "timer")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.is_over = False
        self.timer = asyncio.get_running_loop().call_later(CLEAN_UP_SECONDS, self._end)

    def _end(self) -> None:
        self.is_over = True
        if self._task is not None:
            self._task.cancel()

    def withdraw(self) -> None:
        """Take the cancellation of `_end` back: whoever cancelled before has been heard."""
        if self._task is not None:
            self._task.uncancel()


@coroutine
def metered(work: Coroutine[Any, Any, Any], budget: CpuBudget) -> Generator[Any, Any, Any]:
    """What a hook's coroutine gives.

    Raises:
        SpentError: A step of it used up its processor time.
    """
    value: Any = None
    error: BaseException | None = None
    grace: _Grace | None = None
    try:
        while True:
            try:
                budget.begin()
                try:
                    waited = work.send(value) if error is None else work.throw(error)
                finally:
                    budget.is_running = False
            except StopIteration as stop:
                return stop.value
            value = error = None
            try:
                value = yield waited
            except asyncio.CancelledError as cancelled:
                grace = grace or _Grace()
                if grace.is_over:
                    grace.withdraw()
                    _break_off(work, budget)
                    raise
                error = cancelled
            except BaseException as raised:
                error = raised
    finally:
        if grace is not None:
            grace.timer.cancel()


def _break_off(work: Coroutine[Any, Any, Any], budget: CpuBudget) -> None:
    for _ in range(_CLOSINGS):
        with suppress(Exception, SpentError):  # it goes on where it is to end, or fails at it
            budget.begin()
            try:
                work.close()
            finally:
                budget.is_running = False
            return
    # one that is forgotten would be closed once more, perhaps without an end, where nothing interrupts it
    budget.abandoned.append(work)
