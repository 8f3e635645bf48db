"""Slots, and the counted things that paths wait for.

A *slot* is the right to have one connection open on a path. A *gate* is something limited that paths may
share: a `Pool` of connections or a `Meter` of events. Paths that find a gate shut queue at it and get
through in that order, so that none of those that share it is starved.
"""

import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from outrider.model.changes import Entry
from outrider.schedule.rate import Rate
from outrider.schedule.throttle import Throttle

if TYPE_CHECKING:
    from outrider.schedule.paths import PathQueue


class Worker:
    """A worker process that can hold slots."""

    __slots__ = ("log", "number", "slots")

    def __init__(self, number: int, log: int) -> None:
        self.number = number
        self.log = log
        self.slots: dict[int, Slot] = {}


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
