"""A worker: listeners, policy, its own log, delivery; everything that grows with messages, on one thread.

Puts the stages together for one process. The two ways of the mail are `ingress.py` and `egress.py`; here is
what happens when a group commit is durable: events are written, then the dispatcher hears of the batch.

Theory: the dispatcher may die and come back. Until it says `Welcome` the worker goes on receiving and
finishes what it was granted; what it would have announced is in its log, where the new dispatcher finds it
up to the position in `Hello`.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from mmap import mmap
from random import Random
from typing import Any

from outrider.base.clock import Clock
from outrider.base.files import Files
from outrider.base.ids import IdSource
from outrider.deliver.maildir import MaildirDeliverer
from outrider.deliver.resolve import DeliveryResolver
from outrider.deliver.smtp.deliverer import SmtpDeliverer
from outrider.guard.signing import SigningGuard
from outrider.model.changes import Keyed, Stored
from outrider.model.dispatch import (
    Arrived,
    Batch,
    Close,
    Committed,
    Hello,
    Open,
    Position,
    Reserved,
    Settle,
    Settled,
    Suspended,
    ToDispatcher,
    ToWorker,
    Welcome,
)
from outrider.model.flow import Origin
from outrider.model.ports import Intake, Policy, PolicyDoor
from outrider.model.reply import Reply
from outrider.net.http import HttpServer
from outrider.net.listen import BACKLOG
from outrider.net.tls import TlsContexts
from outrider.policy.audit import Audit
from outrider.policy.surroundings import HERE
from outrider.privacy.key_keeper import KeyKeeper
from outrider.receive.client_history import ClientHistory, history_name
from outrider.receive.clients import ClientCounts
from outrider.receive.http import Shared, build_app
from outrider.receive.http_limits import KeyRates, rates_name
from outrider.receive.http_options import HttpOptions
from outrider.receive.inbound import InboundAddresses
from outrider.receive.listener import SmtpListener
from outrider.receive.options import ListenerOptions, Role
from outrider.record.derive import events_of
from outrider.record.metrics import Metrics
from outrider.record.writer import EventWriter
from outrider.server.bindings import delivery_of, shaping_of
from outrider.server.contents import Contents
from outrider.server.credentials import authenticator_of
from outrider.server.doors import server_tls
from outrider.server.egress import Egress
from outrider.server.faults import files_of
from outrider.server.follow import Snapshot, Swap
from outrider.server.idempotency import KeyAsker
from outrider.server.inbound import Channels, InboundPolicy
from outrider.server.ingress import Ingress
from outrider.server.keys import ServerKeys
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.link import Link
from outrider.server.measures import Measures
from outrider.server.outbox import SpoolOutbox
from outrider.server.pressure import Pressure
from outrider.server.reports import Reports
from outrider.server.scripts import Teller, WorkerScripts
from outrider.server.settings import Settings
from outrider.server.shadow_link import SOCKET as SHADOW_SOCKET
from outrider.server.shadow_link import Tap
from outrider.server.signing import signing_keys
from outrider.server.states import States
from outrider.server.unsent import ends_unsent, is_unsent
from outrider.server.worker_routing import WorkerRouting
from outrider.spool.announce import arrived_of, settled_of
from outrider.spool.directory import SpoolDirectory
from outrider.spool.reader import FrameReader
from outrider.spool.writer import LogWriter, Synced
from outrider.store.sources.sources import Sources
from outrider.wire.smtp import replies

RECONNECT_SECONDS = 0.1
# chosen: a dispatcher's restart takes about a second; ten tries in it cost nothing
UNLINKED_SECONDS = 5.0
# chosen: longer than a restart takes; with a long queue to read it is said too, and is true
UNLINKED_AGAIN_SECONDS = 60.0
# chosen: whoever looks at the log sees that it lasts
UNLINKED_ADVICE = (
    "mail is taken and kept, and nothing of it is sent meanwhile; if the dispatcher has nothing to read, "
    "and something else stands where its socket was, remove that"
)
SETTLE_SECONDS = 0.005
# chosen: finishes are synced within 20 ms
LONG_SEGMENTS = 4
# chosen: long messages are read one at a time
NO_POSITION = Position(0, 0)


class Worker:
    """See the module."""

    def __init__(
        self,
        birth: Birth,
        life: Lifecycle,
        counts: Mapping[str, mmap],
        prepare: "Callable[[Worker, Snapshot], Swap]",
    ) -> None:
        self._prepare = prepare
        settings = birth.settings
        server = settings.server
        self._birth = birth
        self._life = life
        self._loop = asyncio.get_running_loop()
        self._link: Link[ToWorker] | None = None
        self._is_welcome = False
        files = files_of(os.environ)
        directory = SpoolDirectory(files, str(server.spool_directory))
        directory.open()
        keys = ServerKeys(settings, os.environ)
        self.log = LogWriter(directory, settings.spool, birth.clock, birth.log, self._synced, keys=keys.spool)
        self.events = EventWriter(
            files,
            server.events_directory,
            self.log.number,
            settings.record,
            birth.clock,
            birth.log,
            tokens=keys.tokens,
        )
        rng = Random(int.from_bytes(os.urandom(8)))  # noqa: S311 - spreads retries and hosts
        self._ids = ids = IdSource(birth.clock, rng.getrandbits(25))
        shaping, delivery = shaping_of(settings), delivery_of(settings)
        self.pressure = Pressure(server, server.state_directory, birth.log, stores=self._stores_refusal)
        self._counts = dict(counts)
        self._clients: dict[str, ClientCounts] = {}
        self._rates: dict[str, KeyRates] = {}
        reader = FrameReader(directory, settings.spool, keys.spool)
        self.contents = contents = Contents(
            reader,
            server.content_cache_bytes,
            FrameReader(
                directory,
                settings.spool.model_copy(update={"open_segments": LONG_SEGMENTS}),
                keys.spool,
            ),
            None if settings.spool.compression == "none" else reader.plain_length,
        )
        self.routing = routing = WorkerRouting(settings, shaping, delivery, birth.clock, rng, birth.log)
        self.reports = reports = Reports(
            settings.classify.dsn, server.hostname, routing.reporting, self.log, ids, birth.clock, birth.log
        )
        self.egress = Egress(
            shaping, self.log, contents, reports, self, birth.clock, rng, birth.log, routing.fitness.learned
        )
        self.keys = signing_keys(settings, os.environ, birth.clock)
        self.deliverer = self._channels(files, delivery)
        self.asker = KeyAsker(self.send)
        self.ingress = Ingress(
            self.routing.policy,
            self.log,
            contents,
            self.pressure,
            self._refused,
            lambda: self.log.is_full,
            self.asker.release,
            reports.of_refused,
        )
        self.measures = Measures(
            settings.record, birth.name, birth.clock, self._set_gauges, is_restart=birth.is_restart
        )
        self.policy = WorkerScripts(
            settings,
            partial(Teller, self.measures.metrics, self.events.noticed, birth.clock, birth.log),
            Sources(settings.data_source, birth.clock, birth.log, os.environ, self.measures.metrics),
            KeyKeeper(self.keys, birth.log),
            birth.clock,
            birth.log,
            self.routing.bindings,
            SpoolOutbox(self._intake(self.routing.policy), self._ids, birth.clock, settings.server.hostname),
            birth.number,
        )
        self._authenticator = authenticator_of(settings, birth.clock, birth.log)
        self.listeners = [self.smtp_door(options, self.policy.scripts) for options in settings.listener]
        self.http = [(options.name, self.http_door(options)) for options in settings.http]
        self.sockets = dict(birth.sockets)
        self.servers: dict[str, Any] = {}
        self.removed: list[SmtpListener] = []  # by a reload; their sessions come to an end
        self.tasks: asyncio.TaskGroup
        self.retiring: set[asyncio.Task[None]] = set()

    def _channels(self, files: Files, delivery: DeliveryResolver) -> Channels:
        birth = self._birth
        settings = birth.settings
        smtp = SmtpDeliverer(
            delivery,
            hostname=settings.server.hostname,
            source=self.contents,
            guard=SigningGuard(self.keys, birth.clock, birth.log),
            report=self.egress,
            clock=birth.clock,
            log=birth.log,
            tls=TlsContexts(settings.net.tls),
            departures=self.egress.way_out,
        )
        maildir = MaildirDeliverer(
            settings.server.inbound_directory,
            hostname=settings.server.hostname,
            files=files,
            source=self.contents,
            report=self.egress,
            log=birth.log,
        )
        return Channels(smtp, maildir)

    # doors

    def take_scripts(self, scripts: PolicyDoor | None) -> None:
        """Sessions, requests and attempts that begin from now on are decided by these."""
        self.policy.take(scripts)
        self.ingress.scripts = scripts
        self.egress.way_out.take(None if scripts is None else scripts.way_out)

    def smtp_door(self, options: ListenerOptions, scripts: PolicyDoor | None) -> SmtpListener:
        """A listener for SMTP, that does not listen yet."""
        return SmtpListener(
            options,
            hostname=self._birth.settings.server.hostname,
            intake=self.intake_of(options),
            authenticator=self._authenticator,
            ids=self._ids,
            clock=self._birth.clock,
            log=self._birth.log,
            tls=server_tls(options),
            clients=self._clients_of(options.name),
            history=ClientHistory(self._counts[history_name(options.name)], self._birth.number),
            shortage=lambda: self.pressure.shortage,
            notice=self.events.noticed,
            scripts=scripts_for(options, scripts),
        )

    def http_door(self, options: HttpOptions) -> HttpServer:
        """A listener for HTTP, that does not listen yet."""
        server = self._birth.settings.server
        return HttpServer(
            build_app(
                options,
                hostname=server.hostname,
                intake=self.ingress,
                authenticator=self._authenticator,
                lookup=States(
                    server.events_directory, server.sockets_directory / "queue.sock", self._birth.clock
                ),
                shared=Shared(
                    self.asker,
                    self._clients_of(options.name),
                    self.rates_of(options),
                ),
                ids=self._ids,
                clock=self._birth.clock,
                log=self._birth.log,
            ),
            options.http_limits,
            self._birth.clock,
            self._birth.log,
        )

    def intake_of(self, options: ListenerOptions) -> Intake:
        """Who takes what a listener accepts."""
        return self._inbound(options) if options.role is Role.INBOUND else self.ingress

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._birth.clock

    @property
    def settings(self) -> Settings:
        """What this worker runs with now."""
        return self._life.settings

    def add_counts(self, counts: Mapping[str, mmap]) -> None:
        """What all workers share for listeners that are new.

        A reload that was given up may have brought other memory for them, which not all workers have.
        """
        self._counts |= counts
        self._clients = {name: clients for name, clients in self._clients.items() if name not in counts}
        self._rates = {name: rates for name, rates in self._rates.items() if rates_name(name) not in counts}

    def _clients_of(self, name: str) -> ClientCounts:
        """The counts of a listener, for as long as it has its name."""
        clients = self._clients.get(name)
        if clients is None:
            clients = self._clients[name] = ClientCounts(self._counts[name], self._birth.number)
        return clients

    def rates_of(self, options: HttpOptions) -> KeyRates:
        """The rates of a listener, as above."""
        rates = self._rates.get(options.name)
        if rates is None:
            rates = self._rates[options.name] = KeyRates(
                options.key_recipients_per_second, self._counts[rates_name(options.name)], self._birth.number
            )
        return rates

    def _inbound(self, options: ListenerOptions) -> Ingress:
        """The intake of a listener that relays nothing."""
        return self._intake(InboundPolicy(InboundAddresses(options.mailbox)))

    def _intake(self, policy: Policy) -> Ingress:
        """An intake that asks no script."""
        return Ingress(
            policy, self.log, self.contents, self.pressure, self._refused, lambda: self.log.is_full
        )

    def _set_gauges(self, metrics: Metrics) -> None:
        inbound = sum(listener.sessions for listener in (*self.listeners, *self.removed))
        for listener in self.listeners:
            cell = metrics.cell("outrider_listener_stressed", listener.options.name)
            cell.value = int(listener.is_stressed)
        metrics.cell("outrider_connections", "inbound").value = inbound + sum(
            http.connections for _, http in self.http
        )

    def _stores_refusal(self) -> Reply | None:
        if self.log.is_without_room:
            self.log.look_for_room()  # who was refused commits nothing that would
            return replies.DISK_LOW
        return replies.SPOOL_FAILED if self.log.is_full or self.events.stalled else None

    def _refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self.measures.metrics.refused(origin.listener, reply.code)
        self.events.refused(origin, mail_from, recipient, reply)
        if self.policy.audit is not None:
            self.policy.audit.refused(origin)

    # what became durable

    def _synced(self, position: Position, batch: Sequence[Synced]) -> None:
        """Tell the dispatcher first: what follows must not keep mail from going out."""
        arrived: list[Arrived] = []
        settled: list[Settled] = []
        kept: list[tuple[Keyed, int]] = []
        slots = self.egress.slots
        for changes, ref in batch:
            for change in changes:
                if isinstance(change, Stored):
                    if not is_unsent(change):  # else it is finished in this frame
                        arrived.append(arrived_of(change, ref))
                elif isinstance(change, Keyed):
                    self.asker.kept(change.key)
                    kept.append((change, ref.segment))
                elif not ends_unsent(change):
                    slot = slots.pop(change.entry, 0)  # type: ignore[union-attr]  # workers write no others
                    settled.append(settled_of(change, slot))
        durable_events = self.events.synced_position or NO_POSITION
        self.send(Committed(position, tuple(arrived), tuple(settled), durable_events, tuple(kept)))
        if self.policy.audit is not None:
            _count_received(self.policy.audit, batch)
        redactor = self.events.redactor
        events = [event for changes, ref in batch for event in events_of(ref, changes, redactor)]
        self.events.write_batch(position, events)
        self.measures.count(events)
        self.measures.synced(self.log.sync_seconds)
        if self.egress.way_out.untold:
            self.egress.way_out.written(change for changes, _ in batch for change in changes)

    # the link

    def send(self, message: ToDispatcher) -> None:
        """To the dispatcher, if it is there; what it misses it reads from the log (see the module)."""
        if self._link is not None:
            self._link.send(message)

    async def _keep_linked(self) -> None:
        """Connect to the dispatcher, and again whenever it went away; runs until cancelled."""
        path = str(self._birth.settings.server.sockets_directory / "dispatcher.sock")
        clock = self._birth.clock
        tell_at = clock.now() + UNLINKED_SECONDS
        while True:
            lost = asyncio.Event()
            try:
                _, link = await self._loop.create_unix_connection(
                    partial(Link[ToWorker], ToWorker, self._heard, _setter(lost)), path
                )
            except OSError as error:
                if clock.now() >= tell_at:
                    tell_at = clock.now() + UNLINKED_AGAIN_SECONDS
                    self._birth.log.warning(
                        "link.none", path=path, error=error.strerror, advice=UNLINKED_ADVICE
                    )
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            await self.egress.drain()
            while self.egress.slots:
                # outcomes that are not durable yet are neither held nor in the log: they come first
                await self.log.drain()
                await asyncio.sleep(SETTLE_SECONDS)
            self._link = link
            link.send(
                Hello(
                    self._birth.number,
                    self.log.number,
                    self.log.position,
                    self.deliverer.held(),
                    os.getpid(),
                    self.asker.held(),
                )
            )
            self.deliverer.ask_again()
            self.asker.ask_again()
            await lost.wait()
            tell_at = clock.now() + UNLINKED_SECONDS
            self._link = None
            self._is_welcome = False
            self._birth.log.warning("link.lost")

    def _heard(self, _link: Link[ToWorker], batch: list[ToWorker]) -> None:
        for message in batch:
            match message:
                case Open():
                    self.deliverer.open(message)
                case Batch():
                    self.deliverer.batch(message)
                case Close():
                    self.deliverer.close(message)
                case Settle():
                    self.egress.settle(message)
                case Welcome():
                    self._welcomed()
                case Suspended():
                    self.routing.fitness.told(message)
                case Reserved():
                    self.asker.answered(message)

    def _welcomed(self) -> None:
        if not self._is_welcome:
            self._is_welcome = True
            self._birth.log.info("link.welcome", log=self.log.number)
            if not self._life.is_ready:
                self._life.ready()

    # life

    async def run(self) -> None:
        """Serve until told to drain, then finish what is in flight."""
        async with asyncio.TaskGroup() as tasks:
            self.tasks = tasks
            self.take_scripts(self.policy.scripts)  # before anything is granted, or taken
            tap = HERE.tap = Tap(self._birth.settings.server.sockets_directory / SHADOW_SOCKET)
            background = [
                tasks.create_task(self._keep_linked()),
                tasks.create_task(self._life.drain_after(self.events.run(), "record.frozen")),
                tasks.create_task(self.pressure.watch()),
                tasks.create_task(self.log.watch()),
                tasks.create_task(self._authenticator.run()),
                tasks.create_task(self.deliverer.run()),
                tasks.create_task(tap.run()),
                *(tasks.create_task(listener.run()) for listener in self.listeners),
                tasks.create_task(self.measures.send_to(self._birth.settings.server.sockets_directory)),
            ]
            for listener in self.listeners:
                await self.listen(listener)
            for name, http in self.http:
                await http.start([self.sockets[name].dup()])
            self._life.follow(partial(self._prepare, self), tasks)
            await self._life.draining.wait()
            self._birth.log.info("worker.draining")
            for server in self.servers.values():
                server.close()
            self.pressure.drain()
            await self._drain()
            for task in background:
                task.cancel()
        await self.egress.way_out.close()
        await self.policy.close()
        await self.log.close()
        self.events.close()

    async def listen(self, listener: SmtpListener) -> None:
        """Take connections from the listener's socket, instead of whoever did before."""
        name = listener.options.name
        before = self.servers.get(name)
        self.servers[name] = await listener.serve(self.sockets[name].dup(), backlog=BACKLOG)
        if before is not None:
            before.close()

    async def _drain(self) -> None:
        seconds = self._life.settings.server.drain_seconds
        async with asyncio.TaskGroup() as tasks:
            for listener in (*self.listeners, *self.removed):
                tasks.create_task(listener.drain(self._birth.clock.now() + seconds / 2))
            for _, http in self.http:
                tasks.create_task(http.close(seconds / 2))
            tasks.create_task(self.deliverer.shutdown(seconds / 2))
            tasks.create_task(self.ingress.drain(seconds / 2))
        if self.retiring:
            await asyncio.wait(self.retiring, timeout=seconds / 2)
        for task in self.retiring:
            task.cancel()
        await self.egress.drain()
        await self.log.drain()
        await asyncio.sleep(0)  # the last batch's reports leave in the next turn


def _count_received(audit: Audit, batch: Sequence[Synced]) -> None:
    """A frame is one message of a client, whatever policy made of it."""
    for changes, _ in batch:
        stored = next((each for each in changes if isinstance(each, Stored)), None)
        if stored is not None:
            audit.received(stored.origin)


def scripts_for(options: ListenerOptions, scripts: PolicyDoor | None) -> PolicyDoor | None:
    """Scripts decide about mail that goes out; what is for the server itself has a policy of its own."""
    return None if options.role is Role.INBOUND else scripts


def _setter(lost: asyncio.Event) -> Callable[[Link[ToWorker]], None]:
    return lambda _link: lost.set()


async def run_worker(
    birth: Birth,
    life: Lifecycle,
    *,
    counts: Mapping[str, mmap],
    prepare: Callable[[Worker, Snapshot], Swap],
) -> None:
    """Main of a worker process.

    Args:
        birth: What the supervisor gives.
        life: The process's end, and its reloads.
        counts: What all workers share for each listener.
        prepare: How a worker takes other settings (`worker_reload.prepare`).
    """
    await Worker(birth, life, counts, prepare).run()
