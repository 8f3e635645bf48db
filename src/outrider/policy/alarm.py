"""An end by the clock for what runs at the top level of a script in Python while it is loaded.

In: seconds. Out: `LateError`, raised inside what runs, again and again until it ends, so that catching it
does not help; as in `budget`, but by the time on the wall, because a top level that waits for the network
keeps everything waiting as one that spins does.

Theory: as in `budget`: the signal is marked as come once more while the exception is made, so whoever catches
it meets the next one in its own handler.

Invariant: nothing is raised while `is_running` is false; after `stop` whoever had the signal and its timer
before has them again.
"""

import signal
import threading
from _thread import interrupt_main
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any


class LateError(BaseException):
    """It took too long. Not an Exception: scripts that catch those do not catch it."""

    __init__ = partial(interrupt_main, signal.SIGALRM)


class Alarm:
    """One time's end. Used in the main thread; in others it never rings, because no signal reaches them.

    Args:
        seconds: How long.

    Attributes:
        is_running: What is to be ended runs now. Whoever called `start` makes it false, by an assignment in a
            `finally` and before anything else; see `budget`.
    """

    __slots__ = ("_before", "_seconds", "_timer", "is_running")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._before: Callable[[int, FrameType | None], Any] | int | None = None
        self._timer = (0.0, 0.0)
        self.is_running = False

    def start(self) -> None:
        """It runs from now on."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self.is_running = True
        self._timer = signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def stop(self) -> None:
        """It will not ring any more."""
        if self._before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            signal.setitimer(signal.ITIMER_REAL, *self._timer)
            self._before = None

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        if self.is_running:
            raise LateError
