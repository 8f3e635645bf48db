"""Scripts in Lua are asked as those in Python are: what they return and set decides; nothing is lost."""

import asyncio
import gc
from pathlib import Path

import pytest

from outrider.model.flow import Decided, Refusal
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.policy.bindings import Bindings
from outrider.policy.errors import BudgetError, ForbiddenError, ScriptError, TooSlowError
from outrider.policy.lua.conversation import OBJECTS_MAX
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.scripted import Scripts
from outrider.wire.smtp import replies
from tests.policy.acting import BINDINGS, HTTP, Told, messages, recipients_of, submission
from tests.policy.lua.lua_stage import LuaStage, hook

ORDER = """
local mod = {{}}
for _, name in ipairs({{"validate_connect", "validate_ehlo", "validate_mailfrom", "validate_rcptto",
    "validate_rcptto_list", "validate_rcptto_list_final", "validate_data", "validate_data_spool",
    "validate_data_spool_each_rcpt", "validate_set_binding", "core_final_validation",
    "msg_gen_data_spool"}}) do
  mod[name] = function(self, ...)
    local shown = {{}}
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      shown[i] = type(value) == "table" and table.concat(value, "+") or tostring(value)
    end
    self.asked = (self.asked or 0) + 1
    print("{0}", name, self.asked, table.concat(shown, ", "))
    return msys.core.VALIDATE_CONT
  end
end
msys.registerModule("{0}", mod)
"""


def through(stage: LuaStage) -> None:
    """A session with a message for two recipients."""
    session = stage.open()
    submitted = submission("joe@one.test", "ann@two.test")
    origin = submitted.origin
    session.connect(origin)
    session.ehlo(origin, "client.test")
    session.mail_from(origin, submitted.envelope.mail_from)
    for recipient in submitted.envelope.recipients:
        session.rcpt_to(origin, recipient)
    session.rcpt_list(origin, submitted.envelope.recipients)
    session.decide(submitted)
    session.close()


def test_hooks_get_their_arguments_in_the_order_of_phases(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, ORDER.format("shop"))
    through(stage)
    objects = "msys.core:_ec_message, msys.core:_accept_construct, msys.core:_validate_context"
    session = "msys.core:_accept_construct, msys.core:_validate_context"
    assert [line.split("\t", 1)[1].replace("\t", " ") for line in stage.printed] == [
        f"validate_connect 1 {session}",
        f"validate_ehlo 2 EHLO client.test, {session}",
        f"validate_mailfrom 3 MAIL FROM:<shop@sender.test>, {session}",
        f"validate_rcptto 4 msys.core:_ec_message, RCPT TO:<joe@one.test>, {session}",
        f"validate_rcptto 5 msys.core:_ec_message, RCPT TO:<ann@two.test>, {session}",
        "validate_rcptto_list 6 joe@one.test+ann@two.test, msys.core:_validate_context",
        "validate_rcptto_list_final 7 joe@one.test+ann@two.test, msys.core:_validate_context",
        f"validate_data 8 {objects}",
        f"validate_data_spool 9 {objects}",
        f"validate_data_spool_each_rcpt 10 {objects}",
        "validate_set_binding 11 msys.core:_ec_message",
        f"core_final_validation 12 {objects}",
        f"validate_data_spool_each_rcpt 13 {objects}",
        "validate_set_binding 14 msys.core:_ec_message",
        f"core_final_validation 15 {objects}",
    ]
    assert stage.told.failures == []


def test_an_http_message_enters_at_its_own_hook(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, ORDER.format("shop"))
    assert recipients_of(stage.decide(submission(origin=HTTP))) == ["joe@one.test"]
    assert [line.split("\t")[1] for line in stage.printed] == [
        "msg_gen_data_spool",
        "validate_data_spool_each_rcpt",
        "validate_set_binding",
        "core_final_validation",
    ]


def test_several_scripts_run_in_the_order_of_the_configuration_each_with_its_own_self(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, {"b": ORDER.format("b"), "a": ORDER.format("a")})
    stage.open().connect(submission().origin)
    assert [line.split("\t")[:3] for line in stage.printed] == [
        ["b", "validate_connect", "1"],
        ["a", "validate_connect", "1"],
    ]


@pytest.mark.parametrize(("returned", "asked"), [("VALIDATE_CONT", ["a", "b"]), ("VALIDATE_DONE", ["a"])])
def test_done_keeps_the_others_from_being_asked(tmp_path: Path, returned: str, asked: list[str]) -> None:
    text = "local mod = {{}}\nfunction mod:validate_data()\nprint('{0}')\nreturn msys.core.{1}\nend\n"
    text += "msys.registerModule('{0}', mod)"
    stage = LuaStage(tmp_path, {name: text.format(name, returned) for name in ("a", "b")})
    assert isinstance(stage.decide(), Decided)
    assert stage.printed == asked


