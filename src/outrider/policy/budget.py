"""Processor time and memory that Python hooks may use, kept without a call for each hook.

In: `begin` and `is_running` around what runs a script. Out: `SpentError`, raised inside the script when it
used up its time or had the process grow too much, and again at the next call, loop or step until it ends, so
that catching it does not help.

Theory: a timer of the process's own processor time ticks while anything runs; its handler looks whether a
script runs now and for how many ticks. So a hook costs two assignments, and a tick some microseconds. Python
runs a signal's handler at the next call or turn of a loop. When the time is up, the signal is marked as come
once more while the exception is made: who catches it meets the next one in its own handler, outside of what
catches. That is done by a function in C, because after any call in the handler the signal would be taken
there. What runs outside the interpreter, as a regular expression gone wild, is interrupted when it comes
back. A script that has come to the end of Python's stack may meet a tick as a RecursionError; it meets the
next one, until it has left some room. Memory is looked at by the same ticks, as growth of the process's peak
since the first tick of a step: what grows faster than they come, as one huge text, is seen when it is there.

Whoever runs a script ends its time by `is_running = False`, in a `finally` and before anything else: an
assignment is no place where a handler runs, a call is one.

Invariant: nothing is raised while `is_running` is false.
"""

import math
import resource
import signal
from _thread import interrupt_main
from functools import partial
from types import FrameType

TICK_SECONDS = 0.01
# chosen: a tenth of the default budget; 100 ticks a second of work cost 0.1 %

GROWTH_KIB = 262_144
# chosen: ten copies of a message of 25 MiB; getrusage(2) counts in KiB

UNKNOWN_KIB = 1 << 62
# chosen: more than any machine has, so that nothing grows beyond it


class SpentError(BaseException):
    """The script used up its processor time. Not an Exception: scripts that catch those do not catch it.

    Each one that is made has the tick come again; see the module.
    """

    __init__ = partial(interrupt_main, signal.SIGPROF)


class CpuBudget:
    """See the module. One for each process, used in its main thread.

    Args:
        seconds: Processor time for one step of a hook, between its waits.

    Attributes:
        is_running: A script runs now; set by `begin`, ended by whoever called that.
        is_memory: What was used up last was memory, not processor time.
        abandoned: Hooks that caught even their end; see `metering`.
    """

    __slots__ = ("_left", "_peak", "_ticks", "abandoned", "is_memory", "is_running")

    def __init__(self, seconds: float) -> None:
        self.abandoned: list[object] = []
        self._ticks = 0
        self._left = 0
        self._peak = 0
        self.is_memory = False
        self.is_running = False
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
        self.is_running = True

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        if self.is_running:
            self._left = left = self._left - 1  # at once: a call may fail, near the end of Python's stack
            if left > 0:
                if left == self._ticks - 1:
                    self.is_memory, self._peak = False, UNKNOWN_KIB
                    self._peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                    return
                if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._peak <= GROWTH_KIB:
                    return
                self._left, self.is_memory = 0, True
            raise SpentError
