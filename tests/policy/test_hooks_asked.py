"""Hooks that are asked: at once or in a task, one after the other, and how they fail."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.model.flow import Decided, Refusal
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.policy import metering
from outrider.policy.errors import BudgetError, ForbiddenError, ScriptError, TooSlowError
from outrider.store.sources.failures import CONTEXT_KEY
from outrider.wire.smtp import replies
from tests.policy.acting import HTTP, SMTP, Stage, messages, recipients_of, submission

FAILED = Refusal(replies.POLICY_FAILED, "policy")
SLOW = Refusal(replies.POLICY_SLOW, "policy")


def test_what_does_not_wait_needs_no_loop_and_no_task(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def connect(connection):
            connection.context["at"] = connection.client
        async def ehlo(connection, name):
            pass
        def data(mail):
            mail.context["at"] = mail.connection.context["at"]
        """,
    )
    session = stage.open()
    assert session.connect(SMTP) is None
    assert session.mail_from(SMTP, None) is None
    decision = session.decide(submission())
    assert isinstance(decision, Decided)
    assert decision.messages[0].notes == (("at", "192.0.2.1"),)


async def test_what_waits_goes_on_in_the_task_that_awaits_it(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        _now = asyncio.current_task
        def data(mail):
            mail.context["first"] = str(_now() is None)
        async def data_spool(mail):
            mail.context["before"] = _now().get_name()
            await asyncio.sleep(0)
            mail.context["after"] = _now().get_name()
        async def each_rcpt(mail):
            mail.context["then"] = _now().get_name()
            await asyncio.sleep(0)
        def set_binding(mail):
            mail.binding = "vip"
        """,
    )
    loop = asyncio.get_running_loop()
    before = len(asyncio.all_tasks())
    decision = stage.open().decide(submission("a@one.test", "b@two.test"))
    assert not isinstance(decision, Decided | Refusal)
    assert len(asyncio.all_tasks()) == before

    async def wait() -> Decided | Refusal:
        return await decision

    [message] = messages(await loop.create_task(wait(), name="theirs"))
    notes = dict(message.notes)
    assert (notes["before"], notes["after"], notes["then"]) == ("theirs", "theirs", "theirs")
    assert [each.binding for each in message.deliveries] == ["vip", "vip"]


def test_scripts_are_asked_in_order_until_one_is_done(tmp_path: Path) -> None:
    text = """
    from outrider.policy.api import CONTINUE, DONE, Refuse
    def mailfrom(connection, sender):
        connection.message["asked"] = connection.message.get("asked", "") + {name!r}
        return {answer}
    """
    stage = Stage(
        tmp_path,
        *(
            text.format(name=name, answer=answer)
            for name, answer in zip("abc", ("None", "DONE", "0"), strict=True)
        ),
    )
    session = stage.open()
    assert session.mail_from(SMTP, None) is None
    assert session._connection.message["asked"] == "ab"
    stage = Stage(
        tmp_path,
        *(
            text.format(name=name, answer=answer)
            for name, answer in zip("abc", ("CONTINUE", "Refuse(550, 'no')", "0"), strict=True)
        ),
    )
    session = stage.open()
    assert session.mail_from(SMTP, None) == Reply(550, "5.7.0", ("no",))
    assert session._connection.message["asked"] == "ab"


@pytest.mark.parametrize("phase", ["set_binding", "final_validation"])
@pytest.mark.parametrize("word", ["def", "async def"])
async def test_nothing_is_refused_where_nothing_can_be(tmp_path: Path, phase: str, word: str) -> None:
    stage = Stage(
        tmp_path,
        f"""
        from outrider.policy.api import Refuse
        {word} {phase}(mail):
            return Refuse(550, "5.7.1 no")
        """,
    )
    assert await stage.decided() == FAILED
    assert isinstance(stage.failure, ForbiddenError)
    assert (stage.failure.script, stage.failure.line, stage.failure.phase) == ("a", 3, phase)


@pytest.mark.parametrize("phase", ["set_binding", "final_validation"])
def test_a_change_that_is_forbidden_names_its_line(tmp_path: Path, phase: str) -> None:
    text = f"def {phase}(mail):\n    mail.header('Subject')\n    mail.message.header.set('X', 'y')\n"
    stage = Stage(tmp_path, text)
    assert stage.decide() == FAILED
    assert isinstance(stage.failure, ForbiddenError)
    assert (stage.failure.script, stage.failure.line, stage.failure.phase) == ("a", 3, phase)


@pytest.mark.parametrize("word", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("raise KeyError('what')", ScriptError, "KeyError: 'what'"),
        ("raise SystemExit(3)", ScriptError, "SystemExit: 3"),
        ("raise KeyboardInterrupt", ScriptError, "KeyboardInterrupt: "),
        ("raise asyncio.CancelledError", ScriptError, "CancelledError: "),
        ("raise TimeoutError('mine')", ScriptError, "TimeoutError: mine"),
        ("mail.binding = 'vip'", ForbiddenError, "a binding is assigned in set_binding only, not in data"),
        ("return 5", ScriptError, "a hook gives nothing, CONTINUE, DONE or Refuse, not int"),
        ("return True", ScriptError, "a hook gives nothing, CONTINUE, DONE or Refuse, not bool"),
        ("return Refuse(250, 'no')", ScriptError, "ValueError: 250 refuses nothing: use 400 to 599"),
        ("raise UnavailableError('down')", TooSlowError, "down"),
        ("mail.message.header.set('Subject', 'a\\r\\nb: c')", ScriptError, ""),
        ("mail.context[5] = 'x'", ScriptError, "TypeError: the name of a note is a text, not int"),
        ("source('crm')", TooSlowError, "there are no data sources here; a running server has them"),
    ],
)
async def test_how_a_hook_fails(tmp_path: Path, word: str, body: str, kind: type, reason: str) -> None:
    text = f"""\
import asyncio
from outrider.base.errors import UnavailableError
from outrider.policy.api import Refuse, source
{word} data(mail):
    {body}
"""
    stage = Stage(tmp_path, text)
    wanted = SLOW if kind is TooSlowError else FAILED
    assert await stage.decided() == wanted
    assert type(stage.failure) is kind
    assert reason in stage.failure.reason
    line = 4 if body.startswith(("return 5", "return True")) else 5
    assert (stage.failure.script, stage.failure.line, stage.failure.phase) == ("a", line, "data")


async def test_the_line_is_the_scripts_own_wherever_the_error_came_from(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """\
        import json
        def _read(text):
            return json.loads(text)
        def data(mail):
            _read("{")
        """,
    )
    assert await stage.decided() == FAILED
    assert stage.failure.line == 3


def test_what_a_script_left_in_a_message_that_cannot_be_written_is_its_failure(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def data(mail):
            mail.message.content = None
        def each_rcpt(mail):
            pass
        """,
    )
    assert stage.decide() == FAILED
    assert stage.failure.script == "a"


