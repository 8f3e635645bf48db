"""What scripts and configuration find out about a message, write on it, and seal."""

from pathlib import Path

import pytest

from outrider.model.flow import Decided, Message, Refusal, Submission
from outrider.model.hooks import HookPhase
from outrider.policy.checking import Checking, Checks
from outrider.policy.errors import ForbiddenError
from outrider.policy.mail import Mail
from outrider.policy.signing import ConfiguredSigning
from outrider.privacy.mail_checks import MailChecks
from outrider.wire.dkim.arc import ChainResult, ChainState
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.stored import unpack
from outrider.wire.dmarc import DmarcResult, DmarcWord
from outrider.wire.spf.evaluate import SpfResult, SpfWord
from tests.policy.acting import HTTP, SMTP, Stage, mail_of, messages, submission

REQUEST = SignRequest("sender.test", "s1", "file:/keys/s1.pem")
NO_CHAIN = ChainResult(ChainState.NONE)
PASSED = SpfResult(SpfWord.PASS, "")


class Finds:
    """A `Checker` that waits once, finds what a test says, and counts."""

    authserv_id = "mx.one.test"

    def __init__(self, chain: ChainResult = NO_CHAIN) -> None:
        self.asked: list[Submission] = []
        self._chain = chain

    async def check(self, submission: Submission) -> MailChecks:
        self.asked.append(submission)
        await _turn()
        dmarc = DmarcResult(DmarcWord.PASS, "", "sender.test")
        return MailChecks((), self._chain, PASSED, PASSED, dmarc, "192.0.2.1", "a@sender.test", "h.test")


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0)


class Table:
    """Everything is sealed, nothing is signed."""

    has_seals = True

    def requests_for(self, domain: str, tenant: str) -> tuple[SignRequest, ...]:
        return ()

    def seal_for(self, domain: str, tenant: str) -> SignRequest | None:
        return REQUEST if domain == "sender.test" else None


SCRIPT = """
    from outrider.policy.api import SignRequest

    async def data(mail):
        mail.context["spf"] = (await mail.check()).spf.word

    async def each_rcpt(mail):
        found = await mail.check()
        mail.message.header.set("X-DMARC", f"{found.dmarc.word} for {found.dmarc.domain}")
        await mail.add_results()

    def final_validation(mail):
        assert mail.checks.spf.word == "pass"
        mail.seal(SignRequest("sender.test", "s1", "file:/keys/s1.pem"))
"""


async def test_scripts_check_a_message_once_write_what_was_found_and_seal(tmp_path: Path) -> None:
    finds = Finds()
    stage = Stage(tmp_path, SCRIPT, checks=Checks(finds))
    submitted = submission("joe@one.test", "sue@two.test")
    decision = await stage.decided(submitted)
    assert stage.told.failures == []
    assert finds.asked == [submitted]
    for message in messages(decision):
        wire = message.submission.content.wire
        assert wire.startswith(b"Authentication-Results: mx.one.test;\r\n\tdkim=none;\r\n\tspf=pass ")
        assert b"\r\nX-DMARC: pass for sender.test\r\n" in wire
        asked = unpack(message.signing)
        assert asked.signatures == ()
        assert asked.seal is not None
        assert (asked.seal.request, asked.seal.sets, asked.seal.state) == (REQUEST, 0, ChainState.NONE)
        assert dict(message.notes) == {"spf": "pass"}
    assert sum(len(message.deliveries) for message in messages(decision)) == 2


async def test_a_listener_marks_its_messages_before_scripts_see_them(tmp_path: Path) -> None:
    script = """
        def data(mail):
            mail.context["first"] = mail.header("Authentication-Results")[0].split(";")[0]
    """
    finds = Finds()
    stage = Stage(tmp_path, script, checks=Checks(finds, frozenset({"smtp"})))
    forged = b"Authentication-Results: mx.one.test; spf=fail\r\nFrom: a@sender.test\r\n\r\nx\r\n"
    [message] = messages(await stage.decided(submission(plain=forged)))
    assert dict(message.notes) == {"first": "mx.one.test"}
    assert message.submission.content.wire.count(b"Authentication-Results") == 1
    assert b"spf=pass" in message.submission.content.wire
    [other] = messages(await stage.decided(submission(plain=forged, origin=HTTP)))
    assert other.submission.content.wire == forged
    assert len(finds.asked) == 1


