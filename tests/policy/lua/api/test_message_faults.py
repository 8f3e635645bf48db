"""What scripts may not ask of a message is said in words, and the message stays as it was."""

from pathlib import Path

import pytest

from tests.policy.acting import messages, submission
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
