"""The throttles' state over a clean stop, so that a restart neither forgets nor doubles what was sent.

Written only by a dispatcher that stopped in order, read and removed by the next one: a file that is missing
means that nobody knows what was sent last, and the throttles start without tokens.

Theory: the state is in Unix seconds. Two processes of one boot agree exactly on the monotonic clock, but on
the calendar only as far as nobody set it between their starts; so the time that has passed is taken from the
monotonic clock while the machine has not been restarted.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from outrider.base.clock import Clock
from outrider.schedule.scheduler import BucketStates

OLD_SECONDS = 86_400.0
# chosen: the longest period that a rate can have; what is older limits nothing
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Kept(msgspec.Struct, array_like=True):
    written_time: float
    written_at: float
    boot: str
    buckets: BucketStates


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a clean stop left.

    Attributes:
        buckets: State of each throttle.
        wall: What the Unix time is now on the calendar that `buckets` was written by.
    """

    buckets: BucketStates
    wall: float


class Throttles:
    """See the module; `boot` names the machine's start, and is empty where it has no name."""

    def __init__(self, path: Path, clock: Clock, boot: str | None = None) -> None:
        self._path = path
        self._clock = clock
        self._boot = _boot_id() if boot is None else boot

    def take(self) -> Remembered | None:
        """What a clean stop left, once; None when the last stop was not clean."""
        try:
            octets = self._path.read_bytes()
            self._path.unlink()
            kept = msgspec.msgpack.decode(octets, type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None
        wall = self._clock.wall()
        if self._boot and kept.boot == self._boot:
            wall = kept.written_time + self._clock.now() - kept.written_at
        return Remembered(kept.buckets if wall - kept.written_time < OLD_SECONDS else {}, wall)

    def keep(self, buckets: BucketStates) -> None:
        """Leave the state for the next start."""
        kept = _Kept(self._clock.wall(), self._clock.now(), self._boot, buckets)
        self._path.write_bytes(msgspec.msgpack.encode(kept))


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
