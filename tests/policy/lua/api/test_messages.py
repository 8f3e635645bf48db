"""Every function of messages, sessions and the core is called from Lua in each phase, or refused in it."""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import pytest

from outrider.model.ends import Ends
from outrider.model.flow import Origin, Submission
from outrider.model.hooks import WAY_OUT_PHASES, HookPhase
from outrider.net.answers import Answer, Kind, Status
from outrider.policy.lua.api.coverage import LOAD, Row
from outrider.policy.lua.api.coverage import Status as Much
from outrider.policy.lua.api.message_rows import ROWS
from tests.policy.acting import HTTP, SMTP, submission
from tests.policy.leaving import UNKNOWN, ended_of, leaving_of
from tests.policy.lua.lua_stage import LuaStage

_HEAD: Final = re.compile(r"^-- \[(.+)\]$", re.MULTILINE)
_, *_pieces = _HEAD.split(Path(__file__).with_name("message_examples.lua").read_text(encoding="utf-8"))
EXAMPLES: Final = dict(zip(_pieces[::2], _pieces[1::2], strict=True))

CARRIED: Final = [
    row for row in ROWS if row.status is not Much.NOT_CARRIED_OVER and row.name != "msys.registerModule"
]

LETTER: Final = (
    b"From: Ann Lee <ann+news@sender.test>, b@other.test\r\n"
    b"To: joe@one.test\r\n"
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
    b"X-Old: here\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=edge\r\n"
    b"\r\n"
    b"--edge\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"\r\n"
    b"Hello 42\r\n"
    b"--edge\r\n"
    b"Content-Type: application/pdf; name=a.pdf\r\n"
    b"Content-Disposition: attachment; filename=a.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n"
    b"\r\n"
    b"JVBERg==\r\n"
    b"--edge--\r\n"
)

SCRIPT: Final = """\
local function body(msg, ac, vctx, phase)
%s
end
local function called(phase, self, msg, ac, vctx)
  self.msg, self.ac, self.vctx = msg or self.msg, ac or self.ac, vctx or self.vctx
  local ok, why = pcall(body, self.msg, self.ac, self.vctx, phase)
  print(phase .. "\\t" .. tostring(ok) .. "\\t" .. tostring(why))
  return msys.core.VALIDATE_CONT
end
local mod = {}
function mod:validate_connect(ac, vctx) return called("connect", self, nil, ac, vctx) end
function mod:validate_ehlo(str, ac, vctx) return called("ehlo", self, nil, ac, vctx) end
function mod:core_validate_auth(vctx, info, status) return called("auth", self, nil, nil, vctx) end
function mod:validate_mailfrom(str, ac, vctx) return called("mailfrom", self, nil, ac, vctx) end
function mod:validate_rcptto(msg, str, ac, vctx) return called("rcptto", self, msg, ac, vctx) end
function mod:validate_rcptto_list(list, vctx) return called("rcptto_list", self, nil, nil, vctx) end
function mod:validate_data(msg, ac, vctx) return called("data", self, msg, ac, vctx) end
function mod:validate_data_spool(msg, ac, vctx) return called("data_spool", self, msg, ac, vctx) end
function mod:msg_gen_data_spool(msg) return called("msg_gen", self, msg) end
function mod:validate_data_spool_each_rcpt(msg, ac, vctx) return called("each_rcpt", self, msg, ac, vctx) end
function mod:validate_set_binding(msg) return called("set_binding", self, msg) end
function mod:core_final_validation(msg, ac, vctx) return called("final_validation", self, msg, ac, vctx) end
function mod:outrider_outbound(msg, attempt, vctx) return called("outbound", self, msg, nil, vctx) end
function mod:outrider_response(attempt, vctx) return called("response", self, nil, nil, vctx) end
function mod:outrider_disposal(attempt, vctx) return called("disposal", self, nil, nil, vctx) end
msys.registerModule("shop", mod)
called("load", {})
"""


