"""The `Engine` port: a spool as one thing, whatever keeps it: one node's disk, or a cluster's database.

The obligations stand in the docstrings, and `tests/contracts/test_engine_contract.py` holds every
implementation to them.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from outrider.model.changes import Change, ContentRef, Entry, Stored
from outrider.spool.admin import AdminResult
from outrider.spool.filters import QueueFilter
from outrider.spool.table import QueueKey


class Lease(NamedTuple):
    """The right to work on an entry: whose, since which epoch of it, and until when (Unix seconds)."""

    entry: Entry
    owner: str
    epoch: int
    until_time: float


class QuotaGrant(NamedTuple):
    """How much of a limit may be used, and until when (Unix seconds)."""

    granted: int
    valid_until_time: float


class Member(NamedTuple):
    """One node: its name, the epoch of its present life, and whether it lives."""

    owner: str
    epoch: int
    is_alive: bool


class Engine(Protocol):
    """Keeps messages until each recipient is finished."""

    def reserve(self, count: int) -> int:
        """The first of `count` consecutive entry ids that were never given before and never will be again."""
        ...

    async def commit(
        self, changes: Sequence[Change], contents: Sequence[Sequence[bytes]] = (), *, epoch: int | None = None
    ) -> ContentRef:
        """Make a change set durable, whole or not at all.

        When it returns, no crash undoes it. When it raises, the change set has no effect. A change of an
        entry that another epoch has leased is refused, so that a node that was thought dead cannot spoil what
        its heir does.

        Args:
            changes: In order.
            contents: For each `Stored` or `Moved`, its content as chunks.
            epoch: The epoch under which the changed entries were leased; None for entries that nobody leased.

        Raises:
            SpoolError: Not durable, or the lease was lost.
        """
        ...

    async def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message that holds `entry`, exactly as committed, and its content.

        Raises:
            SpoolError: Damaged or gone, never something else.
        """
        ...

    async def due(self, before_time: float, limit: int) -> list[Entry]:
        """Some entries that are due, free and not leased, earliest first for each key; nothing changes."""
        ...

    async def lease(self, keys: Sequence[QueueKey] | None, limit: int, ttl_seconds: float) -> list[Lease]:
        """Lease due entries of these queue keys (None: of all). No entry is in two valid leases."""
        ...

    async def release(self, entries: Sequence[int]) -> None:
        """Give leases back; the entries are due as before."""
        ...

    async def extend(self, entries: Sequence[int], ttl_seconds: float) -> list[int]:
        """Make leases longer; returns those that were still ours."""
        ...

    async def count(self, chosen: QueueFilter) -> int:
        """How many entries match."""
        ...

    async def list(self, chosen: QueueFilter, limit: int, after: int = -1) -> Sequence[Entry]:
        """Matching entries behind `after`, by number."""
        ...

    async def hold(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """Matching entries are not due until unheld. Leased ones are busy and left alone, here and below."""
        ...

    async def unhold(self, chosen: QueueFilter, actor: str, *, dry_run: bool = False) -> AdminResult:
        """Matching held entries are due again when they were."""
        ...

    async def retry(self, chosen: QueueFilter, actor: str, *, dry_run: bool = False) -> AdminResult:
        """Matching entries are due now."""
        ...

    async def move(
        self,
        chosen: QueueFilter,
        actor: str,
        *,
        binding: str | None = None,
        routing_domain: str | None = None,
        dry_run: bool = False,
    ) -> AdminResult:
        """Matching entries have another queue key."""
        ...

    async def purge(
        self, chosen: QueueFilter, actor: str, reason: str, *, dry_run: bool = False
    ) -> AdminResult:
        """Matching entries are finished."""
        ...

    async def quota(self, key: str, want: int) -> QuotaGrant:
        """A share of a limit that all nodes have in common; one node alone gets all it wants."""
        ...

    async def members(self) -> Sequence[Member]:
        """The nodes of this spool."""
        ...

    async def close(self) -> None:
        """Leave; leases of this owner are given back."""
        ...
