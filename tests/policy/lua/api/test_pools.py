"""What `msys.runInPool` may use: a hook and the functions that it waits for do not go on for ever."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from outrider.base.errors import UnavailableError
from outrider.base.log import ListLog
from outrider.model.flow import Decided, Refusal
from outrider.policy.errors import BudgetError, TooSlowError
from outrider.policy.lua.api.services import Services
from outrider.policy.lua.limits import LuaLimits
from outrider.server.lua_scripts import TASKS_MAX, Beside
from tests.policy.lua.lua_stage import LuaStage, hook

LIMITS = LuaLimits(instructions=1_000_000, seconds=30.0)
BUSY = "function() for i = 1, 1e5 do end end"


@pytest.mark.parametrize(
    "body",
    [
        f"while true do msys.runInPool('IO', {BUSY}) end",
        f"while true do msys.runInPool('IO', function() msys.runInPool('IO', {BUSY}) end) end",
        f"local function f() ({BUSY})() msys.runInPool('IO', f) end while true do f() end",
        f"while true do msys.runInPool('IO', function() msys.sleep(0) ({BUSY})() msys.sleep(0) end) end",
    ],
)
async def test_the_functions_that_a_hook_waits_for_have_one_budget(tmp_path: Path, body: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", body), limits=LIMITS)
    assert isinstance(await stage.decided(), Refusal)
    assert isinstance(stage.failure, BudgetError)
    assert "too many instructions" in stage.failure.reason
    stage.close()


async def test_each_hook_has_it_anew(tmp_path: Path) -> None:
    body = f"for i = 1, 2 do assert(msys.runInPool('IO', {BUSY})) end return msys.core.VALIDATE_CONT"
    stage = LuaStage(tmp_path, hook("validate_data", body), limits=LIMITS)
    for _ in range(10):
        assert isinstance(await stage.decided(), Decided)
    stage.close()


async def test_its_time_to_wait_ends_though_nothing_has_to_be_waited_for(tmp_path: Path) -> None:
    body = "while true do msys.runInPool('IO', function() end) end"
    limits = LuaLimits(instructions=10**12, seconds=30.0)
    stage = LuaStage(tmp_path, hook("validate_data", body), limits=limits, wait_seconds=0.05)
    assert isinstance(await stage.decided(), Refusal)
    assert isinstance(stage.failure, TooSlowError)
    stage.close()


async def test_they_are_nested_so_deep_and_no_deeper(tmp_path: Path) -> None:
    body = """
    local depth = 0
    local function f()
      depth = depth + 1
      local ok, why = msys.runInPool("IO", f)
      if not ok then error(why, 0) end
    end
    for i = 1, 2 do
      local ok, why = pcall(f)
      print(depth .. " " .. why)
    end
    return msys.core.VALIDATE_CONT
    """
    stage = LuaStage(tmp_path, hook("validate_data", body))
    assert isinstance(await stage.decided(), Decided)
    first, second = stage.printed
    assert first.startswith("21 ")
    assert second.startswith("42 ")
    assert first.endswith(second[3:])
    assert "nested at most 20 deep" in first
    stage.close()


async def test_so_many_run_beside_the_hooks_at_once_and_no_more() -> None:
    beside = Beside(ListLog())
    held = asyncio.Event()

    async def work() -> None:
        await held.wait()

    for _ in range(TASKS_MAX):
        beside.spawn(work())
    with pytest.raises(UnavailableError, match="run beside hooks already"):
        beside.spawn(work())
    tasks = list(beside.tasks)
    held.set()
    await asyncio.gather(*tasks)
    beside.spawn(work())
    beside.end()


class Slow:
    """A data source that never answers."""

    def __init__(self) -> None:
        self.was_asked = asyncio.Event()

    def named(self, _name: str) -> None:
        """It has no query of a name."""

    def peek(self, *_question: Any) -> None:
        """It remembers nothing."""

    def placeholders(self, _query: str) -> int:
        return 0

    async def fetch(self, *_question: Any, **_options: Any) -> Any:
        self.was_asked.set()
        await asyncio.Event().wait()


async def test_a_timer_that_waits_ends_quietly_with_its_set(tmp_path: Path) -> None:
    text = """
    require("msys.timer") require("msys.db") require("msys.datasource")
    local mod = {}
    function mod:init()
      mod.timer = msys.timer.after(0, function() msys.db.query("crm", "SELECT 1") end)
      return true
    end
    function mod:validate_data() return 0 end
    msys.registerModule("shop", mod)
    """
    slow, beside = Slow(), Beside(ListLog())
    stage = LuaStage(tmp_path, text, spawn=beside.spawn, source=lambda _name: slow)
    [services] = [each for each in stage.place.followers if isinstance(each, Services)]
    stage.place.followers.append(beside)
    services.begin(asyncio.get_running_loop())
    await slow.was_asked.wait()
    [task] = beside.tasks
    stage.close()
    await asyncio.wait([task])
    assert task.cancelled()
    assert beside.log.lines == []  # type: ignore[attr-defined]
