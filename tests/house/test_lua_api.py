"""The page of functions for Lua: every name of Momentum's manual, and what scripts really find."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.policy.lua.api.coverage import Status
from outrider.policy.lua.api.coverage_hooks import HOOK_ROWS
from outrider.policy.lua.api.coverage_services import IN_LUA
from outrider.policy.lua.api.host import Host, lua_text
from outrider.policy.lua.api.packages import ROWS, make_registry
from outrider.policy.lua.hook_names import is_hook
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.shared import create_cells
from tools.gen_reference import REFERENCE
from tools.reference_lua import phases

NAMES = Path(__file__).with_name("momentum_lua_names.txt").read_text(encoding="utf-8").split()
METHODS_OF = {
    "msys.core:_validate_context": "vctx",
    "msys.core:_accept_construct": "ac",
    "msys.core:_ec_message": "msg",
    "msys.core:_ec_message_part": "msgpart",
    "msys.http.client": "client",
    "msys.timer": "timer",
    "thread.mutex": "mutex",
}
# what scripts call objects of a class, where it is not the class's own name
OWN = frozenset({"msys.core:_ec_string", "outrider:attempt"})
# classes whose methods the manual names in passing, and one that Momentum has not; its page is that of hooks

OF_ENVIRONMENT = ("msys.registerModule", "msys.asyncOk", "msys.type")
"""Functions that `environment.lua` defines, where it is known what a script may do at the moment."""


@pytest.fixture(scope="module")
def registry() -> LuaRegistry:
    return make_registry(Host(clock=FakeClock(), log=ListLog(), shared=create_cells(None, 64)))[0]


def test_no_name_of_the_manual_is_missing() -> None:
    page = (REFERENCE / "lua-api.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if name not in ROWS or f"| `{name}` |" not in page] == []


def test_what_scripts_can_call_has_a_row(registry: LuaRegistry) -> None:
    functions = {
        f"{module}.{name}"
        for module, members in registry.modules.items()
        if not module.startswith("outrider.")
        for name, member in members.items()
        if callable(member)
    }
    methods = {
        f"{METHODS_OF.get(each.name, each.name)}:{name}"
        for each in registry.classes.values()
        if each.name not in OWN
        for name in each.methods
    }
    assert sorted((functions | methods) - ROWS.keys()) == []


def test_what_has_a_row_can_be_called(registry: LuaRegistry) -> None:
    """Functions of modules, carried over or raising; those in Lua are looked for in their text."""
    missing = []
    for row in ROWS.values():
        owner, _, name = row.name.replace(":", ".").rpartition(".")
        if ":" in row.name or row.name in OF_ENVIRONMENT:
            continue  # methods: of classes, see above
        fields = {
            field
            for each in registry.classes.values()
            if METHODS_OF.get(each.name) == owner
            for field in (*each.getters, *each.setters)
        }
        if fields:
            found = name in fields
        elif owner in IN_LUA:
            text = lua_text(owner.rpartition(".")[2])
            found = name.encode() in text
        else:
            found = name in registry.modules.get(owner, {})
        if not found:
            missing.append(row.name)
    assert missing == []


def test_what_is_not_all_there_says_what_differs() -> None:
    silent = [row.name for row in ROWS.values() if row.status is not Status.WORKS and not row.note]
    assert silent == []


def test_phases_are_words() -> None:
    assert phases(ROWS["msys.db.query"]) == "any"
    assert phases(ROWS["msys.policyeditor.set_binding"]) == "set_binding"


def test_a_script_with_any_hook_of_the_manual_is_loaded_for_it() -> None:
    """Whatever is asked or not, it is a hook; the XMPP channel registers its own modules."""
    unknown = [row.name for row in HOOK_ROWS if not is_hook(row.name)]
    assert unknown == ["client_message_recv"]
