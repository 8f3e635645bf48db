"""When a tool of the practice internet ends: a signal, a time, or the end of its standard input.

In: which of them count. Out: an event that is set once.
"""

import asyncio
import os
import signal
import sys


class Stopping:
    """An event set by SIGINT, SIGTERM, and what the caller adds; a second SIGINT cancels the main task."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._is_interrupted = False
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._loop.add_signal_handler(signal.SIGINT, self._interrupt)
        self._loop.add_signal_handler(signal.SIGTERM, self.event.set)

    def after(self, seconds: float) -> None:
        """Also stop after `seconds`; 0 adds nothing."""
        if seconds:
            self._loop.call_later(seconds, self.event.set)

    def at_end_of_input(self) -> None:
        """Also stop when standard input closes: the tool then does not outlive who started it."""
        descriptor = sys.stdin.fileno()

        def readable() -> None:
            if not os.read(descriptor, 4096):
                self._loop.remove_reader(descriptor)
                self.event.set()

        self._loop.add_reader(descriptor, readable)

    def _interrupt(self) -> None:
        if self._is_interrupted and self._main:
            self._main.cancel()
        self._is_interrupted = True  # the event may have another reason: an end of input in the same turn
        self.event.set()


def first_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of a task group: the one to tell, as the others follow from it or equal it."""
    first = group.exceptions[0]
    return first_failure(first) if isinstance(first, BaseExceptionGroup) else first
