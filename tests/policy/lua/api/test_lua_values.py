"""What scripts give and get at the borders: odd values, what is encoded already, what was taken out."""

from pathlib import Path
from typing import Final

import pytest

from outrider.policy.lua.limits import LuaLimits
from outrider.wire.message.header import Header
from tests.policy.acting import messages, submission
from tests.policy.lua.api.test_messages import LETTER
from tests.policy.lua.lua_stage import LuaStage, hook

HEAD: Final = """
require("msys.extended.message") require("msys.extended.vctx") json = require("json")
local MESS = msys.core.VCTX_MESS
local function show(v) print(type(v) == "table" and table.concat(v, "|") or tostring(v)) end
"""


def printed(folder: Path, body: str) -> list[str]:
    """What a hook prints about a letter."""
    script = HEAD + hook("validate_data", f"{body}\nreturn msys.core.VALIDATE_CONT")
    stage = LuaStage(folder, script)
    stage.decide(submission(plain=LETTER))
    assert stage.told.failures == []
    return stage.printed


@pytest.mark.parametrize(
    "number", ["5", "-0.5", "1 / 3", "0.1 + 0.2", "1e15", "2 ^ 31", "2 ^ 53", "1e100", "-1e-7", "1 / 0"]
)
def test_a_number_is_written_as_lua_writes_it(tmp_path: Path, number: str) -> None:
    body = f"""
    vctx:set(MESS, "n", {number}) show(vctx:get(MESS, "n") == tostring({number}))
    msg:header("X-N", {number}) show(msg:header("X-N")[1] == tostring({number}))"""
    assert printed(tmp_path, body) == ["true", "true"]


@pytest.mark.parametrize(
    ("value", "line", "read"),
    [
        ("'=?utf-8?B?w6k=?='", "X-V: =?utf-8?B?w6k=?=", "é"),
        ("'<https://x.test/?t=?a>'", "X-V: <https://x.test/?t=?a>", "<https://x.test/?t=?a>"),
        ("' both ends \\t'", "X-V: both ends", "both ends"),
        ("'\\t=?x '", "X-V: =?x", "=?x"),
        ("'é =?utf-8?B?w6k=?='", None, "é =?utf-8?B?w6k=?="),
        ("' ü '", "X-V: =?utf-8?b?w7w=?=", "ü"),
        ("' '", "X-V: ", ""),
        ("'a\\r\\n\\t=?b'", "X-V: a =?b", "a =?b"),
    ],
)
def test_a_field_of_ascii_stands_as_it_is_given(
    tmp_path: Path, value: str, line: str | None, read: str
) -> None:
    """Scripts of Momentum's encode subjects themselves."""
    body = f"""
    msg:header("X-V", {value}) show(msg:raw():match("X%-V:[^\\r]*")) show(msg:header("X-V"))
    local new = msys.core.ec_message_new()
    new:build({{["X-V"] = {value}}}, {{["text/plain"] = "x"}})
    show(new:raw():match("X%-V:[^\\r]*"))"""
    first, found, built = printed(tmp_path, body)
    assert found == read
    assert first == built
    assert line is None or first == line


@pytest.mark.parametrize(
    ("subject", "read"),
    [
        (b"one\1two\x7f.", "one two ."),
        (b"\x93gr\xfcn\x94 \x85", "“grün” …"),
        (b"\x8d\xfc", " ü"),
        ("one\u2028two".encode(), "one two"),
        (b"=?utf-8?q?=01one=0D=0Atwo=00?=", " one  two "),
        (b"one\ttwo", "one\ttwo"),
    ],
)
@pytest.mark.parametrize("what", ["msg", "msg:mime(false)"])
def test_what_was_read_of_a_field_can_be_put_back(
    tmp_path: Path, subject: bytes, read: str, what: str
) -> None:
    body = f"""
    require("msys.extended.message")
    local subject = {what}:header("Subject")[1]
    {what}:header("Subject", "[list] " .. subject)
    print(subject)
    return msys.core.VALIDATE_CONT"""
    stage = LuaStage(tmp_path, hook("validate_data", body))
    for _ in range(2):  # the second time the fields are given along
        [message] = messages(stage.decide(submission(plain=b"Subject: " + subject + b"\r\n\r\nHello\r\n")))
        header = Header(message.submission.content.wire.partition(b"\r\n\r\n")[0])
        assert header.get("Subject") == f"[list] {read}".replace("\t", " ").strip()
    assert stage.told.failures == []
    assert stage.printed == [read, read]
    stage.close()


