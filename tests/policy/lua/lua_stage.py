"""Scripts in Lua, written by a test, as the hooks of a session ask them."""

import weakref
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

from outrider.base.clock import SystemClock
from outrider.base.log import ListLog
from outrider.model.ends import Ends
from outrider.model.flow import Decided, Refusal, Submission
from outrider.model.ports import PolicySession
from outrider.policy.audit import Audit, Monitor
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.errors import HookError
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.lua import script
from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.packages import make_registry
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.messages import mail_behind
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.scripted import Scripts
from outrider.policy.shared import create_cells
from tests.policy.acting import BINDINGS, Told, submission

POOL: Final = BindingGroupOptions.model_validate({"name": "pool", "members": ["vip"]})

PATIENT: Final = LuaLimits(seconds=5.0)
# Python's collector runs within a hook's time too, and takes long where many tests run in one process


class LuaStage:
    """Scripts of a test, and what became of them.

    Args:
        folder: Where they are written.
        texts: One for each script, by its name; `shop` is one that has a text alone.
        wait_seconds: How long they may wait.
        modules: Files that they require.
        limits: What they may use.
        host: More of what the functions of the API have.
    """

    def __init__(
        self,
        folder: Path,
        texts: str | dict[str, str],
        *,
        wait_seconds: float = 20.0,
        modules: dict[str, str] | None = None,
        limits: LuaLimits = PATIENT,
        **host: Any,
    ) -> None:
        self.told = Told()
        self.log = ListLog()
        named = {"shop": texts} if isinstance(texts, str) else texts
        files = [(name, written(folder, f"{name}.lua", text)) for name, text in named.items()]
        for name, text in (modules or {}).items():
            written(folder, name, text)
        self.cells = create_cells()
        weakref.finalize(self, self.cells.close)
        self.budget = CpuBudget(0.1)
        self.place: script.Place
        clock = SystemClock()
        audit = Audit((Monitor(60, 1),), frozenset({"smtp"}), 1, lambda: self.cells, clock.wall, self.log)

        def registry(place: script.Place) -> LuaRegistry:
            self.place = place
            more: dict[str, Any] = {
                "clock": clock,
                "audit": audit,
                "log": self.log,
                "shared": self.cells,
                "current": place.current,
                "mail_of": mail_behind,
                "run": place.run,
                "budget": self.budget,
                "folder": folder,
            } | host
            made, services = make_registry(Host(**more))
            place.followers.append(services)
            return made

        self.scripts = script.load(files, registry, limits, self.log, [folder])
        self.door = Scripts(
            self.scripts,
            self.told,
            wait_seconds=wait_seconds,
            bindings=Bindings(BINDINGS, (POOL,)),
            addresses={"smtp": ("2001:db8::25", 2525), "api": ("2001:db8::25", 2525)},
            audit=audit,
        )

    def open(self, submitted: Submission | None = None, ends: Ends | None = None) -> PolicySession:
        """A session that begins."""
        return self.door.open((submitted or submission()).origin, ends)

    def decide(self, submitted: Submission | None = None) -> Decided | Refusal:
        """What becomes of a message, where no script waits."""
        submitted = submitted or submission()
        session = self.open(submitted)
        decision = session.decide(submitted)
        assert isinstance(decision, Decided | Refusal)
        session.close()
        return decision

    async def decided(self, submitted: Submission | None = None) -> Decided | Refusal:
        """What becomes of a message."""
        submitted = submitted or submission()
        session = self.open(submitted)
        decision = session.decide(submitted)
        decision = decision if isinstance(decision, Decided | Refusal) else await decision
        session.close()
        return decision

    @property
    def failure(self) -> HookError:
        """The one that was told."""
        [failure] = self.told.failures
        return failure

    @property
    def printed(self) -> list[str]:
        """What scripts printed."""
        return [str(fields["text"]) for _, event, fields in self.log.lines if event == "policy.print"]

    def close(self) -> None:
        self.door.close()
        self.cells.close()


def written(folder: Path, name: str, text: str) -> Path:
    """A file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dedent(text).encode("utf-8", "surrogateescape"))
    return path


def hook(name: str, body: str, arguments: str = "msg, ac, vctx") -> str:
    """A script of one hook."""
    return (
        f'local mod = {{}}\nfunction mod:{name}({arguments})\n{body}\nend\nmsys.registerModule("shop", mod)\n'
    )
