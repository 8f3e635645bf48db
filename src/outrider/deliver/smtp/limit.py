"""A time limit on one wait, where every connection needs one: `asyncio.timeout` at a third of its price.

In: seconds. Out: TimeoutError after them, raised where the block ends.

Theory: as `asyncio.timeout`: the timer cancels the task, and the end of the block turns that cancellation,
and no other, into TimeoutError. It may not be moved or asked while it runs, which the other pays for.
"""

import asyncio
from types import TracebackType


class TimeLimit:
    """Use as `with`, in a task; not twice."""

    __slots__ = ("_seconds", "_task", "_timer", "is_over")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False

    def __enter__(self) -> "TimeLimit":
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        return self

    def _end(self) -> None:
        self.is_over = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.is_over or self._task is None:
            return
        # somebody else may have cancelled the task as well: then it stays cancelled
        if self._task.uncancel() <= 0 and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
