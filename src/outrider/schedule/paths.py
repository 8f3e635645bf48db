"""One path: its waiting entries, its slots and the state of its receiver.

A path exists while it holds entries, slots or connections that still count; what must outlive it
(throttles) is kept by the scheduler. The scheduler alone changes it; what is here is what concerns no other
path.

Theory of connections: they grow while there is a backlog and connecting succeeds. `ramp` is how many may be
connecting at once: it starts small and grows by one with each success, so a receiver that is down sees a
few attempts and one that is up soon gets all it allows. After a failure the path holds off, 30 s doubling
up to its retry interval, then probes with one connection and one entry, so that an outage costs few entries
an attempt.
"""

import math
import random
from dataclasses import dataclass

from outrider.model.flow import Path
from outrider.schedule.fairness import FairQueue
from outrider.schedule.shaping import Shaping
from outrider.schedule.slots import Gate, Meter, Pool, Slot

# Chosen: one more connection for each ten entries that wait (a batch is 10 to 20).
_BACKLOG_PER_CONNECTION = 10
# Chosen: entries that wait this long although the limits allow them to go justify another connection.
PATIENCE_SECONDS = 0.2
# Chosen: first contact with a receiver; doubles in effect with each round of successes.
_FIRST_CONNECTIONS = 4
# Chosen: entries sent along with an Open; they share its fate, so few at first.
_FIRST_LEAD = 4
_LEAD_MAX = 16
# Chosen: a batch below this costs more in messages than the parallelism brings.
_BATCH_MIN = 4
# RFC 5321 §4.5.3.1.8: every receiver takes so many recipients in one transaction.
_TOGETHER_MAX = 100
# Chosen: below this rate a permit is too precious to wait in a connection that is not open yet.
_SLOW_PER_SECOND = 10.0
# Chosen: a receiver that restarts is back in half a minute.
_HOLD_OFF_SECONDS = 30.0
# Chosen: a tenth of the window; keeps a small stream from queueing on disk behind a large one.
_SMALL_SHARE = 10


@dataclass(frozen=True, slots=True)
class Suspension:
    """An order to keep the mail of some paths.

    Attributes:
        channel: Channel pattern.
        binding: Binding pattern.
        site: Site pattern.
        until_at: Monotonic seconds; infinite until it is lifted.
        reason: For people.
        actor: Who gave it.
    """

    channel: str
    binding: str
    site: str
    until_at: float
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class PathStats:
    """What a status page shows of a path; `next_at` is monotonic seconds or None."""

    path: Path
    waiting: int
    deferred: int
    granted: int
    connections: int
    connecting: int
    idle: int
    failures: int
    state: str
    more_on_disk: bool
    next_at: float | None


