"""The policy of a configuration, tried out: its scripts meet what they meet in a worker."""

import asyncio
from inspect import isawaitable
from pathlib import Path
from typing import Any

from outrider.base.clock import FakeClock
from outrider.base.log import NullLog
from outrider.model.flow import Decided
from outrider.model.hooks import HookPhase
from outrider.policy.shadow import Shadow
from outrider.server.rehearsing import staged
from outrider.server.settings import Settings
from outrider.server.shadow_process import door_of
from tests.policy.acting import SMTP, submission

NET = {"nameservers": ["127.0.0.1:1"], "query_timeout_seconds": 0.1, "lookup_deadline_seconds": 0.2}
# nobody answers there, which is a result as well


def settings(folder: Path, name: str, text: str, **more: Any) -> Settings:
    (folder / name).write_text(text, encoding="utf-8")
    script = {"name": "shop", "source": str(folder / name)}
    data = {"server": {"state_directory": str(folder)}, "net": NET, "policy": {"script": [script]}, **more}
    return Settings.model_validate(data)


async def test_messages_are_checked(tmp_path: Path) -> None:
    text = """
        async def data(mail):
            checks = await mail.check()
            mail.context["spf"] = str(checks.spf.word)
            mail.context["results"] = ", ".join(mail.header("Authentication-Results"))
    """.replace("\n        ", "\n")
    listener = {"name": "smtp", "authentication_results": True}
    chosen = settings(tmp_path, "shop.py", text, listener=[listener])
    async with staged(chosen, FakeClock(), NullLog(), {}) as stage:
        found = await stage.play(submission())
    assert found.failures == []
    [message] = found.messages
    notes = dict(message.notes)
    assert notes["spf"] == "temperror"
    assert "spf=temperror" in notes["results"]


async def test_a_seal_that_a_script_asks_for_is_a_change_like_a_signature(tmp_path: Path) -> None:
    text = """
        from outrider.policy.api import SignRequest

        async def data_spool(mail):
            await mail.check()

        def final_validation(mail):
            mail.seal(SignRequest("relay.test", "s1", "ring:relay.test/s1"))
            mail.sign(SignRequest("shop.test", "s2", "ring:shop.test/s2"))
    """.replace("\n        ", "\n")
    async with staged(settings(tmp_path, "shop.py", text), FakeClock(), NullLog(), {}) as stage:
        found = await stage.play(submission())
    assert found.failures == []
    [asked] = [each for each in found.decisions if each.phase is HookPhase.FINAL_VALIDATION]
    assert {(each.what, each.before, each.after) for each in asked.changes} == {
        ("signatures", "", "s2.shop.test"),
        ("seal", "", "s1.relay.test"),
    }


async def test_a_shadow_checks_what_a_worker_checks(tmp_path: Path) -> None:
    """Results that only the live scripts find in a message would be a difference of each of them."""
    listener = {"name": "smtp", "authentication_results": True}
    chosen = settings(tmp_path, "shop.py", "def data(mail): pass", listener=[listener])
    async with staged(chosen, FakeClock(), NullLog(), {}) as stage, asyncio.TaskGroup() as tasks:
        door = door_of(stage, chosen, Shadow(FakeClock(), tasks))
        decision = door.open(SMTP).decide(submission())
        assert isawaitable(decision)
        decided = await decision
    assert isinstance(decided, Decided)
    assert b"spf=temperror" in decided.messages[0].submission.content.wire


async def test_scripts_in_lua_ask_dns_and_count(tmp_path: Path) -> None:
    text = """
        require("msys.core")
        require("msys.audit_series")
        local mod = {}
        function mod:validate_data(msg, ac, vctx)
          local found, errors = msys.dnsLookup("one.test", "a")
          msys.audit_series.add("mail", {key = "x"})
          vctx:set(msys.core.VCTX_MESS, "found", tostring(found))
          return msys.core.VALIDATE_CONT
        end
        function mod:init()
          msys.audit_series.define("mail", "string", 60, 10)
          return true
        end
        msys.registerModule("shop", mod)
    """
    async with staged(settings(tmp_path, "shop.lua", text), FakeClock(), NullLog(), {}) as stage:
        found = await stage.play(submission())
    assert [str(each) for each in found.failures] == []
    assert dict(found.messages[0].notes)["found"] == "nil"
