"""What the dispatcher's throttles know, on disk, so that a successor neither forgets nor waits.

In: the scheduler's `Memory`, written before it grants anything and about each second while it grants, and
at a clean stop. Out: the memory and the time now on the calendar that it was written by, or None when
nobody knows what was sent last; the throttles then assume the worst.

Theory: the file is replaced as a whole and not synced: what was renamed outlives any process. Only a
crash of the machine may lose the latest one, so a memory of an earlier start of the machine counts only
after a clean stop. Times are Unix seconds. Two processes of one boot agree exactly on the monotonic
clock, but on the calendar only as far as nobody set it between their starts; so the time that has passed
is taken from the monotonic clock while the machine has not been restarted.

Invariant: what `take` gives was written before anything was granted that it does not allow for.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.schedule.memory import LONGEST_SECONDS, Memory
from outrider.schedule.scheduler import Scheduler

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KEEP_SECONDS = 1.0
# chosen: what may have been granted in it is taken for used after a death, so a path pauses about as long
KEEP_SHARE = 50.0
# chosen: where thousands of throttles are busy, writing them takes 2 % of the time at most


class _Written(msgspec.Struct, array_like=True):
    written_at: float
    boot: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a predecessor left.

    Attributes:
        memory: Its throttles.
        wall: What the Unix time is now on the calendar that `memory` was written by.
    """

    memory: Memory
    wall: float


class Throttles:
    """See the module; `boot` names the machine's start, and is empty where it has no name."""

    def __init__(self, path: Path, clock: Clock, boot: str | None = None) -> None:
        self._path = path
        self._clock = clock
        self._boot = _boot_id() if boot is None else boot

    def take(self) -> Remembered | None:
        """What a predecessor left; None when nobody knows what it did last."""
        try:
            written = msgspec.msgpack.decode(self._path.read_bytes(), type=_Written)
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        memory = written.memory
        wall = self._clock.wall()
        if self._boot and written.boot == self._boot:
            wall = memory.taken_time + self._clock.now() - written.written_at
        elif not memory.is_clean:
            return None
        if wall - memory.taken_time > LONGEST_SECONDS:
            memory = memory.after_a_day(wall)
        return Remembered(memory, wall)

    def keep(self, memory: Memory) -> None:
        """Leave it for the next start.

        Raises:
            OSError: It could not be written; the last one is still there.
        """
        octets = msgspec.msgpack.encode(_Written(self._clock.now(), self._boot, memory))
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_bytes(octets)
        new.replace(self._path)

    def forget(self) -> None:
        """Leave nothing: a successor assumes the worst.

        Raises:
            OSError: The last one is still there.
        """
        self._path.unlink(missing_ok=True)


class Lease:
    """Until when a dispatcher may grant: as long as what it has written allows for.

    Args:
        throttles: The file.
        scheduler: Knows the throttles.
        clock: Time.
        log: Told when the file cannot be written.

    Attributes:
        renew_at: When `holds` writes again, in monotonic seconds.
    """

    def __init__(self, throttles: Throttles, scheduler: Scheduler, clock: Clock, log: Log) -> None:
        self.renew_at = -math.inf
        self._throttles = throttles
        self._scheduler = scheduler
        self._clock = clock
        self._log = log
        self._seconds = KEEP_SECONDS
        self._is_held = False

    def holds(self) -> bool:
        """True while granting is allowed; first writes, where it is time to, what a successor must know."""
        now = self._clock.now()
        if now >= self.renew_at:
            self._is_held = self._renew(now)
        return self._is_held

    def end(self) -> None:
        """Leave the last state, at a clean stop; when it cannot be written, the one before holds."""
        now = self._clock.now()
        try:
            self._throttles.keep(self._scheduler.remember(now, self._clock.wall(), now))
        except OSError as error:
            self._log.error("throttles.not_kept", error=error.strerror)

    def _renew(self, now: float) -> bool:
        until = now + self._seconds
        self.renew_at = now + KEEP_SECONDS
        try:
            self._throttles.keep(self._scheduler.remember(now, self._clock.wall(), until))
        except OSError as error:
            self._log.error("throttles.not_kept", error=error.strerror)
            try:
                self._throttles.forget()  # no memory is safe, a wrong one is not
            except OSError:
                return False
        else:
            self.renew_at = until
            self._seconds = max(KEEP_SECONDS, KEEP_SHARE * (self._clock.now() - now))
        return True


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
