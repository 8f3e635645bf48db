"""The dispatcher: one plain object that knows every queued entry and decides what goes out next.

Workers announce what they stored and settled; the dispatcher finds each entry's site, queues it in the
scheduler and sends back grants. It alone decides, so limits are exact over all workers. It is fed by links
(dispatch_process.py) or by direct calls (tests); it has no socket of its own.

Theory: an entry is in one of four places: resident in the scheduler, waiting for its site to be resolved,
granted to a slot, or only in the index's checkpoint (deferred for long, or its path's window is full). `fill`
brings entries back from the checkpoint when they are due and there is room.

Invariant: between two turns of the loop, whatever is announced is in the index, and whatever the index holds
as resident is waiting, in the scheduler or granted.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from random import Random
from typing import Protocol

from outrider.base.clock import Clock
from outrider.model.changes import Entry
from outrider.model.dispatch import (
    Closed,
    Committed,
    Granted,
    Held,
    Hello,
    Returned,
    Settle,
    Settled,
    ToWorker,
    Want,
    Welcome,
)
from outrider.model.flow import Host, Outcome, Path, Phase
from outrider.model.reply import Reply
from outrider.model.route import Route, RouteFailure
from outrider.net.replies import LOOP
from outrider.schedule.scheduler import Fate, Scheduler
from outrider.schedule.shaping import ShapingTable
from outrider.schedule.sites import SiteTable
from outrider.spool.index import Index
from outrider.spool.replay import Replayed
from outrider.spool.table import QueueKey, queue_key

FILL_BATCH = 2000
# chosen: bounds one turn to some 20 ms
WAITING_MAX = 20_000
# chosen: entries that wait in memory for their site; beyond it they wait in the checkpoint
WAITING_PER_DOMAIN = 200
# chosen: of one domain, while it is being resolved
EXPIRED = Reply(451, "4.4.7", ("Message expired: no delivery within the time allowed",))
# RFC 3463 §3.5, X.4.7


class WorkerEnd(Protocol):
    """Where the dispatcher sends what concerns one worker."""

    def send(self, message: ToWorker) -> None: ...


class _Worker:
    """A worker that has said hello."""

    __slots__ = ("end", "log", "number", "pid")

    def __init__(self, number: int, log: int, end: WorkerEnd, pid: int) -> None:
        self.number = number
        self.log = log
        self.end = end
        self.pid = pid


class Dispatcher:
    """See the module.

    Args:
        index: All entries.
        shaping: Limits of each path.
        sites: Domain to site and hosts.
        clock: Time.
        rng: Shuffles exchangers of equal preference.
        resolve: Asks for the route of a domain; the answer comes by `routed`. Asking twice is harmless.
        wake: Asks the owner to call `plan` in the next turn.
        is_own: True for an address and port at which we listen ourselves.
        started_at: `clock.now()` when a predecessor may have sent mail until then, else None.
    """

    def __init__(
        self,
        index: Index,
        shaping: ShapingTable,
        sites: SiteTable,
        clock: Clock,
        rng: Random,
        resolve: Callable[[str], None],
        wake: Callable[[], None],
        is_own: Callable[[str, int], bool],
        *,
        started_at: float | None,
        first_slot: int,
    ) -> None:
        self.index = index
        self.scheduler = Scheduler(
            shaping, self._hosts_for, rng, started_at=started_at, first_slot=first_slot
        )
        self.sites = sites
        self.workers: dict[int, _Worker] = {}
        self.is_granting = False
        self.begun = asyncio.Event()
        self.paths_of: dict[str, set[Path]] = {}
        self._shaping = shaping
        self._clock = clock
        self._rng = rng
        self._resolve = resolve
        self._wake = wake
        self._is_own = is_own
        self._waiting: dict[str, list[Entry]] = {}
        self._waiting_count = 0
        self._next_settler = 0
        self._strays: set[tuple[Path, str]] = set()
        self._looped: set[tuple[Path, str]] = set()

    def reshape(self, table: ShapingTable) -> None:
        """Other limits, providers and separate domains from now on, for everything that is here."""
        now = self._clock.now()
        self._shaping = table
        self.scheduler.reshape(table, now)
        if self.sites.reshape(table.options.provider, table.is_separate):
            self.place(self.scheduler.reroute_all(lambda domain: self.sites.site(domain, now)), now)
        self._wake()

    def shut(self, tenants: frozenset[str]) -> None:
        """Nothing of these tenants is granted from now on, and everything of all others."""
        self.place(self.scheduler.shut(tenants), self._clock.now())
        self._wake()

    # workers

    def joined(
        self,
        hello: Hello,
        held: Sequence[tuple[Held, Sequence[Entry]]],
        end: WorkerEnd,
        replayed: Replayed,
    ) -> None:
        """A worker is here, and the index knows its log up to `hello.position`.

        Args:
            hello: What it said.
            held: Its slots with the entries of them that are still alive, resident now.
            end: Where to send.
            replayed: What its log said beyond what it had announced.
        """
        now = self._clock.now()
        self._settle_replayed(replayed, now)
        if hello.worker in self.workers:
            self.scheduler.worker_left(hello.worker, now)
        self.workers[hello.worker] = _Worker(hello.worker, hello.log, end, hello.pid)
        self.scheduler.worker_joined(hello.worker, hello.log)
        for slot, entries in held:
            self.scheduler.adopt(hello.worker, slot.slot, slot.path, entries, now)
        end.send(Welcome(1))
        self._wake()

    def not_joined(self, held: Sequence[tuple[Held, Sequence[Entry]]]) -> None:
        """A worker is gone before it joined: what was made resident for it waits on disk again."""
        for _, entries in held:
            for entry in entries:
                if not self.scheduler.is_resident(entry.entry):
                    self.index.evict(entry.entry)

    def left(self, worker: int, replayed: Replayed) -> None:
        """A worker is dead; `replayed` is what its log said beyond what it had announced."""
        if self.workers.pop(worker, None) is None:
            return
        now = self._clock.now()
        self._settle_replayed(replayed, now)
        self.scheduler.worker_left(worker, now)
        self._wake()

    def replayed(self, replayed: Replayed) -> None:
        """A log was read that no worker here has; what it holds is in the index."""
        self._settle_replayed(replayed, self._clock.now())
        self._wake()

    def _settle_replayed(self, replayed: Replayed, now: float) -> None:
        """The scheduler forgets what a log says is finished, and learns what it says has changed."""
        slot_of = self.scheduler.slot_of
        for number in replayed.finished:
            if not self.take(number):
                self._settle_in_scheduler(Settled(slot_of(number), number, finished=True), now)
        for entry in replayed.changed:
            if self.take(entry.entry):
                if not entry.held:
                    self.place((entry,), now)
                continue
            settled = Settled(
                slot_of(entry.entry),
                entry.entry,
                finished=False,
                version=entry.version,
                attempts=entry.attempts,
                due_time=entry.due_time,
                delay_notified=entry.delay_notified,
                held=entry.held,
            )
            self._settle_in_scheduler(settled, now)

    def committed(self, worker: int, message: Committed) -> None:
        """One group commit of a worker."""
        log = self.workers[worker].log
        index = self.index
        now = self._clock.now()
        wall = self._clock.wall()
        for entries in index.arrive_all(log, message.arrived):
            self._place_all(entries, now, wall)
        index.settle_all(message.settled)
        for settled in self.scheduler.finished(message.settled, now):
            self._settle_in_scheduler(settled, now)
        index.advance(log, message.position, message.events)
        self._wake()

    def _settle_in_scheduler(self, settled: Settled, now: float) -> None:
        fate, entry = self.scheduler.settled(settled, now, self._clock.wall())
        if settled.held:
            self.scheduler.remove((settled.entry,))
        elif fate is Fate.EVICTED and entry is not None:
            self.index.evict(entry.entry)

    def want(self, message: Want) -> None:
        self.scheduler.want(message.slot, message.count, self._clock.now())
        self._wake()

    def returned(self, message: Returned) -> None:
        self.scheduler.returned(message.slot, message.entries, self._clock.now(), was_seen=message.was_seen)
        self._wake()

    def closed(self, message: Closed) -> None:
        self.scheduler.closed(message.slot, message.failure, message.deliveries, self._clock.now())
        self._wake()

    # places

    def place(self, entries: Iterable[Entry], now: float) -> None:
        """Put entries that the index holds as resident where they belong."""
        wall = self._clock.wall()
        free = [entry for entry in entries if not entry.held]
        for _, group in groupby(free, queue_key):
            self._place_all(list(group), now, wall)

    def _place_all(self, entries: Sequence[Entry], now: float, wall: float) -> None:
        """As `place`, for free entries of one queue key."""
        domain = entries[0].routing_domain
        known = self.sites.get(domain, now)
        if known is None:
            for entry in entries:
                self._wait_for_site(domain, entry)
        elif isinstance(known[1], RouteFailure):
            self._place_unroutable(entries, known[1], now, wall)
        else:
            for entry in self.scheduler.add_all(entries, known[0], now, wall):
                self.index.evict(entry.entry)

    def _place_unroutable(
        self, entries: Sequence[Entry], failure: RouteFailure, now: float, wall: float
    ) -> None:
        """End, or try again later, what is due; for the rest its domain is looked up again in its time."""
        is_shut = self.scheduler.is_shut
        self._keep([entry for entry in entries if is_shut(entry.tenant)])
        free = [entry for entry in entries if not is_shut(entry.tenant)]
        self._settle_unroutable([entry for entry in free if entry.due_time <= wall], failure)
        later = [entry for entry in free if entry.due_time > wall]
        site = self._site_without_route(entries[0].routing_domain)
        for entry in later and self.scheduler.add_all(later, site, now, wall):
            self.index.evict(entry.entry)

    def _site_without_route(self, domain: str) -> str:
        """Where mail of a domain waits that has no route: its options are known where it has its own."""
        return f"@{domain}" if self._shaping.is_separate(domain) else ""

    def _keep(self, entries: Iterable[Entry]) -> None:
        """Keep entries of tenants that are shut, as far as there is room for them."""
        for entry in entries:
            if not self.scheduler.bar(entry):
                self.index.evict(entry.entry)

    def _wait_for_site(self, domain: str, entry: Entry) -> None:
        if (
            self._waiting_count >= WAITING_MAX
        ):  # nor is anybody asked: it would be of no use before there is room
            self.index.evict(entry.entry)
            return
        waiting = self._waiting.get(domain)
        if waiting is None:
            waiting = self._waiting[domain] = []
            self._resolve(domain)
        waiting.append(entry)
        self._waiting_count += 1

    def routed(self, answer: Route | RouteFailure) -> None:
        """The resolver's answer for a domain."""
        now = self._clock.now()
        sites = self.sites
        # of before a change nothing is in memory here by a site of then but what is put right when it is due
        before = "" if sites.is_unsure(answer.domain) else sites.last_site(answer.domain)
        site = sites.put(answer, now)
        if before and site and before != site:
            self.place(self.scheduler.moved(answer.domain, before), now)
        waiting = self._waiting.pop(answer.domain, [])
        self._waiting_count -= len(waiting)
        self.place(waiting, now)
        for path in self.paths_of.pop(answer.domain, ()):
            if path.site == site and isinstance(answer, Route):
                self.scheduler.path_ready(path)
            else:
                self.place(self.scheduler.reroute(path, answer.domain), now)
                self.scheduler.path_ready(path)
        self._wake()

    def _hosts_for(self, path: Path, domain: str) -> tuple[Host, ...] | None:
        now = self._clock.now()
        if not path.site:  # it had no route: all that wait here are looked up at once, not one by one
            self.sites.forget_failure(domain)
            self._strays.add((path, domain))
            return None
        if self.sites.site(domain, now) not in {None, path.site}:
            # its hosts are another path's: neither that path's limits nor the mail behind it may go there
            self._strays.add((path, domain))
            return None
        port = self._shaping.for_path(path).options.smtp_port
        # the resolver looks at the usual port only: it knows no path, and each may have its own
        hosts = self.sites.hosts(domain, now, port, self._rng, self._is_own)
        if hosts is None:
            self.paths_of.setdefault(domain, set()).add(path)
            self._resolve(domain)
        elif not hosts:
            self._looped.add((path, domain))
        return hosts

    def _settle_unroutable(self, entries: Sequence[Entry], failure: RouteFailure) -> None:
        outcome = Outcome(failure.reply, Phase.RESOLVE, ours=True)
        for entry in entries:
            path = Path(entry.channel, entry.binding, self._site_without_route(entry.routing_domain))
            self._send_settle(path, (entry,), outcome, "attempt")

    def _send_settle(self, path: Path, entries: Sequence[Entry], outcome: Outcome, kind: str) -> None:
        """Have a worker settle entries without a connection; with no worker they wait on disk."""
        worker = self._settler(entries[0])
        if worker is None:
            for entry in entries:
                self.scheduler.returned(0, (entry.entry,), self._clock.now())
                self.scheduler.remove((entry.entry,))
                self.index.evict(entry.entry)
            return
        for entry in entries:
            self.scheduler.set_aside(entry, path, worker.number)
        lasts = tuple(entry.last for entry in entries) if kind == "expire" else ()
        worker.end.send(Settle(path, outcome, tuple(map(granted_of, entries)), kind, lasts))

    def _settler(self, entry: Entry) -> _Worker | None:
        """The worker whose memory may have the message, else any."""
        for worker in self.workers.values():
            if worker.log == entry.ref.log:
                return worker
        if not self.workers:
            return None
        self._next_settler += 1
        return list(self.workers.values())[self._next_settler % len(self.workers)]

    def take(self, number: int) -> bool:
        """Make sure that a resident entry cannot be granted; False when a worker has it."""
        return bool(self.take_all((number,)))

    def take_all(self, numbers: Iterable[int]) -> set[int]:
        """As `take`; gives those that no worker has. At once, because each look goes over whole queues."""
        free = {number for number in numbers if not self.scheduler.is_granted(number)}
        rest = free.difference(entry.entry for entry in self.scheduler.remove(free))
        entries = filter(None, map(self.index.get, rest))
        for domain in {entry.routing_domain for entry in entries}.intersection(self._waiting):
            waiting = self._waiting[domain]
            kept = [each for each in waiting if each.entry not in rest]
            self._waiting_count -= len(waiting) - len(kept)
            waiting[:] = kept
        return free

    # time

    def begin(self) -> None:
        """All that a predecessor left is known: grant from now on."""
        self.scheduler.begin(self._clock.now())
        self.is_granting = True
        self.begun.set()
        self._wake()

    def plan(self) -> None:
        """Grant what can be granted now."""
        if not self.is_granting:
            return
        for worker, order in self.scheduler.plan(self._clock.now()):
            self.workers[worker].end.send(order)
        if self._looped:
            self._break_loops()
        if self._strays:
            self._put_right()

    def _break_loops(self) -> None:
        """Mail that its path's port would bring back to ourselves goes nowhere."""
        now, wall = self._clock.now(), self._clock.wall()
        looped, self._looped = self._looped, set()
        for path, domain in looped:
            failure = RouteFailure(domain, LOOP, 0.0)
            for _, group in groupby(self.scheduler.reroute(path, domain), queue_key):
                self._place_unroutable(list(group), failure, now, wall)
            self.scheduler.path_ready(path)
        self._wake()

    def _put_right(self) -> None:
        """Mail on a path that is not its domain's, as when it became due only now, goes where it belongs."""
        now = self._clock.now()
        strays, self._strays = self._strays, set()
        for path, domain in strays:
            self.place(self.scheduler.reroute(path, domain), now)
            self.scheduler.path_ready(path)
        self._wake()

    def next_at(self) -> float | None:
        """When to call `plan` if nothing happens before."""
        return self.scheduler.next_at() if self.is_granting else None

    def expire(self) -> None:
        """Have entries that are past their time settled."""
        if not self.is_granting or not self.workers:
            return
        outcome = Outcome(EXPIRED, Phase.QUEUE, ours=True)
        for path, entries in self.scheduler.expired(self._clock.wall()):
            self._send_settle(path, entries, outcome, "expire")

    async def fill(self, horizon_seconds: float) -> int:
        """Bring due entries back from the checkpoint; returns how many, 0 where more at once is no help."""
        entries = await self.index.due(self._clock.wall() + horizon_seconds, FILL_BATCH, self._room)
        now = self._clock.now()
        self.place(entries, now)
        emptied = self.scheduler.hungry()
        for path in emptied:  # what is on disk comes by itself: all that was due and had room is here now
            self.scheduler.more_on_disk(path, False, now)
        if entries or emptied:
            self._wake()
        return 0 if self.scheduler.is_crowded else len(entries)

    def _room(self, key: QueueKey) -> int:
        channel, binding, domain = key
        known = self.sites.get(domain, self._clock.now())
        if known is None:
            room = min(WAITING_PER_DOMAIN, WAITING_MAX - self._waiting_count)
            return max(room - len(self._waiting.get(domain, ())), 0)
        if isinstance(known[1], RouteFailure):
            path = Path(channel, binding, self._site_without_route(domain))
            return min(WAITING_PER_DOMAIN, self.scheduler.room(path))
        return self.scheduler.room(Path(channel, binding, known[0]))


def granted_of(entry: Entry) -> Granted:
    """What a worker needs to know of an entry."""
    return Granted(entry.entry, entry.ref, entry.index, entry.version, entry.attempts, entry.delay_notified)
