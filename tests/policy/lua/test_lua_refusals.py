"""As in Momentum, a code that a script sets decides when all scripts of the phase were asked."""

from pathlib import Path

import pytest

from outrider.model.flow import Decided, Refusal
from outrider.model.reply import Reply
from tests.policy.acting import SMTP, recipients_of, submission
from tests.policy.lua.lua_stage import LuaStage

SCRIPT = """
require("msys.core"); require("msys.extended.vctx")
local mod = {}
function mod:%s
  print(%r)
  %s
  return msys.core.%s
end
msys.registerModule(%r, mod)
"""
EARLY = ('vctx:set_code(550, "5.7.1 no")', "VALIDATE_CONT")
NO = Reply(550, "5.7.1", ("no",))


def stage_of(folder: Path, *scripts: tuple[str, str], hook: str = "validate_data(msg, ac, vctx)") -> LuaStage:
    """Scripts a, b, c … with a body and a result each; each prints its name."""
    named = [(chr(97 + number), *each) for number, each in enumerate(scripts)]
    return LuaStage(folder, {name: SCRIPT % (hook, name, body, result, name) for name, body, result in named})


@pytest.mark.parametrize(
    ("second", "decided"),
    [
        (("", "VALIDATE_CONT"), NO),
        (("", "VALIDATE_DONE"), NO),
        (('vctx:set_code(451, "4.7.1 later")', "VALIDATE_CONT"), Reply(451, "4.7.1", ("later",))),
        (('vctx:set_code(250, "2.0.0 yes")', "VALIDATE_CONT"), None),
        (("vctx:set_code(250)", "VALIDATE_DONE"), None),
    ],
    ids=["silent", "silent-last", "another", "taken-back", "taken-back-last"],
)
@pytest.mark.parametrize(
    "hook", ["validate_data(msg, ac, vctx)", "validate_data_spool_each_rcpt(msg, ac, vctx)"]
)
def test_the_others_are_asked_and_the_last_code_holds(
    tmp_path: Path, second: tuple[str, str], decided: Reply | None, hook: str
) -> None:
    stage = stage_of(tmp_path, EARLY, second, ("", "VALIDATE_CONT"), hook=hook)
    decision = stage.decide()
    assert decision == Refusal(decided, "policy") if decided else isinstance(decision, Decided)
    assert stage.printed == (["a", "b"] if second[1] == "VALIDATE_DONE" else ["a", "b", "c"])
    assert stage.told.failures == []


@pytest.mark.parametrize(
    "body", ['vctx:set_code(550, "5.7.1 no")\n  do return msys.core.VALIDATE_DONE end', "vctx:disconnect()"]
)
def test_done_and_the_end_of_the_session_ask_nobody_else(tmp_path: Path, body: str) -> None:
    stage = stage_of(tmp_path, (body, "VALIDATE_CONT"), ("vctx:set_code(250)", "VALIDATE_CONT"))
    assert isinstance(stage.decide(), Refusal)
    assert stage.printed == ["a"]


def test_in_the_session_it_is_the_same(tmp_path: Path) -> None:
    stage = stage_of(
        tmp_path, EARLY, ("vctx:set_code(250)", "VALIDATE_CONT"), hook="validate_mailfrom(str, ac, vctx)"
    )
    assert stage.open().mail_from(SMTP, None) is None
    assert stage.printed == ["a", "b"]


async def test_and_where_they_wait(tmp_path: Path) -> None:
    waiting = (f"msys.sleep(0.001) {EARLY[0]}", "VALIDATE_CONT")
    stage = stage_of(tmp_path, waiting, ("msys.sleep(0.001)", "VALIDATE_CONT"))
    assert await stage.decided() == Refusal(NO, "policy")
    assert stage.printed == ["a", "b"]


def test_a_code_is_of_its_phase_and_its_recipient(tmp_path: Path) -> None:
    body = 'if msg:rcptto() == "no@one.test" then vctx:set_code(550, "5.7.1 no") end'
    stage = LuaStage(
        tmp_path,
        SCRIPT.replace('vctx")', 'vctx"); require("msys.extended.message")')
        % ("validate_data_spool_each_rcpt(msg, ac, vctx)", "shop", body, "VALIDATE_CONT", "shop"),
    )
    decision = stage.decide(submission("no@one.test", "a@one.test"))
    assert recipients_of(decision) == ["a@one.test"]
    assert isinstance(decision, Decided)
    assert [(str(each.recipient.address), each.reply) for each in decision.refused] == [("no@one.test", NO)]
