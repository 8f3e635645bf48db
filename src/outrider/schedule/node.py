"""All state of the scheduler: paths, workers, slots, gates, timers, and where each entry is.

The scheduler's events and the planner both work on it. It keeps the books: a path that can perhaps do
something is in `ready`, once; what waits for time is in a heap; what waits for a gate is queued at the
gate. Nothing ever walks over all paths except what an administrator asks for, or a domain that moves to other
exchangers, so costs do not grow with their number.

Invariant: an entry is in one place: waiting, deferred, granted, set aside to be settled without a connection,
or barred; no entry of a tenant that is shut waits in the queue of a path.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence

from outrider.model.changes import Entry
from outrider.model.flow import Path
from outrider.model.scopes import matches
from outrider.schedule.memory import Memory
from outrider.schedule.paths import Gate, Linger, Meter, PathQueue, Pool, Slot, Worker
from outrider.schedule.rate import Rate
from outrider.schedule.shaping import ShapingTable
from outrider.schedule.stats import Suspension
from outrider.schedule.throttle import SKEW_SECONDS

# (due at, number of this deferral, entry, path): one object serves as heap item and as the entry's place. An
# entry that was taken out and comes back for the same moment must not be compared with what it left here.
Deferral = tuple[float, int, Entry, PathQueue]


class Aside:
    """An entry that is being settled without a connection; by whom is not known until a worker is told."""

    __slots__ = ("entry", "path", "worker")

    def __init__(self, entry: Entry, path: Path, worker: Worker | None = None) -> None:
        self.entry = entry
        self.path = path
        self.worker = worker


class Barred:
    """An entry of a tenant that is shut; it stays until the tenant is open or it is taken out."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


Place = PathQueue | Slot | Deferral | Aside | Barred


def is_for(suspension: Suspension, path: Path) -> bool:
    """True when the suspension is one of this path."""
    return (
        matches(suspension.channel, path.channel)
        and matches(suspension.binding, path.binding)
        and matches(suspension.site, path.site)
    )


