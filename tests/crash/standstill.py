"""How long the machine stood still: a thread that asks for processor and disk again and again.

In: a folder on the disk in question. Out: by how much what it asked for was late around a moment. A busy or
shared machine keeps all its processes waiting; whoever judges others by the clock makes allowance for that.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from outrider.base.clock import SystemClock

PAUSE_SECONDS = 0.1
NOTABLE_SECONDS = 0.5
"""Chosen: a disk that syncs and a processor that is shared are that late all the time."""
AROUND_SECONDS = 10.0
"""Chosen: what was kept waiting before a moment, or after it, still has its place there."""


class Standstill:
    """Works from `with` to its end.

    Args:
        folder: Where the disk is asked.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "standstill"
        self._clock = SystemClock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="standstill")
        self._late: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()

    def around(self, at: float) -> float:
        """The seconds by which it was late about a moment (Unix seconds), all together."""
        return sum(late for when, late in list(self._late) if abs(when - at) < AROUND_SECONDS + late)

    def _run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            before = self._clock.now()
            while not self._ends.wait(PAUSE_SECONDS):
                file.write(b"x")
                os.fsync(file.fileno())
                now = self._clock.now()
                late = now - before - PAUSE_SECONDS
                if late > NOTABLE_SECONDS:
                    self._late.append((self._clock.wall(), late))
                before = now
