"""Which hosts failed lately, so that they are tried after the others.

Failures go in by host; an order of hosts comes out. It is a preference only: a host that failed is still
tried when no other is left, so a wrong memory costs a detour and never a delivery.

Invariant: `order` gives the same hosts as it took; memory is bounded.
"""

from collections.abc import Sequence

from outrider.base.clock import Clock
from outrider.model.flow import Host

REMEMBER_SECONDS = 60.0
# chosen: long enough that a burst does not try a dead host for each connection, short enough to find it
# back soon
HOSTS_MAX = 10_000
# chosen: about 1 MiB; the oldest failure is forgotten first


class HostMemory:
    """See the module."""

    __slots__ = ("_clock", "_failed")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: dict[tuple[str, int], float] = {}

    def failed(self, host: Host) -> None:
        """Connect, greeting, EHLO or TLS failed on it."""
        key = (host.address, host.port)
        self._failed.pop(key, None)
        self._failed[key] = self._clock.now() + REMEMBER_SECONDS
        if len(self._failed) > HOSTS_MAX:
            del self._failed[next(iter(self._failed))]

    def succeeded(self, host: Host) -> None:
        self._failed.pop((host.address, host.port), None)

    def order(self, hosts: Sequence[Host]) -> list[Host]:
        """`hosts` with those that failed lately behind the others, otherwise in their order."""
        if not self._failed:
            return list(hosts)
        now = self._clock.now()
        failed = self._failed
        return sorted(hosts, key=lambda host: failed.get((host.address, host.port), 0.0) > now)
