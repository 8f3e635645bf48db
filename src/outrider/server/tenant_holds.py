"""Holds the queue of disabled tenants: nothing of theirs leaves until they are enabled again.

In: the control database, of which one number is read each second. Out: orders to the scheduler and to the
queue.

Theory: two steps. From the moment at which a tenant is known to be disabled the scheduler grants nothing of
it, in memory. Then what is queued is put on hold in the log with `REASON`, slice by slice: so it is seen,
outlives every process, and takes no room from others. What comes back later (an attempt that failed, a
straggler, a release by hand) is kept aside by the scheduler and put on hold next. When a tenant is enabled,
the scheduler grants again, and what is on hold for `REASON`, and for nothing else, is released. Work that a
death cut short is found again in the queue itself.

While the database is away, what was known holds on; a process that never reached it goes by the tenants that
the queue holds mail of for `REASON`. A tenant that was removed is neither enabled nor disabled: what is held
of it waits for a release by hand.

Invariant: granting begins only when it is known which tenants are disabled, or that nobody can tell.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from outrider.base.errors import OutriderError, SpoolError
from outrider.base.log import Log
from outrider.server.dispatcher import Dispatcher
from outrider.spool.admin import QueueAdmin
from outrider.spool.filters import QueueFilter
from outrider.spool.index import Index
from outrider.store.audit import find_head
from outrider.store.engine import Database
from outrider.store.tenants import list_tenants

REASON: Final = "tenant disabled"
ACTOR: Final = "server"
LOOK_SECONDS: Final = 1.0
"""Chosen, as for credentials: a look costs 0.7 ms, and who disables somebody means now."""

BARRED_PER_ORDER: Final = 500
"""Chosen: a slice of the queue's administration."""


class TenantHolds:
    """See the module.

    Args:
        dispatcher: Told whom to grant nothing.
        index: Asked what is on hold.
        admin: Puts on hold and releases.
        database: The control database; closed at the end.
        prepare: Brings it to this program's schema; awaited before the first question.
        log: Server log.
        known: Called when granting may begin.

    Attributes:
        is_known: Granting may begin.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        index: Index,
        admin: QueueAdmin,
        *,
        database: Database,
        prepare: Callable[[Database], Awaitable[object]],
        log: Log,
        known: Callable[[], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._index = index
        self._admin = admin
        self._database = database
        self._prepare = prepare
        self._log = log
        self._known = known
        self._is_prepared = False
        self._is_away = False
        self._number = -1
        self._enabled: frozenset[str] = frozenset()
        self._disabled: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()  # whose queue was put on hold since they are disabled
        self._has_changed = asyncio.Event()
        self._has_begun = asyncio.Event()
        self.is_known = False

    def begin(self) -> None:
        """Granting has begun: the whole queue is known."""
        self._has_begun.set()

    async def run(self) -> None:
        """Keep the queue as the control database says; until cancelled, which closes the database."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                tasks.create_task(self._follow())
                tasks.create_task(self._hold_barred())
        finally:
            await self._database.dispose()

    # what is so

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look at the control database; the scheduler knows afterwards, the queue follows."""
        try:
            if not self._is_prepared:
                await self._prepare(self._database)
                self._is_prepared = True
            number = (await find_head(self._database)).number
            if number != self._number:
                self._learn({tenant.name: tenant.is_enabled for tenant in await list_tenants(self._database)})
                self._number = number
        except OutriderError as error:
            if not self._is_away:
                self._log.error("tenants.store_away", error=error.message)
            self._is_away = True
            if not self.is_known:
                await self._go_by_the_queue()
        else:
            self._is_away = False
        if not self.is_known:
            self.is_known = True
            self._known()

    def _learn(self, states: dict[str, bool]) -> None:
        enabled = frozenset(name for name, is_enabled in states.items() if is_enabled)
        disabled = frozenset(states) - enabled
        if (enabled, disabled) == (self._enabled, self._disabled):
            return
        for tenant in sorted(disabled - self._disabled):
            self._log.info("tenant.shut", tenant=tenant)
        for tenant in sorted(self._disabled - disabled):
            self._log.info("tenant.open", tenant=tenant)
        self._enabled, self._disabled = enabled, disabled
        self._held &= disabled
        self._dispatcher.shut(disabled)
        self._has_changed.set()

    async def _go_by_the_queue(self) -> None:
        """Nobody can tell who is disabled: those whose mail is held were."""
        try:
            self._disabled = frozenset(await self._tenants_held())
        except SpoolError as error:
            self._log.error("tenants.queue_unknown", error=error.message)
        self._dispatcher.shut(self._disabled)

    async def _tenants_held(self) -> list[str]:
        if not self._index.counts().held:
            return []
        groups = await self._index.summary(QueueFilter(held_for=REASON), ("tenant",))
        return [group.names[0] for group in groups]

    # what follows from it

    async def _follow(self) -> None:
        await self._has_begun.wait()  # before it, the queue may hold mail that nobody has heard of yet
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            try:
                await self.follow()
            except SpoolError as error:
                self._log.error("tenants.hold_failed", error=error.message)
                self._has_changed.set()
                await asyncio.sleep(LOOK_SECONDS)

    async def follow(self) -> None:
        """Put on hold what is queued of disabled tenants, release what was held of enabled ones.

        Raises:
            SpoolError: It could not be written; call it again.
        """
        for tenant in sorted(self._disabled - self._held):
            done = await self._admin.hold(QueueFilter(tenant=tenant, held=False), ACTOR, REASON)
            self._log.info("tenant.held", tenant=tenant, entries=done.changed)
            self._held |= {tenant} & self._disabled
        for tenant in sorted(self._enabled.intersection(await self._tenants_held())):
            done = await self._admin.release(
                QueueFilter(tenant=tenant, held_for=REASON), ACTOR, "tenant enabled"
            )
            self._log.info("tenant.released", tenant=tenant, entries=done.changed)

    async def _hold_barred(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.hold_barred()
            except SpoolError as error:
                self._log.error("tenants.hold_failed", error=error.message)

    async def hold_barred(self) -> None:
        """Put on hold what the scheduler keeps aside.

        Raises:
            SpoolError: It could not be written; it stays aside.
        """
        while barred := self._dispatcher.scheduler.barred(BARRED_PER_ORDER):
            numbers = frozenset(entry.entry for entry in barred)
            done = await self._admin.hold(QueueFilter(entries=numbers, held=False), ACTOR, REASON)
            if not done.changed:
                return
