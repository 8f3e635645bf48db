"""Processor time that Python hooks may use, kept without a call for each hook.

In: `begin` and `end` around whatever runs a script. Out: `SpentError`, raised inside the script when it used
up its time, and again at each tick until it ends, so that catching it does not help.

Theory: a timer of the process's own processor time ticks while anything runs; its handler looks whether a
script runs now and for how many ticks. So a hook costs two assignments, and a tick some microseconds. What
runs outside the interpreter, as a regular expression gone wild, is interrupted when it comes back.

Invariant: nothing is raised outside `begin` and `end`.
"""

import math
import signal
from types import FrameType

TICK_SECONDS = 0.01
# chosen: a tenth of the default budget; 100 ticks a second of work cost 0.1 %


class SpentError(BaseException):
    """The script used up its processor time. Not an Exception: scripts that catch those do not catch it."""


class CpuBudget:
    """See the module. One for each process, used in its main thread.

    Args:
        seconds: Processor time for one step of a hook, between its waits.
    """

    __slots__ = ("_left", "_runs", "_ticks")

    def __init__(self, seconds: float) -> None:
        self._ticks = 0
        self._left = 0
        self._runs = False
        self.reshape(seconds)

    def reshape(self, seconds: float) -> None:
        """Another budget from the next step on."""
        self._ticks = math.ceil(seconds / TICK_SECONDS) + 1

    def start(self) -> None:
        """Begin to tick."""
        signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, TICK_SECONDS, TICK_SECONDS)

    def stop(self) -> None:
        """End ticking."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def begin(self) -> None:
        """A script runs from now on."""
        self._left = self._ticks
        self._runs = True

    def end(self) -> None:
        """It does not any more."""
        self._runs = False

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        if self._runs:
            self._left -= 1
            if self._left <= 0:
                raise SpentError
