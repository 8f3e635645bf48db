"""Delivers by SMTP: the worker's end of the dispatcher's slots.

`open`, `batch` and `close` take the dispatcher's messages; a `DeliveryReport` hears what became of each
entry. Nothing here waits: an attempt to connect is a task, everything after it is callbacks.

Theory: one timer for all connections looks at the deadlines; none is exact to less than `TICK_SECONDS`,
none needs to be. Each session catches at its own top, so a bug in one ends one connection.

Invariant: every entry of an `Open` or a `Batch` is reported exactly once, and each `Open` is followed by
one `closed`, whatever the hosts do and also at shutdown.

Standards: RFC 5321 §4.5.4.1 (sending strategy), RFC 5321 §4.5.3.2 (time-outs).
"""

import asyncio

from outrider.base.clock import Clock
from outrider.base.errors import where
from outrider.base.log import Log
from outrider.deliver.ports import NO_DEPARTURES, ContentSource, DeliveryReport, Departures, TlsContexts
from outrider.deliver.resolve import DeliveryResolver
from outrider.deliver.smtp import failures
from outrider.deliver.smtp.connection import Connection
from outrider.deliver.smtp.connector import Connector
from outrider.deliver.smtp.hosts import HostMemory
from outrider.deliver.smtp.slot import Slot, Surroundings
from outrider.model.dispatch import Batch, Close, Held, Open
from outrider.model.flow import Outcome, Phase
from outrider.model.ports import Guard

TICK_SECONDS = 1.0
# chosen: the shortest default time-out is 5 s


class SmtpDeliverer:
    """See the module.

    Args:
        options: For all paths.
        hostname: Our name in EHLO where the options name none.
        source: Gives messages.
        guard: The last gate.
        report: Hears of everything.
        clock: For deadlines and durations.
        log: The server log.
        tls: Makes contexts.
        departures: Asked about what is about to go on the wire.
        tick_seconds: How often deadlines are looked at.
    """

    def __init__(
        self,
        options: DeliveryResolver,
        *,
        hostname: str,
        source: ContentSource,
        guard: Guard,
        report: DeliveryReport,
        clock: Clock,
        log: Log,
        tls: TlsContexts,
        departures: Departures = NO_DEPARTURES,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._options = options
        self._around = Surroundings(source, guard, report, clock, log, departures)
        self._clock = clock
        self._log = log
        self._report = report
        self._tick_seconds = tick_seconds
        self._memory = HostMemory(clock)
        self._connections: set[Connection] = set()
        self._connector = Connector(
            hostname=hostname,
            memory=self._memory,
            tls=tls,
            clock=clock,
            log=log,
            register=self._connections,
        )
        self._slots: dict[int, Slot] = {}
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._draining = False
        self._stopped = asyncio.Event()
        self._empty = asyncio.Event()

    def reconfigure(self, options: DeliveryResolver, tls: TlsContexts) -> None:
        """Other options and TLS for slots that are opened from now on; those that are open keep theirs."""
        self._options = options
        self._connector.tls = tls

    # the dispatcher's messages

    def open(self, message: Open) -> None:
        """Connect for a path and deliver the entries."""
        if self._draining or message.slot in self._slots:
            if message.entries:
                self._report.returned(message.slot, tuple(granted.entry for granted in message.entries))
            if self._draining:
                self._report.closed(message.slot, None, 0)
            else:
                self._log.error("deliver.slot_opened_twice", slot=message.slot)
            return
        options = self._options.for_path(message.path)
        slot = Slot(
            message.slot,
            message.path,
            message.hosts,
            options=options,
            around=self._around,
            on_end=self._slot_ended,
        )
        self._slots[message.slot] = slot
        slot.add(message.entries)
        if self._group is not None:
            self._attempts[slot.number] = self._group.create_task(self._attempt(slot))

    def batch(self, message: Batch) -> None:
        """More entries for a slot, or none for now."""
        slot = self._slots.get(message.slot)
        if slot is not None:
            slot.add(message.entries)
        elif message.entries:
            self._report.returned(message.slot, tuple(granted.entry for granted in message.entries))

    def close(self, message: Close) -> None:
        """End a slot when it is idle."""
        slot = self._slots.get(message.slot)
        if slot is not None:
            slot.close()

    def held(self) -> tuple[Held, ...]:
        """The slots in here with their entries, for a new dispatcher."""
        return tuple(Held(slot.number, slot.path, slot.entries) for slot in self._slots.values())

    def ask_again(self) -> None:
        """Say every outstanding want once more, after a new dispatcher was told what is `held`."""
        for slot in self._slots.values():
            slot.ask_again()

    # its life

    async def run(self) -> None:
        """Work until `shutdown` is over; cancelling it breaks all connections off, every entry reported."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for slot in self._slots.values():
                    self._attempts[slot.number] = group.create_task(self._attempt(slot))
                while not self._stopped.is_set():
                    try:
                        async with asyncio.timeout(self._tick_seconds):
                            await self._stopped.wait()
                    except TimeoutError:
                        self._tick()
        finally:
            self._group = None
            self._break_off()

    async def shutdown(self, deadline_seconds: float) -> None:
        """Return what was not begun, finish what is in flight, then end `run`.

        Args:
            deadline_seconds: After so long the rest is broken off: an outcome of ours, phase BODY where the
                content was out already.
        """
        self._draining = True
        for slot in tuple(self._slots.values()):
            if slot.connection is not None:
                slot.drain()
                continue
            attempt = self._attempts.pop(slot.number, None)
            if attempt is not None:
                attempt.cancel()
            slot.give_up()
        self._note_empty()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._empty.wait()
        except TimeoutError:
            self._break_off()
        self._stopped.set()

    # inside

    async def _attempt(self, slot: Slot) -> None:
        """Find a connection for `slot`. Never raises but when cancelled."""
        try:
            found = await self._connector.connect(slot)
        except asyncio.CancelledError:
            slot.give_up()
            raise
        except Exception as error:
            self._log.error("deliver.attempt_failed", path=str(slot.path), **where(error))
            await slot.fail(Outcome(failures.INTERNAL, Phase.CONNECT, ours=True))
        else:
            if isinstance(found, Outcome):
                await slot.fail(found)
            else:
                slot.connection = found
                found.attach(slot)
        finally:
            self._attempts.pop(slot.number, None)

    def _slot_ended(self, slot: Slot, failure: Outcome | None) -> None:
        self._slots.pop(slot.number, None)
        if failure is not None and slot.connection is not None:
            self._memory.failed(slot.connection.host)
        self._note_empty()

    def _note_empty(self) -> None:
        if self._draining and not self._slots:
            self._empty.set()

    def _tick(self) -> None:
        now = self._clock.now()
        for connection in tuple(self._connections):
            try:
                connection.check(now)
            except Exception as error:
                connection.crash(error)

    def _break_off(self) -> None:
        """End every connection now; the entries in flight get an outcome of ours."""
        for slot in tuple(self._slots.values()):
            connection = slot.connection
            if connection is None:
                slot.give_up()
            else:
                connection.fail(failures.STOPPING)
                slot.connection_ended(None)
