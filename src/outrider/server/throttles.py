"""The throttles' state over a clean stop, so that a restart neither forgets nor doubles what was sent.

Written only by a dispatcher that stopped in order, read and removed by the next one: a file that is missing
means that nobody knows what was sent last, and the throttles start without tokens.
"""

from pathlib import Path

import msgspec

from outrider.base.clock import Clock
from outrider.schedule.scheduler import BucketStates

OLD_SECONDS = 86_400.0
# chosen: the longest period that a rate can have; what is older limits nothing


class _Kept(msgspec.Struct, array_like=True):
    written_time: float
    buckets: BucketStates


class Throttles:
    """See the module."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def take(self) -> BucketStates | None:
        """What a clean stop left, once; None when the last stop was not clean."""
        try:
            octets = self._path.read_bytes()
            self._path.unlink()
            kept = msgspec.msgpack.decode(octets, type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None
        return kept.buckets if self._clock.wall() - kept.written_time < OLD_SECONDS else {}

    def keep(self, buckets: BucketStates) -> None:
        """Leave the state for the next start."""
        self._path.write_bytes(msgspec.msgpack.encode(_Kept(self._clock.wall(), buckets)))