async def test_a_wait_that_is_too_long_ends(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        async def data(mail):
            await asyncio.get_running_loop().create_future()
        """,
        wait_seconds=0.01,
    )
    assert await stage.decided() == SLOW
    assert isinstance(stage.failure, TooSlowError)
    assert stage.failure.reason == "it waited longer than 0.01 s"
    assert stage.failure.line == 4


STUBBORN = """
import asyncio
async def data(mail):
    for _ in range(3):  # at the end of its time, at the end of its grace, when it is closed
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException:
            pass
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "CLEAN_UP_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_a_hook_that_catches_the_end_of_its_time_is_broken_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path, STUBBORN, wait_seconds=0.01)
    assert await stage.decided() == SLOW
    assert isinstance(stage.failure, TooSlowError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.usefixtures("impatient")
async def test_a_hook_that_catches_even_that_is_kept_and_never_run_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, STUBBORN.replace("range(3)", "range(5)"), wait_seconds=0.01)
    assert await stage.decided() == SLOW
    assert len(stage.budget.abandoned) == 1
    assert stage.failure.line == 3


async def cancel_what_waits(stage: Stage) -> None:
    """Cancel whoever awaits a decision, in the middle of it."""
    task = asyncio.get_running_loop().create_task(stage.decided())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("impatient")
async def test_a_hook_that_catches_a_cancellation_is_broken_off(tmp_path: Path) -> None:
    stage = Stage(tmp_path, STUBBORN)
    await cancel_what_waits(stage)
    assert stage.told.failures == []


async def test_who_is_cancelled_may_clean_up_with_waits(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        cleaned = []
        async def data(mail):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                cleaned.append(1)
        """,
        wait_seconds=0.01,
    )
    assert await stage.decided() == SLOW
    assert stage.scripts[0]._functions[HookPhase.DATA].__globals__["cleaned"] == [1]


async def test_a_cancellation_is_no_failure_of_the_script(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        async def data(mail):
            await asyncio.get_running_loop().create_future()
        """,
    )
    await cancel_what_waits(stage)
    assert stage.told.failures == []


async def test_what_nobody_awaits_is_let_go(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        async def mailfrom(connection, sender):
            await asyncio.sleep(0)
        """,
    )
    answer = stage.open().mail_from(SMTP, None)
    answer.close()  # type: ignore[union-attr]  # and no warning says that something was never awaited


async def test_a_secret_is_in_no_failure(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def connect(connection):
            connection.context.keep_secret("token")
            connection.context["token"] = "hush-1"
        def mailfrom(connection, sender):
            connection.message.keep_secret("other")
            connection.message["other"] = "hush-2"
            raise KeyError(connection.context["token"] + connection.message["other"])
        def data(mail):
            mail.context.keep_secret("third")
            mail.context["third"] = "hush-3"
            raise KeyError("hush-3")
        def ehlo(connection, name):
            connection.context["secret_key"] = "hush-4"
            raise KeyError("hush-4")
        """,
    )
    session = stage.open()
    session.connect(SMTP)
    session.mail_from(SMTP, None)
    session.decide(submission())
    session.ehlo(SMTP, "client.test")
    assert [each.reason for each in stage.told.failures] == [
        "KeyError: '(secret)(secret)'",
        "KeyError: '(secret)'",
        "KeyError: '(secret)'",
    ]
    assert [each.line for each in stage.told.failures] == [8, 12, 15]


async def test_a_source_that_fails_is_named_in_the_notes_of_the_connection(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        from outrider.store.sources.failures import SourceDownError
        def mailfrom(connection, sender):
            raise SourceDownError("crm is down", source="crm")
        """,
    )
    session = stage.open()
    assert session.mail_from(SMTP, None) == replies.POLICY_SLOW
    assert session._connection.context[CONTEXT_KEY] == "crm"


def test_http_enters_at_msg_gen(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def data(mail): raise AssertionError
        def data_spool(mail): raise AssertionError
        def msg_gen(mail): mail.recipients = [*mail.recipients, "more@two.test"]
        def each_rcpt(mail): pass
        """,
    )
    assert recipients_of(stage.decide(submission(origin=HTTP))) == ["joe@one.test", "more@two.test"]
    assert stage.told.calls == [HookPhase.MSG_GEN, HookPhase.EACH_RCPT, HookPhase.EACH_RCPT]


def test_notes_are_seeded_by_listener_client_and_metadata(tmp_path: Path) -> None:
    text = """
    def data(mail): pass
    def msg_gen(mail): mail.context["customer"] = mail.connection.context["customer"]
    """
    stage = Stage(tmp_path, text, notes={"api": {"customer": "acme", "secret_a": "x"}, "smtp": {"b": "c"}})
    submitted = submission(origin=HTTP)
    [joe] = submitted.envelope.recipients
    joe = replace(joe, metadata=(("order", "5"), ("secret_code", "hush")))
    submitted = replace(
        submitted, envelope=replace(submitted.envelope, recipients=(joe,)), notes=(("n", "1"),)
    )
    [message] = messages(stage.decide(submitted))
    assert dict(message.notes) == {"n": "1", "order": "5", "customer": "acme"}
    session = stage.open(SMTP)
    assert dict(session._connection.context) == {"b": "c"}
    assert dict(stage.open(HTTP)._connection.context.public()) == {"customer": "acme"}


def test_a_message_without_recipients_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def data(mail): mail.recipients = ()")
    assert stage.decide() == Refusal(replies.NO_RECIPIENTS_LEFT, "policy")


def test_a_discarded_message_is_asked_about_no_more(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def data(mail): mail.discard("over")
        def each_rcpt(mail): raise AssertionError
        """,
    )
    assert [each.discard for each in messages(stage.decide())] == ["over"]


async def test_processor_time_that_is_used_up_is_a_failure_of_the_phase(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        async def data(mail):
            while True:
                pass
        """,
        seconds=0.02,
    )
    stage.budget.start()
    try:
        assert await stage.decided() == FAILED
    finally:
        stage.budget.stop()
    assert isinstance(stage.failure, BudgetError)
    assert stage.failure.line in {3, 4}
