"""The disclaimer that is shipped in Lua, on texts as they come."""

from pathlib import Path

import pytest

from outrider.wire.message.content import maybe_text
from outrider.wire.message.editable import EditableMessage
from tests.policy.acting import messages, submission
from tests.policy.lua.lua_stage import LuaStage

EXAMPLE = Path(__file__).parents[3] / "examples" / "policy" / "lua" / "disclaimer.lua"
OURS = "\r\n-- \r\nSent by Example Ltd., registered in Exampletown.\r\n"
PLAIN = b"From: shop@sender.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=%s\r\n\r\n%s\r\n"
TEXTS = {
    (b"us-ascii", "Grüße".encode()): "Grüße",
    (b"unknown-8bit", b"Gr\xfc\xdfe"): "Grüße",
    (b"iso-8859-1", b"5 \x80"): "5 €",
    (b"shift_jis", b"\x87\x40"): "①",
    (b"gb2312", b"\xe9F"): "镕",
    (b"utf-8; format=flowed", b"on \r\nand on"): "on \r\nand on",
}


@pytest.mark.parametrize("text", TEXTS, ids=[charset.decode() for charset, _ in TEXTS])
def test_a_text_that_is_mislabelled_is_no_failure(tmp_path: Path, text: tuple[bytes, bytes]) -> None:
    stage = LuaStage(tmp_path, {"disclaimer": EXAMPLE.read_text(encoding="utf-8")})
    [message] = messages(stage.decide(submission(plain=PLAIN % text)))
    assert stage.told.failures == []
    part = EditableMessage(message.submission.content).root
    assert maybe_text(part) == f"{TEXTS[text]}\r\n{OURS}"
    assert part.content_type.get("format") == ("flowed" if b"flowed" in text[0] else "")
    stage.close()
