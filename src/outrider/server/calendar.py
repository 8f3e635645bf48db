"""Tells when the machine's calendar was set while the server runs.

The server goes on by the calendar that it began with (`base.clock`), so that a step moves no due time and
expires no message. Its times in logs, events, headers and signatures are off by as much then, until a start.

In: the clock. Out: a gauge, and a line in the log for each step that matters, also back.
"""

import asyncio
from collections.abc import Callable

from outrider.base.clock import Clock
from outrider.base.log import Log

LOOK_SECONDS = 10.0
# chosen: a look costs some microseconds
STEP_SECONDS = 30.0
# chosen: beyond what clocks of a well-kept network differ by, and far below the tolerance of signatures
ADVICE = "the server keeps the time that it began with; restart it once the machine's clock is right"


class Calendar:
    """See the module.

    Args:
        clock: Time.
        log: Told of steps.
        gauge: Hears at each look by how many seconds the machine is ahead.
    """

    def __init__(self, clock: Clock, log: Log, gauge: Callable[[float], None]) -> None:
        self._clock = clock
        self._log = log
        self._gauge = gauge
        self._told = 0.0

    def look(self) -> None:
        """Compare once."""
        ahead = self._clock.stepped()
        self._gauge(ahead)
        if abs(ahead - self._told) < STEP_SECONDS:
            return
        self._told = ahead
        if abs(ahead) < STEP_SECONDS:
            self._log.info("clock.agrees_again")
            self._told = 0.0
        else:
            self._log.error("clock.stepped", machine_is_ahead_seconds=round(ahead, 1), advice=ADVICE)

    async def watch(self) -> None:
        """Compare now and then, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)
