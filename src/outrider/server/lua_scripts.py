"""What scripts in Lua have of this process, and the loading of them.

In: the policy's options. Out: scripts, by their names in the configuration.

Theory: all scripts in Lua of a configuration are one set with a state of its own; a reload makes another.
What goes on beside the hooks, as timers, belongs to its set and ends with it.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.log import Log
from outrider.net.answers import Lookup
from outrider.net.tls import TlsContexts
from outrider.policy.audit import Audit, parse_monitor
from outrider.policy.budget import CpuBudget
from outrider.policy.lua import script as lua
from outrider.policy.lua.api.host import Host, Outbox
from outrider.policy.lua.api.packages import make_registry
from outrider.policy.lua.api.services import Services
from outrider.policy.lua.dialect import PRECEDENCES
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.messages import mail_behind
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.surroundings import HERE, keep_key, shared_numbers, source
from outrider.receive.options import Role
from outrider.server.bounces import TableBounces
from outrider.server.settings import Settings

TASKS_MAX: Final = 100
# chosen: scripts have a handful; each may hold the loop for a hook's processor time in each of its turns


@dataclass(slots=True)
class Beside:
    """What one set of scripts does beside its hooks; cancelled when the set ends."""

    log: Log
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run it until it ends, or the set does. Raises UnavailableError: too much runs already."""
        if len(self.tasks) >= TASKS_MAX:
            work.close()
            raise UnavailableError(f"{TASKS_MAX} functions of scripts run beside hooks already")
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            text = error.message if isinstance(error, OutriderError) else type(error).__name__
            self.log.error("policy.beside_failed", error=text)

    def release(self, connection: object) -> None:
        """Nothing is kept for a session."""

    def retire(self) -> None:
        """What runs goes on until the set ends."""

    def end(self) -> None:
        """Nothing of it runs any more."""
        for task in list(self.tasks):
            task.cancel()


@dataclass(slots=True)
class LuaSurroundings:
    """See the module.

    Attributes:
        clock: Time.
        log: Server log.
        budget: Of processor time outside of Lua.
        outbox: Sends new messages; None where scripts are only tried: nothing runs beside their hooks then,
            and they ask no HTTP server.
    """

    clock: Clock
    log: Log
    budget: CpuBudget
    outbox: Outbox | None = None
    _services: Services | None = None

    def load(self, settings: Settings, resolver: Lookup | None = None) -> Mapping[str, lua.LuaScript]:
        """Load all scripts in Lua of a configuration.

        Args:
            settings: The configuration; what scripts do in the network is as its section `net` says.
            resolver: DNS; None where there is none for them.

        Raises:
            HookError: One of them cannot be used.
            StoreError: The shared numbers cannot.
        """
        options = settings.policy
        self._services = None
        files = [(each.name, each.source) for each in options.script if each.source.suffix == ".lua"]
        if not files:
            return {}
        beside = Beside(self.log)
        services: Services | None = None

        def registry(place: lua.Place) -> LuaRegistry:
            nonlocal services
            made, services = make_registry(self._host(settings, resolver, files[0][1].parent, place, beside))
            place.followers += (services, beside)
            return made

        limits = LuaLimits(seconds=options.hook_seconds)
        try:
            precedence = PRECEDENCES[options.lua_operators]
            scripts = lua.load(files, registry, limits, self.log, options.module_folders, precedence)
            loaded = {each.name: each for each in scripts}
        except BaseException:
            beside.end()
            raise
        self._services = services
        return loaded

    def _host(
        self, settings: Settings, resolver: Lookup | None, folder: Path, place: lua.Place, beside: Beside
    ) -> Host:
        tls = TlsContexts(settings.net.tls)
        return Host(
            clock=self.clock,
            log=self.log,
            shared=shared_numbers(),
            current=place.current,
            mail_of=mail_behind,
            source=source,
            keep_key=keep_key,
            run=place.run,
            spawn=_never if self.outbox is None else beside.spawn,
            resolver=resolver,
            client_tls=None if self.outbox is None else partial(tls.client, "required"),
            outbox=self.outbox,
            hostname=settings.server.hostname,
            bounces=TableBounces(),
            budget=self.budget,
            folder=folder,
            names=HERE.names,
            values=HERE.values,
            audit=audit_of(settings, self.clock, self.log),
        )

    def begin(self) -> None:
        """The set that was loaded last is asked from now on."""
        services, self._services = self._services, None
        if services is not None:
            services.begin(asyncio.get_running_loop())


def audit_of(settings: Settings, clock: Clock, log: Log, column: int = 0) -> Audit | None:
    """What a configuration counts by network, as the worker of that number; None where it counts nothing."""
    monitors = [parse_monitor(each) for each in settings.policy.audit_monitors]
    if not monitors:
        return None
    listeners = frozenset(each.name for each in settings.listener if each.role is not Role.INBOUND)
    return Audit(monitors, listeners, settings.server.workers, shared_numbers, clock.wall, log, column)


def _never(work: Coroutine[Any, Any, Any]) -> None:
    """Where scripts are only loaded: it would begin later."""
    work.close()
