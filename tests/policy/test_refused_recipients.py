"""One of several recipients is refused: he alone where that is for good, the whole where it is for now."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.model.flow import Decided, Notify, Recipient, Refusal, RefusedRecipient
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.policy.bindings import Bindings
from outrider.policy.rehearsal import Surroundings, rehearse
from outrider.wire.smtp import replies
from tests.policy.acting import BINDINGS, HTTP, SMTP, Stage, address, recipients_of, submission

SCRIPT = """
    from outrider.policy.api import Refuse
    REPLIES = {
        "no": (550, "5.7.1 no mail for you"), "gone": (551, "5.1.6 gone"), "later": (451, "4.7.1 later"),
    }
    def each_rcpt(mail):
        code = REPLIES.get(mail.rcpt_to.partition("@")[0])
        if code:
            return Refuse(*code)
"""
NO = Reply(550, "5.7.1", ("no mail for you",))
LATER = Reply(451, "4.7.1", ("later",))


@pytest.mark.parametrize("origin", [SMTP, HTTP])
def test_who_is_refused_for_good_is_told_apart_and_the_others_go_out(tmp_path: Path, origin: object) -> None:
    stage = Stage(tmp_path, SCRIPT)
    recipients = ("a@one.test", "no@two.test", "b@two.test", "gone@one.test")
    decision = stage.decide(submission(*recipients, origin=origin))  # type: ignore[arg-type]  # one of two
    assert recipients_of(decision) == ["a@one.test", "b@two.test"]
    assert isinstance(decision, Decided)
    assert decision.refused == (
        RefusedRecipient(Recipient(address("no@two.test")), NO),
        RefusedRecipient(Recipient(address("gone@one.test")), Reply(551, "5.1.6", ("gone",))),
    )
    assert stage.told.calls == [HookPhase.EACH_RCPT] * 4


def test_where_all_are_refused_the_message_is(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCRIPT)
    assert stage.decide(submission("no@one.test")) == Refusal(NO, "policy")
    assert stage.decide(submission("no@one.test", "gone@two.test")) == Refusal(NO, "policy")


@pytest.mark.parametrize(
    "recipients",
    [("a@one.test", "later@one.test", "b@two.test"), ("no@one.test", "later@one.test", "gone@one.test")],
)
def test_who_is_refused_for_now_is_the_whole_message(tmp_path: Path, recipients: tuple[str, ...]) -> None:
    stage = Stage(tmp_path, SCRIPT)
    assert stage.decide(submission(*recipients)) == Refusal(LATER, "policy")
    assert stage.told.calls == [HookPhase.EACH_RCPT] * 2  # who comes after him is asked when it comes again


def test_a_failure_for_one_recipient_is_the_whole_messages(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCRIPT.replace("return Refuse(*code)", "return Refuse(99, 'nonsense')"))
    decision = stage.decide(submission("a@one.test", "no@two.test"))
    assert decision == Refusal(replies.POLICY_FAILED, "policy")


def test_he_is_told_as_he_was_before_scripts_renamed_him(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def each_rcpt(mail):
            if mail.rcpt_to == "b@two.test":
                mail.rcpt_to = "no@elsewhere.test"
                mail.mail_from = "bounce+b@sender.test"
        """,
        SCRIPT,
    )
    submitted = submission("a@one.test", "b@two.test")
    [joe, bob] = submitted.envelope.recipients
    bob = replace(bob, notify=int(Notify.FAILURE), orcpt="rfc822;bob@two.test")
    submitted = replace(submitted, envelope=replace(submitted.envelope, recipients=(joe, bob)))
    decision = stage.decide(submitted)
    assert isinstance(decision, Decided)
    assert decision.refused == (RefusedRecipient(bob, NO),)


def test_whom_a_script_added_can_be_refused_too(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path, "def data(mail): mail.recipients = ['a@one.test', 'no@late.test', 'b@two.test']", SCRIPT
    )
    decision = stage.decide(submission("a@one.test"))
    assert isinstance(decision, Decided)
    assert [str(each.recipient.address) for each in decision.refused] == ["no@late.test"]
    assert recipients_of(decision) == ["a@one.test", "b@two.test"]


async def test_it_is_the_same_where_scripts_wait(tmp_path: Path) -> None:
    waiting = SCRIPT.replace("    def ", "    import asyncio\n    async def ").replace(
        "code = ", "await asyncio.sleep(0)\n        code = "
    )
    stage = Stage(tmp_path, waiting)
    decision = await stage.decided(submission("a@one.test", "no@two.test"))
    assert isinstance(decision, Decided)
    assert [each.reply for each in decision.refused] == [NO]


async def test_a_rehearsal_lists_them_beside_what_goes_out(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SCRIPT)
    around = Surroundings(Bindings(BINDINGS), lambda: 0.0)
    found = await rehearse(stage.scripts, submission("a@one.test", "no@two.test"), around)
    assert (found.refused, found.refusal) == ([("no@two.test", NO)], None)
    assert [str(each.recipient.address) for each in found.messages[0].deliveries] == ["a@one.test"]


OUTCOMES = st.lists(st.sampled_from(["out", "drop", "no", "gone", "later", "fails"]), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def every_way(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A script that does what the recipient's name says."""
    more = """
        name = mail.rcpt_to.partition("@")[0]
        if name == "fails":
            raise KeyError(name)
        if name == "drop":
            mail.discard("not wanted")
    """
    return Stage(tmp_path_factory.mktemp("scripts"), SCRIPT + more, seconds=1.0)


@given(OUTCOMES)
@settings(max_examples=80, deadline=None)
def test_everybody_is_served_or_refused_exactly_once(every_way: Stage, outcomes: list[str]) -> None:
    recipients = [f"{outcome}@{at}.test" for at, outcome in enumerate(outcomes)]
    decision = every_way.decide(submission(*recipients))
    temporary = next((each for each in outcomes if each in ("later", "fails")), None)
    if temporary is not None:
        assert decision == Refusal(LATER if temporary == "later" else replies.POLICY_FAILED, "policy")
        return
    refused = [each for each in recipients if each.startswith(("no@", "gone@"))]
    if refused == recipients:
        assert isinstance(decision, Refusal)
        assert decision.reply.code == (550 if outcomes[0] == "no" else 551)
        return
    assert isinstance(decision, Decided)
    assert [str(each.recipient.address) for each in decision.refused] == refused
    assert recipients_of(decision) == sorted(set(recipients) - set(refused))
