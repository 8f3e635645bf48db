"""One path: its waiting entries, its slots, the state of its receiver, and the counted things it waits for.

A path exists while it holds entries, slots or connections that still count; what must outlive it
(throttles) is kept by the scheduler. The scheduler alone changes it; what is here is what concerns no other
path.

A *slot* is the right to have one connection open on a path. A *gate* is something limited that paths may
share: a `Pool` of connections or a `Meter` of events. Paths that find a gate shut queue at it and get
through in that order, so that none of those that share it is starved. Paths, slots and gates know each other,
so they are one module.

Theory of connections: they grow while there is a backlog and connecting succeeds. `ramp` is how many may be
connecting at once: it starts small and grows by one with each success, so a receiver that is down sees a
few attempts and one that is up soon gets all it allows. After a failure the path holds off, 30 s doubling
up to its retry interval, then probes with one connection and one entry, so that an outage costs few entries
an attempt.
"""

import math
import random
from collections import OrderedDict, deque

from outrider.model.changes import Entry
from outrider.model.flow import Path
from outrider.schedule.fairness import FairQueue
from outrider.schedule.rate import Rate
from outrider.schedule.shaping import Shaping
from outrider.schedule.stats import Suspension
from outrider.schedule.throttle import Throttle

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


class Worker:
    """A worker process that can hold slots.

    Attributes:
        number: Which.
        log: The number of its log.
        slots: Those that it holds.
        asides: Entries that it was told to settle without a connection.
    """

    __slots__ = ("asides", "log", "number", "slots")

    def __init__(self, number: int, log: int) -> None:
        self.number = number
        self.log = log
        self.slots: dict[int, Slot] = {}
        self.asides: set[int] = set()


class Slot:
    """One connection of one path at one worker, from `Open` to `Closed` and until its entries are settled.

    Attributes:
        number: Its id.
        worker: Where.
        path: For what.
        granted: Entries that are with it.
        want: How many entries its connection asked for; 0 while it asks for none.
        idle: It was told that there is nothing for it now.
        connected: Its connection counts: it may be open.
        connecting: No sign yet that the connection works.
        closing: It was told to close.
        carried: Entries granted to it so far.
        opened_at: When.
        returned: Entries came back from it unattempted.
    """

    __slots__ = (
        "carried",
        "closing",
        "connected",
        "connecting",
        "granted",
        "idle",
        "number",
        "opened_at",
        "path",
        "returned",
        "want",
        "worker",
    )

    def __init__(self, number: int, worker: Worker, path: "PathQueue", now: float) -> None:
        self.number = number
        self.worker = worker
        self.path = path
        self.granted: dict[int, Entry] = {}
        self.want = 0
        self.idle = False
        self.connected = True
        self.connecting = True
        self.closing = False
        self.carried = 0
        self.opened_at = now
        self.returned = False


class Pool:
    """Connections that may be open at once, of one path or of all that share the pool.

    Attributes:
        limit: How many.
        used: How many may be open now.
        closing: How many of those were told to close.
        holders: Paths that hold at least one.
        waiters: Paths that wait for one, in order.
        idle: Slots that have nothing to do, longest idle first; kept for shared pools only.
        shared: More than one path can use it.
    """

    __slots__ = ("closing", "holders", "idle", "limit", "shared", "used", "waiters")

    def __init__(self, limit: int, *, shared: bool) -> None:
        self.limit = limit
        self.used = 0
        self.closing = 0
        self.holders: dict[PathQueue, int] = {}
        self.waiters: deque[PathQueue] = deque()
        self.idle: OrderedDict[int, Slot] = OrderedDict()
        self.shared = shared

    def take(self, path: "PathQueue") -> None:
        self.used += 1
        if self.shared:
            self.holders[path] = self.holders.get(path, 0) + 1

    def give(self, path: "PathQueue") -> None:
        self.used -= 1
        if self.shared:
            left = self.holders[path] - 1
            if left:
                self.holders[path] = left
            else:
                del self.holders[path]

    def share(self) -> int:
        """Connections that each path may keep while others wait."""
        return max(1, self.limit // max(1, len(self.holders) + len(self.waiters)))

    def open_at(self, now: float) -> float:
        """When a connection is free without further news."""
        return now if self.used < self.limit else math.inf

    def is_open(self, now: float) -> bool:  # noqa: ARG002 - same shape as Meter
        return self.used < self.limit


class Meter(Throttle):
    """A throttle that paths may share.

    Attributes:
        key: To whom it belongs.
        users: Paths that exist and use it.
        waiters: Paths that wait for a permit, in order.
        timer_at: When the scheduler looks at it again.
    """

    __slots__ = ("key", "timer_at", "users", "waiters")

    def __init__(self, key: str, rate: Rate, assumed_until: float | None) -> None:
        super().__init__(rate, assumed_until)
        self.key = key
        self.users = 0
        self.waiters: deque[PathQueue] = deque()
        self.timer_at = math.inf

    def open_at(self, now: float) -> float:
        """When a permit is there without further news."""
        return self.next_at(now)

    def is_open(self, now: float) -> bool:
        return self.available(now) > 0


Gate = Pool | Meter


class Linger:
    """A connection of a worker that died, which counts until its peer has surely seen the end."""

    __slots__ = ("path", "timer_at")

    def __init__(self, path: "PathQueue") -> None:
        self.path = path
        self.timer_at = math.inf


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
        "slots_at",
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
        self.slots_at: dict[int, int] = {}
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

    def enter(self, slot: Slot) -> None:
        """The path has a slot more."""
        self.slots[slot.number] = slot
        number = slot.worker.number
        self.slots_at[number] = self.slots_at.get(number, 0) + 1

    def leave(self, slot: Slot) -> None:
        """A slot is gone."""
        if self.slots.pop(slot.number, None) is None:
            return
        number = slot.worker.number
        self.slots_at[number] -= 1
        if not self.slots_at[number]:
            del self.slots_at[number]

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