async def sealed(chain: ChainResult, folder: Path, *, plain: bytes, script: str = "") -> Decided | Refusal:
    """What becomes of a message that the configuration wants sealed, where no script waits."""
    stage = Stage(
        folder, *([script] if script else []), checks=Checks(Finds(chain)), signing=ConfiguredSigning(Table())
    )
    return await stage.decided(submission(plain=plain))


PLAIN = b"From: a@sender.test\r\n\r\nx\r\n"
SETS = b"ARC-Seal: i=1; cv=none\r\nARC-Message-Signature: i=1; a=x\r\nARC-Authentication-Results: i=1; x\r\n"


async def test_the_configuration_seals_without_any_script(tmp_path: Path) -> None:
    [message] = messages(await sealed(ChainResult(ChainState.PASS, sets=1), tmp_path, plain=SETS + PLAIN))
    seal = unpack(message.signing).seal
    assert seal is not None
    assert (seal.sets, seal.state, b"arc=pass" in seal.results) == (1, ChainState.PASS, True)
    [other] = messages(await sealed(NO_CHAIN, tmp_path, plain=PLAIN.replace(b"sender", b"other")))
    assert other.signing == b""


async def test_a_closed_chain_is_left_alone(tmp_path: Path) -> None:
    chain = ChainResult(ChainState.FAIL, "seal 1 says so", 1, is_closed=True)
    [message] = messages(await sealed(chain, tmp_path, plain=SETS + PLAIN))
    assert message.signing == b""


async def test_a_script_that_takes_sets_away_ends_the_chain_and_hears_of_it(tmp_path: Path) -> None:
    script = """
        def each_rcpt(mail):
            mail.message.header.delete("ARC-Seal")
    """
    decision = await sealed(ChainResult(ChainState.PASS, sets=1), tmp_path, plain=SETS + PLAIN, script=script)
    assert isinstance(decision, Refusal)
    assert decision.reply.code == 421
    assert "ARC sets were changed" in decision.reason


async def test_what_may_be_asked_when_is_enforced() -> None:
    mail = mail_of(submission(), HookPhase.FINAL_VALIDATION)
    with pytest.raises(ForbiddenError, match="a message is checked in"):
        await mail.check()
    with pytest.raises(ForbiddenError, match="results are added in"):
        await mail.add_results()
    with pytest.raises(LookupError, match=r"await mail\.check"):
        mail.seal(REQUEST)
    mail.enter(HookPhase.EACH_RCPT)
    with pytest.raises(ForbiddenError, match="a seal is asked for in final_validation only"):
        mail.seal(REQUEST)


async def test_a_script_takes_back_what_the_configuration_asks_for(tmp_path: Path) -> None:
    script = """
        def final_validation(mail):
            mail.leave_unsigned()
    """
    [message] = messages(await sealed(NO_CHAIN, tmp_path, plain=PLAIN, script=script))
    assert message.signing == b""


async def test_recipients_with_and_without_a_seal_are_two_messages(tmp_path: Path) -> None:
    script = """
        def final_validation(mail):
            if mail.rcpt_to == "joe@one.test":
                mail.leave_unsigned()
    """
    stage = Stage(tmp_path, script, checks=Checks(Finds()), signing=ConfiguredSigning(Table()))
    decision = await stage.decided(submission("joe@one.test", "sue@two.test", plain=PLAIN))

    def is_sealed(message: Message) -> bool:
        return unpack(message.signing).seal is not None

    assert sorted(map(is_sealed, messages(decision))) == [False, True]


async def test_where_nobody_checks_the_script_is_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "async def data(mail):\n    await mail.check()\n")
    assert isinstance(await stage.decided(), Refusal)
    assert "messages are not checked here" in stage.failure.reason


def test_checks_are_shared_by_all_that_a_message_is_split_into() -> None:
    submitted = submission("joe@one.test", "sue@two.test")
    checking = Checking(submitted, Finds())
    whole = mail_of(submitted)
    mail = Mail(submitted, whole.connection, whole._bindings, checking)
    assert [each._checking for each in mail.split()] == [checking, checking]
    assert SMTP.listener == "smtp"
