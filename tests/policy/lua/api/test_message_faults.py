"""What scripts may not ask of a message is said in words, and the message stays as it was."""

from pathlib import Path

import pytest

from outrider.model.flow import Refusal
from outrider.wire.message.header import Header
from tests.policy.acting import messages, recipients_of, submission
from tests.policy.lua.lua_stage import LuaStage, hook

TWO = (
    b"From: shop@sender.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=edge\r\n\r\n"
    b"--edge\r\n\r\none\r\n--edge\r\n\r\ntwo\r\n--edge--\r\n"
)
CALLS = {
    "msg:context_delete()": "missing a required argument: 'kind'",
    "msg:is_mcmt(1)": "too many positional arguments",
    "msg:text_match()": "missing a required argument: 'pattern'",
    "msg:raw_replace('a', 'b', 'c')": "too many positional arguments",
    "msg:mime():body_match()": "missing a required argument: 'pattern'",
    "msg:mime():unlink(1)": "too many positional arguments",
}


@pytest.mark.parametrize("call", CALLS)
def test_what_a_method_is_called_with_is_said(tmp_path: Path, call: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"{call} return 0"))
    stage.decide()
    assert stage.failure.reason.startswith("bad arguments to 'msys.core:_ec_message")
    assert stage.failure.reason.endswith(CALLS[call])
    assert [event for _, event, _ in stage.log.lines if event == "policy.api_fault"] == []
    stage.close()


MOVES = {
    "in front": "box:addFirstChild(part)",
    "behind": "box:addLastChild(part)",
    "after": "box:addLastChild(leaf) part:insertAfter(leaf)",
    "before": "box:addLastChild(leaf) part:insertBefore(leaf)",
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_part_that_is_read_only_is_not_moved_out(tmp_path: Path, move: str) -> None:
    body = f"""
    require("msys.extended.message")
    local part = msg:mime().parts[2]
    local box, leaf = msg:makeContainer("multipart/mixed"), msg:makePart("text/plain", "x")
    local ok, why = pcall(function() {move} end)
    print(why)
    return 0
    """
    stage = LuaStage(tmp_path, hook("validate_data", body))
    [message] = messages(stage.decide(submission(plain=TWO)))
    assert message.submission.content.wire == TWO
    [printed] = stage.printed
    assert printed.endswith("this part is read-only: take it from msg:mime(false)")
    stage.close()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("msg:text(false)", "a text is a string, not a boolean"),
        ("msg:header('X-A', true)", "a header's value is a string, not a boolean"),
        ("vctx:set_code(550, {})", "a reply's text is a string, not a table"),
        ("vctx:set(msys.core.VCTX_MESS, 'a', {})", "a note's value is a string, not a table"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, call: str, what: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"{call} return 0"))
    stage.decide()
    assert stage.failure.reason.endswith(what)
    stage.close()


@pytest.mark.parametrize("address", ["Ann@One.TEST", "<Ann@one.test>", "Ann@one.test"])
def test_a_recipient_is_removed_however_his_domain_is_written(tmp_path: Path, address: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"vctx:remove_recipient('{address}') return 0"))
    assert recipients_of(stage.decide(submission("Ann@one.test", "ann@one.test"))) == ["ann@one.test"]
    stage.close()


def test_what_is_no_address_removes_nobody(tmp_path: Path) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", "vctx:remove_recipient({'nobody', ''}) return 0"))
    assert recipients_of(stage.decide()) == ["joe@one.test"]
    assert stage.told.failures == []
    stage.close()


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        ("vctx:disconnect()", "421 4.7.0 closing connection"),
        ("vctx:disconnect(nil, '4.7.1 later')", "421 4.7.1 later"),
        ("vctx:disconnect(554, '5.7.1 never')", "421 4.7.1 never"),
    ],
)
def test_who_is_sent_away_hears_the_text(tmp_path: Path, call: str, reply: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"{call} return 0"))
    refusal = stage.decide()
    assert isinstance(refusal, Refusal)
    assert str(refusal.reply) == reply
    stage.close()


LINES = {
    "msg:body('one\\ntwo\\n\\r\\n.\\r\\n')": b"one\r\ntwo\r\n\r\n",
    "msg:raw('From: shop@sender.test\\n\\none\\n')": b"one\r\n",
    "msg:body_replace('Hel+o', 'one\\ntwo')": b"one\r\ntwo\r\n",
    "msg:body_replace('\\n', '\\n--\\nfoot\\n')": b"Hello\r\n--\r\nfoot\r\n",
    "msg:mime(false):body_replace('Hello', 'one\\rtwo')": b"one\r\ntwo\r\n",
    "msg:raw_replace('Hello', 'one\\ntwo')": b"one\r\ntwo\r\n",
}