class PathQueue:
    """State of one path; see the module."""

    __slots__ = (
        "awaits_hosts",
        "connected",
        "connecting",
        "connection_meter",
        "deferred",
        "expire_time",
        "failures",
        "fresh",
        "granted",
        "held_off_until",
        "is_ready",
        "last_failure_at",
        "last_grant_at",
        "lead",
        "lingering",
        "may_grant",
        "may_open",
        "meter",
        "more",
        "path",
        "pool",
        "queue",
        "ramp",
        "shaping",
        "slots",
        "suspension",
        "timer_at",
        "waits_open",
        "waits_permit",
        "wants",
    )

    def __init__(self, path: Path, shaping: Shaping, pool: Pool) -> None:
        self.path = path
        self.shaping = shaping
        self.pool = pool
        self.meter: Meter | None = None
        self.connection_meter: Meter | None = None
        self.queue = FairQueue()
        self.deferred = 0
        self.granted = 0
        self.connected = 0
        self.connecting = 0
        self.lingering = 0
        self.slots: dict[int, Slot] = {}
        self.wants: dict[int, Slot] = {}
        self.fresh: dict[int, Slot] = {}
        self.more = False
        self.suspension: Suspension | None = None
        self.awaits_hosts = False
        self.expire_time = math.inf
        self.failures = 0
        self.held_off_until = -math.inf
        self.last_failure_at = -math.inf
        self.last_grant_at = -math.inf
        self.lead = _FIRST_LEAD
        self.ramp = _FIRST_CONNECTIONS
        self.is_ready = False
        self.timer_at = math.inf
        self.waits_permit = False
        self.waits_open: Gate | None = None
        self.may_grant = False
        self.may_open = False

    @property
    def resident(self) -> int:
        """Entries in memory that no slot has."""
        return self.queue.size + self.deferred

    @property
    def is_empty(self) -> bool:
        """True when nothing is left of the path."""
        return not (
            self.queue.size or self.deferred or self.granted or self.slots or self.lingering or self.more
        )

    def room(self) -> int:
        """Entries that the window still takes."""
        return max(0, self.shaping.options.window - self.resident)

    def admits(self, waiting_of_stream: int, priority: int) -> bool:
        """True when an entry may enter a full window because its stream is small or it is urgent."""
        window = self.shaping.options.window
        if self.resident >= 2 * window:
            return False
        return priority > 0 or waiting_of_stream * _SMALL_SHARE < window

    def batch_size(self, slot: Slot) -> int:
        """How many entries a slot that asks gets, if limits allow: its share, and no more than it wants."""
        share = -(-self.queue.size // (len(self.wants) + 1))
        return min(slot.want, max(_BATCH_MIN, share))

    def room_for_message(self, permits: int) -> int:
        """How many entries a grant may have so that the recipients of one message go in one transaction."""
        return 0 if self.is_cautious else min(permits, _TOGETHER_MAX)

    @property
    def is_cautious(self) -> bool:
        """True while an entry should go alone: the receiver fails, or permits are precious."""
        if self.failures:
            return True
        rate = self.shaping.message_rate
        return rate is not None and rate.limit < _SLOW_PER_SECOND * rate.seconds

    def lead_size(self) -> int:
        """How many entries go with the next Open."""
        if self.is_cautious:
            return 1
        share = -(-self.queue.size // max(1, self.pool.limit - self.connected))
        return max(1, min(self.lead, max(_BATCH_MIN, share)))

    def wants_connection(self, now: float) -> bool:
        """True when the backlog justifies one more connection now."""
        if not self.queue.size or self.wants:
            return False
        if self.connected == 0:
            return True
        if self.failures:
            return self.connecting == 0
        if self.connecting >= self.ramp:
            return False
        if self.queue.size >= _BACKLOG_PER_CONNECTION * (self.connecting + 1):
            return True
        return self.connecting == 0 and now - self.last_grant_at >= PATIENCE_SECONDS

    def succeeded(self) -> None:
        """A connection works."""
        self.failures = 0
        self.held_off_until = -math.inf
        self.ramp = min(self.ramp + 1, max(_FIRST_CONNECTIONS, self.pool.limit))
        self.lead = min(self.lead * 2, _LEAD_MAX)

    def closed_early(self, deliveries: int) -> None:
        """A connection ended with entries left: the next ones get no more than it could carry."""
        self.lead = max(1, min(self.lead, deliveries))

    def failed(self, opened_at: float, now: float, rng: random.Random) -> None:
        """A connection could not be made; those that were under way together count once."""
        if opened_at <= self.last_failure_at:
            return
        self.last_failure_at = now
        self.failures += 1
        self.ramp = _FIRST_CONNECTIONS
        self.lead = _FIRST_LEAD
        longest = self.shaping.options.retry_interval_seconds
        wait = min(_HOLD_OFF_SECONDS * 2.0 ** min(self.failures - 1, 30), longest)
        self.held_off_until = now + wait * rng.uniform(0.9, 1.0)

    def state(self, now: float) -> str:
        """One word for people."""
        if self.suspension is not None or self.shaping.options.suspended:
            return "suspended"
        if now < self.held_off_until:
            return "held off"
        if self.failures:
            return "probing"
        if self.awaits_hosts:
            return "resolving"
        if self.waits_permit:
            return "throttled"
        return "limited" if self.waits_open is not None else "active"