class Names:
    """DNS of a test."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        await asyncio.sleep(0)
        match name, kind:
            case "a.test", Kind.A:
                return Answer(Status.FOUND, 60.0, ("192.0.2.7",))
            case "a.test", Kind.MX:
                return Answer(Status.FOUND, 60.0, exchangers=((20, "mx2.a.test"), (10, "mx.a.test")))
            case "a.test", Kind.NS:
                return Answer(Status.FOUND, 60.0, names=("ns.a.test",))
            case "7.2.0.192.in-addr.arpa", Kind.PTR:
                return Answer(Status.FOUND, 60.0, names=("ptr.a.test",))
            case _:
                return Answer(Status.NO_NAME, 60.0)


class Outbox:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str, tuple[str, ...]]] = []

    async def send(self, content: bytes, mail_from: str, recipients: tuple[str, ...]) -> str:
        await asyncio.sleep(0)
        self.sent.append((content, mail_from, recipients))
        return "id"


async def _had(answer: Any) -> Any:
    return await answer if hasattr(answer, "__await__") else answer


async def through(stage: LuaStage, origin: Origin = SMTP) -> None:
    """All phases of a session with one message."""
    submitted: Submission = submission(origin=origin, plain=LETTER)
    session = stage.open(submitted, Ends(4025, "2001:db8::25", 2525) if origin is SMTP else None)
    if origin is SMTP:
        await _had(session.connect(origin))
        await _had(session.ehlo(origin, "client.test"))
        await _had(session.auth(origin, "joe", is_valid=True))
        await _had(session.mail_from(origin, submitted.envelope.mail_from))
        await _had(session.rcpt_to(origin, submitted.envelope.recipients[0]))
        await _had(session.rcpt_list(origin, submitted.envelope.recipients))
    await _had(session.decide(submitted))
    session.close()
    way_out = stage.door.way_out
    await _had(way_out.outbound(leaving_of(submitted)))
    await _had(way_out.response(ended_of(UNKNOWN)))
    await _had(way_out.disposal(ended_of(UNKNOWN, kind="bounced")))


def results(stage: LuaStage) -> dict[str, list[str]]:
    """What a body gave in each phase."""
    return {line.split("\t")[0]: line.split("\t")[1:] for line in stage.printed}


def test_each_that_is_carried_over_has_a_call() -> None:
    assert {row.name for row in CARRIED} == EXAMPLES.keys()


def is_asked(row: Row, phase: str) -> bool:
    """There is something to call it with."""
    subject = re.split(r"[:.]", row.name)[0]
    if "ec_message_context" in row.name:
        subject = "msg"
    elif "accept_construct" in row.name:
        subject = "ac"
    if phase == LOAD:
        return subject == "msys"
    if phase == HookPhase.OUTBOUND:
        return subject != "ac"
    if phase in WAY_OUT_PHASES:
        return subject in {"vctx", "msys"}
    if phase == HookPhase.MSG_GEN:
        return subject not in {"ac", "vctx"}
    no_message = {HookPhase.CONNECT, HookPhase.EHLO, HookPhase.AUTH, HookPhase.MAILFROM}
    return phase not in no_message or subject in {"vctx", "ac", "msys"}


@pytest.mark.parametrize("row", CARRIED, ids=lambda row: row.name)
async def test_it_works_where_it_is_permitted_and_nowhere_else(tmp_path: Path, row: Row) -> None:
    outbox = Outbox()
    stage = LuaStage(
        tmp_path,
        SCRIPT % EXAMPLES[row.name],
        resolver=Names(),
        outbox=outbox,
        hostname="out.sender.test",
    )
    await through(stage)
    found = results(stage)
    await through(stage, HTTP)
    found[HookPhase.MSG_GEN] = results(stage)[HookPhase.MSG_GEN]
    if row.name == "msg:discard":  # nothing is asked about it any more
        assert found[HookPhase.DATA] == ["true", "true"] == found[HookPhase.MSG_GEN]
        return
    assert stage.told.failures == []
    for phase in (*HookPhase, LOAD):
        if not is_asked(row, phase):
            continue
        if phase in row.phases:
            assert found[phase] == ["true", "true"], phase
        else:
            assert found[phase][0] == "false", phase
            assert "only, not" in found[phase][1], phase
    assert len(outbox.sent) == {"msg:inject": 7, "msg:forward": 7}.get(row.name, 0)
