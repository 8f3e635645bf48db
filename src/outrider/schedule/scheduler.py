"""The scheduler: what may go out now, on which path, at which worker. One object decides for the whole node.

In: entries (`add`), what workers report (`want`, `settled`, `returned`, `closed`, joining and leaving),
orders of administrators. Out: `plan(now)` gives the messages to workers; `next_at()` says when to call it
again if nothing happens. After each batch of events the owner calls `plan` once.

Every call gets `now`, monotonic seconds; `wall` is the Unix time of the same moment, used to place due
times. There is no clock, no I/O and no randomness but the generator passed in.

Invariants, over all workers: the connections of a path that may be open never exceed its limit; the
receiver never sees more messages in a period than allowed (see `throttle`); an entry is with one slot at a
time and is never lost: it is resident, granted, or was given back to the caller.

Not here: what is on disk. `add` answers False for an entry that does not fit; the owner keeps it on disk
and loads it when `hungry` names its path.
"""

import math
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import islice

from outrider.model.changes import Entry
from outrider.model.dispatch import Settled
from outrider.model.flow import Outcome, Path
from outrider.schedule.memory import LONGEST_SECONDS, Kept, Memory, moved
from outrider.schedule.node import Aside, Barred, Node, is_for
from outrider.schedule.paths import Linger, PathQueue, Slot, Worker
from outrider.schedule.planner import HostsFor, Order, Planner
from outrider.schedule.reshape import reshape
from outrider.schedule.shaping import ShapingTable
from outrider.schedule.stats import PathStats, Suspension
from outrider.schedule.throttle import Gap

# Chosen: paths looked at for expired entries in one call of `expired`.
_EXPIRY_PATHS = 256
# Chosen: entries of shut tenants kept in memory, some 10 MB; more stay on disk until these are put on hold.
_BARRED_MAX = 20_000


class Fate(IntEnum):
    """What became of a settled entry."""

    UNKNOWN = 0  # was not granted by this scheduler, or not any more
    FINISHED = 1
    RESIDENT = 2  # stays in memory, waiting or soon due
    EVICTED = 3  # due later; the caller keeps it on disk


