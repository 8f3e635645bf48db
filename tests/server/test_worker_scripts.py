"""Scripts of a worker over reloads: what is not taken leaves nothing, and nothing piles up."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.ends import Ends
from outrider.model.ports import PolicySession
from outrider.policy.audit import Audit, parse_network
from outrider.policy.bindings import Bindings
from outrider.policy.lua.api.host import Host, Outbox
from outrider.policy.lua.api.packages import make_registry
from outrider.policy.lua.state import LuaState
from outrider.policy.scripted import Scripts
from outrider.policy.shared import create_cells
from outrider.policy.surroundings import HERE
from outrider.privacy.key_keeper import KeyKeeper
from outrider.privacy.signing_keys import SigningKeys
from outrider.record.metrics import Metrics
from outrider.server import lua_scripts
from outrider.server.scripts import Teller, WorkerScripts
from outrider.server.settings import Settings
from outrider.store.sources.sources import Sources
from tests.policy.acting import SMTP

PYTHON = """
from dataclasses import dataclass
from outrider.policy.api import Series
@dataclass
class Seen:
    many: int = 0
hourly = Series("senders", seconds=3600)
def mailfrom(connection, sender):
    connection.context["seen"] = str(Seen(hourly.add(sender)))
"""
LUA = """
require("msys.core")
require("msys.timer")
local mod, table = {}, {}
for i = 1, 1000 do table[i] = "text " .. i end
function mod:validate_mailfrom(str, ac, vctx)
  vctx:set(msys.core.VCTX_MESS, "lines", tostring(#table))
  return msys.core.VALIDATE_CONT
end
msys.timer.after(0, function() print("a timer ran") end)
"""
GOOD = LUA + "msys.registerModule('shop', mod)\n"
BAD = LUA + "error('not today')\n"
ROUNDS = 20
"""Chosen: 200 in a running server leave as little (measured: 3 KiB each), and take a minute."""


class NoOutbox:
    async def send(self, _content: bytes, _mail_from: str, _recipients: tuple[str, ...]) -> str:
        raise AssertionError("nothing is sent here")


class Site:
    """A worker's scripts, and a configuration that a test changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = ListLog()
        (folder / "count.py").write_text(PYTHON, encoding="utf-8")
        (folder / "shop.lua").write_text(GOOD, encoding="utf-8")
        clock = FakeClock()
        settings = self.settings()
        settings.server.sockets_directory.mkdir()
        create_cells(settings.shared_numbers_file, 4_096).close()
        metrics = Metrics("worker-0", "0")
        keys = SigningKeys(OsFiles(), settings.signing_directory, None, clock)
        self.scripts = WorkerScripts(
            settings,
            partial(Teller, metrics, lambda *_, **__: None, clock, self.log),
            Sources((), clock, self.log, {}),
            KeyKeeper(keys, self.log),
            clock,
            self.log,
            lambda _: Bindings(),
            cast("Outbox", NoOutbox()),
        )

    def settings(self, *names: str, **more: Any) -> Settings:
        """With these scripts."""
        scripts = [{"name": Path(each).stem, "source": str(self.folder / each)} for each in names]
        data = {"server": {"state_directory": str(self.folder)}, "policy": {"script": scripts}, **more}
        return Settings.model_validate(data)

    def build(self, *names: str, **more: Any) -> Any:
        return self.scripts.build(self.settings(*names, **more))

    def take(self, *names: str, **more: Any) -> None:
        """A reload."""
        self.scripts.take(self.build(*names, **more))

    def ask(self) -> None:
        """A session that comes and goes."""
        door = self.scripts.scripts
        assert isinstance(door, Scripts)
        session = door.open(SMTP)
        assert session.mail_from(SMTP, None) is None
        session.close()

    def said(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.log.lines if name == event]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: faults.append(fault))
    yield site
    assert faults == []
    site.scripts.take(None)
    await site.scripts.close()
    HERE.sources = HERE.keys = None


async def turns() -> None:
    """What is due in the loop has run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_timers_begin_with_the_set_that_is_taken(site: Site) -> None:
    site.take("shop.lua")
    await turns()
    assert site.said("policy.print") == [{"script": "shop.lua", "line": 10, "text": "a timer ran"}]


TICKING = """
require("msys.core")
require("msys.timer")
local mod = {}
local function tick(who) return function() print(who .. " of NUMBER") end end
function mod:init()
  msys.timer.every(0.01, tick("a timer"))
  return true
end
function mod:validate_mailfrom()
  msys.timer.every(0.01, tick("a session"))
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
"""


async def test_timers_of_a_set_before_do_not_run_beside_those_of_the_next(site: Site) -> None:
    """However long a client stays; what its session began goes on with it."""

    async def heard(*names: str) -> set[str]:
        """Who ticks from now on, once all of these did twice."""
        del site.log.lines[:]
        said: list[str] = []
        while not all(said.count(name) >= 2 for name in names):
            await asyncio.sleep(0)
            said = [each["text"] for each in site.said("policy.print")]
        return set(said)

    shop = site.folder / "shop.lua"
    shop.write_text(TICKING.replace("NUMBER", "1"), encoding="utf-8")
    site.take("shop.lua")
    door = site.scripts.scripts
    assert isinstance(door, Scripts)
    session = door.open(SMTP)
    session.mail_from(SMTP, None)
    assert await heard("a timer of 1", "a session of 1") == {"a timer of 1", "a session of 1"}
    shop.write_text(TICKING.replace("NUMBER", "2"), encoding="utf-8")
    site.take("shop.lua")
    assert await heard("a timer of 2", "a session of 1") == {"a timer of 2", "a session of 1"}
    session.close()
    assert await heard("a timer of 2") == {"a timer of 2"}


@pytest.mark.parametrize("text", [BAD, GOOD], ids=["it cannot be loaded", "it is not taken"])
async def test_nothing_of_a_set_that_was_not_taken_begins_with_the_next_one(site: Site, text: str) -> None:
    (site.folder / "shop.lua").write_text(text, encoding="utf-8")
    if text is BAD:
        with pytest.raises(ConfigError, match="not today"):
            site.build("shop.lua")
    else:
        site.build("shop.lua")
    site.take("count.py")
    await turns()
    assert site.log.lines == []


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("shop.lua", "x = = 1"),
        ("shop.lua", BAD),
        ("shop.lua", "while true do end"),
        ("count.py", "def mailfrom(connection: pass"),
        ("count.py", "raise SystemExit"),
        ("count.py", "def mail_from(connection, sender): pass"),
    ],
)
async def test_a_reload_swaps_or_keeps(site: Site, name: str, broken: str) -> None:
    site.take("count.py", "shop.lua")
    before = site.scripts.scripts
    assert isinstance(before, Scripts)
    session = before.open(SMTP)
    (site.folder / name).write_text(broken, encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be loaded") as failure:
        site.build("count.py", "shop.lua")
    assert name in str(failure.value)
    assert site.scripts.scripts is before
    site.ask()
    site.take("count.py" if name == "shop.lua" else "shop.lua")
    assert session.mail_from(SMTP, None) is None, "a session goes on with what it began with"
    session.close()
    site.ask()


def hosts_seen(monkeypatch: pytest.MonkeyPatch) -> list[Host]:
    """What sets of scripts in Lua are given from now on."""
    found: list[Host] = []

    def seen(host: Host) -> Any:
        found.append(host)
        return make_registry(host)

    monkeypatch.setattr(lua_scripts, "make_registry", seen)
    return found


async def test_lua_asks_the_network_as_the_configuration_that_runs_says(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = hosts_seen(monkeypatch)
    empty = tmp_path / "nobody.pem"
    empty.write_text("", encoding="ascii")
    site.take("shop.lua", net={"nameservers": ["127.0.0.1:5301"]})
    site.take("shop.lua", net={"nameservers": ["127.0.0.1:5302"], "tls": {"ca_file": str(empty)}})
    assert [host.resolver._servers for host in hosts if host.resolver] == [  # type: ignore[attr-defined]
        [("127.0.0.1", 5301)],
        [("127.0.0.1", 5302)],
    ]
    first, second = (host.client_tls for host in hosts)
    assert first is not None
    assert second is not None
    first()
    with pytest.raises(ConfigError, match=r"nobody\.pem"):
        second()


def states() -> int:
    """Lua states that are alive."""
    gc.collect()
    return sum(isinstance(each, LuaState) for each in gc.get_objects())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


Reload = Callable[[Site], None]


def reload_well(site: Site) -> None:
    site.take("count.py", "shop.lua")
    site.ask()


def reload_in_vain(site: Site) -> None:
    """Another part of the reload has a fault, so what was built is not taken."""
    site.build("count.py", "shop.lua")
    site.ask()


def reload_what_fails(site: Site) -> None:
    shop = site.folder / "shop.lua"
    shop.write_text(BAD, encoding="utf-8")
    with pytest.raises(ConfigError, match="not today"):
        site.build("count.py", "shop.lua")
    shop.write_text(GOOD, encoding="utf-8")
    site.ask()


@pytest.fixture
def quiet() -> Iterator[None]:
    """No cycle is collected by chance while objects are counted."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("reload", [reload_well, reload_in_vain, reload_what_fails])
@pytest.mark.usefixtures("quiet")
async def test_nothing_is_left_of_sets_that_were_reloaded(site: Site, reload: Reload) -> None:
    """Neither a Lua state nor a descriptor nor any object, however often it is done."""
    counts = []
    before = states()
    reload_well(site)
    for _ in range(2):
        for _ in range(ROUNDS):
            reload(site)
            await asyncio.sleep(0)
        site.log.lines.clear()
        counts.append((states() - before, descriptors(), len(gc.get_objects())))
    (had_states, had_descriptors, had_objects), (has_states, has_descriptors, has_objects) = counts
    assert had_states == has_states <= 2  # the live one, and one that was built last and not taken
    assert had_descriptors == has_descriptors
    assert has_objects - had_objects < ROUNDS  # not one for each


async def test_a_reload_begins_and_ends_what_is_counted_and_forgets_no_session(site: Site) -> None:
    def reload(*monitors: str) -> Audit | None:
        policy = {"script": [{"name": "shop", "source": str(site.folder / "shop.lua")}]}
        site.take(policy=policy | {"audit_monitors": monitors})
        return site.scripts.audit

    def session() -> PolicySession:
        assert isinstance(site.scripts.scripts, Scripts)
        return site.scripts.scripts.open(SMTP, Ends())

    network = parse_network(SMTP.client)
    assert site.scripts.audit is None
    assert reload() is None
    uncounted = session()
    first = reload("60,1")
    assert first is not None
    counted = session()
    again = reload("60,1", "10,2")
    assert again is not None
    assert [each.sessions(network) for each in (first, again)] == [1, 1]
    assert again.total("connections", again.monitor("60,1"), network, 0, 0) == 1
    uncounted.close()
    assert again.sessions(network) == 1
    assert reload() is None
    counted.close()
    assert again.sessions(network) == 0
