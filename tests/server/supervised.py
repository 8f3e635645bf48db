"""A supervisor with small children, for `test_supervisor.py`: a program, since it forks and takes signals.

Usage: `supervised.py SPEED KIND...`; the log comes out as JSON lines, with one `ready` when all are.
`SPEED` is how much faster than the machine's the supervisor's clock runs. Kinds of children:

- `good`: ready, beats, ends when told;
- `dies`: ready, then ends with 3 at once;
- `tells`: as `dies`, and says since when the server is up;
- `wrong`: finds a fault in its configuration, as processes do: within the task group of their lives;
- `spoilt`: as `good`, and the next time it finds such a fault;
- `stuck`: ready, then never beats again;
- `stubborn`: ready, beats, does not end when told;
- `raises`: has a bug.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError
from outrider.server.lifecycle import BEAT, READY, Birth, Lifecycle, live
from outrider.server.options import ServerOptions
from outrider.server.settings import Settings
from outrider.server.supervisor import Supervisor

BEAT_SECONDS = 0.05
WATCHDOG_SECONDS = 60.0


class LineLog:
    """Log lines on standard output, each in one write."""

    def __init__(self, **bound: Any) -> None:
        self._bound = bound

    def _say(self, event: str, fields: dict[str, Any]) -> None:
        os.write(1, msgspec.json.encode({"event": event, **self._bound, **fields}) + b"\n")

    def debug(self, event: str, **fields: Any) -> None:
        self._say(event, fields)

    info = warning = error = debug

    def bind(self, **fields: Any) -> "LineLog":
        return LineLog(**{**self._bound, **fields})


class FastClock:
    """The machine's clock, some times as fast."""

    def __init__(self, speed: float) -> None:
        self._clock = SystemClock()
        self._speed = speed

    def now(self) -> float:
        return self._clock.now() * self._speed

    def wall(self) -> float:
        return self._clock.wall()

    def stepped(self) -> float:
        return self._clock.stepped()


def beat(birth: Birth) -> None:
    """Beat until ended by a signal, or until the supervisor is gone."""
    os.set_blocking(birth.parent, False)
    while True:
        os.write(birth.status, BEAT)
        time.sleep(BEAT_SECONDS)
        try:
            gone = os.read(birth.parent, 1) == b""
        except BlockingIOError:
            gone = False
        if gone:
            os._exit(75)


def good(birth: Birth) -> None:
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    os.write(birth.status, READY)
    beat(birth)


def dies(birth: Birth) -> None:
    os.write(birth.status, READY)
    sys.exit(3)


def tells(birth: Birth) -> None:
    birth.log.info("told", up_since_at=birth.up_since_at, now=birth.clock.now())
    dies(birth)


def wrong(birth: Birth) -> None:
    async def fail(_life: Lifecycle) -> None:
        raise ConfigError("server.port: cannot be had")

    asyncio.run(live(birth, fail))


def spoilt(birth: Birth) -> None:
    if birth.is_restart:
        wrong(birth)
    good(birth)


def stuck(birth: Birth) -> None:
    os.write(birth.status, READY)
    signal.pause()


def stubborn(birth: Birth) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(birth.status, READY)
    beat(birth)


def raises(_birth: Birth) -> None:
    raise ZeroDivisionError("a bug")


KINDS: dict[str, Callable[[Birth], None]] = {
    kind.__name__: kind for kind in (good, dies, tells, wrong, spoilt, stuck, stubborn, raises)
}


def main(speed: str, *kinds: str) -> int:
    log = LineLog()
    settings = Settings(server=ServerOptions(watchdog_seconds=WATCHDOG_SECONDS, drain_seconds=10.0))
    supervisor = Supervisor(settings, FastClock(float(speed)), log, lambda: log.info("ready"))
    for number, kind in enumerate(kinds):
        name, _, kind_of = kind.rpartition(":")
        supervisor.add(name or f"{kind_of}-{number}", KINDS[kind_of], {}, number)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
