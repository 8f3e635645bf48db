"""What scripts in Lua have of this process, and the loading of them.

In: the policy's options. Out: scripts, by their names in the configuration.

Theory: all scripts in Lua of a configuration are one set with a state of its own; a reload makes another.
What goes on beside the hooks, as timers, belongs to its set and ends with it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import Log
from outrider.net.answers import Lookup
from outrider.net.tls import ClientContext
from outrider.policy.budget import CpuBudget
from outrider.policy.lua import script as lua
from outrider.policy.lua.api.host import Host, Outbox
from outrider.policy.lua.api.packages import make_registry
from outrider.policy.lua.api.services import Services
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.messages import mail_behind
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.options import PolicyOptions
from outrider.policy.shared import SharedCells
from outrider.policy.surroundings import keep_key, source
from outrider.server.bounces import TableBounces
from outrider.server.settings import Settings


def shared_numbers(settings: Settings) -> Path:
    """The file of numbers that all workers count together."""
    return settings.server.state_directory / "policy.numbers"


@dataclass(slots=True)
class Beside:
    """What one set of scripts does beside its hooks; cancelled when the set ends."""

    log: Log
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run it until it ends, or the set does."""
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
        cells: Makes, once, the numbers that all workers share.
        resolver: DNS; None where scripts are only checked.
        outbox: Sends new messages; None likewise.
        hostname: Ours.
        client_tls: Gives the context for HTTPS; None likewise.
        is_checked: Scripts are only loaded, and nothing runs beside them.
    """

    clock: Clock
    log: Log
    budget: CpuBudget
    cells: Callable[[], SharedCells]
    resolver: Lookup | None = None
    outbox: Outbox | None = None
    hostname: str = "localhost"
    client_tls: Callable[[], ClientContext] | None = None
    is_checked: bool = False
    _cells: SharedCells | None = None
    _services: Services | None = None

    def load(self, options: PolicyOptions) -> Mapping[str, lua.LuaScript]:
        """Load all scripts in Lua.

        Raises:
            HookError: One of them cannot be used.
            StoreError: The shared numbers cannot.
        """
        files = [(each.name, each.source) for each in options.script if each.source.suffix == ".lua"]
        if not files:
            return {}
        beside = Beside(self.log)
        folders = (*options.lua_folders, *dict.fromkeys(path.parent for _, path in files))

        def registry(place: lua.Place) -> LuaRegistry:
            made, self._services = make_registry(self._host(options, place, beside))
            place.followers += (self._services, beside)
            return made

        limits = LuaLimits(seconds=options.hook_seconds)
        try:
            return {each.name: each for each in lua.load(files, registry, limits, self.log, folders)}
        except BaseException:
            beside.end()
            raise

    def _host(self, options: PolicyOptions, place: lua.Place, beside: Beside) -> Host:
        folder = next(each.source.parent for each in options.script if each.source.suffix == ".lua")
        if self._cells is None:
            self._cells = self.cells()
        return Host(
            clock=self.clock,
            log=self.log,
            shared=self._cells,
            current=place.current,
            mail_of=mail_behind,
            source=source,
            keep_key=keep_key,
            run=place.run,
            spawn=_never if self.is_checked else beside.spawn,
            resolver=self.resolver,
            client_tls=self.client_tls,
            outbox=self.outbox,
            hostname=self.hostname,
            bounces=TableBounces(),
            budget=self.budget,
            folder=folder,
        )

    def begin(self) -> None:
        """The set that was loaded last is asked from now on."""
        services, self._services = self._services, None
        if services is not None:
            services.begin(asyncio.get_running_loop())

    def close(self) -> None:
        """Nothing is counted any more."""
        if self._cells is not None:
            self._cells.close()
            self._cells = None


def _never(work: Coroutine[Any, Any, Any]) -> None:
    """Where scripts are only loaded: it would begin later."""
    work.close()