class Scheduler:
    """See the module."""

    def __init__(
        self,
        table: ShapingTable,
        hosts_for: HostsFor,
        rng: random.Random,
        *,
        started_at: float | None = None,
        first_slot: int = 1,
    ) -> None:
        """Make an empty scheduler.

        Args:
            table: Shaping options.
            hosts_for: Called with a path and the routing domain of an entry when a connection is to be
                opened: the addresses to try, or None while they are unknown; call `path_ready` then.
            rng: For jitter.
            started_at: `now`, when a predecessor may have sent mail until then (anything but a first or
                a clean start): no connection is opened for `settle_seconds`, and throttles assume that it
                used them fully, unless `recall` tells more.
            first_slot: Above every slot number that workers may still hold from a predecessor.
        """
        self._node = Node(table, started_at, first_slot)
        self._planner = Planner(self._node, hosts_for)
        self._rng = rng
        self._options = table.options
        self._quiet_until = -math.inf if started_at is None else started_at + table.options.settle_seconds
        self._suspension_count = 0

    def begin(self, now: float) -> None:
        """Granting begins: what a predecessor granted may have been sent until now."""
        self._node.begin(now)

    def reshape(self, table: ShapingTable, now: float) -> None:
        """Other limits from now on; everything that is here stays, see `reshape`."""
        self._options = table.options
        self._planner.close(reshape(self._node, table, now))

    def reroute_all(self, site_of: Callable[[str], str | None]) -> list[Entry]:
        """Take out what waits on a path whose site is not that of its domain any more; add it again.

        Args:
            site_of: The site of a domain now; None where it is not known.
        """
        node = self._node
        moved: list[Entry] = []
        for state in list(node.paths.values()):
            site = state.path.site
            gone = state.queue.extract(
                lambda entry, site=site: site_of(entry.routing_domain) not in {None, site}  # type: ignore[misc]
            )
            for entry in gone:
                del node.where[entry.entry]
            moved += gone
            node.mark_ready(state)
        for deferral in node.due:
            _, _, entry, state = deferral
            if node.where.get(entry.entry) is not deferral:
                continue
            if site_of(entry.routing_domain) not in {None, state.path.site}:
                del node.where[entry.entry]
                state.deferred -= 1
                moved.append(entry)
        return moved

    # workers

    def worker_joined(self, worker: int, log: int) -> None:
        """A worker can take slots; `log` is the number of its log. Joining again replaces the log."""
        known = self._node.workers.get(worker)
        if known is None:
            self._node.workers[worker] = Worker(worker, log)
        else:
            known.log = log

    def worker_left(self, worker: int, now: float) -> list[tuple[Path, list[Entry]]]:
        """A worker is gone: its entries wait again, its connections count for `settle_seconds` more.

        Call it after what its log says has been settled. Returns the entries that came back. What it was to
        settle without a connection, and did not, comes back too.
        """
        node = self._node
        gone = node.workers.pop(worker, None)
        if gone is None:
            return []
        until = now + self._options.settle_seconds
        back = []
        for number in tuple(gone.asides):
            aside = node.where[number]
            if isinstance(aside, Aside):
                back.append((aside.path, [aside.entry]))
                self._end_aside(aside)
                node.wait(node.path_for(aside.path, now), aside.entry)
        for slot in list(gone.slots.values()):
            state = slot.path
            entries = list(slot.granted.values())
            if entries:
                back.append((state.path, entries))
                self._take_back(slot, entries)
                if state.meter is not None:
                    node.heard(state.meter, len(entries), until, now)
            if slot.connected:
                self._disconnect(slot, until, now)
                state.lingering += 1
                node.arm(Linger(state), until)
            self._forget(slot)
        return back

    def adopt(self, worker: int, slot: int, path: Path, entries: Sequence[Entry], now: float) -> None:
        """A worker that joined holds this slot and these entries from a predecessor of this scheduler."""
        node = self._node
        state = node.path_for(path, now)
        held = Slot(slot, node.workers[worker], state, now)
        node.next_slot = max(node.next_slot, slot + 1)
        node.slots[slot] = held.worker.slots[slot] = held
        state.enter(held)
        state.connected += 1
        state.connecting += 1
        state.pool.take(state)
        node.total.take(state)
        if state.connection_meter is not None:
            state.connection_meter.adopt(1)
        self.remove([entry.entry for entry in entries])
        for entry in entries:
            node.where[entry.entry] = held
            held.granted[entry.entry] = entry
        state.granted += len(entries)
        held.carried = len(entries)
        if state.meter is not None:
            state.meter.adopt(len(entries))

    # entries

    def add(self, entry: Entry, site: str, now: float, wall: float) -> bool:
        """Take an entry that is free to go.

        False when it is not resident: due beyond the horizon, or its path's window is full, which marks the
        path as having more on disk. An entry that is here already stays as it is.
        """
        node = self._node
        if entry.entry in node.where:
            return True
        if entry.tenant in node.shut:
            return self.bar(entry)
        wait = entry.due_time - wall
        if wait > self._options.horizon_seconds:
            return False
        path = Path(entry.channel, entry.binding, site)
        state = node.paths.get(path)
        if state is None:
            state = node.path_for(path, now)
        elif state.queue.size + state.deferred >= state.shaping.options.window and not state.admits(
            state.queue.waiting_of(entry), entry.priority
        ):
            state.more = True
            return False
        if wait <= 0:
            node.wait(state, entry)
        else:
            node.defer(state, entry, now + wait)
        return True

    def add_all(self, entries: Sequence[Entry], site: str, now: float, wall: float) -> list[Entry]:
        """As `add`, for entries of one channel and binding; returns those that are not resident.

        Where there is room and all are due, as in a group commit of new mail, they are taken in one go, at a
        third of the cost.
        """
        first = entries[0]
        if len(entries) == 1:
            return [] if self.add(first, site, now, wall) else [first]
        node = self._node
        state = node.paths.get(Path(first.channel, first.binding, site))
        if (
            state is None
            or state.queue.size + state.deferred + len(entries) > state.shaping.options.window
            or max([entry.due_time for entry in entries]) > wall
            or not node.where.keys().isdisjoint([entry.entry for entry in entries])
        ):
            return [entry for entry in entries if not self.add(entry, site, now, wall)]
        node.wait_all(state, entries)
        return []

    def bar(self, entry: Entry) -> bool:
        """Keep an entry of a tenant that is shut; False when it is open, or too many are kept already."""
        node = self._node
        if entry.tenant not in node.shut or len(node.barred) >= _BARRED_MAX:
            return False
        node.bar(entry)
        return True

    def barred(self, limit: int) -> list[Entry]:
        """Some of the entries that are kept because their tenants are shut."""
        return [place.entry for place in islice(self._node.barred.values(), limit)]

    @property
    def is_crowded(self) -> bool:
        """No more entries of shut tenants are kept."""
        return len(self._node.barred) >= _BARRED_MAX

    def room(self, path: Path) -> int:
        """How many more entries the path's window takes."""
        state = self._node.paths.get(path)
        return self._node.table.for_path(path).options.window if state is None else state.room()

    def more_on_disk(self, path: Path, more: bool, now: float) -> None:
        """Say whether the path has due entries on disk; `hungry` names it when there is room for them."""
        state = self._node.paths.get(path)
        if state is None:
            if not more:
                return
            state = self._node.path_for(path, now)
        state.more = more
        if not more:
            self._node.hungry.pop(path, None)
        self._node.mark_ready(state)

    def hungry(self) -> list[Path]:
        """Paths with more on disk and half their window free. Load, then say `more_on_disk`."""
        paths = list(self._node.hungry)
        self._node.hungry.clear()
        return paths

    def is_resident(self, entry: int) -> bool:
        """True when the entry is in memory, granted or not."""
        return entry in self._node.where

    def is_granted(self, entry: int) -> bool:
        """True when a slot has the entry, or it is set aside to be settled."""
        return isinstance(self._node.where.get(entry), Slot | Aside)

    def slot_of(self, entry: int) -> int:
        """The slot that has the entry; 0 when none has."""
        place = self._node.where.get(entry)
        return place.number if isinstance(place, Slot) else 0

    def set_aside(self, entry: Entry, path: Path, worker: int) -> None:
        """A worker is to settle an entry without a connection; settle it or give it back with slot 0."""
        told = self._node.workers[worker]
        told.asides.add(entry.entry)
        self._node.where[entry.entry] = Aside(entry, path, told)

    def entries(self, path: Path) -> Iterator[Entry]:
        """The waiting entries of a path, for listings."""
        state = self._node.paths.get(path)
        return iter(state.queue) if state is not None else iter(())

    def remove(self, entries: Collection[int]) -> list[Entry]:
        """Take entries out, to hold, purge or move them; those that are granted or unknown stay out of it."""
        node = self._node
        removed: list[Entry] = []
        waiting: dict[Path, set[int]] = {}
        for number in entries:
            place = node.where.get(number)
            if isinstance(place, PathQueue):
                waiting.setdefault(place.path, set()).add(number)
            elif isinstance(place, Barred):
                del node.where[number], node.barred[number]
                removed.append(place.entry)
            elif isinstance(place, tuple):
                del node.where[number]
                place[3].deferred -= 1
                node.mark_ready(place[3])
                removed.append(place[2])
        for path, numbers in waiting.items():
            state = node.paths[path]
            for entry in state.queue.remove(numbers):
                del node.where[entry.entry]
                removed.append(entry)
            node.mark_ready(state)
        return removed

    def reroute(self, path: Path, domain: str) -> list[Entry]:
        """Take out the waiting entries of a domain that has left the path's site; add them again."""
        state = self._node.paths.get(path)
        if state is None:
            return []
        moved = state.queue.extract(lambda entry: entry.routing_domain == domain)
        for entry in moved:
            del self._node.where[entry.entry]
        self._node.mark_ready(state)
        return moved

    def moved(self, domain: str, site: str) -> list[Entry]:
        """Take out the entries of a domain that has left a site, also those not yet due; add them again."""
        node = self._node
        moved: list[Entry] = []
        has_deferred = False
        for state in list(node.paths.values()):
            if state.path.site == site:
                moved += self.reroute(state.path, domain)
                has_deferred = has_deferred or state.deferred > 0
        for deferral in node.due if has_deferred else ():
            _, _, entry, state = deferral
            is_gone = entry.routing_domain == domain and state.path.site == site
            if is_gone and node.where.get(entry.entry) is deferral:
                del node.where[entry.entry]
                state.deferred -= 1
                node.mark_ready(state)
                moved.append(entry)
        return moved

    def expired(self, wall: float, limit: int = 200) -> list[tuple[Path, list[Entry]]]:
        """Waiting entries that are past their expiration, about `limit` in one call.

        They are set aside; settle them without a connection and report it with `settled` (slot 0) or give
        them back with `returned` (slot 0). Each call looks at a bounded number of paths, in turn.
        """
        node = self._node
        found = []
        for state in node.next_paths(_EXPIRY_PATHS):
            if state.expire_time > wall:
                continue
            seconds = state.shaping.options.message_expiration_seconds
            entries = state.queue.extract(
                lambda entry, seconds=seconds: entry.received_time + seconds <= wall,  # type: ignore[misc]
                limit,
            )
            state.expire_time = min(
                (entry.received_time + seconds for entry in state.queue), default=math.inf
            )
            for entry in entries:
                node.where[entry.entry] = Aside(entry, state.path)
            node.mark_ready(state)
            if entries:
                found.append((state.path, entries))
                limit -= len(entries)
                if limit <= 0:
                    break
        return found

    # reports of workers

    def want(self, slot: int, count: int, now: float) -> None:
        """The slot's connection is ready for up to `count` more entries; replaces what it asked before."""
        held = self._node.slots.get(slot)
        if held is None or held.closing or not held.connected or count <= 0:
            return
        state = held.path
        if held.connecting:
            held.connecting = False
            state.connecting -= 1
            state.succeeded()
            if state.connection_meter is not None:
                self._node.heard(state.connection_meter, 1, now, now)
        held.want = count
        if not held.idle:
            state.wants[slot] = held
            state.fresh[slot] = held
        self._node.mark_ready(state)

    def settled(self, settled: Settled, now: float, wall: float) -> tuple[Fate, Entry | None]:
        """An attempt on an entry is durable. Gives its fate and the entry, brought up to date."""
        node = self._node
        number = settled.entry
        slot = node.slots.get(settled.slot)
        if slot is None:
            return self._settled_aside(settled, now, wall)
        entry = slot.granted.pop(number, None)
        if entry is None:
            return Fate.UNKNOWN, None
        state = slot.path
        state.granted -= 1
        if state.meter is not None:
            node.heard(state.meter, 1, now, now)
        if not slot.connected and not slot.granted:
            self._forget(slot)
        del node.where[number]
        if settled.finished:
            if not state.granted and not state.queue.size:
                node.mark_ready(state)
            return Fate.FINISHED, entry
        return self._keep(state, entry, settled, now, wall), entry

    def finished(self, settled: Iterable[Settled], now: float) -> list[Settled]:
        """As `settled`, for those that are finished; gives the rest, which `settled` must still hear."""
        node = self._node
        slots, where = node.slots, node.where
        rest = []
        for each in settled:
            slot = slots.get(each.slot)
            if slot is None or not each.finished or not slot.connected:
                rest.append(each)
                continue
            number = each.entry
            if slot.granted.pop(number, None) is None:
                continue
            del where[number]
            state = slot.path
            state.granted -= 1
            if state.meter is not None:
                node.heard(state.meter, 1, now, now)
            if not state.granted and not state.queue.size:
                node.mark_ready(state)
        return rest

    def returned(self, slot: int, entries: Sequence[int], now: float, *, was_seen: bool = False) -> None:
        """Entries come back unattempted, to the head of their lines; slot 0 gives back what was set aside.

        `was_seen`: the receiver may have seen them all the same, so their permits are used.
        """
        node = self._node
        held = node.slots.get(slot)
        if held is None:
            for number in entries:
                aside = node.where.get(number)
                if isinstance(aside, Aside):
                    self._end_aside(aside)
                    node.wait(node.path_for(aside.path, now), aside.entry)
            return
        back = [held.granted[number] for number in entries if number in held.granted]
        if not back:
            return
        held.returned = True
        self._take_back(held, back)
        meter = held.path.meter
        if meter is not None and was_seen:
            node.heard(meter, len(back), now, now)
        elif meter is not None:
            meter.release(len(back))
            node.pass_on(meter, now)
        if not held.connected and not held.granted:
            self._forget(held)

    def closed(self, slot: int, failure: Outcome | None, deliveries: int, now: float) -> None:
        """The slot's connection is gone; `failure` is why it could not be used at all."""
        held = self._node.slots.get(slot)
        if held is None or not held.connected:
            return
        state = held.path
        if failure is not None:
            state.failed(held.opened_at, now, self._rng)
        elif deliveries:
            if held.connecting:
                state.succeeded()
            if held.returned or held.granted:
                state.closed_early(deliveries)
        self._disconnect(held, now, now)
        self._node.give_back(state, now)
        if not held.granted:
            self._forget(held)

    def path_ready(self, path: Path) -> None:
        """The hosts of the path are known again."""
        state = self._node.paths.get(path)
        if state is not None:
            state.awaits_hosts = False
            self._node.mark_ready(state)

    # orders

    def suspend(
        self,
        *,
        reason: str,
        actor: str,
        channel: str = "*",
        binding: str = "*",
        site: str = "*",
        until_at: float = math.inf,
    ) -> int:
        """Stop granting on the paths that match until a time or `resume`; gives the suspension's number."""
        self._suspension_count += 1
        suspension = Suspension(channel, binding, site, until_at, reason, actor)
        self._node.suspensions[self._suspension_count] = suspension
        for state in self._node.paths.values():
            if state.suspension is None and is_for(suspension, state.path):
                state.suspension = suspension
                self._node.mark_ready(state)
        return self._suspension_count

    def resume(self, number: int) -> bool:
        """Lift a suspension; False when there is none of that number."""
        return self._lift((number,)) > 0

    def is_suspended(self, path: Path) -> bool:
        """True while nothing is granted on the path, be it by an order or by its options."""
        node = self._node
        return node.suspension_of(path) is not None or node.table.for_path(path).options.suspended

    def suspensions(self) -> dict[int, Suspension]:
        """All suspensions by number."""
        return dict(self._node.suspensions)

    def _lift(self, numbers: Collection[int]) -> int:
        """Lift suspensions; gives how many there were. Only paths that one of them held are looked at."""
        node = self._node
        lifted = [found for number in numbers if (found := node.suspensions.pop(number, None)) is not None]
        gone = {id(each) for each in lifted}
        for state in node.paths.values() if gone else ():
            if state.suspension is not None and id(state.suspension) in gone:
                state.suspension = node.suspension_of(state.path)
                node.mark_ready(state)
        return len(lifted)

    def is_shut(self, tenant: str) -> bool:
        """True while nothing of the tenant is granted."""
        return tenant in self._node.shut

    def shut(self, tenants: frozenset[str]) -> list[Entry]:
        """Grant nothing of these tenants from now on, and of all others again.

        What is with a worker may end; what waits, or comes back, is kept aside and takes no room. Returns
        what is free to go again; add it.
        """
        node = self._node
        opened = [place.entry for place in node.barred.values() if place.entry.tenant not in tenants]
        for entry in opened:
            del node.where[entry.entry], node.barred[entry.entry]
        new, node.shut = tenants - node.shut, tenants
        for state in list(node.paths.values()) if new else ():
            gone = state.queue.extract(lambda entry: entry.tenant in new)
            for entry in gone:
                node.bar(entry)
            if gone:
                node.mark_ready(state)
        return opened

    # time

    def plan(self, now: float) -> list[Order]:
        """Everything that can be granted now, as messages to workers, in order."""
        if now < self._quiet_until:
            return []
        if self._node.suspensions:
            over = [key for key, item in self._node.suspensions.items() if item.until_at <= now]
            self._lift(over)
        return self._planner.plan(now)

    def next_at(self) -> float | None:
        """When to call `plan` if nothing happens before; None: only news helps; minus infinity: at once."""
        at: float | None = self._node.next_at()
        if self._node.suspensions:
            lifts = min(item.until_at for item in self._node.suspensions.values())
            if lifts < math.inf:
                at = lifts if at is None else min(at, lifts)
        return at if at is None else max(at, self._quiet_until)

    # reports

    def stats(self, now: float) -> list[PathStats]:
        """The state of every path, for status and the live view."""
        return [
            PathStats(
                path=state.path,
                waiting=state.queue.size,
                deferred=state.deferred,
                granted=state.granted,
                connections=state.connected + state.lingering,
                connecting=state.connecting,
                idle=sum(1 for slot in state.wants.values() if slot.idle),
                failures=state.failures,
                state=state.state(now),
                more_on_disk=state.more,
                next_at=state.timer_at if state.timer_at < math.inf else None,
            )
            for state in self._node.paths.values()
        ]

    def connections(self) -> int:
        """Connections of the node that may be open."""
        return self._node.total.used

    def remember(self, now: float, wall: float, until: float) -> Memory:
        """The throttles, for a successor's `recall`.

        Args:
            now: Monotonic seconds.
            wall: Unix time of the same moment.
            until: Monotonic seconds until which the caller will let this scheduler grant before it remembers
                again; `now` at a clean stop.
        """
        node = self._node
        throttles: dict[str, Kept] = {}
        gaps: tuple[Gap, ...] = ()
        if node.memory is not None:  # what nobody needed yet, on the calendar of today
            shift = wall - now + node.memory_shift
            throttles = {key: kept.moved(shift) for key, kept in node.memory.throttles.items()}
            gaps = moved(node.memory.gaps, shift)
        elif node.started_at is not None:  # before it, anything may have been granted
            began_time = node.started_at + wall - now
            gaps = ((0.0, began_time, began_time),)
        for key, meter in node.meters.items():
            if meter.idle_at() > now:
                throttles[key] = Kept(
                    meter.snapshot(now, wall), seconds=max(meter.rate.seconds, LONGEST_SECONDS)
                )
        memory = Memory(wall, wall + (until - now), throttles, gaps).without_old()
        # a stop in order ends what a predecessor granted too, even if granting had not begun here
        return memory.seen_until(wall) if memory.is_clean else memory

    def recall(self, memory: Memory, now: float, wall: float) -> None:
        """Take over what a predecessor remembered; before anything else.

        Args:
            memory: Its last.
            now: Monotonic seconds.
            wall: Unix time of the same moment, on the calendar that `memory` was taken by.
        """
        self._node.memory = memory if memory.is_clean else memory.after_death()
        self._node.memory_shift = now - wall

    # parts of the above

    def _settled_aside(self, settled: Settled, now: float, wall: float) -> tuple[Fate, Entry | None]:
        aside = self._node.where.get(settled.entry)
        if not isinstance(aside, Aside):
            return Fate.UNKNOWN, None
        self._end_aside(aside)
        if settled.finished:
            return Fate.FINISHED, aside.entry
        state = self._node.path_for(aside.path, now)
        return self._keep(state, aside.entry, settled, now, wall), aside.entry

    def _end_aside(self, aside: Aside) -> None:
        """The entry is set aside no longer; it is nowhere until it is put somewhere."""
        del self._node.where[aside.entry.entry]
        if aside.worker is not None:
            aside.worker.asides.discard(aside.entry.entry)

    def _keep(self, state: PathQueue, entry: Entry, settled: Settled, now: float, wall: float) -> Fate:
        entry.attempts = settled.attempts
        entry.due_time = settled.due_time
        entry.delay_notified = settled.delay_notified
        entry.last = settled.last or entry.last
        # last, because a checkpoint may be writing the entry: a row with the old version is mended by replay
        entry.version = settled.version
        wait = settled.due_time - wall
        if wait <= 0 or entry.tenant in self._node.shut:
            self._node.wait(state, entry)
            return Fate.RESIDENT
        if wait > self._options.horizon_seconds:
            self._node.mark_ready(state)
            return Fate.EVICTED
        self._node.defer(state, entry, now + wait)
        return Fate.RESIDENT

    def _take_back(self, slot: Slot, entries: Sequence[Entry]) -> None:
        state = slot.path
        node = self._node
        state.granted -= len(entries)
        for entry in entries:
            del slot.granted[entry.entry]
        if node.shut:
            for entry in entries:
                if entry.tenant in node.shut:
                    node.bar(entry)
            entries = [entry for entry in entries if entry.tenant not in node.shut]
        for entry in entries:
            node.where[entry.entry] = state
        state.queue.put_back(entries)
        seconds = state.shaping.options.message_expiration_seconds
        first_time = min((entry.received_time for entry in entries), default=math.inf)
        state.expire_time = min(state.expire_time, first_time + seconds)
        node.mark_ready(state)

    def _disconnect(self, slot: Slot, at: float, now: float) -> None:
        """The slot's connection ends; it still counts in the pools."""
        state = slot.path
        slot.connected = False
        slot.want = 0
        state.connected -= 1
        state.wants.pop(slot.number, None)
        state.fresh.pop(slot.number, None)
        if slot.connecting:
            slot.connecting = False
            state.connecting -= 1
            if state.connection_meter is not None:
                self._node.heard(state.connection_meter, 1, at, now)
        for pool in (self._node.total, state.pool):
            pool.idle.pop(slot.number, None)
            if slot.closing:
                pool.closing -= 1
        self._node.mark_ready(state)

    def _forget(self, slot: Slot) -> None:
        self._node.slots.pop(slot.number, None)
        slot.worker.slots.pop(slot.number, None)
        slot.path.leave(slot)
        self._node.mark_ready(slot.path)
