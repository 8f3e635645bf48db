"""Scripts in Lua read whatever mail there is: nested, malformed, in odd charsets, of ten thousand parts."""

import resource
from pathlib import Path
from typing import Final

import pytest

from outrider.model.flow import Decided
from outrider.policy.lua.limits import LuaLimits
from tests.policy.acting import messages, submission
from tests.policy.lua.lua_stage import LuaStage, hook

READ: Final = """
local found = {}
local part = msg:mime()
while part do
  found[#found + 1] = part:content_type().mimetype .. "=" .. tostring(part:text())
  part = part.thread
end
print(table.concat(found, "|"))
print((msg:header("Subject") or {})[1])
return msys.core.VALIDATE_CONT
"""


def multipart(*parts: bytes, head: bytes = b"") -> bytes:
    """A message of these parts."""
    joined = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts)
    return head + b'Content-Type: multipart/mixed; boundary="edge"\r\n\r\n' + joined + b"--edge--\r\n"


NESTED: Final = (
    b"Content-Type: multipart/alternative; boundary=inner\r\n\r\n"
    b"--inner\r\nContent-Type: text/plain\r\n\r\na\r\n"
    b"--inner\r\nContent-Type: text/html\r\n\r\n<b>\r\n--inner--\r\n"
)
NESTED_PARTS: Final = (
    "multipart/mixed=nil|multipart/alternative=nil|text/plain=a|text/html=<b>|message/rfc822=nil"
    "|text/plain=hello\r\n"
)
ATTACHED: Final = b"Content-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("plain", "parts", "subject"),
    [
        (b"Subject: a\r\n\r\nhello\r\n", "text/plain=hello\r\n", "a"),
        (
            multipart(NESTED, ATTACHED),
            NESTED_PARTS,
            "nil",
        ),
        (
            b"Subject: =?iso-8859-1?q?gr=FC=DFe?= =?utf-8?b?4pyT?=\r\n\r\n",
            "text/plain=",
            "grüße✓",
        ),
        (
            (
                b"Content-Type: text/plain; charset=koi8-r\r\n"  # in an encoding of its own
                b"Content-Transfer-Encoding: base64\r\n\r\n8NLJ18XU\r\n"
            ),
            "text/plain=Привет",
            "nil",
        ),
        (b"Content-Type: text/plain; charset=no-such\r\n\r\nhi\r\n", "text/plain=hi\r\n", "nil"),
        (
            b"Content-Type: multipart/mixed; boundary=gone\r\nSubject: no part\r\n\r\nnothing here\r\n",
            "multipart/mixed=nil",
            "no part",
        ),
        (b"Content-Type: ; ; =\r\nSubject\r\n: \r\n\r\nx\r\n", "text/plain=x\r\n", "nil"),
    ],
)
def test_it_reads(tmp_path: Path, plain: bytes, parts: str, subject: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data", READ))
    assert isinstance(stage.decide(submission(plain=plain)), Decided), stage.told.failures
    assert stage.printed == [parts, subject]


def test_ten_thousand_parts_cost_bounded_time_and_memory(tmp_path: Path) -> None:
    body = """
    local count, part = 0, msg:mime()
    while part do count, part = count + 1, part.thread end
    print(count)
    return msys.core.VALIDATE_CONT"""
    part = b"Content-Type: text/plain\r\n\r\nx"
    stage = LuaStage(tmp_path, hook("validate_data", body), limits=LuaLimits(seconds=5.0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = stage.open()
    for _ in range(3):
        assert isinstance(session.decide(submission(plain=multipart(*[part] * 9_999))), Decided)
    assert stage.printed == ["10000"] * 3
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 200_000


def test_more_parts_than_are_read_is_an_error_with_its_line(tmp_path: Path) -> None:
    body = "local parts = msg:mime().parts\nreturn msys.core.VALIDATE_CONT"
    part = b"Content-Type: text/plain\r\n\r\nx"
    stage = LuaStage(tmp_path, hook("validate_data", body), limits=LuaLimits(seconds=5.0))
    stage.decide(submission(plain=multipart(*[part] * 20_000)))
    assert stage.failure.line == 3
    assert "parts" in stage.failure.reason


def test_a_pattern_gone_wild_ends_with_its_hook(tmp_path: Path) -> None:
    body = 'return msg:body_match("(a+)+$") and 0 or 0'
    stage = LuaStage(tmp_path, hook("validate_data", body))
    stage.budget.start()
    try:
        stage.decide(submission(plain=b"A: b\r\n\r\n" + b"a" * 60 + b"!\r\n"))
    finally:
        stage.budget.stop()
    assert type(stage.failure).__name__ == "BudgetError"
    assert (stage.failure.script, stage.failure.phase) == ("shop", "data")


def test_a_charset_is_kept_when_text_is_replaced(tmp_path: Path) -> None:
    body = 'msg:text_replace("gr(.)n", "<$0>")\nreturn msys.core.VALIDATE_CONT'
    plain = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ngr\xfcn\r\n"
    stage = LuaStage(tmp_path, hook("validate_data", body))
    [message] = messages(stage.decide(submission(plain=plain)))
    wire = message.submission.content.wire
    assert b"charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n" in wire
    assert wire.endswith(b"\r\n\r\n<gr=FCn>\r\n")