@pytest.mark.parametrize("call", LINES)
def test_line_ends_that_a_script_writes_become_those_of_mail(tmp_path: Path, call: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", f"{call} return 0"))
    [message] = messages(stage.decide())
    assert message.submission.content.wire.partition(b"\r\n\r\n")[2] == LINES[call]
    stage.close()


@pytest.mark.parametrize("encoding", ["BASE64", "QUOTED_PRINTABLE", "8BIT"])
def test_the_end_of_a_body_is_that_of_what_was_given(tmp_path: Path, encoding: str) -> None:
    body = f"""
    local octets = "gr\\195\\188n = " .. ("x"):rep(100)
    local whole = msg:makePart("text/plain; charset=utf-8", octets, msys.core.EC_MIME_TE_{encoding})
    whole.body_start, whole.body_end = 0, #octets
    local cut = msg:makePart("text/plain; charset=utf-8", octets, msys.core.EC_MIME_TE_{encoding})
    cut.body_end = 5
    local box = msg:makeContainer("multipart/mixed")
    box:addLastChild(whole)
    whole.body_end = #octets
    print(whole:text() == octets, cut:text())
    return 0
    """
    stage = LuaStage(tmp_path, hook("validate_data", body))
    stage.decide()
    assert stage.printed == ["true\tgrün"]
    stage.close()


DESCRIBED = (
    b"Content-Disposition: attachment; filename=a.pdf\r\nContent-Description: a\r\nContent-MD5: QQ==\r\n"
    b"Content-ID: <1@sender.test>\r\nX-Mine: yes\r\n"
)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (b"application/pdf; name=a.pdf", {"content-id", "x-mine"}),
        (b"multipart/mixed; boundary=b", {"content-id", "x-mine"}),
        (b"text/html", {"content-disposition", "content-description", "content-id", "x-mine"}),
    ],
)
def test_a_new_text_is_not_described_as_what_was_there_before(
    tmp_path: Path, kind: bytes, left: set[str]
) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", "msg:text('new', 'text/plain') return 0"))
    plain = b"From: shop@sender.test\r\nMIME-Version: 1.0\r\n" + DESCRIBED + b"Content-Type: " + kind
    [message] = messages(stage.decide(submission(plain=plain + b"\r\n\r\nold\r\n")))
    names = {
        name.lower() for name in Header(message.submission.content.wire.partition(b"\r\n\r\n")[0]).names()
    }
    assert names - {"from", "mime-version", "content-type"} == left
    stage.close()


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
@pytest.mark.parametrize(
    "encoding", ["nil", "msys.core.EC_MIME_TE_BASE64", "msys.core.EC_MIME_TE_QUOTED_PRINTABLE"]
)
def test_lines_of_a_text_that_is_put_into_a_message_are_those_of_mail(
    tmp_path: Path, charset: str, encoding: str
) -> None:
    body = f"""
    local octets = "one\\ntwo\\r\\nthree\\n"
    local part = msg:makePart("text/plain; charset={charset}", octets, {encoding})
    part.body_start, part.body_end = 0, #octets
    local data = msg:makePart("application/x-data", octets, msys.core.EC_MIME_TE_BASE64)
    local root = msg:mime(false)
    root:addLastChild(part) root:addLastChild(data)
    print(part:text() == "one\\r\\ntwo\\r\\nthree\\r\\n", data:raw_match("b25lCnR3bw0KdGhyZWUK") ~= false)
    local wide = msg:makePart("text/plain; charset=utf-16le", "a\\0\\n\\0", msys.core.EC_MIME_TE_BASE64)
    root:addLastChild(wide)
    print(wide:raw_match("YQAKAA==") ~= false)
    return 0
    """
    stage = LuaStage(tmp_path, hook("validate_data", body))
    stage.decide(submission(plain=TWO))
    assert stage.told.failures == []
    assert stage.printed == ["true\ttrue", "true"]
    stage.close()


def test_lines_of_a_text_that_is_attached_are_those_of_mail(tmp_path: Path) -> None:
    body = """
    local made = msys.core.ec_message_new()
    made:build({From = "shop@sender.test"}, {["text/plain"] = "x"}, {
      {type = "text/csv", name = "a.csv", content = "a,b\\n1,2\\n"}, {type = "image/x", content = "a\\nb"}})
    print(made:raw():find("a,b\\r\\n1,2\\r\\n", 1, true) ~= nil, made:raw():find("a=0Ab", 1, true) ~= nil)
    return 0
    """
    stage = LuaStage(tmp_path, hook("validate_data", body))
    stage.decide()
    assert stage.printed == ["true\ttrue"]
    stage.close()
