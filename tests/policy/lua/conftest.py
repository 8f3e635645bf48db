"""Scripts from text: written into a folder, loaded, and called."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from outrider.base.log import ListLog
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.session import LuaSession

HEAD = "local mod = {}\n"
TAIL = '\nmsys.registerModule("m", mod)\n'


@dataclass
class Bench:
    """Scripts that were loaded, with a session."""

    scripts: LuaScripts
    log: ListLog
    session: LuaSession

    def call(self, *values: Any, hook: str = "validate_connect", session: LuaSession | None = None) -> Any:
        """Call the first hook of a name."""
        return (session or self.session).call(self.scripts.hooks(hook)[0], values)


Loaded = Callable[..., Bench]


@pytest.fixture
def load(tmp_path: Path) -> Loaded:
    """Loads scripts: `load(text)` or `load({"a.lua": text, …})`; other files are modules."""

    def loaded(
        scripts: str | dict[str, str],
        registry: LuaRegistry | None = None,
        limits: LuaLimits | None = None,
        modules: dict[str, str] | None = None,
        clock: Callable[[], float] = time.thread_time,
    ) -> Bench:
        texts = scripts if isinstance(scripts, dict) else {"script.lua": scripts}
        for name, text in (texts | (modules or {})).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        log = ListLog()
        made = LuaScripts.load(
            [tmp_path / name for name in texts],
            registry or LuaRegistry(),
            limits or LuaLimits(),
            log,
            clock=clock,
            folders=[tmp_path],
        )
        return Bench(made, log, made.session())

    return loaded


@pytest.fixture
def evaluate(load: Loaded) -> Callable[..., Any]:
    """Runs a hook's body, without a module around it, and gives what it returns."""

    def run(body: str, *values: Any, **options: Any) -> Any:
        script = f"{HEAD}function mod:validate_connect(...)\n{body}\nend{TAIL}"
        return load(script, **options).call(*values)

    return run
