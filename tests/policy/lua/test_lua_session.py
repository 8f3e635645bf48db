"""What scripts learn of a session and say of its recipients before there is a message."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outrider.model.ends import Ends
from outrider.model.flow import Decided, Recipient, Refusal
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.wire.smtp import replies
from tests.policy.acting import SMTP, address, submission
from tests.policy.leaving import UNKNOWN, ended_of, leaving_of
from tests.policy.lua.lua_stage import LuaStage, hook

JOE, ANN = Recipient(address("joe@one.test")), Recipient(address("ann@one.test"))


def asked(stage: LuaStage, recipients: Sequence[Recipient] = (JOE, ANN)) -> tuple[Any, list[str]]:
    """The decision about a session's message, and whom rcptto_list was told of."""
    submitted = submission()
    envelope = replace(submitted.envelope, recipients=tuple(recipients))
    session = stage.open(submitted)
    assert session.mail_from(SMTP, envelope.mail_from) is None
    for each in recipients:
        assert session.rcpt_to(SMTP, each) is None
    assert session.rcpt_list(SMTP, recipients) is None
    decision = session.decide(replace(submitted, envelope=envelope))
    session.close()
    return decision, stage.printed


def recipients_of(decision: Any) -> list[str]:
    assert isinstance(decision, Decided)
    return [str(each.recipient.address) for message in decision.messages for each in message.deliveries]


SCRIPT = """
local mod = {}
function mod:validate_mailfrom(str, ac, vctx)
  %s
  return msys.core.VALIDATE_CONT
end
function mod:validate_rcptto(msg, str, ac, vctx)
  if msg:rcptto() == "joe@one.test" then %s end
  return msys.core.VALIDATE_CONT
end
function mod:validate_rcptto_list(list, vctx)
  %s
  print(table.concat(list, " ") .. "/" .. table.concat(vctx:recipient_list(), " "))
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
"""


@pytest.mark.parametrize(
    ("mailfrom", "rcptto", "listed", "told", "left"),
    [
        ("", 'vctx:add_recipient("<eve@ONE.test>")', "", "joe ann eve/joe ann eve", "joe ann eve"),
        (
            "",
            'vctx:add_recipient({"joe@one.test", "eve@one.test"})',
            "",
            "joe ann eve/joe ann eve",
            "joe ann eve",
        ),
        ('vctx:remove_recipient("ann@one.test")', "", "", "joe/joe", "joe"),
        ("", 'vctx:remove_recipient("joe@one.test")', "", "ann/ann", "ann"),
        ("", "", 'vctx:recipient_list({"eve@one.test"})', "joe ann/eve", "eve"),
        ("", "", 'vctx:add_recipient("eve@one.test")', "joe ann/joe ann eve", "joe ann eve"),
    ],
)
def test_recipients_change_before_there_is_a_message(
    tmp_path: Path, mailfrom: str, rcptto: str, listed: str, told: str, left: str
) -> None:
    stage = LuaStage(tmp_path, SCRIPT % (mailfrom, rcptto, listed))
    decision, printed = asked(stage)
    assert [line.replace("@one.test", "") for line in printed] == [told]
    assert [each.partition("@")[0] for each in recipients_of(decision)] == left.split()


def test_a_message_without_recipients_is_refused(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % ("", 'vctx:remove_recipient({"joe@one.test", "ann@one.test"})', ""))
    decision, _ = asked(stage)
    assert decision == Refusal(replies.NO_RECIPIENTS_LEFT, "policy")


def test_what_was_wanted_ends_with_its_transaction(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % ("", 'vctx:add_recipient("eve@one.test")', ""))
    session = stage.open()
    session.mail_from(SMTP, None)
    session.rcpt_to(SMTP, JOE)
    session.reset()
    session.rcpt_list(SMTP, [ANN])
    session.mail_from(SMTP, None)
    session.rcpt_to(SMTP, JOE)
    session.mail_from(SMTP, None)
    session.rcpt_list(SMTP, [ANN])
    assert stage.printed == ["ann@one.test/ann@one.test"] * 2


def test_what_is_no_address_fails_where_it_is_added(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, SCRIPT % ("", 'vctx:add_recipient("nobody")', ""))
    session = stage.open()
    assert session.rcpt_to(SMTP, JOE) == replies.POLICY_FAILED
    assert (stage.failure.line, stage.failure.phase) == (8, "rcptto")
    assert "no recipient can be added" in stage.failure.reason


