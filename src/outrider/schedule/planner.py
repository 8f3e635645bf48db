"""What goes out now: answers to slots that ask, new connections, and connections to give up.

In: the node's books, in which the paths that can perhaps do something are marked ready. Out: messages to
workers. A path is served by answering its asking slots first and then, if its backlog justifies it, by
opening connections, as far as throttles, limits and back-off allow. What is not possible now is left
waiting for the timer, gate or event that can make it possible.
"""

from collections.abc import Callable, Iterable

from outrider.model.changes import Entry
from outrider.model.dispatch import Batch, Close, Granted, Open
from outrider.model.flow import Host, Path
from outrider.schedule.node import Node
from outrider.schedule.paths import PATIENCE_SECONDS, Gate, Meter, PathQueue, Pool, Slot, Worker

Order = tuple[int, Open | Batch | Close]
HostsFor = Callable[[Path, str], tuple[Host, ...] | None]

# Chosen: with that many entries a connection has earned its set-up and can make room for another path's.
_TURN_ENTRIES = 100
# Chosen: a worker with the content in memory is preferred until it carries this many connections more.
_IMBALANCE = 8
# Entries that a path without a rate may be granted now: more than any slot wants.
_UNLIMITED = 1 << 30


class Planner:
    """See the module. `hosts_for` gives the addresses of a domain, or None while they are unknown."""

    def __init__(self, node: Node, hosts_for: HostsFor) -> None:
        self._node = node
        self._hosts_for = hosts_for
        self._out: list[Order] = []
        self._to_close: list[Slot] = []

    def plan(self, now: float) -> list[Order]:
        """Everything that can be granted now."""
        node = self._node
        node.mature(now)
        node.fire(now)
        if not node.workers:
            return []
        while self._to_close:
            slot = self._to_close.pop()
            if slot.connected and not slot.closing:
                slot.path.fresh.pop(slot.number, None)
                self._close(slot)
        ready = node.ready
        while ready:
            state = ready.popleft()
            state.is_ready = False
            self._serve(state, now)
        out = self._out
        self._out = []
        return out

    def close(self, slots: Iterable[Slot]) -> None:
        """Have slots closed when what they are doing is over; the orders are in the next plan."""
        self._to_close += slots

    def _serve(self, state: PathQueue, now: float) -> None:
        if state.may_grant or state.may_open:
            self._node.leave_queues(state)
        if state.suspension is not None or state.shaping.options.suspended:
            self._rest(state)
        elif state.queue.size:
            self._answer(state, now)
            if state.queue.size:
                self._open(state, now)
        if state.fresh and not state.queue.size:
            self._idle(state)
        if state.may_grant:
            self._end_grant_turn(state, now)
        if state.may_open:
            self._end_open_turn(state, now)
        if state.more and state.resident * 2 <= state.shaping.options.window:
            self._node.hungry[state.path] = None
        if state.is_empty and self._node.paths.get(state.path) is state:
            self._node.drop(state, now)

    def _end_grant_turn(self, state: PathQueue, now: float) -> None:
        """The path had its turn at its throttle: the next one may go."""
        state.may_grant = False
        if state.meter is not None and state.meter.waiters:
            self._node.pass_on(state.meter, now)

    def _end_open_turn(self, state: PathQueue, now: float) -> None:
        """The path had its turn to open a connection: the next ones may go."""
        state.may_open = False
        for gate in self._gates(state):
            if gate.waiters:
                self._node.pass_on(gate, now)

    # slots that ask

    def _answer(self, state: PathQueue, now: float) -> None:
        wants = state.wants
        queue = state.queue
        while wants and queue.size:
            permits = self._permits(state, now)
            if permits <= 0:
                return
            number, slot = wants.popitem()
            state.fresh.pop(number, None)
            if self._must_yield(state, slot):
                self._close(slot)
                continue
            count = min(state.batch_size(slot), permits)
            entries = queue.take(count, slot.worker.log, state.room_for_message(permits))
            self._out.append((slot.worker.number, Batch(slot.number, self._grant(state, slot, entries, now))))
            slot.want = 0
            if slot.idle:
                slot.idle = False
                self._node.total.idle.pop(slot.number, None)
                state.pool.idle.pop(slot.number, None)

    def _grant(self, state: PathQueue, slot: Slot, entries: list[Entry], now: float) -> tuple[Granted, ...]:
        taken = {entry.entry: entry for entry in entries}
        slot.granted.update(taken)
        self._node.where.update(dict.fromkeys(taken, slot))
        granted = [
            Granted(number, entry.ref, entry.index, entry.version, entry.attempts, entry.delay_notified)
            for number, entry in taken.items()
        ]
        count = len(granted)
        state.granted += count
        state.last_grant_at = now
        slot.carried += count
        if state.meter is not None:
            state.meter.take(count, now)
            if state.may_grant:
                self._end_grant_turn(state, now)
        return tuple(granted)

    def _permits(self, state: PathQueue, now: float) -> int:
        meter = state.meter
        if meter is None:
            return _UNLIMITED
        if state.waits_permit:
            return 0
        if state.may_grant or not meter.waiters:
            permits = meter.available(now)
            if permits > 0:
                return permits
        state.waits_permit = True
        meter.waiters.append(state)
        self._node.pass_on(meter, now)
        return 0

    def _idle(self, state: PathQueue) -> None:
        for slot in state.fresh.values():
            slot.idle = True
            self._out.append((slot.worker.number, Batch(slot.number, ())))
            for pool in (self._node.total, state.pool):
                if pool.shared:
                    pool.idle[slot.number] = slot
                    self._reclaim(pool)
        state.fresh.clear()

    def _rest(self, state: PathQueue) -> None:
        while state.wants:
            _, slot = state.wants.popitem()
            self._close(slot)
        state.fresh.clear()

    def _close(self, slot: Slot) -> None:
        slot.closing = True
        slot.want = 0
        slot.path.wants.pop(slot.number, None)
        for pool in (self._node.total, slot.path.pool):
            pool.closing += 1
            pool.idle.pop(slot.number, None)
        self._out.append((slot.worker.number, Close(slot.number)))

    def _must_yield(self, state: PathQueue, slot: Slot) -> bool:
        total = self._node.total
        if not total.waiters and not state.pool.waiters:
            return False
        for pool in (total, state.pool):
            if not pool.shared or len(pool.waiters) <= pool.closing:
                continue
            if len(pool.waiters) == 1 and pool.waiters[0] is state:
                continue
            if slot.carried >= _TURN_ENTRIES or pool.holders[state] > pool.share():
                return True
        return False

    # new connections

    def _gates(self, state: PathQueue) -> tuple[Gate, ...]:
        pool = state.pool
        total = self._node.total
        if state.connection_meter is not None:
            return pool, total, state.connection_meter
        return pool, total

    def _open(self, state: PathQueue, now: float) -> None:
        node = self._node
        while state.wants_connection(now):
            if now < state.held_off_until:
                node.arm(state, state.held_off_until)
                return
            if state.awaits_hosts or state.waits_open is not None or not self._may_open(state, now):
                return
            permits = self._permits(state, now)
            if permits <= 0 or not self._open_one(state, permits, now):
                return
        if (
            state.queue.size
            and not state.wants
            and not state.connecting
            and state.pool.used < state.pool.limit
        ):
            node.arm(state, max(state.last_grant_at, now) + PATIENCE_SECONDS)

    def _may_open(self, state: PathQueue, now: float) -> bool:
        for gate in self._gates(state):
            is_open = gate.is_open(now)
            if is_open and (state.may_open or not gate.waiters):
                continue
            if isinstance(gate, Pool) and not gate.shared:
                return False
            state.waits_open = gate
            if state.may_open:
                gate.waiters.appendleft(state)
            else:
                gate.waiters.append(state)
            if isinstance(gate, Meter) or is_open:
                self._node.pass_on(gate, now)
            else:
                self._reclaim(gate)
            return False
        return True

    def _reclaim(self, pool: Pool) -> None:
        while pool.idle and pool.closing < len(pool.waiters):
            _, slot = pool.idle.popitem(last=False)
            self._close(slot)

    def _open_one(self, state: PathQueue, permits: int, now: float) -> bool:
        head = state.queue.head()
        if head is None:
            return False
        hosts = self._hosts_for(state.path, head.routing_domain)
        if not hosts:
            state.awaits_hosts = True
            return False
        node = self._node
        worker = self._choose(state)
        slot = Slot(node.next_slot, worker, state, now)
        node.next_slot += 1
        node.slots[slot.number] = slot
        worker.slots[slot.number] = slot
        state.enter(slot)
        count = min(state.lead_size(), permits)
        state.connected += 1
        state.connecting += 1
        state.pool.take(state)
        node.total.take(state)
        if state.connection_meter is not None:
            state.connection_meter.take(1, now)
        if state.may_open:
            self._end_open_turn(state, now)
        entries = state.queue.take(count, worker.log, state.room_for_message(permits))
        granted = self._grant(state, slot, entries, now)
        self._out.append((worker.number, Open(slot.number, state.path, hosts, granted)))
        return True

    def _choose(self, state: PathQueue) -> Worker:
        """The worker that accepted most of what goes next, unless it carries much more than another."""
        workers = self._node.workers.values()
        least = min(workers, key=lambda worker: len(worker.slots))
        weights = state.queue.weights()
        best = least
        best_weight = -1.0
        for worker in workers:
            weight = weights.get(worker.log, 0) / (state.slots_at.get(worker.number, 0) + 1)
            if weight > best_weight and len(worker.slots) <= len(least.slots) + _IMBALANCE:
                best, best_weight = worker, weight
        return best if best_weight > 0 else least