@pytest.mark.parametrize(
    ("given", "reply"),
    [
        ('550, "5.7.1 no"', Reply(550, "5.7.1", ("no",))),
        ('"451", "4.7.1 later"', Reply(451, "4.7.1", ("later",))),
        ('550, "550 5.7.1 no"', Reply(550, "5.7.1", ("no",))),
        ('451, "5.7.1 no"', Reply(451, "4.7.1", ("no",))),
        ('451, "see 5.7.1 there"', Reply(451, "4.7.0", ("see 5.7.1 there",))),
        ("554", Reply(554, "5.7.0", ("Refused by policy",))),
        ('550, "5.7.1 one\\r\\ntwo\\1"', Reply(550, "5.7.1", ("one", "two"))),
    ],
)
@pytest.mark.parametrize("returned", ["VALIDATE_CONT", "VALIDATE_DONE"])
def test_a_code_decides_whatever_is_returned(tmp_path: Path, given: str, reply: Reply, returned: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"vctx:set_code({given})\nreturn msys.core.{returned}"))
    assert stage.decide() == Refusal(reply, "policy")


def test_a_positive_code_takes_the_hooks_refusal_back(tmp_path: Path) -> None:
    body = 'vctx:set_code(550, "no")\nvctx:set_code(250, "yes")\nreturn msys.core.VALIDATE_CONT'
    assert isinstance(LuaStage(tmp_path, hook("validate_data", body)).decide(), Decided)


