"""A slot: the right to one connection on a path, and the entries granted to it.

Takes entries, starts a transaction whenever the connection takes one, reports each recipient's outcome, and
asks for more when what is left would soon be sent.

Theory: an entry is in exactly one place: in the backlog, or in a flight (a transaction that was started). A
flight is entered before anything can fail and left only by reporting each of its entries; the end of the
connection empties both. `want` doubles while a batch lasts under `QUICK_SECONDS`, and halves when it lasts
over `SLOW_SECONDS`, so a fast host is asked for seldom and a slow one holds few entries that others could
send.

Invariant: each entry is reported exactly once, whatever the host does and whatever fails in here; `closed`
is last.

Standards: RFC 5321 §4.5.3.1.10 (recipients not taken go with the next transaction).
"""

from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from typing import Any, NamedTuple

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError, where
from outrider.base.log import Log
from outrider.base.long_octets import LONG_OCTETS
from outrider.deliver.options import DeliveryOptions
from outrider.deliver.ports import ContentSource, DeliveryReport, Departures
from outrider.deliver.smtp import failures
from outrider.deliver.smtp.ahead import Ahead, Cleared, is_of_one_message
from outrider.deliver.smtp.asked import Asked
from outrider.deliver.smtp.connection import Connection
from outrider.model.changes import Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Content, Host, Outcome, Path, Phase
from outrider.model.ports import Guard
from outrider.model.reply import Reply
from outrider.model.way_out import Leaving, Stay
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import Answer, Transaction, TransactionDone

WANT_MAX = 64
# chosen: a grant costs the dispatcher little at this size, and what a slot holds is out of reach for others
QUICK_SECONDS = 0.25
# chosen: four grants a second for each connection are no load
SLOW_SECONDS = 1.0
# chosen: entries should not wait for seconds in one slot while another is free


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all slots of a deliverer share."""

    source: ContentSource
    guard: Guard
    report: DeliveryReport
    clock: Clock
    log: Log
    departures: Departures


@dataclass(slots=True, eq=False)
class _Flight:
    """A transaction that was started for `granted`."""

    granted: list[Granted]
    started_at: float
    stored: Stored | None = None
    transaction: Transaction | None = None


class _Loading(NamedTuple):
    """A long message that is read in a thread for the backlog's first entry."""

    entry: int
    future: Future[tuple[Stored, bytes]]


class _Clearing(NamedTuple):
    """A long message that the guard goes through in a thread, for `recipients` entries from `entry` on."""

    entry: int
    recipients: int
    stored: Stored
    future: Future[tuple[Sequence[int], Content]]


