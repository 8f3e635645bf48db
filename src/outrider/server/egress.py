"""Mail out: deliver → classify → settle, on one screen.

`deliver` reports an outcome for each recipient; `classify` reads it; here it becomes a change: finished,
or to be tried again when the back-off says. All that one turn of the loop settles is one frame, and a
report to the sender (DSN) is in the same frame as the finish that causes it, so neither can exist without
the other.

Where scripts are asked on the way out (`way_out.py`) they say first what a failure means, and hear last of a
recipient that ends. A delivery is written before any of them hears of it.

Invariant: every granted entry leaves as exactly one change or goes back ungranted; a change that could not
be written is written again until it can be.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from random import Random
from typing import Protocol

from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.log import Log as ServerLog
from outrider.classify.report import DsnKind, RecipientReport
from outrider.classify.verdict import classify
from outrider.model.changes import (
    Altered,
    Attempted,
    Change,
    ContentRef,
    Finished,
    LastReply,
    Retried,
    Stored,
)
from outrider.model.dispatch import Closed, Granted, Returned, Settle, ToDispatcher, Want
from outrider.model.flow import Disposition, Outcome, Path, Phase, Verdict
from outrider.model.ports import Log
from outrider.model.reply import Reply
from outrider.model.route import INBOUND
from outrider.model.way_out import Ended, Ruling, Stay
from outrider.schedule.retry import delay_notice_time, expires_time, next_due
from outrider.schedule.shaping import ShapingTable
from outrider.server.contents import Contents
from outrider.server.reports import Reports
from outrider.server.way_out import DISCARDED, WayOut, ends_undelivered, with_notes

_Read = Callable[[], tuple[Stored, bytes]]


class ToDispatch(Protocol):
    """The worker's end of the link."""

    def send(self, message: ToDispatcher) -> None: ...


@dataclass(slots=True)
class _Settling:
    """One recipient's outcome on its way into the log."""

    stored: Stored
    granted: Granted
    change: Finished | Retried
    report: DsnKind | None
    retry_until_time: float
    last: LastReply | None = None