@pytest.mark.parametrize("body", ["", "return true", "return 7", "return {}", "return 'no'"])
def test_a_result_that_no_hook_may_give_is_a_failure(tmp_path: Path, body: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", body))
    assert stage.decide() == Refusal(replies.POLICY_FAILED, "policy")
    assert isinstance(stage.failure, ScriptError)
    assert (stage.failure.script, stage.failure.line, stage.failure.phase) == ("shop", 2, "data")
    assert "validate_data returns VALIDATE_CONT" in stage.failure.reason
    assert stage.failure.reason.endswith("not true") == (body == "return true")


@pytest.mark.parametrize("name", ["core_final_validation", "msg_gen_data_spool"])
def test_some_hooks_need_return_nothing(tmp_path: Path, name: str) -> None:
    stage = LuaStage(tmp_path, hook(name, ""))
    assert isinstance(stage.decide(submission(origin=HTTP)), Decided)
    assert stage.told.failures == []


async def test_again_is_asked_again(tmp_path: Path) -> None:
    body = """
    self.count = (self.count or 0) + 1
    if self.count < 3 then return msys.core.VALIDATE_AGAIN end
    vctx:set_code(550, "after " .. self.count)
    return msys.core.VALIDATE_DONE"""
    stage = LuaStage(tmp_path, hook("validate_data", body))
    assert await stage.decided() == Refusal(Reply(550, "5.7.0", ("after 3",)), "policy")


async def test_again_for_ever_ends_with_the_time_to_wait(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", "return msys.core.VALIDATE_AGAIN"), wait_seconds=0.05)
    assert await stage.decided() == Refusal(replies.POLICY_SLOW, "policy")
    assert isinstance(stage.failure, TooSlowError)


async def test_set_binding_is_not_asked_again(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("validate_set_binding", "return msys.core.VALIDATE_AGAIN", "msg"))
    assert isinstance(await stage.decided(), Refusal)
    assert isinstance(stage.failure, ScriptError)


def test_an_error_has_its_line_and_the_script_goes_on_with_the_next_message(tmp_path: Path) -> None:
    body = 'if msg:context_get(msys.core.ECMESS_CTX_MESS, "x") == "" then error("what") end'
    stage = LuaStage(tmp_path, hook("validate_data", body))
    assert stage.decide() == Refusal(replies.POLICY_FAILED, "policy")
    assert (stage.failure.script, stage.failure.line, stage.failure.phase) == ("shop", 3, "data")


def test_a_failure_in_a_required_file_names_that_file(tmp_path: Path) -> None:
    text = "require('lib.names')\n" + hook("validate_data", "names.fail()")
    library = "names = {}\nfunction names.fail()\n  error('in the library')\nend\n"
    stage = LuaStage(tmp_path, text, modules={"lib/names.lua": library})
    stage.decide()
    assert (stage.failure.script, stage.failure.line) == ("lib/names.lua", 3)


def test_nothing_is_refused_where_nothing_can_be(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("core_final_validation", 'vctx:set_code(550, "no")'))
    assert stage.decide() == Refusal(replies.POLICY_FAILED, "policy")
    assert isinstance(stage.failure, ForbiddenError)
    assert (stage.failure.script, stage.failure.line) == ("shop", 2)


def test_a_loop_ends_with_its_budget(tmp_path: Path) -> None:
    stage = LuaStage(
        tmp_path, hook("validate_data", "while true do end"), limits=LuaLimits(instructions=100_000)
    )
    assert stage.decide() == Refusal(replies.POLICY_FAILED, "policy")
    assert isinstance(stage.failure, BudgetError)


def test_dealloc_is_called_for_sessions_that_ran(tmp_path: Path) -> None:
    text = """
    local mod = {}
    function mod:validate_data() self.seen = "kept"; return msys.core.VALIDATE_CONT end
    function mod:validate_dealloc() print("dealloc", self.seen) end
    msys.registerModule("shop", mod)
    """
    stage = LuaStage(tmp_path, text)
    idle = stage.open()
    idle.close()
    stage.decide()
    assert stage.printed == ["dealloc\tkept"]


LIFE = """
local mod = {}
function mod:init() print("init"); return true end
function mod:deinit() print("deinit"); return true end
function mod:validate_connect() print("connect"); return msys.core.VALIDATE_CONT end
msys.registerModule("shop", mod)
"""


def test_a_set_that_is_replaced_ends_with_its_last_session(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, LIFE)
    session = stage.open()
    stage.door.close()
    assert stage.printed == ["init"]
    session.connect(submission().origin)
    session.close()
    assert stage.printed == ["init", "connect", "deinit"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("local mod = {}", "registers no module 'shop'"),
        (
            hook("validate_data", "").replace('"shop"', '"other"'),
            "registers 'other', and no script has that name",
        ),
        (hook("init", "return 1"), "did not return true"),
        ("x = = 1", "unexpected symbol"),
    ],
)
def test_what_cannot_be_used_is_not_loaded(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as raised:
        LuaStage(tmp_path, text)
    assert raised.value.script == str(tmp_path / "shop.lua")
    del raised
    gc.collect()


def test_a_hook_that_is_never_asked_is_told(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("core_pre_mailq_message_requeue", ""))
    [told] = [fields for _, event, fields in stage.log.lines if event == "policy.hook_not_asked"]
    assert told["hook"] == "core_pre_mailq_message_requeue"
    assert "the server decides this by its options" in str(told["text"])
    assert isinstance(stage.decide(), Decided)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("validate_conect", "validate_conect is no hook and never asked; validate_connect is one"),
        ("validate_data_spool_each_rcp", "validate_data_spool_each_rcpt is one"),
        ("outrider_respond", "outrider_response is one"),
        ("core_final_validations", "no hook of this name is known: is it misspelt?"),
        ("core_validate_connect", "validate_connect is in its place"),
    ],
)
def test_a_hook_that_is_misspelt_is_told(tmp_path: Path, name: str, text: str) -> None:
    stage = LuaStage(tmp_path, hook(name, ""))
    [told] = [fields for _, event, fields in stage.log.lines if event == "policy.hook_not_asked"]
    assert (told["hook"], told["modules"]) == (name, ["shop"])
    assert text in str(told["text"])


@pytest.mark.parametrize("name", ["validate_address", "helper", "check", "validate"])
def test_a_function_of_the_script_s_own_is_not(tmp_path: Path, name: str) -> None:
    own = f"local mod = {{}}\nfunction mod:{name}() end\nfunction mod:validate_data() end\n"
    stage = LuaStage(tmp_path, own + 'msys.registerModule("shop", mod)\n')
    assert "policy.hook_not_asked" not in [event for _, event, _ in stage.log.lines]


def test_a_message_is_gone_when_the_next_one_comes(tmp_path: Path) -> None:
    body = """
    if kept then return print(pcall(function() return kept:context_get(1, "x") end)) or 0 end
    kept = msg
    return msys.core.VALIDATE_CONT"""
    stage = LuaStage(tmp_path, hook("validate_data", body))
    session = stage.open()
    for _ in range(2):
        assert isinstance(session.decide(submission()), Decided)
    [printed] = stage.printed
    assert printed.startswith("false")
    assert "gone" in printed


