"""Hooks of the way out in Lua: the same rules as in Python, at the script's own line."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from outrider.model.flow import Content, Disposition, Phase
from outrider.model.way_out import Departure, Stay
from outrider.policy.errors import BudgetError, ForbiddenError, ScriptError
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.way_out_replies import DISCARDED, HELD_BACK, SCRIPT_FAILED
from tests.policy.acting import submission
from tests.policy.leaving import LATER, OK, UNKNOWN, ended_of, leaving_of
from tests.policy.lua.lua_stage import LuaStage

T = TypeVar("T")
SCRIPT = """\
require("msys.core")
local mod = {}
function mod:outrider_%s
  %s
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
"""
BEFORE, AFTER, END = "outbound(msg, attempt, vctx)", "response(attempt, vctx)", "disposal(attempt, vctx)"


def now(answer: T | Awaitable[T]) -> T:
    """What was answered at once."""
    assert not isinstance(answer, Awaitable)
    return answer


def outbound(folder: Path, body: str, *recipients: str, **more: Any) -> tuple[LuaStage, list[Departure]]:
    stage = LuaStage(folder, SCRIPT % (BEFORE, body))
    return stage, list(now(stage.door.way_out.outbound(leaving_of(submission(*recipients), **more))))


def test_an_edit_is_for_one_recipient(tmp_path: Path) -> None:
    body = 'if tostring(msg:rcptto()) == "ann@one.test" then msg:header("X-For", "ann") end'
    stage, (first, other) = outbound(tmp_path, body, "joe@one.test", "ann@one.test")
    assert stage.told.failures == []
    assert isinstance(first, Content)
    assert isinstance(other, Content)
    assert (b"X-For: ann\r\n" in first.wire, b"X-For: ann\r\n" in other.wire) == (False, True)


@pytest.mark.parametrize(
    ("body", "stay"),
    [
        ("attempt:hold_back(60)", Stay(HELD_BACK, 60.0)),
        ('msg:discard("550 5.7.1 sold out")', Stay(DISCARDED, discard="550 5.7.1 sold out")),
    ],
)
def test_who_stays_says_why(tmp_path: Path, body: str, stay: Stay) -> None:
    stage, found = outbound(tmp_path, body)
    assert (found, stage.told.failures) == ([stay], [])


@pytest.mark.parametrize(
    ("body", "reply", "seconds"),
    [
        ('vctx:set_code(550, "5.7.1 No licence")', "550 5.7.1 No licence", None),
        ('vctx:set_code(450, "4.2.1 Not today")', "450 4.2.1 Not today", None),
        ('attempt:hold_back(60, "4.7.9 After the match")', "451 4.7.9 After the match", 60.0),
    ],
)
def test_a_text_and_a_code_of_the_script_are_what_is_recorded(
    tmp_path: Path, body: str, reply: str, seconds: float | None
) -> None:
    stage, [stay] = outbound(tmp_path, body)
    assert isinstance(stay, Stay)
    assert (str(stay.reply), stay.seconds, stage.told.failures) == (reply, seconds, [])


def test_what_is_known_of_it(tmp_path: Path) -> None:
    body = """
    print(attempt.host .. " " .. attempt.peer .. " " .. attempt.attempts .. " " .. attempt.code)
    print(msg:binding() .. " " .. msg:context_get(msys.core.VCTX_MESS, "customer") .. " " .. attempt.phase)
    local noted, path = "customer", "rcptto_string"
    print(vctx:get(msys.core.VCTX_MESS, noted) .. " " .. vctx:get(msys.core.VCTX_MESS, path))
    """
    stage, _ = outbound(tmp_path, body, notes=(("customer", "42"),), attempts=2)
    assert stage.told.failures == []
    assert stage.printed == [
        "mx.one.test 192.0.2.25:25 3 0",
        "vip 42 outbound",
        "42 RCPT TO:<joe@one.test>",
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('error("odd")', ScriptError),
        ('msg:rcptto("ann@one.test")', ForbiddenError),
        ('msg:mailfrom("ann@one.test")', ForbiddenError),
        ('msg:binding("vip")', ForbiddenError),
        ('msg:routing_domain("other.test")', ForbiddenError),
        ('attempt.disposition = "permanent"', ForbiddenError),
        ("attempt:retry_after(60)", ForbiddenError),
        ('attempt:note("a", "b")', ForbiddenError),
        ('attempt:route_on("sms")', ForbiddenError),
        ("attempt:hold_back(0)", ScriptError),
        ('attempt:hold_back("soon")', ScriptError),
        ("attempt.code = 250", ScriptError),
        ("return 7", ScriptError),
    ],
)
def test_what_is_wrong_before_the_wire_is_told_and_the_recipient_stays(
    tmp_path: Path, body: str, error: type[Exception]
) -> None:
    stage, found = outbound(tmp_path, "do " + body + " end")
    assert found == [Stay(SCRIPT_FAILED)]
    failure = stage.failure
    assert (type(failure), failure.script, failure.phase) == (error, "shop", "outbound")
    assert failure.line == (3 if "return" in body else 4)  # what it may not return is the whole function


def test_a_script_without_end_is_stopped_and_the_recipient_stays(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (BEFORE, "while true do end"), limits=LuaLimits(seconds=0.05))
    assert list(now(stage.door.way_out.outbound(leaving_of()))) == [Stay(SCRIPT_FAILED)]
    assert isinstance(stage.failure, BudgetError)


async def test_one_that_waits_may_edit_too(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (BEFORE, 'msys.sleep(0.001) msg:header("X-Late", "yes")'))
    answer = stage.door.way_out.outbound(leaving_of())
    assert isinstance(answer, Awaitable)
    [content] = await answer
    assert isinstance(content, Content)
    assert b"X-Late: yes\r\n" in content.wire


@pytest.mark.parametrize(
    ("reply", "body", "disposition", "seconds", "notes"),
    [
        (LATER, 'attempt.disposition = "permanent"', Disposition.PERMANENT, None, {}),
        (LATER, "attempt:retry_after(90)", Disposition.TRANSIENT, 90.0, {}),
        (
            UNKNOWN,
            """if attempt.code == 550 and attempt.where == "rcpt" and not attempt.is_ours then
            attempt.disposition = "transient" attempt:note("rule", attempt.bounce_class) end""",
            Disposition.TRANSIENT,
            None,
            {"rule": "mailbox-unknown"},
        ),
        (OK, "print(attempt.disposition .. #attempt.metadata)", Disposition.DELIVERED, None, {}),
    ],
)
def test_what_follows_from_a_reply(
    tmp_path: Path, reply: Any, body: str, disposition: Disposition, seconds: float | None, notes: Any
) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (AFTER, body))
    phase = Phase.BODY if reply is OK else Phase.RCPT
    ruling = now(stage.door.way_out.response(ended_of(reply, phase)))
    assert stage.told.failures == []
    assert (ruling.verdict.disposition, ruling.seconds, ruling.metadata) == (disposition, seconds, notes)


@pytest.mark.parametrize(
    ("reply", "phase", "body", "kept"),
    [
        (OK, Phase.BODY, 'attempt.disposition = "transient"', Disposition.DELIVERED),
        (UNKNOWN, Phase.RCPT, 'vctx:set_code(550, "no")', Disposition.TRANSIENT),
        (UNKNOWN, Phase.RCPT, 'error("odd")', Disposition.TRANSIENT),
    ],
)
def test_what_is_wrong_after_it_is_told_and_nobody_ends_by_it(
    tmp_path: Path, reply: Any, phase: Phase, body: str, kept: Disposition
) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (AFTER, body))
    assert now(stage.door.way_out.response(ended_of(reply, phase))).verdict.disposition == kept
    assert stage.failure.phase == "response"


def test_who_ends_is_seen_and_noted_and_no_other_channel_takes_him(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (END, 'attempt:note("end", attempt.ending)'))
    assert now(stage.door.way_out.disposal(ended_of(UNKNOWN, kind="bounced"))) == {"end": "bounced"}
    stage = LuaStage(tmp_path, SCRIPT % (END, 'attempt:note("end", attempt.ending) attempt:route_on("sms")'))
    assert now(stage.door.way_out.disposal(ended_of(UNKNOWN, kind="bounced"))) == {}
    assert "channel not available: sms" in stage.failure.reason


def test_an_attempt_that_is_kept_beyond_its_hook_is_gone_with_its_session(tmp_path: Path) -> None:
    stage = LuaStage(
        tmp_path, SCRIPT % (BEFORE, "if self.old then print(self.old.code) end self.old = attempt")
    )
    for _ in range(2):
        now(stage.door.way_out.outbound(leaving_of()))
    assert (stage.printed, stage.told.failures) == ([], []), "each question has a session of its own"
    assert stage.place.conversations == {}