@pytest.mark.parametrize(
    ("value", "read", "addresses"),
    [
        ("=?utf-8?q?M=C3=BCller=2C_Hans?= <h@b.test>", "Müller, Hans <h@b.test>", "h@b.test"),
        (
            "Müller, Hans <h@b.test>, Jö <j@c.test>",
            "Müller, Hans <h@b.test>, Jö <j@c.test>",
            "h@b.test|j@c.test",
        ),
        ("a@b.test, Jö <j@c.test>", "a@b.test, Jö <j@c.test>", "a@b.test|j@c.test"),
        ('"Müller, Hans" <h@b.test>', "Müller, Hans <h@b.test>", "h@b.test"),
    ],
)
def test_names_with_a_comma_can_be_put_back(tmp_path: Path, value: str, read: str, addresses: str) -> None:
    body = f"""
    msg:header("To", {value!r}) msg:header("To", msg:header("To")[1]) msg:header("To", msg:header("To")[1])
    show(msg:header("To")) show(msg:address_header("To"))"""
    assert printed(tmp_path, body) == [read, addresses]


@pytest.mark.parametrize("value", ["a@b.test, Mül, Hans <h@c.test>", "Mül, Hans", "x: Mü, H <h@c.test>;"])
def test_no_address_is_hidden_in_a_name(tmp_path: Path, value: str) -> None:
    assert printed(tmp_path, f"""show(pcall(msg.header, msg, "To", "{value}"))""") == ["false"]


@pytest.mark.parametrize("value", ["=?\\1", "=?\\r\\nBcc: x@y.test", "=?\\127", "=?\\r", "=?\\0"])
def test_what_no_field_holds_is_refused_there_too(tmp_path: Path, value: str) -> None:
    body = f"""
    show(pcall(msg.header, msg, "X-V", "{value}"))
    show(select(2, pcall(msg.header, msg, "X-V", "{value}")):match("which no header field may hold"))"""
    assert printed(tmp_path, body) == ["false", "which no header field may hold"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("", "joe@one.test"),
        ("list[#list + 1] = 'new@one.test'", "joe@one.test|new@one.test"),
        ("local all = {} for _, each in pairs(list) do all[#all + 1] = each end list = all", "joe@one.test"),
        ("list[2], list[3] = 'a@one.test', 'b@one.test' list[2] = nil", "joe@one.test|b@one.test"),
        ("list = {}", ""),
        ("list = {[0] = ''}", ""),
        ("list = 'one@one.test'", "one@one.test"),
    ],
)
def test_the_list_of_recipients_goes_back_as_it_was_given(tmp_path: Path, change: str, left: str) -> None:
    body = (
        f"local list = vctx:recipient_list() {change} vctx:recipient_list(list) show(vctx:recipient_list())"
    )
    assert printed(tmp_path, body) == [left]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":1,"b":null,"c":[1,null,3],"1":true}', "a=1 c=[1,null,3] 1=true "),
        ('["x",null,{"y":1}]', '1=x 3={"y":1} '),
        ("{}", ""),
        ("[]", ""),
        ("5", ""),
        ('{"n":"x\\\\ud800y","\\\\udfff":1,"ok":"\\\\ud83d\\\\ude00"}', "n=x\ufffdy \ufffd=1 ok=\U0001f600 "),
    ],
)
def test_pairs_walks_a_json_object(tmp_path: Path, text: str, shown: str) -> None:
    body = f"""
    local out = ""
    for name, value in pairs(json.decode('{text}')) do out = out .. name .. "=" .. tostring(value) .. " " end
    show(out)"""
    assert printed(tmp_path, body) == [shown]