class Egress:
    """`deliver`'s report port and the dispatcher's settle jobs, for one worker.

    Attributes:
        slots: Entries whose settlement is not durable yet, each with the slot it was granted to.
        way_out: Asks scripts.
    """

    def __init__(
        self,
        shaping: ShapingTable,
        log: Log,
        contents: Contents,
        reports: Reports,
        link: ToDispatch,
        clock: Clock,
        rng: Random,
        server_log: ServerLog,
        learned: Callable[[str, str], None] = lambda _domain, _site: None,
    ) -> None:
        """Take the parts.

        Args:
            shaping: Retries and expirations.
            log: Where outcomes go.
            contents: What messages were.
            reports: For senders.
            link: To the dispatcher.
            clock: Time.
            rng: Spreads retries.
            server_log: For what cannot be read.
            learned: Hears of each attempt to which site its routing domain went.
        """
        self._shaping = shaping
        self._log = log
        self._contents = contents
        self._reports = reports
        self._link = link
        self._clock = clock
        self._rng = rng
        self._server_log = server_log
        self._loop = asyncio.get_running_loop()
        self._settling: list[_Settling] = []
        self.slots: dict[int, int] = {}
        self._loading: set[asyncio.Future[tuple[Stored, bytes]]] = set()
        self._learned = learned
        self.way_out = WayOut()

    def reshape(self, shaping: ShapingTable) -> None:
        """Other retries and expirations for outcomes from now on."""
        self._shaping = shaping

    # deliver's report port

    def outcome(self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        """One recipient of one attempt came to an end."""
        self._learned(stored.deliveries[granted.index].routing_domain, path.site)
        verdict = classify(outcome)
        if self.way_out.is_response_asked:
            self._review(path, slot, granted, stored, outcome, verdict)
        else:
            self._take(path, slot, granted, stored, outcome, verdict, may_retry=True)

    def stays(
        self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome, stay: Stay
    ) -> None:
        """Policy kept one recipient from the wire."""
        self._take(
            path,
            slot,
            granted,
            stored,
            outcome,
            DISCARDED if stay.discard else classify(outcome),
            may_retry=True,
            seconds=stay.seconds,
            is_attempt=stay.seconds is None,
            discard=stay.discard,
        )

    def unreadable(self, path: Path, slot: int, granted: Granted, outcome: Outcome) -> None:
        """The spool cannot give the message: the entry is held, so that an operator sees it and decides."""
        self._server_log.error(
            "spool.unreadable",
            entry=granted.entry,
            site=path.site,
            log=granted.ref.log,
            segment=granted.ref.segment,
        )
        self.slots[granted.entry] = slot
        now = self._clock.wall()
        held = Altered(granted.entry, granted.version + 1, now, outcome.reply.text, None, None, "spool", now)
        self._log.commit([held], (), None)

    def want(self, slot: int, count: int) -> None:
        self._link.send(Want(slot, count))

    def returned(self, slot: int, entries: Sequence[int], *, was_seen: bool = False) -> None:
        self._link.send(Returned(slot, tuple(entries), was_seen))

    def closed(self, slot: int, failure: Outcome | None, deliveries: int) -> None:
        # after the settlements of this turn, which are still in its slot
        if self.way_out.busy:
            self.way_out.when_idle(slot, partial(self._close, Closed(slot, failure, deliveries)))
        else:
            self._close(Closed(slot, failure, deliveries))

    def _close(self, closed: Closed) -> None:
        self._flush()
        self._link.send(closed)

    # the dispatcher's settle jobs

    def settle(self, job: Settle) -> None:
        """End or defer entries that never reach a connection: expired, no route, loop."""
        verdict = classify(job.outcome)
        for granted, last in zip_longest(job.entries, job.lasts[: len(job.entries)]):
            end = partial(self._settle_one, job, verdict, granted, last)
            loading = self._contents.load(granted.ref, granted.entry)
            if loading is None:
                end(partial(self._contents.read, granted.ref, granted.entry))
            else:
                self._loading.add(loading)
                loading.add_done_callback(partial(self._settle_loaded, end))

    def _settle_loaded(
        self, end: Callable[[_Read], None], loading: asyncio.Future[tuple[Stored, bytes]]
    ) -> None:
        self._loading.discard(loading)
        end(loading.result)

    def _settle_one(
        self, job: Settle, verdict: Verdict, granted: Granted, last: LastReply | None, read: _Read
    ) -> None:
        try:
            stored, _ = read()
        except SpoolError as error:
            outcome = Outcome(Reply(451, "4.3.0", (error.message,)), Phase.QUEUE, ours=True)
            self.unreadable(job.path, 0, granted, outcome)
            return
        if self.way_out.is_response_asked and job.kind == "attempt":
            self._review(job.path, 0, granted, stored, job.outcome, verdict)
            return
        self._take(job.path, 0, granted, stored, job.outcome, verdict, last, may_retry=job.kind == "attempt")

    async def drain(self) -> None:
        """Wait for long messages that are read for what ends them, and for scripts."""
        if self._loading:
            await asyncio.wait(self._loading)
            await asyncio.sleep(0)  # their callbacks, and then the frame that they make
        await self.way_out.drain()

    # what scripts say

    def _review(
        self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome, verdict: Verdict
    ) -> None:
        """Ask what an outcome means; of a delivery, tell it, once it is in the log."""
        take = partial(self._take, path, slot, granted, stored, outcome)
        if path.channel == INBOUND:
            take(verdict, may_retry=True)
            return
        ended = Ended(path, stored, granted.index, granted.attempts + 1, outcome, verdict)
        if verdict.disposition == Disposition.DELIVERED:
            self.way_out.untold[granted.entry] = ended
            take(verdict, may_retry=True)
            return
        self.slots[granted.entry] = slot
        self.way_out.review(slot, ended, partial(self._ruled, take))

    def _ruled(self, take: Callable[..., None], ruling: Ruling) -> None:
        take(ruling.verdict, may_retry=True, seconds=ruling.seconds, notes=ruling.metadata)

    def _noted(self, settling: _Settling, notes: Mapping[str, str]) -> None:
        if notes:
            attempted = with_notes(settling.change.attempted, notes)
            settling.change = replace(settling.change, attempted=attempted)
        self._enter(settling)

    def _take(
        self,
        path: Path,
        slot: int,
        granted: Granted,
        stored: Stored,
        outcome: Outcome,
        verdict: Verdict,
        last: LastReply | None = None,
        *,
        may_retry: bool,
        seconds: float | None = None,
        is_attempt: bool = True,
        discard: str = "",
        notes: Mapping[str, str] | None = None,
    ) -> None:
        now = self._clock.wall()
        attempts = granted.attempts + 1 if may_retry and is_attempt else granted.attempts
        delivery = stored.deliveries[granted.index]
        attempted = Attempted(
            stored.message_id,
            delivery.recipient.address,
            stored.mail_from,
            path.binding,
            path.site,
            stored.origin.tenant,
            stored.origin.stream,
            stored.received_time,
            now,
            attempts,
            stored.size,
            outcome,
            verdict,
            path.channel,
            delivery.customer_id,
            delivery.recipient.metadata,
        )
        if notes:
            attempted = with_notes(attempted, notes)
        change: Finished | Retried
        report: DsnKind | None = None
        until = 0.0
        options = self._shaping.for_path(path).options
        since = max(stored.received_time, delivery.not_before_time)
        if verdict.disposition == Disposition.DELIVERED:
            change = Finished(granted.entry, "delivered", attempted)
            # RFC 3461 §5.2.1: who offered DSN has heard what the sender wants to know and reports for himself
            report = None if outcome.dsn else DsnKind.RELAYED
        elif discard:
            change = Finished(granted.entry, "discarded", attempted, discard)
        elif verdict.disposition == Disposition.PERMANENT and may_retry:
            change = Finished(granted.entry, "bounced", attempted)
            report = DsnKind.FAILED
        elif not may_retry or now >= (until := expires_time(since, options)):
            # the last attempt is made when the time is over; its reply is what the sender hears
            change = Finished(granted.entry, "expired", attempted)
            report = DsnKind.FAILED
        else:
            due = next_due(attempts, now, options, self._rng) if seconds is None else now + seconds
            due = min(due, until)
            notice_time = delay_notice_time(since, options)
            late = not granted.delay_notified and notice_time is not None and now >= notice_time
            change = Retried(
                granted.entry, granted.version + 1, attempts, due, attempted, granted.delay_notified or late
            )
            report = DsnKind.DELAYED if late else None
        self.slots[granted.entry] = slot
        settling = _Settling(stored, granted, change, report, until, last)
        if self.way_out.is_disposal_asked and path.channel != INBOUND and ends_undelivered(change):
            ended = Ended(path, stored, granted.index, attempts, outcome, verdict, change.kind)
            self.way_out.dispose(slot, ended, partial(self._noted, settling))
            return
        if not self._settling:
            self._loop.call_soon(self._flush)
        self._settling.append(settling)

    def _enter(self, settling: _Settling) -> None:
        if not self._settling:
            self._loop.call_soon(self._flush)
        self._settling.append(settling)

    def _flush(self) -> None:
        settling, self._settling = self._settling, []
        if not settling:
            return
        plain: list[Change] = []
        reported: dict[tuple[tuple[ContentRef, int], DsnKind], list[_Settling]] = {}
        for each in settling:
            if each.report is not None and self._reports.is_due(each.report, each.stored, each.granted.index):
                reported.setdefault((each.granted.message, each.report), []).append(each)
            else:
                plain.append(each.change)
        if plain:
            self._log.commit(plain, (), None)
        for (_, kind), group in reported.items():
            self._commit_with_report(kind, group)
        for each in settling:
            self._contents.done(each.granted.ref)

    def _commit_with_report(self, kind: DsnKind, group: list[_Settling]) -> None:
        """Settlements of one message and the report that they cause, in one frame."""
        stored = group[0].stored
        changes: list[Change] = [each.change for each in group]
        try:
            _, original = self._contents.read(group[0].granted.ref, group[0].granted.entry)
        except SpoolError as error:
            # the sender hears what became of the message all the same
            self._server_log.error(
                "dsn.original_unreadable", message_id=stored.message_id, error=error.message
            )
            original = b""
        report = self._reports.make(
            kind,
            stored,
            [
                RecipientReport(
                    each.stored.deliveries[each.granted.index].recipient,
                    each.change.attempted.outcome,
                    each.change.attempted.attempted_time,
                    each.change.attempted.verdict.bounce_class,
                    each.retry_until_time,
                    expired=isinstance(each.change, Finished) and each.change.kind == "expired",
                    last=each.last,
                )
                for each in group
            ],
            original,
        )
        if report is None:
            self._log.commit(changes, (), None)
            return
        report_stored, wire = report
        self._log.commit([*changes, report_stored], ((wire,),), None)
