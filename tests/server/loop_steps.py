"""How many octets one step of the loop goes through: a measure of work that no busy machine changes.

While it is entered, each callback of the loop is a step. What a step goes through is the larger one of what
it has allocated at its peak, which finds copies, and of the octets of the texts whose functions it calls or
hands to one of `counted`, which finds searches and checksums. Threads wait while a step runs, so what they do
is not counted.
"""

import asyncio
import sys
import threading
import tracemalloc
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import pytest

from outrider.spool.segments import SegmentWriter

SEEN_FROM = 4_096
CONSTANT = frozenset(("startswith", "endswith", "join", "append", "extend", "write", "popleft"))
"""Functions whose work does not grow with the object they are called on; what `join` makes is allocated."""


class LoopSteps:
    """See the module.

    Attributes:
        longest: Octets of the longest step.
        where: What it called last.
        handed_over: Functions that were given to threads of the loop.
    """

    def __init__(self, *counted: tuple[object, str]) -> None:
        self.longest = 0
        self.where = ""
        self.handed_over = 0
        self._octets = 0
        self._last = ""
        self._is_step = False
        self._lock = threading.Lock()
        self._counted = counted
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "LoopSteps":
        steps, lock = self, self._lock
        run = asyncio.Handle._run
        run_in_executor = asyncio.BaseEventLoop.run_in_executor
        write = SegmentWriter.write

        def run_step(handle: asyncio.Handle) -> None:
            with lock:
                steps._step(run, handle)

        def hand_over(loop: Any, executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
            def alone() -> Any:
                with lock:
                    return function(*arguments)

            steps.handed_over += 1
            return run_in_executor(loop, executor, alone)

        def write_alone(writer: SegmentWriter, payloads: Any) -> Any:
            with lock:
                return write(writer, payloads)

        self._patch.setattr(asyncio.Handle, "_run", run_step)
        self._patch.setattr(asyncio.BaseEventLoop, "run_in_executor", hand_over)
        self._patch.setattr(SegmentWriter, "write", write_alone)
        for home, name in self._counted:
            self._patch.setattr(home, name, self._noted(name, vars(home)[name]))
        tracemalloc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.undo()
        tracemalloc.stop()

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            if self._is_step and threading.current_thread() is threading.main_thread():
                self._see(name, max(len(each) for each in arguments if isinstance(each, bytes)))
            return function(*arguments)

        return noted

    def _step(self, run: Callable[[asyncio.Handle], None], handle: asyncio.Handle) -> None:
        self._octets, self._last = 0, ""
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        self._is_step = True
        sys.setprofile(self._called)
        try:
            run(handle)
        finally:
            sys.setprofile(None)
            self._is_step = False
            octets = max(self._octets, tracemalloc.get_traced_memory()[1] - before)
            if octets > self.longest:
                self.longest, self.where = octets, f"{self._last} in {handle!r}"

    def _called(self, _frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ not in CONSTANT:
            text = getattr(function, "__self__", None)
            if isinstance(text, bytes | bytearray | str) and len(text) > SEEN_FROM:
                self._see(function.__name__, len(text))

    def _see(self, name: str, octets: int) -> None:
        self._octets += octets
        self._last = name
