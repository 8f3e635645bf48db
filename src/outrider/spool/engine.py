"""The embedded engine: writer, index and readers of one spool directory in one process.

For the offline command line, for tests, and to build a large spool quickly; a running server has the same
parts spread over its processes. It needs the spool for itself: `open` refuses while any log has a living
writer.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Self

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.files import Files
from outrider.base.log import Log
from outrider.model.changes import Altered, Change, ContentRef, Entry, Finished, Keyed, Retried, Stored
from outrider.model.dispatch import Position
from outrider.model.ports import SpoolKeys
from outrider.spool.admin import AdminResult, QueueAdmin
from outrider.spool.announce import arrived_of, settled_of
from outrider.spool.await_commit import commit_and_wait
from outrider.spool.engine_port import Lease, Member, QuotaGrant
from outrider.spool.filters import QueueFilter
from outrider.spool.index import PASSES_PER_CALL, Index
from outrider.spool.index_due import KEYS_PER_CALL
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import FrameReader
from outrider.spool.reclaim import Reclaimed, Reclaimer
from outrider.spool.table import QueueKey
from outrider.spool.writer import LogWriter, Synced

MessageMaker = Callable[[int, int], tuple[Stored, Sequence[bytes]]]
QUOTA_SECONDS = 60.0  # chosen: with one node a quota needs no renewal; callers still get a finite time


class EmbeddedEngine:
    """Implements `Engine`. Make it with `open`."""

    def __init__(
        self,
        index: Index,
        options: SpoolOptions,
        clock: Clock,
        log: Log,
        owner: str,
        keys: SpoolKeys | None = None,
    ) -> None:
        self.index = index
        self.owner = owner
        self._clock = clock
        self._leases: dict[int, Lease] = {}
        self._reader = FrameReader(index.directory, options, keys)
        self.writer = LogWriter(index.directory, options, clock, log, self._synced, keys=keys)
        self.epoch = self.writer.number  # no two lives of a node have the same log
        self.admin = QueueAdmin(index, self.writer, clock, self._take)
        self.reclaimer = Reclaimer(index, self.writer, clock, log, self._take)

    @classmethod
    async def open(
        cls,
        files: Files,
        directory: str,
        options: SpoolOptions,
        clock: Clock,
        log: Log,
        owner: str = "local",
        *,
        keys: SpoolKeys | None = None,
    ) -> Self:
        """Open a spool that nobody else uses, and learn what is in it.

        Raises:
            SpoolError: It is in use, or cannot be read.
        """
        index = Index.open(files, directory, options, clock, log, keys)
        alive = [number for number in index.directory.logs() if index.directory.is_alive(number)]
        if alive:
            await index.abandon()
            raise SpoolError(f"spool {directory} is in use: its logs {alive} are being written", logs=alive)
        try:
            for number in index.directory.logs():
                await index.replay(number)
                position = index.positions()[number]
                index.advance(number, position, position)
            index.recovered()
            return cls(index, options, clock, log, owner, keys)
        except BaseException:
            await index.abandon()
            raise

    def _synced(self, position: Position, batch: Sequence[Synced]) -> None:
        index = self.index
        for changes, ref in batch:
            for change in changes:
                if isinstance(change, Stored):
                    for entry in index.arrive(ref.log, arrived_of(change, ref)):
                        index.evict(entry.entry)
                elif isinstance(change, Finished):
                    index.settle(settled_of(change, 0))
                    self._leases.pop(change.entry, None)
                elif isinstance(change, Retried):
                    index.settle(settled_of(change, 0))
                    if self._leases.pop(change.entry, None) is not None:
                        index.evict(change.entry)
                elif isinstance(change, Keyed):
                    index.keys.put(change, (ref.log, ref.segment))
        index.advance(self.writer.number, position, position)

    # -- changes --

    def reserve(self, count: int) -> int:
        """See `Engine`."""
        return self.writer.reserve(count)

    async def commit(
        self, changes: Sequence[Change], contents: Sequence[Sequence[bytes]] = (), *, epoch: int | None = None
    ) -> ContentRef:
        """See `Engine`."""
        self._expire()
        for change in changes:
            if isinstance(change, Finished | Retried | Altered):
                lease = self._leases.get(change.entry)
                held = None if lease is None else lease.epoch
                if held != epoch:
                    raise SpoolError(
                        f"entry {change.entry} is not leased by epoch {epoch}", entry=change.entry
                    )
        return await commit_and_wait(self.writer, changes, contents)

    async def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """See `Engine`."""
        return self._reader.read(ref, entry)

    # -- leases --

    def _expire(self) -> None:
        now = self._clock.wall()
        for number in [number for number, lease in self._leases.items() if lease.until_time <= now]:
            del self._leases[number]
            self.index.evict(number)

    def _take(self, entries: Iterable[int]) -> set[int]:
        return {entry for entry in entries if entry not in self._leases}

    async def due(self, before_time: float, limit: int) -> list[Entry]:
        """See `Engine`."""
        self._expire()
        entries = await self._due(before_time, limit, None)
        for entry in entries:
            self.index.evict(entry.entry)
        return entries

    async def _due(self, before_time: float, limit: int, keys: Sequence[QueueKey] | None) -> list[Entry]:
        wanted = None if keys is None else frozenset(keys)
        found: list[Entry] = []
        rooms: Callable[[QueueKey], int] = lambda key: limit if wanted is None or key in wanted else 0  # noqa: E731
        empty = 0
        while len(found) < limit and empty <= self._calls_max():
            more = await self.index.due(before_time, limit - len(found), rooms)
            found += more
            empty = 0 if more else empty + 1
        return found

    def _calls_max(self) -> int:
        """How often `due` may find nothing before there is nothing.

        Each call looks at some of the keys only, and gets past some of the rows only that are no news: of
        entries that are leased, or have changed since.
        """
        table = self.index.table
        no_news = table.changed + len(table.resident)
        return len(table.keys) // KEYS_PER_CALL + no_news // PASSES_PER_CALL

    async def lease(self, keys: Sequence[QueueKey] | None, limit: int, ttl_seconds: float) -> list[Lease]:
        """See `Engine`."""
        self._expire()
        now = self._clock.wall()
        leases = [
            Lease(entry, self.owner, self.epoch, now + ttl_seconds)
            for entry in await self._due(now, limit, keys)
        ]
        self._leases.update((lease.entry.entry, lease) for lease in leases)
        return leases

    async def release(self, entries: Sequence[int]) -> None:
        """See `Engine`."""
        for number in entries:
            if self._leases.pop(number, None) is not None:
                self.index.evict(number)

    async def extend(self, entries: Sequence[int], ttl_seconds: float) -> list[int]:
        """See `Engine`."""
        self._expire()
        until = self._clock.wall() + ttl_seconds
        ours = [number for number in entries if number in self._leases]
        for number in ours:
            self._leases[number] = self._leases[number]._replace(until_time=until)
        return ours

    # -- administration --

    async def count(self, chosen: QueueFilter) -> int:
        """See `Engine`."""
        self._expire()
        return await self.index.count(chosen)

    async def list(self, chosen: QueueFilter, limit: int, after: int = -1) -> Sequence[Entry]:
        """See `Engine`."""
        self._expire()
        return await self.index.select(chosen, limit, after)

    async def hold(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """See `Engine`."""
        return await self._administer(self.admin.hold(chosen, actor, reason, dry_run=dry_run))

    async def unhold(self, chosen: QueueFilter, actor: str, *, dry_run: bool = False) -> AdminResult:
        """See `Engine`."""
        return await self._administer(self.admin.release(chosen, actor, dry_run=dry_run))

    async def retry(self, chosen: QueueFilter, actor: str, *, dry_run: bool = False) -> AdminResult:
        """See `Engine`."""
        return await self._administer(self.admin.retry(chosen, actor, dry_run=dry_run))

    async def move(
        self,
        chosen: QueueFilter,
        actor: str,
        *,
        binding: str | None = None,
        routing_domain: str | None = None,
        dry_run: bool = False,
    ) -> AdminResult:
        """See `Engine`."""
        return await self._administer(
            self.admin.move(chosen, actor, binding=binding, routing_domain=routing_domain, dry_run=dry_run)
        )

    async def purge(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """See `Engine`."""
        return await self._administer(self.admin.purge(chosen, actor, reason, dry_run=dry_run))

    async def _administer(self, operation: Awaitable[AdminResult]) -> AdminResult:
        self._expire()
        return await operation

    # -- nodes --

    async def quota(self, key: str, want: int) -> QuotaGrant:
        """See `Engine`; there is nobody to share `key` with."""
        del key
        return QuotaGrant(want, self._clock.wall() + QUOTA_SECONDS)

    async def members(self) -> Sequence[Member]:
        """See `Engine`."""
        return (Member(self.owner, self.epoch, is_alive=True),)

    # -- upkeep --

    async def maintain(self) -> Reclaimed:
        """Take a checkpoint, then give disk space back."""
        await self.index.checkpoint()
        return await self.reclaimer.run()

    async def close(self) -> None:
        """See `Engine`."""
        self._leases.clear()
        await self.writer.close()
        self._reader.close()
        await self.index.close()

    async def crash(self) -> None:
        """End as if the process was killed: no checkpoint, nothing flushed that was not synced. For tests."""
        await self.writer.close()
        self._reader.close()
        await self.index.abandon()


async def build(engine: EmbeddedEngine, count: int, make: MessageMaker, batch: int = 1000) -> None:
    """Fill a spool with `count` messages as fast as the disk takes them.

    Args:
        engine: Where to.
        count: How many messages.
        make: Given the number of the message and its first entry id, the message with one delivery, and its
        content.
        batch: Messages that share a sync.

    Raises:
        SpoolError: The disk does not take them.
    """
    for start in range(0, count, batch):
        waiting = None
        for number in range(start, min(start + batch, count)):
            stored, content = make(number, engine.reserve(1))
            if waiting is not None:
                engine.writer.commit(*waiting, None)
            waiting = [stored], [content]
        if waiting is not None:
            await commit_and_wait(engine.writer, *waiting)
        if engine.index.counts().changed > engine.index.options.checkpoint_changes:
            await engine.index.checkpoint()
    await engine.index.checkpoint()
