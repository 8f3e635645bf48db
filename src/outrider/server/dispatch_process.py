"""The dispatcher's process: links, replay, resolver and checkpoints around `Dispatcher`.

Theory of a start: the index knows each log up to its checkpoint. Logs whose writers are dead (their lock
is free) are replayed to their end, and their missing events written; living workers say hello with the
position up to which their log is synced, are replayed up to it, and bring the slots that they hold. Only
when nothing is unknown any more does granting begin, so no limit is exceeded and nothing is sent twice
over a restart.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path as FilePath
from random import Random

from outrider.base.errors import SpoolError
from outrider.model.dispatch import (
    Closed,
    Committed,
    Hello,
    Position,
    Released,
    Reserve,
    Returned,
    Suspended,
    ToDispatcher,
    Want,
)
from outrider.net.mx import MxResolver
from outrider.record.derive import events_of
from outrider.record.metrics import Metrics
from outrider.record.writer import EventWriter
from outrider.schedule.sites import SiteTable
from outrider.server.bindings import shaping_of
from outrider.server.credentials import preparation
from outrider.server.dispatcher import Dispatcher
from outrider.server.faults import files_of
from outrider.server.follow import Snapshot, Swap
from outrider.server.idempotency import KeyRegister
from outrider.server.keys import ServerKeys
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.link import Link
from outrider.server.measures import Measures
from outrider.server.owed import OwedEvents
from outrider.server.path_operations import PathOperations
from outrider.server.queue_operations import QueueOperations
from outrider.server.requests import RequestServer, tell_changed
from outrider.server.resolvers import new_resolver
from outrider.server.routes import RouteFinder
from outrider.server.settings import Settings
from outrider.server.site_keeper import SiteKeeper
from outrider.server.suspensions import Suspensions
from outrider.server.tenant_holds import TenantHolds
from outrider.server.throttles import Lease, Remembered, Throttles
from outrider.server.unix_door import Closable, UnixDoor
from outrider.spool.admin import QueueAdmin
from outrider.spool.directory import SpoolDirectory
from outrider.spool.index import Index
from outrider.spool.missing import MissingSegments
from outrider.spool.reclaim import Reclaimer
from outrider.spool.replay import Replayed
from outrider.spool.tails import give_tails_back, make_room
from outrider.spool.writer import LogWriter, Synced
from outrider.store.engine import open_engine

LOCK_POLL_SECONDS = 0.05
# chosen: a process's end frees its lock within milliseconds of closing its link
FILL_SECONDS = 0.5
# chosen: entries come back `horizon_seconds` before they are due, so this is never late
ORPHANS_SECONDS = 2.0
# chosen: what a worker took that died before its hello waits no longer than that; a look costs 20 µs a log
NO_POSITION = Position(0, 0)
START_SHARE = 2
# chosen: of a segment; half of it is for the small one that a log begins with, half for the checkpoint
BLOCKED_SECONDS = 0.05
# chosen: while due entries wait on disk for room; a window of 2,000 lasts longer at 10,000 messages a second


class _Worker:
    """One link and what is known of the worker behind it."""

    __slots__ = ("hello", "is_joined", "link", "queue")

    def __init__(self, link: Link[ToDispatcher]) -> None:
        self.link = link
        self.hello: Hello | None = None
        self.is_joined = False
        self.queue: deque[ToDispatcher] = deque()

    def is_linked(self) -> bool:
        """False when the link has ended."""
        return self.link.transport is not None


class DispatchProcess:
    """See the module."""

    def __init__(self, birth: Birth, life: Lifecycle) -> None:
        settings = birth.settings
        self._birth = birth
        self._life = life
        self._loop = asyncio.get_running_loop()
        self._files = files_of(os.environ)
        self._log = birth.log
        self._clock = birth.clock
        self._key_ring = ServerKeys(settings, os.environ)
        self._index = self._open_index()
        self._writer = LogWriter(
            self._index.directory,
            settings.spool,
            birth.clock,
            birth.log,
            self._own_synced,
            keys=self._key_ring.spool,
        )
        self._events = EventWriter(
            self._files,
            settings.server.events_directory,
            self._writer.number,
            settings.record,
            birth.clock,
            birth.log,
            tokens=self._key_ring.tokens,
        )
        shaping = shaping_of(settings)
        rng = Random(int.from_bytes(os.urandom(8)))  # noqa: S311 - spreads retries and hosts
        self._mx = self._resolver_of(settings, _places_of(birth))
        self._routes = RouteFinder(
            self._mx,
            lambda answer: self.dispatcher.routed(answer),  # noqa: PLW0108 - not there yet
            birth.log,
        )
        self._measures = Measures(
            settings.record, birth.name, birth.clock, self._set_gauges, is_restart=birth.is_restart
        )
        self._is_woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tasks: asyncio.TaskGroup
        self._owed = OwedEvents(
            self._index, settings, self._key_ring, self._files, birth.clock, birth.log, life.draining
        )
        self._links: dict[Link[ToDispatcher], _Worker] = {}
        self._burying: dict[int, int] = {}  # log → worker number
        self._expected: set[int] = set()
        self._unread: set[int] = set()  # of those, what was written before our start is not known yet
        self._read: set[int] = set()  # logs whose writers are dead, read to the end
        throttles = Throttles(settings.server.state_directory / "throttles", birth.clock)
        remembered = throttles.take()
        self.dispatcher = Dispatcher(
            self._index,
            shaping,
            SiteTable(settings.shaping.provider, settings.shaping.site_cache, shaping.is_separate),
            birth.clock,
            rng,
            self._routes.ask,
            self._wake,
            lambda address, port: self._mx.is_own(address, port),  # noqa: PLW0108 - a reload exchanges it
            started_at=None if self._is_clean(remembered) else birth.clock.now(),
            first_slot=int(birth.clock.wall() * 1000) << 20,
        )
        if remembered is not None:
            self.dispatcher.scheduler.recall(remembered.memory, birth.clock.now(), remembered.wall)
        self._site_keeper = SiteKeeper(
            self._files,
            settings.server.state_directory / "sites",
            self.dispatcher.sites,
            self._index.domains,
            self._routes.ask,
            birth.log,
            settings,
        )
        self._lease = Lease(throttles, self.dispatcher.scheduler, birth.clock, birth.log)
        self._register = KeyRegister(self._index.key, lambda look_up: self._tasks.create_task(look_up))  # noqa: PLW0108 - not there yet
        self._suspensions = Suspensions(
            self._files,
            settings.server.state_directory,
            self.dispatcher.scheduler,
            birth.clock,
            birth.log,
            self._tell_suspended,
        )
        self._admin = QueueAdmin(
            self._index, self._writer, birth.clock, self.dispatcher.take_all, tell_changed, self._reclaim
        )
        self._holds = TenantHolds(
            self.dispatcher,
            self._index,
            self._admin,
            database=open_engine(settings.store, settings.server.state_directory),
            prepare=preparation(birth.clock),
            log=birth.log,
            known=self._begin_if_complete,
        )
        self._missing = MissingSegments(self._index, birth.log)
        self._reclaimer = Reclaimer(
            self._index, self._writer, birth.clock, birth.log, self.dispatcher.take_all
        )
        self._reclaiming = asyncio.Lock()

    def _open_index(self) -> Index:
        """The index; on a full disk what the dead had reserved is room enough to begin with."""
        options = self._birth.settings.spool
        path = str(self._birth.settings.server.spool_directory)
        directory = SpoolDirectory(self._files, path)
        directory.open()
        try:
            given = make_room(directory, options.segment_octets // START_SHARE)
        except OSError as error:
            self._log.error("spool.room_not_given", error=str(error))
        else:
            if given:
                self._log.warning("spool.room_given", octets=given, why="the disk is full")
        return Index.open(self._files, path, options, self._clock, self._log, self._key_ring.spool)

    def _is_clean(self, remembered: Remembered | None) -> bool:
        """Nobody may have sent mail until now: a predecessor ended cleanly, or there was none."""
        if remembered is not None:
            return remembered.memory.is_clean
        directory = self._index.directory
        # a predecessor leaves a log at least; the logs of the living are those of a first start's workers
        return all(map(directory.is_alive, directory.logs()))

    async def _make_room(self) -> int:
        """On a full disk, what is reserved, for the record of a change that makes room; how many octets."""
        enough = self._birth.settings.spool.segment_octets // START_SHARE
        return 0 if self._index.directory.free_octets() >= enough else await self._give_room()

    async def _give_room(self) -> int:
        given = await self._writer.give_back()
        if given:
            self._log.warning("spool.room_given", octets=given, why="the disk is full")
        return given

    def _resolver_of(self, settings: Settings, places: Sequence[tuple[str, int]]) -> MxResolver:
        """Who finds routes; `places` are our own SMTP listeners."""
        resolver = new_resolver(settings.net, self._clock, self._log)
        port = settings.shaping.default.smtp_port
        return MxResolver(resolver, settings.net, log=self._log, listeners=places, smtp_port=port)

    def _prepare(self, snapshot: Snapshot) -> Swap:
        """Other limits and routes; see `Follower.follow`."""
        old, new = self._life.settings, snapshot.settings
        shaping = shaping_of(new)
        mx = self._resolver_of(new, snapshot.places)

        async def swap() -> None:
            self._mx = self._routes.resolver = mx
            self._events.reshape(new.record)
            if old.net != new.net:
                self.dispatcher.sites.forget_all()
            self.dispatcher.reshape(shaping)
            self._site_keeper.reshape(new)
            self._events.noticed("config.reloaded", epoch=snapshot.epoch, **snapshot.facts())

        return swap

    def _set_gauges(self, metrics: Metrics) -> None:
        counts = self._index.counts()
        metrics.cell("outrider_queue_messages", "resident").value = counts.resident
        metrics.cell("outrider_queue_messages", "held").value = counts.held
        metrics.cell("outrider_queue_messages", "stored").value = counts.alive - counts.resident - counts.held
        metrics.cell("outrider_spool_messages_missing").value = self._missing.gone.entries
        metrics.cell("outrider_connections", "outbound").value = self.dispatcher.scheduler.connections()

    def _own_synced(self, position: Position, batch: Sequence[Synced]) -> None:
        """Administrators' changes and copies are durable in the dispatcher's own log."""
        redactor = self._events.redactor
        events = [event for changes, ref in batch for event in events_of(ref, changes, redactor)]
        self._events.write_batch(position, events)
        self._measures.count(events)
        self._measures.synced(self._writer.sync_seconds)
        self._index.advance(self._writer.number, position, self._events.synced_position or NO_POSITION)

    # planning

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._plan)

    def _plan(self) -> None:
        self._is_woken = False
        at: float | None
        if self._lease.holds():
            self.dispatcher.plan()
            at = self.dispatcher.next_at()
        else:
            at = self._lease.renew_at
        if at is None or (self._timer is not None and self._timer_at <= at):
            return  # planning too early is cheap, cancelling and setting a timer each turn is not (2 µs)
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - self._clock.now(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._plan()

    # links

    def _linked(self) -> Link[ToDispatcher]:
        return Link(ToDispatcher, self._heard, self._lost)

    def _heard(self, link: Link[ToDispatcher], batch: list[ToDispatcher]) -> None:
        worker = self._links.get(link)
        if worker is None:
            worker = self._links[link] = _Worker(link)
        for message in batch:
            if isinstance(message, Hello):
                worker.hello = message
                self._tasks.create_task(self._join(worker, message))
            elif worker.is_joined and worker.hello is not None:
                self._take(worker.hello.worker, message)
            else:
                worker.queue.append(message)

    def _take(self, worker: int, message: ToDispatcher) -> None:
        match message:
            case Committed():
                self.dispatcher.committed(worker, message)
                if message.kept:
                    self._keep(worker, message)
            case Want():
                self.dispatcher.want(message)
            case Returned():
                self.dispatcher.returned(message)
            case Closed():
                self.dispatcher.closed(message)
            case Reserve():
                self._register.ask(worker, self.dispatcher.workers[worker].end, message)
            case Released():
                self._register.released(worker, message.key)
            case Hello():
                raise AssertionError("hello is handled before")

    def _keep(self, worker: int, message: Committed) -> None:
        """Idempotency keys that became durable; in the turn in which the log's position advanced."""
        log = self.dispatcher.workers[worker].log
        for keyed, segment in message.kept:
            self._index.keys.put(keyed, (log, segment))
            self._register.kept(keyed.key)

    async def _join(self, worker: _Worker, hello: Hello) -> None:
        """Learn a worker's log up to where it is, then take it in; after the burial of its predecessor."""
        while worker.is_linked():
            if not self._has_predecessor(worker, hello):
                break
            await asyncio.sleep(LOCK_POLL_SECONDS)
        else:
            return
        replayed = await self._index.replay(hello.log, hello.position)
        self._unread.discard(hello.log)
        while self._unread:  # what it holds may be in their logs: unknown, it would be granted once more
            if not worker.is_linked():
                return
            await asyncio.sleep(LOCK_POLL_SECONDS)
        held = [(slot, await self._index.load(slot.entries)) for slot in hello.held]
        if not worker.is_linked():
            self.dispatcher.not_joined(held)
            return
        worker.link.send(self._suspensions.message())  # before it counts as ready
        self.dispatcher.joined(hello, held, worker.link, replayed)
        self._register.joined(hello.worker, hello.reserved)
        worker.is_joined = True
        self._expected.discard(hello.log)
        while worker.queue:
            self._take(hello.worker, worker.queue.popleft())
        self._log.info("worker.joined", worker=hello.worker, spool_log=hello.log, held=len(hello.held))
        self._begin_if_complete()

    def _tell_suspended(self, message: Suspended) -> None:
        for worker in self.dispatcher.workers.values():
            worker.end.send(message)

    def _has_predecessor(self, worker: _Worker, hello: Hello) -> bool:
        """True while an earlier link of a worker of this number is not done with."""
        return hello.worker in self._burying.values() or any(
            each is not worker and each.hello is not None and each.hello.worker == hello.worker
            for each in self._links.values()
        )

    def _lost(self, link: Link[ToDispatcher]) -> None:
        worker = self._links.pop(link, None)
        if worker is not None and worker.hello is not None and not self._life.draining.is_set():
            hello = worker.hello
            self._burying[hello.log] = hello.worker
            self._tasks.create_task(self._bury(hello.worker, hello.log))

    async def _bury(self, number: int, log: int) -> None:
        try:
            await self._bury_log(number, log)
        finally:
            self._burying.pop(log, None)

    async def _bury_log(self, number: int, log: int) -> None:
        """The worker's link is gone: when its log is free too, it is dead; take what it left."""
        while self._index.directory.is_alive(log):
            if any(each.hello is not None and each.hello.log == log for each in self._links.values()):
                return  # it has a new link
            await asyncio.sleep(LOCK_POLL_SECONDS)
        replayed = await self._replay_dead(log)
        self.dispatcher.left(number, replayed)
        self._register.left(number)
        self._expected.discard(log)
        self._log.warning("worker.buried", worker=number, spool_log=log, frames=replayed.frames)
        self._begin_if_complete()

    async def _replay_dead(self, log: int) -> Replayed:
        replayed = await self._index.replay(log, None)
        self._unread.discard(log)
        if not self._index.directory.is_alive(log):
            self._read.add(log)
            await self._give_tails_back(log)
        self._tasks.create_task(self._owed.write(log, self._index.positions()[log]))
        return replayed

    async def _give_tails_back(self, log: int) -> None:
        try:
            await self._index.in_thread(lambda: give_tails_back(self._index.directory, log))
            if self._index.directory.free_octets() < self._birth.settings.spool.segment_octets // START_SHARE:
                await self._give_room()  # its successor has nowhere to begin
        except OSError as error:
            self._log.error("spool.room_not_given", spool_log=log, error=str(error))

    def _begin_if_complete(self) -> None:
        if not self._expected and self._holds.is_known and not self.dispatcher.is_granting:
            self._index.recovered()
            self.dispatcher.begin()
            self._register.begin()
            self._holds.begin()
            self._log.info("dispatcher.granting", entries=self._index.counts().alive)

    def _door(self, path: str, listen: Callable[[], Awaitable[Closable]]) -> UnixDoor:
        return UnixDoor(FilePath(path), listen, self._log)

    # life

    async def _start(self) -> None:
        """Replay the logs of the dead; expect the living."""
        own = self._writer.number
        for log in self._index.directory.logs():
            if log == own or not self._index.directory.is_begun(log):
                continue
            if self._index.directory.is_alive(log):
                self._expected.add(log)
            else:
                await self._replay_dead(log)
        self._unread |= self._expected
        try:
            await self._index.checkpoint()
        except SpoolError as error:  # what is delivered makes room
            self._log.error("dispatcher.checkpoint_failed", error=error.message)

    async def _await_expected(self) -> None:
        """Workers that lived when we started may die before their hello."""
        while self._expected:
            for log in list(self._expected):
                if not self._index.directory.is_alive(log):
                    await self._replay_dead(log)
                    self._expected.discard(log)
            await asyncio.sleep(LOCK_POLL_SECONDS)
        self._begin_if_complete()

    async def _orphans(self) -> None:
        """Read what workers left that died before they said hello, while we were not listening, say."""
        while True:
            await asyncio.sleep(ORPHANS_SECONDS)
            logs = self._index.directory.logs()
            self._read.intersection_update(logs)
            for log in logs:
                try:
                    if self._is_orphan(log):
                        self.dispatcher.replayed(await self._replay_dead(log))
                        self._log.warning("log.orphan_read", spool_log=log)
                except (OSError, SpoolError) as error:
                    self._log.error("log.orphan_unreadable", spool_log=log, error=str(error))

    def _is_orphan(self, log: int) -> bool:
        """True for a log that has no writer any more, and that nobody else here reads."""
        if log == self._writer.number or log in self._read or log in self._expected or log in self._burying:
            return False
        if any(each.hello is not None and each.hello.log == log for each in self._links.values()):
            return False
        return self._index.directory.is_begun(log) and not self._index.directory.is_alive(log)

    async def _fill(self) -> None:
        while True:
            horizon = self._life.settings.shaping.horizon_seconds
            try:
                # before every log was read, what the checkpoint calls due may be finished
                loaded = await self.dispatcher.fill(horizon) if self.dispatcher.is_granting else 0
            except SpoolError as error:
                self._log.error("dispatcher.fill_failed", error=error.message)
                loaded = 0
            self.dispatcher.expire()
            await asyncio.sleep(0 if loaded else FILL_SECONDS if self._is_nothing_due() else BLOCKED_SECONDS)

    def _is_nothing_due(self) -> bool:
        due_time = self._index.next_due()
        return due_time is None or due_time > self._clock.wall()

    async def _checkpoints(self) -> None:
        seconds = self._birth.settings.spool.checkpoint_seconds
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._reclaim()
                await self._missing.look()
            except SpoolError as error:
                self._log.error("dispatcher.checkpoint_failed", error=error.message)

    async def _reclaim(self) -> None:
        """Take a checkpoint and give back the room of what is done by it.

        Raises:
            SpoolError: The disk has not even room for that.
        """
        async with self._reclaiming:
            await self._index.checkpoint()
            reclaimed = await self._reclaimer.run()
            if any(reclaimed):
                self._log.info("spool.reclaimed", **reclaimed._asdict())
            await self._writer.take_back()

    async def run(self) -> None:
        """Dispatch until told to stop; the supervisor tells us after the workers have gone."""
        sockets: FilePath = self._birth.settings.server.sockets_directory
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._index.make_room = self._give_room
            await self._start()
            queue = QueueOperations(self.dispatcher, self._index, self._admin, self._clock, self._events)
            paths = PathOperations(
                self.dispatcher, self._index, self._suspensions, self._missing, self._clock, self._wake
            )
            requests = RequestServer(
                {**queue.operations(), **paths.operations(), "spool.make_room": self._make_room}
            )
            path, questions = str(sockets / "dispatcher.sock"), str(sockets / "queue.sock")
            doors = (
                self._door(path, lambda: self._loop.create_unix_server(self._linked, path)),
                self._door(questions, lambda: asyncio.start_unix_server(requests.serve, questions)),
            )
            for door in doors:
                await door.open()
            background = [
                tasks.create_task(self._routes.run()),
                tasks.create_task(self._await_expected()),
                tasks.create_task(self._orphans()),
                tasks.create_task(self._holds.run()),
                tasks.create_task(self._fill()),
                tasks.create_task(self._checkpoints()),
                tasks.create_task(self._writer.watch()),
                *(tasks.create_task(door.watch()) for door in doors),
                tasks.create_task(self._site_keeper.run()),
                tasks.create_task(self._life.drain_after(self._events.run(), "record.frozen")),
                tasks.create_task(self._measures.send_to(sockets)),
            ]
            self._life.ready()
            self._life.follow(self._prepare, tasks)
            await self._life.draining.wait()
            for door in doors:
                door.close()
            for task in background:
                task.cancel()
            for link in list(self._links):
                link.close()
        self._lease.end()
        await self._site_keeper.keep()
        await self._writer.close()
        self._events.close()
        await self._index.close()


def _places_of(birth: Birth) -> list[tuple[str, int]]:
    """Where our SMTP listeners are. Their sockets are closed here: worker 0 serves, until a reload."""
    places = [
        (listener.address, birth.sockets[listener.name].getsockname()[1])
        for listener in birth.settings.listener
    ]
    for each in birth.sockets.values():
        each.close()
    return places


async def run_dispatcher(birth: Birth, life: Lifecycle) -> None:
    """Main of the dispatcher process."""
    await DispatchProcess(birth, life).run()