def test_notes_go_with_the_message(tmp_path: Path) -> None:
    body = 'vctx:set(msys.core.VCTX_MESS, "campaign", 42)\nreturn msys.core.VALIDATE_CONT'
    [message] = messages(LuaStage(tmp_path, hook("validate_data", body)).decide())
    assert message.notes == (("campaign", "42"),)


def test_a_part_is_gone_when_its_hook_has_ended(tmp_path: Path) -> None:
    text = """
    local mod = {}
    function mod:validate_data(msg)
      self.part = msg:mime(false)
      self.part:header("X-One", "1")
      return msys.core.VALIDATE_CONT
    end
    function mod:validate_data_spool(msg)
      print(pcall(function() self.part:header("X-Two", "2") end))
      print(msg:mime(false):header("X-One")[1])
      return msys.core.VALIDATE_CONT
    end
    msys.registerModule("shop", mod)
    """
    stage = LuaStage(tmp_path, text)
    [message] = messages(stage.decide())
    assert b"X-One: 1\r\n" in message.submission.content.wire
    refused, kept = stage.printed
    assert refused.startswith("false")
    assert "gone" in refused
    assert kept == "1"


def test_a_long_session_does_not_keep_what_its_scripts_made(tmp_path: Path) -> None:
    body = """
    self.strings = self.strings or {}
    for _ = 1, 600 do self.strings[#self.strings + 1] = msys.core.string_new() end
    print(pcall(tostring, self.strings[1]))
    return msys.core.VALIDATE_CONT"""
    stage = LuaStage(tmp_path, hook("validate_data", body))
    session = stage.open()
    for _ in range(4):
        assert isinstance(session.decide(submission()), Decided)
    [conversation] = stage.place.conversations.values()
    assert len(conversation.session.objects) <= OBJECTS_MAX + 603
    assert [line.split("\t")[0] for line in stage.printed] == ["true", "true", "false", "false"]


WAITS = """
local mine = msg:header("X-Who")[1]
vctx:set(msys.core.VCTX_MESS, "who", mine)
msys.sleep(0.001)
if msg:header("X-Who")[1] != mine or vctx:get(msys.core.VCTX_MESS, "who") != mine then error("mixed up") end
vctx:set_code(550, "5.7.1 " .. mine)
return msys.core.VALIDATE_CONT"""


async def test_sessions_that_wait_keep_their_messages_apart(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", WAITS))
    asked = [submission(plain=b"X-Who: %d\r\n\r\nhello\r\n" % number) for number in range(30)]
    decisions = await asyncio.gather(*(stage.decided(each) for each in asked))
    assert decisions == [Refusal(Reply(550, "5.7.1", (str(number),)), "policy") for number in range(30)]
    assert stage.told.failures == []
    assert stage.place.conversations == {}


async def test_a_session_that_ends_while_a_hook_waits_is_an_error_of_that_hook_alone(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", WAITS))
    asked = submission(plain=b"X-Who: 1\r\n\r\nhello\r\n")
    session = stage.open()
    waiting = session.decide(asked)
    assert not isinstance(waiting, Decided | Refusal)
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    session.close()
    assert await task == Refusal(replies.POLICY_FAILED, "policy")
    assert isinstance(await stage.decided(asked), Refusal)
    assert [each.reason for each in stage.told.failures] == ["the session ended while it waited"]


class Waiting:
    """A script of another language, which waits for `gate`."""

    name = "waiting"
    phases = frozenset((HookPhase.DATA,))

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    def open(self, _connection: object) -> "Waiting":
        return self

    async def call(self, _phase: HookPhase, *_arguments: object) -> None:
        await self.gate.wait()

    def close(self) -> None:
        """Nothing is held."""


async def test_nothing_of_lua_begins_for_a_session_that_has_ended(tmp_path: Path) -> None:
    """It would never end: the set would outlive a reload, and keep the message."""
    text = hook("validate_data", "return msys.core.VALIDATE_CONT")
    over = "function mod:deinit() print('over') return true end\nmsys.registerModule"
    stage = LuaStage(tmp_path, text.replace("msys.registerModule", over))
    waiting, told = Waiting(), Told()
    door = Scripts([waiting, *stage.scripts], told, wait_seconds=20.0, bindings=Bindings(BINDINGS))
    session = door.open(submission().origin)
    decision = session.decide(submission())
    assert not isinstance(decision, Decided | Refusal)
    task = asyncio.ensure_future(decision)
    await asyncio.sleep(0)
    session.close()
    waiting.gate.set()
    assert await task == Refusal(replies.POLICY_FAILED, "policy")
    assert [each.reason for each in told.failures] == ["the session ended before it was asked"]
    door.close()
    assert stage.printed == ["over"]
