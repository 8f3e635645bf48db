"""What an administrator does to the queue: hold, release, retry, move, purge, by filter.

Theory: a filter may mean a million entries, so everything goes in slices. Each slice is made ungrantable
first, then logged and synced, then applied; a crash in between leaves whole slices done or not. An entry that
is with a worker is busy: its worker owns its next version, so it is left alone and counted. On a full disk
the slices before make room for the next one.

Invariant: nothing is changed in the index before the log says so durably.
"""

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.model.address import Address
from outrider.model.changes import Altered, Attempted, Change, Entry, Finished
from outrider.model.flow import Disposition, Outcome, Phase, Verdict
from outrider.model.ports import Log
from outrider.model.reply import Reply
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.filters import QueueFilter
from outrider.spool.index import Index
from outrider.spool.spans import CHANGES

SLICE = 500  # chosen: one frame of some 40 KiB, a few milliseconds
PURGED = Reply(554, "5.7.0", ("Purged from the queue by an administrator",))
# RFC 3463 §3.8, X.7.0: other security or policy status; people decided it, not a program
_NOBODY = Address("unknown", "invalid")  # RFC 2606 §2; stands in where the frame cannot be read any more

Take = Callable[[Sequence[int]], AbstractSet[int]]
Told = Callable[[int], None]


class AdminResult(NamedTuple):
    """What came of an operation: entries that matched, that were changed, that were busy with a worker."""

    matched: int
    changed: int
    busy: int


class _Order(NamedTuple):
    """What was asked for, for the record."""

    kind: str
    actor: str
    reason: str