def test_fields_are_taken_out_while_they_are_walked(tmp_path: Path) -> None:
    body = """
    local object = json.decode('{"a":1,"b":2,"c":3}')
    for name in pairs(object) do object[name] = nil end
    show(tostring(object))"""
    assert printed(tmp_path, body) == ["{}"]


@pytest.mark.parametrize(
    ("made", "encoding"),
    [
        ('msg:makePart("text/plain", "plain")', "7bit"),
        ('msg:makePart("text/plain", nil)', "7bit"),
        ('msg:makePart("text/plain; charset=utf-8", "Grüße aus Hamburg an der Elbe")', "quoted-printable"),
        ('msg:makePart("text/plain", ("x"):rep(999))', "quoted-printable"),
        ('msg:makePart("image/png", ("\\137PNG\\0"):rep(99))', "base64"),
        ('msg:makePart("text/plain; charset=utf-8", "Grüße", msys.core.EC_MIME_TE_8BIT)', "8bit"),
    ],
)
def test_a_part_has_the_encoding_that_it_needs(tmp_path: Path, made: str, encoding: str) -> None:
    assert printed(tmp_path, f"show({made}:content_type().encoding)") == [encoding]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("msys.sleep", "msys.sleep: seconds is a number"),
        ("msys.sleep, 0 / 0", "msys.sleep: seconds is a number"),
        ("json.decode", "json.decode: a JSON text is a string"),
    ],
)
async def test_an_error_names_the_function_that_the_script_called(
    tmp_path: Path, call: str, named: str
) -> None:
    body = f"show(select(2, pcall({call}{'' if ',' in call else ', nil'}))) return msys.core.VALIDATE_CONT"
    stage = LuaStage(tmp_path, HEAD + hook("validate_data", body))
    await stage.decided(submission(plain=LETTER))
    [text] = stage.printed
    assert named in text


@pytest.mark.parametrize(
    "body",
    [
        'msys.pcre.match(("a"):rep(60), "(a+)+$b")',
        'msys.runInPool("IO", function()\nmsys.pcre.match(("a"):rep(60), "(a+)+$b") end)',
        'local s = ("ab"):rep(3e6)\nwhile true do pcall(s.reverse, s) end',
        'msys.runInPool("IO", function() local s = ("ab"):rep(3e6)\nwhile true do s:reverse() end end)',
    ],
)
async def test_the_end_of_a_budget_is_caught_by_nobody_and_has_its_line(tmp_path: Path, body: str) -> None:
    """Not by the hook either that waits for a function in a pool."""
    script = HEAD + hook("validate_data", f"while true do pcall(function() {body} end) end")
    stage = LuaStage(tmp_path, script, wait_seconds=60.0, limits=LuaLimits())
    stage.budget.start()
    try:
        await stage.decided(submission(plain=LETTER))
    finally:
        stage.budget.stop()
    assert type(stage.failure).__name__ == "BudgetError"
    first = script.splitlines().index("function mod:validate_data(msg, ac, vctx)") + 2
    assert stage.failure.line == first + body.count("\n")


def test_a_file_is_read_when_scripts_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one\ntwo\n", encoding="utf-8")
    script = """
    local mod, words = {}, {}
    for word in msys.readfile("list.txt"):gmatch("%S+") do words[#words + 1] = word end
    function mod:init()
      local none, why = msys.readfile("../list.txt")
      print(why)
      return none == nil
    end
    function mod:validate_data(msg) print(table.concat(words, "+")) return msys.core.VALIDATE_CONT end
    msys.registerModule("shop", mod)
    """
    stage = LuaStage(tmp_path, script)
    stage.decide()
    why, words = stage.printed
    assert "below it only" in why
    assert words == "one+two"