class Slot:
    """See the module.

    Attributes:
        number: Given by the dispatcher.
        path: Whose mail.
        options: Of the path; after a host was found to take fewer recipients together, so many.
        hosts: To try, in order.
        connection: None until one is set up.
    """

    __slots__ = (
        "_ahead",
        "_around",
        "_asked",
        "_backlog",
        "_batch_at",
        "_batch_size",
        "_clearing",
        "_closing",
        "_completed",
        "_ended",
        "_flights",
        "_loading",
        "_log",
        "_on_end",
        "_sent",
        "_want_count",
        "_wanting",
        "connection",
        "hosts",
        "number",
        "options",
        "path",
    )

    def __init__(
        self,
        number: int,
        path: Path,
        hosts: Sequence[Host],
        *,
        options: DeliveryOptions,
        around: Surroundings,
        on_end: "Callable[[Slot, Outcome | None], None]",
    ) -> None:
        self.number = number
        self.path = path
        self.hosts = hosts
        self.options = options
        self.connection: Connection | None = None
        self._around = around
        self._log = around.log
        self._on_end = on_end
        self._backlog: deque[Granted] = deque()
        self._loading: _Loading | None = None
        self._clearing: _Clearing | None = None
        self._asked: Asked | None = None
        self._ahead: Ahead | None = None
        self._flights: deque[_Flight] = deque()
        self._batch_size = 0
        self._batch_at = around.clock.now()
        self._want_count = 1
        self._wanting = False
        self._closing = False
        self._ended = False
        self._sent = 0
        self._completed = 0

    # the deliverer calls these

    @property
    def entries(self) -> tuple[int, ...]:
        """Every entry that is in here."""
        flying = [granted.entry for flight in self._flights for granted in flight.granted]
        return (*flying, *(granted.entry for granted in self._backlog))

    def add(self, entries: Sequence[Granted]) -> None:
        """More entries; none means that there is nothing now, and that a batch may come unasked."""
        if not entries:
            return
        connection = self.connection
        if self._ended or (connection is not None and not connection.client.is_ready):
            self._return(entries)
            return
        self._wanting = False
        self._batch_size = len(entries)
        self._batch_at = self._around.clock.now()
        self._backlog.extend(entries)
        if connection is not None:
            connection.run()

    def close(self) -> None:
        """End when what is here is sent."""
        self._closing = True
        if self.connection is not None:
            self.connection.run()

    def ask_again(self) -> None:
        """Repeat the want that is outstanding: a new dispatcher has not heard it."""
        if self._wanting and not self._ended:
            self._around.report.want(self.number, self._want_count)

    def drain(self) -> None:
        """Give back what was not begun, then end."""
        self._return_backlog()
        self.close()

    async def fail(self, outcome: Outcome) -> None:
        """No connection could be made: each entry gets `outcome`, and the slot ends.

        A long message is read in a thread. Where the slot is given up meanwhile, what is left has gone back.
        """
        source = self._around.source
        while self._backlog:
            granted = self._backlog[0]
            is_long = granted.ref.length > source.long_from
            stored: Stored | None = None
            failure: Exception | None = None
            try:
                loading = source.load(granted.ref, granted.entry) if is_long else None
                stored, _ = source.read(granted.ref, granted.entry) if loading is None else await loading
            except Exception as error:
                failure = error
            if self._ended:
                return
            self._backlog.popleft()
            if stored is None:
                self._report_unreadable(granted, failure)
            else:
                self._report(granted, stored, outcome)
        self._end(outcome)

    def give_up(self) -> None:
        """No connection is wanted any more: everything goes back, and the slot ends."""
        self._return_backlog()
        self._end(None)

    # the connection calls these

    def pump(self) -> None:
        connection = self.connection
        if connection is None:
            return
        client = connection.client
        if client.is_closed:
            self._return_backlog()
            return
        backlog = self._backlog
        limit = self.options.max_deliveries_per_connection
        departures = self._around.departures
        while backlog and self._sent < limit and client.can_send:
            if departures.is_asked or self._asked is not None:
                if not self._depart(client):
                    break
                continue
            if backlog[0].ref.length > self._around.source.long_from and not self._is_at_hand(backlog[0]):
                break
            self._launch(client)
            if self._ahead is not None and not self._ahead:
                left = min(self._completed, limit - self._sent)
                self._ahead.prepare(backlog, left, self.options.max_recipients_per_transaction)
        if self._sent >= limit:
            self._return_backlog()
            client.quit()
        elif self._closing:
            if not backlog and client.is_ready:
                client.quit()
        elif not self._wanting and len(backlog) <= self._batch_size // 2:
            self._want(limit - self._sent - len(backlog))

    def idle(self, seconds: float) -> None:
        connection = self.connection
        if connection is not None and not self._backlog and seconds >= self.options.idle_seconds:
            connection.client.quit()

    def transaction_done(self, done: TransactionDone) -> None:
        for flight in self._flights:
            if flight.transaction is done.transaction:
                self._flights.remove(flight)
                self._settle(flight, done.answers)
                return

    def connection_ended(self, answer: Answer | None) -> None:
        for flight in tuple(self._flights):
            self._drop(flight, failures.INTERNAL)
        self._return_backlog()
        failure = None
        if answer is not None and not self._completed:
            failure = self._outcome(answer, self._batch_at)
        self._end(failure)

    # inside

    def _want(self, room: int) -> None:
        if room <= 0:
            return
        if self._batch_size:
            lasted = self._around.clock.now() - self._batch_at
            if lasted < QUICK_SECONDS:
                self._want_count = min(WANT_MAX, self._want_count * 2)
            elif lasted > SLOW_SECONDS:
                self._want_count = max(1, self._want_count // 2)
        self._wanting = True
        self._around.report.want(self.number, min(self._want_count, room))

    def _is_at_hand(self, granted: Granted) -> bool:
        """False while a long message is read or cleared in a thread; the slot then goes on with it."""
        if self._clearing is not None and self._clearing.entry == granted.entry:
            return self._clearing.future.done()
        if self._loading is not None and self._loading.entry == granted.entry:
            return self._loading.future.done()
        future = self._around.source.load(granted.ref, granted.entry)
        if future is None:
            return True
        self._loading = _Loading(granted.entry, future)
        future.add_done_callback(self._loaded)
        return False

    def _loaded(self, future: Future[Any]) -> None:
        future.exception()  # whoever launches the entry hears it; the slot may have ended, and nobody does
        if self.connection is not None and not self._ended:
            self.connection.run()

    def _read(self, granted: Granted) -> tuple[Stored, bytes]:
        loading, self._loading = self._loading, None
        if loading is not None and loading.entry == granted.entry:
            return loading.future.result()
        return self._around.source.read(granted.ref, granted.entry)

    def _depart(self, client: SmtpClient) -> bool:
        """Ask policy about the backlog's first entries, or start what may go; False while something waits."""
        first = self._backlog[0]
        asked = self._asked
        if asked is None or not asked.is_about(first):
            return self._ask(first)
        if self._clearing is not None and not self._clearing.future.done():
            return False
        if not asked.is_done:
            return False
        for granted, stay in asked.take_stays():
            self._backlog.remove(granted)
            self._report_stay(granted, asked.leaving.stored, stay)
        if asked.may_go:
            self._launch(client, asked)
        if not asked.may_go:
            self._asked = None
        return True

    def _ask(self, first: Granted) -> bool:
        """Ask policy about the first entries that are of one message; False while it is read, or asked."""
        around = self._around
        self._asked = None
        if first.ref.length > around.source.long_from and not self._is_at_hand(first):
            return False
        most = self.options.max_recipients_per_transaction
        group = tuple(takewhile(partial(is_of_one_message, first), islice(self._backlog, most)))
        try:
            stored, wire = self._read(first)
            self._asked = Asked(self._leaving(stored, wire, group), around.departures)
        except Exception as error:
            for granted in group:
                self._backlog.remove(granted)
                self._report_unreadable(granted, error)
            return True
        if not self._asked.is_done:
            self._asked.when_done(self._answered)
        return self._asked.is_done

    def _answered(self, future: Future[Any]) -> None:
        if not future.cancelled():
            future.exception()  # `Asked` makes an answer of it
        if self.connection is not None and not self._ended:
            self.connection.run()

    def _leaving(self, stored: Stored, wire: bytes, group: tuple[Granted, ...]) -> Leaving:
        content = stored.content(wire)
        connection = self.connection
        if connection is None:
            return Leaving(self.path, stored, content, group, "", "", "", None)
        host = connection.host.name
        return Leaving(
            self.path, stored, content, group, host, connection.peer, connection.source, connection.tls
        )

    def _report_stay(self, granted: Granted, stored: Stored, stay: Stay) -> None:
        outcome = self._outcome(Answer(stay.reply, Phase.QUEUE, ours=True), self._around.clock.now())
        try:
            self._around.report.stays(self.path, self.number, granted, stored, outcome, stay)
        except Exception as error:
            self._log.error(
                "deliver.report_failed", path=str(self.path), entry=granted.entry, error=repr(error)
            )

    def _launch(self, client: SmtpClient, asked: Asked | None = None) -> None:
        """Start a transaction for the first entries of the backlog that are of one message."""
        backlog = self._backlog
        first = backlog.popleft()
        group = [first]
        most = self.options.max_recipients_per_transaction
        if self._clearing is not None and self._clearing.entry == first.entry:
            most = self._clearing.recipients
        while backlog and backlog[0].ref == first.ref and backlog[0].message == first.message:
            if len(group) >= most or (asked is not None and not asked.are_alike(first, backlog[0])):
                break
            group.append(backlog.popleft())
        flight = _Flight(group, self._around.clock.now())
        self._flights.append(flight)
        try:
            self._start(client, flight, asked)
        except Exception as error:
            self._log.error("deliver.not_started", path=str(self.path), entry=first.entry, **where(error))
            if asked is not None:
                asked.gone(group)
            self._drop(flight, failures.INTERNAL)

    def _start(self, client: SmtpClient, flight: _Flight, asked: Asked | None) -> None:
        passed = self._pass(flight, asked)
        if passed is None:
            return
        stored, cleared, content = passed
        flight.stored = stored
        group = flight.granted
        if asked is not None:
            asked.gone(group)
        if len(cleared) < len(group):
            group = self._hold(flight, frozenset(cleared))
            if not group:
                return
        deliveries = stored.deliveries
        transaction = flight.transaction = Transaction(
            stored.mail_from,
            [deliveries[granted.index].recipient for granted in group],
            content,
            stored.ret,
            stored.envid,
            stored.smtputf8,
        )
        self._sent += 1
        done = client.send(transaction)
        if done is not None:
            self._sent -= 1
            self.transaction_done(done)

    def _pass(self, flight: _Flight, asked: Asked | None) -> Cleared | None:
        """Let a flight's message pass the guard; None where it is not started now."""
        around = self._around
        group = flight.granted
        clearing = self._clearing
        if clearing is not None and clearing.entry == group[0].entry:
            self._clearing = None
            flight.stored = clearing.stored
            return Cleared(clearing.stored, *clearing.future.result())
        entries = [granted.entry for granted in group]
        if asked is not None:
            stored, content = asked.leaving.stored, asked.content_of(group[0])
        else:
            ready = self._ahead.take(entries) if self._ahead is not None else None
            if ready is not None:
                return ready
            try:
                stored, wire = self._read(group[0])
            except SpoolError as error:
                self._flights.remove(flight)
                for granted in group:
                    self._report_unreadable(granted, error)
                return None
            content = stored.content(wire)
        flight.stored = stored
        if len(content.wire) > LONG_OCTETS and around.guard.goes_through(stored):
            self._clear_later(flight, stored, entries, content)
            return None
        if asked is None and self._ahead is None and around.guard.goes_through(stored):
            self._ahead = Ahead(around.source, around.guard, around.clock)
        return Cleared(stored, *around.guard.clear(stored, entries, content))

    def _clear_later(self, flight: _Flight, stored: Stored, entries: Sequence[int], content: Content) -> None:
        """Have a thread do it; the entries wait for it at the head of the backlog."""
        self._flights.remove(flight)
        self._backlog.extendleft(reversed(flight.granted))
        future = get_running_loop().run_in_executor(None, self._around.guard.clear, stored, entries, content)
        self._clearing = _Clearing(entries[0], len(entries), stored, future)
        future.add_done_callback(self._loaded)

    def _hold(self, flight: _Flight, cleared: frozenset[int]) -> list[Granted]:
        """Report what the guard did not clear; what is left of the flight."""
        held = [granted for granted in flight.granted if granted.entry not in cleared]
        flight.granted = [granted for granted in flight.granted if granted.entry in cleared]
        if not flight.granted:
            self._flights.remove(flight)
        if flight.stored is not None:
            outcome = self._outcome(Answer(failures.HELD, Phase.QUEUE, ours=True), flight.started_at)
            for granted in held:
                self._report(granted, flight.stored, outcome)
        return flight.granted

    def _settle(self, flight: _Flight, answers: Sequence[Answer | None]) -> None:
        stored = flight.stored
        if stored is None:
            return
        left: list[Granted] = []
        answer: Answer | None = None
        outcome: Outcome | None = None
        heard = False
        for granted, each in zip(flight.granted, answers, strict=True):
            if each is None:
                left.append(granted)
                continue
            if outcome is None or each is not answer:
                answer = each
                outcome = self._outcome(each, flight.started_at)
                heard = heard or not (each.ours or each.reply.code == 421)
            self._report(granted, stored, outcome)
        self._completed += heard
        if left:
            together = [each for each in answers if each is not None and each.phase > Phase.RCPT]
            if together and together[0].reply.code == 452:  # refused for their number: fewer from now on
                self.options = self.options.model_copy(
                    update={"max_recipients_per_transaction": len(together)}
                )
            # by way of the dispatcher, because a throttle counts the RCPT that was not taken
            self._return(left, was_seen=flight.transaction is not None)

    def _drop(self, flight: _Flight, reply: Reply) -> None:
        """End a flight that went wrong on our side."""
        self._flights.remove(flight)
        outcome = self._outcome(Answer(reply, Phase.QUEUE, ours=True), flight.started_at)
        for granted in flight.granted:
            if flight.stored is not None:
                self._report(granted, flight.stored, outcome)
            else:
                self._report_unreadable(granted, None)

    def _outcome(self, answer: Answer, started_at: float) -> Outcome:
        connection = self.connection
        seconds = self._around.clock.now() - started_at
        if connection is None:
            return Outcome(answer.reply, answer.phase, answer.ours, seconds=seconds)
        return Outcome(
            answer.reply,
            answer.phase,
            answer.ours,
            connection.host.name,
            connection.peer,
            connection.source,
            connection.tls,
            seconds,
            connection.client.features.dsn,
        )

    def _report(self, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        try:
            self._around.report.outcome(self.path, self.number, granted, stored, outcome)
        except Exception as error:
            self._log.error("deliver.report_failed", path=str(self.path), entry=granted.entry, **where(error))

    def _report_unreadable(self, granted: Granted, error: Exception | None) -> None:
        """Report an entry whose message is not there; without an error, what went wrong was told before."""
        if isinstance(error, SpoolError):
            why = {"error": error.message}
        else:
            why = {} if error is None else where(error)
        self._log.error("deliver.unreadable", path=str(self.path), entry=granted.entry, **why)
        reply = failures.UNREADABLE if isinstance(error, SpoolError) else failures.INTERNAL
        outcome = self._outcome(Answer(reply, Phase.QUEUE, ours=True), self._around.clock.now())
        self._around.report.unreadable(self.path, self.number, granted, outcome)

    def _return(self, entries: Sequence[Granted], *, was_seen: bool = False) -> None:
        numbers = tuple(granted.entry for granted in entries)
        self._around.report.returned(self.number, numbers, was_seen=was_seen)

    def _return_backlog(self) -> None:
        self._loading = self._clearing = None
        if self._ahead is not None:
            self._ahead.drop()
        if self._asked is not None:
            self._asked.give_up()
            self._asked = None
        if self._backlog:
            backlog = tuple(self._backlog)
            self._backlog.clear()
            self._return(backlog)

    def _end(self, failure: Outcome | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._around.report.closed(self.number, failure, self._sent)
        self._on_end(self, failure)