class Node:
    """See the module."""

    def __init__(self, table: ShapingTable, started_at: float | None, first_slot: int) -> None:
        self.table = table
        self.started_at = started_at
        self.paths: dict[Path, PathQueue] = {}
        self.workers: dict[int, Worker] = {}
        self.slots: dict[int, Slot] = {}
        self.where: dict[int, Place] = {}
        self.ready: deque[PathQueue] = deque()
        self.due: list[Deferral] = []
        self._deferral_count = 0
        self.hungry: dict[Path, None] = {}
        self.meters: dict[str, Meter] = {}
        self.pools: dict[str, Pool] = {}
        self.total = Pool(table.options.outbound_connections, shared=True)
        self.suspensions: dict[int, Suspension] = {}
        self.shut: frozenset[str] = frozenset()
        self.barred: dict[int, Barred] = {}
        self.memory: Memory | None = None
        self.memory_shift = 0.0  # monotonic seconds less Unix time, on the calendar of the memory
        self.next_slot = first_slot
        self._timers: list[tuple[float, int, PathQueue | Meter | Linger]] = []
        self._timer_count = 0
        self._ring: Iterator[Path] = iter(())

    # paths

    def path_for(self, path: Path, now: float) -> PathQueue:
        """The path's state, made when it is not there."""
        state = self.paths.get(path)
        if state is None:
            shaping = self.table.for_path(path)
            limit = shaping.options.max_connections
            if shaping.pool_key is None:
                pool = Pool(limit, shared=False)
            else:
                pool = self.pools.setdefault(shaping.pool_key, Pool(limit, shared=True))
            state = self.paths[path] = PathQueue(path, shaping, pool)
            if shaping.message_rate is not None:
                state.meter = self.meter_for(shaping.message_key, shaping.message_rate, now)
            if shaping.connection_rate is not None:
                state.connection_meter = self.meter_for(shaping.connection_key, shaping.connection_rate, now)
            if self.suspensions:
                state.suspension = self.suspension_of(path)
        return state

    def drop(self, state: PathQueue, now: float) -> None:
        """Forget a path of which nothing is left; its throttles stay until they are idle."""
        del self.paths[state.path]
        self.hungry.pop(state.path, None)
        for meter in (state.meter, state.connection_meter):
            if meter is not None:
                meter.users -= 1
                if not meter.users:
                    self.arm(meter, max(now, meter.idle_at()))

    def suspension_of(self, path: Path) -> Suspension | None:
        """The suspension that holds for a path, or None."""
        return next((each for each in self.suspensions.values() if is_for(each, path)), None)

    def next_paths(self, count: int) -> list[PathQueue]:
        """The next `count` paths of an endless round over all of them."""
        found: list[PathQueue] = []
        for _ in range(min(count, len(self.paths))):
            path = next(self._ring, None)
            if path is None:
                self._ring = iter(list(self.paths))
                path = next(self._ring)
            state = self.paths.get(path)
            if state is not None:
                found.append(state)
        return found

    # throttles

    def begin(self, now: float) -> None:
        """What a predecessor did ends now: what nobody knows of its throttles counts as used."""
        if self.memory is not None and not self.memory.is_clean:
            self.memory = self.memory.seen_until(now - self.memory_shift)
            for meter in self.meters.values():
                meter.settle_unknown(now)
                if meter.waiters:
                    self.pass_on(meter, now)
        elif self.started_at is not None:
            self.started_at = now
            for meter in self.meters.values():
                meter.assume(now)

    def meter_for(self, key: str, rate: Rate, now: float) -> Meter:
        """The throttle of that name, for one path more, under this limit."""
        meter = self.meters.get(key)
        if meter is None:
            meter = self.meters[key] = self._new_meter(key, rate, now)
        elif meter.rate != rate:
            meter.reshape(rate, now)
        meter.users += 1
        return meter

    def _new_meter(self, key: str, rate: Rate, now: float) -> Meter:
        """A throttle that knows what a predecessor's knew."""
        memory = self.memory
        if memory is None:
            assumed = self.started_at
            if assumed is not None and assumed + 2 * rate.seconds + SKEW_SECONDS < now:
                assumed = None
            return Meter(key, rate, assumed)
        meter = Meter(key, rate, None)
        wall = now - self.memory_shift
        kept = memory.throttles.pop(key, None)
        if kept is None:
            meter.recall(None, memory.gaps, now, wall)
        elif kept.gaps:
            meter.recall(kept.state, kept.gaps, now, wall)
        else:
            meter.restore(kept.state, now, wall)
        return meter

    def retire(self, meter: Meter, now: float) -> None:
        """Forget a throttle that nobody uses once nothing that it remembers matters."""
        idle_at = meter.idle_at()
        if idle_at <= now:
            del self.meters[meter.key]
        elif idle_at < math.inf:
            self.arm(meter, idle_at)

    def heard(self, meter: Meter, count: int, at: float, now: float) -> None:
        """Permits were used; those who wait may now know when the next one comes."""
        meter.heard(count, at)
        if meter.waiters:
            self.pass_on(meter, now)
        elif not meter.users:
            self.arm(meter, max(now, meter.idle_at()))

    # readiness

    def mark_ready(self, state: PathQueue) -> None:
        """The planner looks at the path next time."""
        if not state.is_ready:
            state.is_ready = True
            self.ready.append(state)

    def pass_on(self, gate: Gate, now: float) -> None:
        """Let the first who waits through an open gate, or look again when it opens by itself.

        It stays in the queue until it is served, so that nobody who is served before gets past it.
        """
        waiters = gate.waiters
        while waiters and gate.is_open(now):
            state = waiters[0]
            if self.paths.get(state.path) is not state:
                waiters.popleft()
                continue
            if gate is state.meter:
                state.may_grant = True
            else:
                state.may_open = True
            self.mark_ready(state)
            return
        if waiters and isinstance(gate, Meter):
            self.arm(gate, gate.next_at(now))

    @staticmethod
    def leave_queues(state: PathQueue) -> None:
        """The path's turn has come: it waits no longer at the gate that let it through."""
        if state.may_grant and state.waits_permit and state.meter is not None:
            state.waits_permit = False
            state.meter.waiters.remove(state)
        if state.may_open and state.waits_open is not None:
            state.waits_open.waiters.remove(state)
            state.waits_open = None

    def give_back(self, state: PathQueue, now: float) -> None:
        """A connection of the path counts no longer."""
        state.pool.give(state)
        self.total.give(state)
        self.mark_ready(state)
        self.pass_on(state.pool, now)
        self.pass_on(self.total, now)

    # timers

    def arm(self, target: PathQueue | Meter | Linger, at: float) -> None:
        """Look at `target` at `at`, or earlier if it was to be looked at earlier."""
        if at < target.timer_at:
            target.timer_at = at
            self._timer_count += 1
            heapq.heappush(self._timers, (at, self._timer_count, target))

    def fire(self, now: float) -> None:
        """Do what timers are due for."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, target = heapq.heappop(timers)
            if target.timer_at != at:
                continue
            target.timer_at = math.inf
            if isinstance(target, PathQueue):
                if self.paths.get(target.path) is target:
                    self.mark_ready(target)
            elif isinstance(target, Linger):
                target.path.lingering -= 1
                self.give_back(target.path, now)
            else:
                self.pass_on(target, now)
                if not target.users and not target.waiters:
                    self.retire(target, now)

    def mature(self, now: float) -> None:
        """Let the entries wait in their queues that have become due."""
        due = self.due
        while due and due[0][0] <= now:
            deferral = heapq.heappop(due)
            _, _, entry, state = deferral
            if self.where.get(entry.entry) is deferral:
                state.deferred -= 1
                self.wait(state, entry)

    def next_at(self) -> float | None:
        """When there is something to do without further news; minus infinity is at once."""
        if not self.workers:
            return None
        if self.ready:
            return -math.inf
        timer = self._timers[0][0] if self._timers else None
        if not self.due:
            return timer
        due = self.due[0][0]
        return due if timer is None else min(timer, due)

    # entries

    def wait(self, state: PathQueue, entry: Entry) -> None:
        """The entry is due."""
        if entry.tenant in self.shut:
            self.bar(entry)
            self.mark_ready(state)
            return
        self.where[entry.entry] = state
        state.queue.put(entry)
        expire_time = entry.received_time + state.shaping.options.message_expiration_seconds
        if expire_time < state.expire_time:  # noqa: PLR1730 - a call of min costs five times as much
            state.expire_time = expire_time
        if not state.is_ready:
            state.is_ready = True
            self.ready.append(state)

    def wait_all(self, state: PathQueue, entries: Sequence[Entry]) -> None:
        """The entries are due."""
        if self.shut:
            for entry in entries:
                self.wait(state, entry)
            return
        self.where.update(dict.fromkeys([entry.entry for entry in entries], state))
        state.queue.put_all(entries)
        seconds = state.shaping.options.message_expiration_seconds
        state.expire_time = min(state.expire_time, min([entry.received_time for entry in entries]) + seconds)
        self.mark_ready(state)

    def bar(self, entry: Entry) -> None:
        """The entry's tenant is shut."""
        self.where[entry.entry] = self.barred[entry.entry] = Barred(entry)

    def defer(self, state: PathQueue, entry: Entry, due_at: float) -> None:
        """The entry is due at `due_at`."""
        self._deferral_count += 1
        deferral = (due_at, self._deferral_count, entry, state)
        self.where[entry.entry] = deferral
        state.deferred += 1
        heapq.heappush(self.due, deferral)