class QueueAdmin:
    """Operations on the queue.

    Args:
        index: The entries.
        log: Where the changes are logged: the dispatcher's own.
        clock: For due times and records.
        take: Asked for resident entries before they are changed: makes sure that they cannot be granted any
            more, but for those that are with a worker; gives the others.
        told: Hears after each slice how many entries an operation has changed so far.
        reclaim: Gives back the room of what is done; None where nobody does.
    """

    def __init__(
        self,
        index: Index,
        log: Log,
        clock: Clock,
        take: Take,
        told: Told = lambda _changed: None,
        reclaim: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._index = index
        self._log = log
        self._clock = clock
        self._take = take
        self._told = told
        self._reclaim = reclaim

    async def hold(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """Put on hold until released."""
        order = _Order("hold", actor, reason)
        return await self._alter(chosen, order, {"held": reason or "held"}, dry_run=dry_run)

    async def release(
        self, chosen: QueueFilter, actor: str, reason: str = "", *, dry_run: bool = False
    ) -> AdminResult:
        """Release what is on hold; it keeps its due time."""
        order = _Order("release", actor, reason)
        return await self._alter(replace(chosen, held=True), order, {"held": ""}, dry_run=dry_run)

    async def retry(
        self, chosen: QueueFilter, actor: str, reason: str = "", *, dry_run: bool = False
    ) -> AdminResult:
        """Make due now; what is on hold stays so."""
        order = _Order("retry", actor, reason)
        return await self._alter(chosen, order, {"due_time": self._clock.wall()}, dry_run=dry_run)

    async def move(
        self,
        chosen: QueueFilter,
        actor: str,
        reason: str = "",
        *,
        binding: str | None = None,
        routing_domain: str | None = None,
        dry_run: bool = False,
    ) -> AdminResult:
        """Send by another binding, or to the exchangers of another domain.

        Raises:
            ValueError: Neither is given.
        """
        given = {"binding": binding, "routing_domain": routing_domain}
        changes = {name: text for name, text in given.items() if text is not None}
        if not changes:
            raise ValueError("give a binding or a routing domain to move to")
        return await self._alter(chosen, _Order("move", actor, reason), changes, dry_run=dry_run)

    async def _alter(
        self,
        chosen: QueueFilter,
        order: "_Order",
        changes: dict[str, str] | dict[str, float],
        *,
        dry_run: bool,
    ) -> AdminResult:
        def alter(entry: Entry) -> tuple[Change, Entry | None]:
            new = replace(entry, version=entry.version + 1, **changes)
            altered = Altered(
                entry.entry,
                new.version,
                new.due_time,
                new.held,
                new.binding if new.binding != entry.binding else None,
                new.routing_domain if new.routing_domain != entry.routing_domain else None,
                order.actor,
                self._clock.wall(),
                order.kind,
                order.reason,
            )
            return altered, new

        return await self._each_slice(chosen, alter, dry_run=dry_run)

    async def purge(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """Remove for good, without a bounce; each removal is recorded."""

        def purge(entry: Entry) -> tuple[Change, Entry | None]:
            text = f"{actor}: {reason}" if reason else actor
            return Finished(entry.entry, "purged", self._attempted(entry), text), None

        return await self._each_slice(chosen, purge, dry_run=dry_run)

    def _attempted(self, entry: Entry) -> Attempted:
        recipient, mail_from, customer_id = _NOBODY, None, ""
        metadata: tuple[tuple[str, str], ...] = ()
        try:
            stored, _ = self._index.reader.read(entry.ref, entry.entry)
        except SpoolError:
            pass  # purging what cannot be read is what purging is for
        else:
            delivery = stored.deliveries[entry.index]
            recipient, mail_from = delivery.recipient.address, stored.mail_from
            customer_id, metadata = delivery.customer_id, delivery.recipient.metadata
        return Attempted(
            message_id=entry.message_id,  # type: ignore[arg-type]
            recipient=recipient,
            mail_from=mail_from,
            binding=entry.binding,
            site="",
            tenant=entry.tenant,
            stream=entry.stream,
            received_time=entry.received_time,
            attempted_time=self._clock.wall(),
            attempts=entry.attempts,
            size=entry.size,
            outcome=Outcome(PURGED, Phase.QUEUE, ours=True),
            verdict=Verdict(Disposition.PERMANENT, "purged"),
            channel=entry.channel,
            customer_id=customer_id,
            metadata=metadata,
        )

    async def _each_slice(
        self, chosen: QueueFilter, change: Callable[[Entry], tuple[Change, Entry | None]], *, dry_run: bool
    ) -> AdminResult:
        if dry_run:
            return AdminResult(await self._index.count(chosen), 0, 0)
        matched = changed = busy = reclaimed = 0
        after = -1
        while True:
            try:
                async with self._index.lock:
                    entries = await self._index.select_locked(chosen, SLICE, after)
                    free = self._free(entries)
                    await self._apply(free, change)
            except SpoolError:
                if self._reclaim is None or reclaimed == changed:  # then nothing is done that takes room
                    raise
                reclaimed = changed
                await self._reclaim()
                continue
            if not entries:
                return AdminResult(matched, changed, busy)
            after = entries[-1].entry
            matched += len(entries)
            changed += len(free)
            self._told(changed)
            busy += len(entries) - len(free)

    def _free(self, entries: Sequence[Entry]) -> list[Entry]:
        table = self._index.table
        resident = [entry.entry for entry in entries if entry.entry in table.resident]
        for number in self._take(resident):
            table.evict(number)
        return [entry for entry in entries if entry.entry not in table.resident]

    async def _apply(
        self, entries: list[Entry], change: Callable[[Entry], tuple[Change, Entry | None]]
    ) -> None:
        if not entries:
            return
        pairs = await self._index.in_thread(lambda: [change(entry) for entry in entries])
        ref = await commit_and_wait(self._log, [logged for logged, _ in pairs])
        index = self._index
        for old, (_, new) in zip(entries, pairs, strict=True):
            index.spans.note(CHANGES, (ref.log, ref.segment), old.entry, old.entry)
            known, newest = index.table.find(old.entry)
            if known and newest is None:
                continue  # whoever follows the log has applied it already
            if new is None:
                index.table.remove(old)
            else:
                index.table.replace(old, new)
