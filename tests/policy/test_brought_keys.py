"""A message that names a key of a script's own is taken once the key is written, and not if it cannot be."""

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.model.flow import Refusal
from outrider.policy.surroundings import HERE
from outrider.wire.dkim.stored import unpack
from outrider.wire.smtp import replies
from tests.policy.acting import Stage, messages, submission

SCRIPT = """
    from outrider.policy.api import SignRequest, keep_key

    def final_validation(mail):
        name = keep_key("a text")
        if mail.rcpt_to == "joe@one.test":
            mail.sign(SignRequest("sender.test", "s1", name))
"""


class Slow:
    """Keeps keys when a test says so."""

    def __init__(self) -> None:
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def keep(self, text: str) -> str:
        return f"text:{text}"

    def unwritten(self, names: Iterable[str]) -> Awaitable[None] | None:
        return self.written if "text:a text" in names else None


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    keys = Slow()
    monkeypatch.setattr(HERE, "keys", keys)
    return keys


async def test_a_message_waits_for_its_key(tmp_path: Path, slow: Slow) -> None:
    deciding = asyncio.ensure_future(Stage(tmp_path, SCRIPT).decided())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not deciding.done()
    slow.written.set_result(None)
    [message] = messages(await deciding)
    assert [request.key for request in unpack(message.signing).signatures] == ["text:a text"]


async def test_a_message_whose_key_cannot_be_written_is_not_taken(tmp_path: Path, slow: Slow) -> None:
    slow.written.set_exception(ConfigError("signing key cannot be written: No space left on device"))
    decision = await Stage(tmp_path, SCRIPT).decided()
    assert isinstance(decision, Refusal)
    assert decision.reply == replies.POLICY_FAILED
    assert "No space left" in decision.reason


async def test_a_message_that_names_no_new_key_waits_for_none(tmp_path: Path, slow: Slow) -> None:
    decision = Stage(tmp_path, SCRIPT).decide(submission("sue@two.test"))
    assert messages(decision)[0].signing == b""
    assert not slow.written.done()