def test_a_session_counts_its_messages_and_recipients(tmp_path: Path) -> None:
    body = """
  local function of(key) return vctx:get(msys.core.VCTX_CONN, key) end
  print(table.concat({of("connection_message_count"), of("message_rcpt_count"), of("connection_rcpt_count"),
    of("can_relay")}, " "))
  return msys.core.VALIDATE_CONT"""
    stage = LuaStage(tmp_path, hook("validate_rcptto", body, "msg, str, ac, vctx"))
    ends = Ends()
    session = stage.open(submission(), ends)
    for _ in range(2):
        session.mail_from(SMTP, None)
        session.rcpt_to(SMTP, JOE)
        session.rcpt_to(SMTP, ANN)
        ends.may_relay = True
    assert stage.printed == ["1 1 1 ", "1 2 2 ", "2 1 3 true", "2 2 4 true"]


async def test_a_login_is_known_while_it_is_checked_and_when_it_was_right(tmp_path: Path) -> None:
    stage = LuaStage(
        tmp_path,
        """
        local mod = {}
        local function show(what, vctx)
          local function of(key) return vctx:get(msys.core.VCTX_CONN, key) end
          print(what .. ":" .. of("auth_status") .. ":" .. of("auth_user") .. ":" .. of("auth_name"))
        end
        function mod:core_validate_auth(vctx, info, status) show(info.auth_user .. " " .. status, vctx) end
        function mod:validate_mailfrom(str, ac, vctx) show("mail", vctx) return msys.core.VALIDATE_CONT end
        msys.registerModule("shop", mod)
        """,
    )
    session = stage.open()
    session.mail_from(SMTP, None)
    session.auth(SMTP, "joe", is_valid=False)
    session.mail_from(SMTP, None)
    session.auth(SMTP, "joe", is_valid=True)
    session.mail_from(replace(SMTP, principal="joe"), None)
    session.mail_from(SMTP, None)  # as after STARTTLS
    assert stage.printed == [
        *("mail:::", "joe fail:fail:joe:joe", "mail:fail::"),
        *("joe pass:pass:joe:joe", "mail:pass:joe:joe", "mail:::"),
    ]


@pytest.mark.parametrize("value", ["", "return", "return nil", "return msys.core.VALIDATE_CONT"])
def test_hooks_of_the_way_out_may_return_nothing(tmp_path: Path, value: str) -> None:
    stage = LuaStage(
        tmp_path,
        f"""
        local mod = {{}}
        function mod:outrider_outbound(msg, attempt, vctx) print("outbound") {value} end
        function mod:outrider_response(attempt, vctx) print("response") {value} end
        function mod:outrider_disposal(attempt, vctx) print("disposal") {value} end
        msys.registerModule("shop", mod)
        """,
    )
    way_out = stage.door.way_out
    way_out.outbound(leaving_of(submission()))
    way_out.response(ended_of(UNKNOWN))
    way_out.disposal(ended_of(UNKNOWN, kind="bounced"))
    assert stage.printed == ["outbound", "response", "disposal"]
    assert stage.told.failures == []


def test_they_may_not_return_something_else(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("outrider_response", "return 77", "attempt, vctx"))
    stage.door.way_out.response(ended_of(UNKNOWN))
    assert stage.failure.phase == HookPhase.RESPONSE
    assert "not 77" in stage.failure.reason


def test_ehlo_is_told_what_scripts_announce(tmp_path: Path) -> None:
    body = 'ac:esmtp_capability_add("XPRACTICE 1") ac:esmtp_capability_remove("chunking")'
    stage = LuaStage(tmp_path, hook("validate_connect", body + " return msys.core.VALIDATE_CONT", "ac, vctx"))
    ends = Ends()
    assert stage.open(submission(), ends).connect(SMTP) is None
    assert ends.offers == {"XPRACTICE": "XPRACTICE 1", "CHUNKING": ""}


def test_a_session_has_fifty_at_most(tmp_path: Path) -> None:
    body = 'for n = 1, 51 do ac:esmtp_capability_add("X" .. n) end'
    stage = LuaStage(tmp_path, hook("validate_connect", body, "ac, vctx"))
    found = stage.open().connect(SMTP)
    assert isinstance(found, Reply)
    assert "more than 50" in stage.failure.reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%{s} %{l}/%{o}/%{d}", "shop@sender.test shop/sender.test/sender.test"),
        ("%{i} %{c} %{ir} %{i2r}.%{v}.arpa", "192.0.2.1 192.0.2.1 1.2.0.192 0.192.in-addr.arpa"),
        ("%{h} %{r} %{p}", "client.test localhost unknown"),
        ("%{L}", "shop"),
        ("%{S}", "shop%40sender.test"),
        ("%{l-}", "shop"),
        ("100% %{vctx_conn:none}%", "100% %"),
    ],
)
def test_macros_know_the_letters_of_spf(tmp_path: Path, text: str, shown: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"print(msys.expandMacro({text!r})) return 0"))
    assert isinstance(stage.decide(), Decided)
    assert stage.printed == [shown]
