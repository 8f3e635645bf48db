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

from dataclasses import dataclass
from pathlib import Path

import msgspec

from outrider.base.clock import Clock
from outrider.schedule.memory import LONGEST_SECONDS, Memory

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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
        except (OSError, msgspec.DecodeError):
            return None
        memory = written.memory
        wall = self._clock.wall()
        if self._boot and written.boot == self._boot:
            wall = memory.taken_time + self._clock.now() - written.written_at
        elif not memory.is_clean:
            return None
        if wall - memory.taken_time > LONGEST_SECONDS:
            memory = Memory(wall, wall, {})
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


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
