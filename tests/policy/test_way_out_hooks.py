"""Hooks of the way out in Python: what they see, what they may say, and what holds when they fail."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from outrider.model.flow import Content, Disposition, Phase
from outrider.model.hooks import HookPhase
from outrider.model.way_out import Departure, Ruling, Stay
from outrider.policy.attempt import NOTE_CHARACTERS, NOTES_MAX, SECONDS_MAX
from outrider.policy.errors import ForbiddenError, ScriptError, TooSlowError
from outrider.policy.way_out_replies import DISCARDED, HELD_BACK, SCRIPT_FAILED
from outrider.wire.smtp import replies
from tests.policy.acting import PLAIN, Stage, submission
from tests.policy.leaving import LATER, OK, UNKNOWN, ended_of, leaving_of

T = TypeVar("T")


def now(answer: T | Awaitable[T]) -> T:
    """What was answered at once."""
    assert not isinstance(answer, Awaitable)
    return answer


def outbound(stage: Stage, *recipients: str, **more: Any) -> list[Departure]:
    return list(now(stage.door.way_out.outbound(leaving_of(submission(*recipients), **more))))


def response(stage: Stage, reply: Any = LATER, phase: Phase = Phase.RCPT, **more: Any) -> Ruling:
    return now(stage.door.way_out.response(ended_of(reply, phase, **more)))


# before the wire


def test_who_leaves_a_message_alone_gets_the_very_content(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def outbound(mail, attempt): pass")
    leaving = leaving_of()
    [departure] = now(stage.door.way_out.outbound(leaving))
    assert departure is leaving.content
    assert stage.told.calls == [HookPhase.OUTBOUND]


def test_an_edit_is_for_one_recipient(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def outbound(mail, attempt):
            if mail.rcpt_to == "ann@one.test":
                mail.message.header.append("X-For", mail.rcpt_to)
        """,
    )
    first, other, last = outbound(stage, "joe@one.test", "ann@one.test", "bob@one.test")
    assert isinstance(other, Content)
    assert b"X-For: ann@one.test\r\n" in other.wire
    assert first is last
    assert isinstance(first, Content)
    assert b"X-For" not in first.wire


def test_what_is_known_before_the_wire(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        seen = []
        def outbound(mail, attempt):
            seen.append((mail.phase, mail.binding, mail.priority))
            seen.append((mail.context["customer"], mail.header("Subject")))
            seen.append((attempt.host, attempt.peer, attempt.source, attempt.tls))
            seen.append((attempt.attempts, attempt.site))
            seen.append((attempt.code, attempt.disposition, attempt.ending, attempt.id == mail.id))
        """,
    )
    outbound(stage, attempts=2, notes=(("customer", "42"),))
    assert stage.scripts[0]._functions[HookPhase.OUTBOUND].__globals__["seen"] == [
        ("outbound", "vip", 1),
        ("42", ["hello"]),
        ("mx.one.test", "192.0.2.25:25", "192.0.2.2", "TLSv1.3 X"),
        (3, "mx.one.test"),
        (0, "", "", True),
    ]


@pytest.mark.parametrize(
    ("body", "stay"),
    [
        ("attempt.hold_back(60)", Stay(HELD_BACK, 60.0)),
        ("attempt.hold_back(5); attempt.hold_back(60); attempt.hold_back(7)", Stay(HELD_BACK, 60.0)),
        ("mail.discard('sold out')", Stay(DISCARDED, discard="sold out")),
        ("mail.discard('sold out'); attempt.hold_back(9)", Stay(DISCARDED, discard="sold out")),
    ],
)
def test_who_stays_says_why(tmp_path: Path, body: str, stay: Stay) -> None:
    stage = Stage(tmp_path, f"def outbound(mail, attempt): {body}")
    assert outbound(stage) == [stay]


def test_a_text_and_a_code_of_the_script_are_what_is_recorded(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        from outrider.policy.api import Refuse
        def outbound(mail, attempt):
            if mail.rcpt_to.startswith("joe"):
                return Refuse(550, "5.7.1 No licence")
            if mail.rcpt_to.startswith("ann"):
                return Refuse(450, "4.2.1 Not today")
            attempt.hold_back(60, "4.7.9 After the match")
        """,
    )
    found = outbound(stage, "joe@one.test", "ann@one.test", "bob@one.test")
    assert [(str(each.reply), each.seconds) for each in found if isinstance(each, Stay)] == [
        ("550 5.7.1 No licence", None),
        ("450 4.2.1 Not today", None),
        ("451 4.7.9 After the match", 60.0),
    ]


def test_the_second_script_sees_what_the_first_changed_and_a_refusal_ends_it(tmp_path: Path) -> None:
    first = "def outbound(mail, attempt): mail.message.header.append('X-First', 'yes')"
    second = """
        from outrider.policy.api import Refuse
        def outbound(mail, attempt): return Refuse(550, "5.7.1 " + mail.header("X-First")[0])
    """
    stage = Stage(tmp_path, first, second, "def outbound(mail, attempt): raise AssertionError")
    [stay] = outbound(stage)
    assert isinstance(stay, Stay)
    assert stay.reply.text == "yes"
    assert stage.told.failures == []


@pytest.mark.parametrize(
    ("body", "error", "line"),
    [
        ("raise ValueError('odd')", ScriptError, 2),
        ("mail.rcpt_to = 'ann@one.test'", ForbiddenError, 2),
        ("mail.mail_from = 'ann@one.test'", ForbiddenError, 2),
        ("mail.recipients = ['ann@one.test']", ForbiddenError, 2),
        ("mail.binding = 'default'", ForbiddenError, 2),
        ("mail.routing_domain = 'other.test'", ForbiddenError, 2),
        ("mail.priority = 0", ForbiddenError, 2),
        ("mail.not_before_time = 0", ForbiddenError, 2),
        ("mail.leave_unsigned()", ForbiddenError, 2),
        ("attempt.disposition = 'permanent'", ForbiddenError, 2),
        ("attempt.retry_after(60)", ForbiddenError, 2),
        ("attempt.note('a', 'b')", ForbiddenError, 2),
        ("attempt.route_on('sms')", ForbiddenError, 2),
        ("attempt.hold_back(0.5)", ScriptError, 2),
        ("attempt.hold_back(604801)", ScriptError, 2),
        ("attempt.hold_back(float('nan'))", ScriptError, 2),
        ("attempt.hold_back(60, 'a\\x00b')", ScriptError, 2),
        ("return 'yes'", ScriptError, 1),
    ],
)
def test_what_is_wrong_before_the_wire_is_told_and_the_recipient_stays(
    tmp_path: Path, body: str, error: type[Exception], line: int
) -> None:
    stage = Stage(tmp_path, f"def outbound(mail, attempt):\n    {body}")
    assert outbound(stage) == [Stay(SCRIPT_FAILED)]
    failure = stage.failure
    assert (type(failure), failure.script, failure.line, failure.phase) == (error, "a", line, "outbound")


def test_what_a_failing_script_had_changed_goes_nowhere(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def outbound(mail, attempt):
            if mail.rcpt_to.startswith("joe"):
                mail.message.header.append("X-Half", "done")
                raise RuntimeError
        """,
    )
    stay, other = outbound(stage, "joe@one.test", "ann@one.test")
    assert stay == Stay(SCRIPT_FAILED)
    assert isinstance(other, Content)
    assert b"X-Half" not in other.wire


async def test_a_script_that_waits_too_long_has_the_recipient_stay(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        "import asyncio\nasync def outbound(mail, attempt): await asyncio.Event().wait()",
        wait_seconds=0.01,
    )
    answer = stage.door.way_out.outbound(leaving_of())
    assert isinstance(answer, Awaitable)
    assert list(await answer) == [Stay(replies.POLICY_SLOW)]
    assert isinstance(stage.failure, TooSlowError)


async def test_one_that_waits_may_edit_too(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        async def outbound(mail, attempt):
            await asyncio.sleep(0)
            mail.message.header.append("X-Late", "yes")
        """,
    )
    answer = stage.door.way_out.outbound(leaving_of())
    assert isinstance(answer, Awaitable)
    [content] = await answer
    assert isinstance(content, Content)
    assert content.wire.startswith(b"X-Late: yes\r\n") or b"\r\nX-Late: yes\r\n" in content.wire


def test_the_traits_of_what_was_edited_are_found_anew(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def outbound(mail, attempt):
            old = mail.content
            wire = old.wire + b"..gr\\xc3\\xbcn\\r\\n"
            mail.content = type(old)(wire, old.traits, old.header_octets)
        """,
    )
    [content] = outbound(stage)
    assert isinstance(content, Content)
    assert content.traits == 3, "eight bit, and a line that begins with a dot"
    assert content.wire.startswith(PLAIN)


# after it


def test_what_is_known_after_it(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        seen = []
        def response(attempt):
            seen.append((attempt.code, attempt.enhanced, attempt.text, attempt.where, attempt.is_ours))
            seen.append((attempt.disposition, attempt.bounce_class, attempt.attempts, attempt.seconds))
            seen.append((attempt.mail_from, attempt.rcpt_to, attempt.routing_domain))
            seen.append((attempt.binding, attempt.channel, attempt.host, attempt.context["customer"]))
            seen.append((attempt.tenant, attempt.stream, attempt.metadata))
        """,
    )
    ruling = response(stage, UNKNOWN, attempts=4, notes=(("customer", "42"),))
    assert stage.scripts[0]._functions[HookPhase.RESPONSE].__globals__["seen"] == [
        (550, "5.1.1", "No such user", "rcpt", False),
        ("permanent", "mailbox-unknown", 4, 0.5),
        ("shop@sender.test", "joe@one.test", "one.test"),
        ("vip", "smtp", "mx.one.test", "42"),
        ("default", "default", {}),
    ]
    assert (ruling.verdict.disposition, ruling.seconds, ruling.metadata) == (Disposition.PERMANENT, None, {})


@pytest.mark.parametrize(
    ("reply", "body", "disposition", "seconds"),
    [
        (LATER, "attempt.disposition = 'permanent'", Disposition.PERMANENT, None),
        (LATER, "attempt.retry_after(90)", Disposition.TRANSIENT, 90.0),
        (UNKNOWN, "attempt.disposition = 'transient'", Disposition.TRANSIENT, None),
        (UNKNOWN, "attempt.disposition = 'transient'; attempt.retry_after(90)", Disposition.TRANSIENT, 90.0),
        (LATER, "attempt.retry_after(90); attempt.disposition = 'permanent'", Disposition.PERMANENT, None),
        (LATER, "attempt.disposition = 'transient'", Disposition.TRANSIENT, None),
    ],
)
def test_what_follows_from_a_failure_can_be_changed(
    tmp_path: Path, reply: Any, body: str, disposition: Disposition, seconds: float | None
) -> None:
    ruling = response(Stage(tmp_path, f"def response(attempt): {body}"), reply)
    assert (ruling.verdict.disposition, ruling.seconds) == (disposition, seconds)
    assert ruling.verdict.bounce_class == ended_of(reply).verdict.bounce_class


def test_a_failure_of_ours_can_be_ended(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def response(attempt):\n if attempt.is_ours: attempt.disposition = 'permanent'")
    assert response(stage, LATER, Phase.CONNECT, ours=True).verdict.disposition == Disposition.PERMANENT


@pytest.mark.parametrize(
    "body",
    [
        "attempt.disposition = 'permanent'",
        "attempt.disposition = 'transient'",
        "attempt.retry_after(60)",
        "attempt.note('a', 'b')",
    ],
)
def test_a_delivery_is_only_read(tmp_path: Path, body: str) -> None:
    stage = Stage(tmp_path, f"def response(attempt):\n    {body}")
    ruling = response(stage, OK, Phase.BODY)
    assert ruling.verdict.disposition == Disposition.DELIVERED
    assert isinstance(stage.failure, ForbiddenError)
    assert stage.failure.reason == "a delivered recipient is only read"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("attempt.disposition = 'delivered'", "transient or permanent"),
        ("attempt.disposition = 'permanent'; attempt.retry_after(5)", "not tried again"),
        ("attempt.disposition = 'transient'; attempt.retry_after(0)", "1 to 604,800"),
        ("attempt.hold_back(60)", "outbound only"),
        ("attempt.route_on('sms')", "disposal only"),
        ("attempt.note('secret_a', 'b')", "secret"),
        ("attempt.note('a b', 'c')", "no name"),
        ("attempt.note('a', 1)", "texts"),
        (f"attempt.note('a', 'b' * {NOTE_CHARACTERS + 1})", "characters"),
        (f"[attempt.note(f'n{{at}}', 'b') for at in range({NOTES_MAX + 1})]", "already"),
        ("attempt.note('a', chr(0xD800))", "surrogates"),
        ("attempt.code = 250", "code"),
        ("from outrider.policy.api import Refuse; return Refuse(550, 'no')", "nothing can be refused"),
        ("raise RuntimeError('odd')", "odd"),
    ],
)
def test_what_is_wrong_after_a_refusal_is_told_and_the_recipient_is_kept(
    tmp_path: Path, body: str, why: str
) -> None:
    stage = Stage(tmp_path, f"def response(attempt):\n    {body}")
    ruling = response(stage, UNKNOWN)
    assert (ruling.verdict.disposition, ruling.metadata) == (Disposition.TRANSIENT, {})
    assert why in stage.failure.reason
    assert response(stage, LATER).verdict.disposition == Disposition.TRANSIENT


def test_what_a_failing_script_had_said_does_not_hold(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def response(attempt):
            attempt.disposition = "permanent"
            attempt.note("a", "b")
            1 / 0
        """,
    )
    ruling = response(stage, LATER)
    assert (ruling.verdict, ruling.metadata) == (ended_of(LATER).verdict, {})


def test_notes_are_for_the_event(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def response(attempt): attempt.note('rule', attempt.bounce_class)")
    assert response(stage, UNKNOWN).metadata == {"rule": "mailbox-unknown"}


# at the end


def test_who_ends_is_seen_and_noted(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def disposal(attempt): attempt.note('end', f'{attempt.ending} {attempt.code}')")
    assert now(stage.door.way_out.disposal(ended_of(UNKNOWN, kind="bounced"))) == {"end": "bounced 550"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("attempt.route_on('sms')", "channel not available: sms"),
        ("attempt.disposition = 'transient'", "response only"),
        ("attempt.retry_after(60)", "response only"),
        ("attempt.hold_back(60)", "outbound only"),
    ],
)
def test_what_cannot_be_asked_for_at_the_end(tmp_path: Path, body: str, why: str) -> None:
    stage = Stage(tmp_path, f"def disposal(attempt):\n    attempt.note('a', 'b')\n    {body}")
    assert now(stage.door.way_out.disposal(ended_of(UNKNOWN, kind="bounced"))) == {}
    assert why in stage.failure.reason


# all of them


def test_only_scripts_of_the_way_out_are_opened(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def data(mail): pass", "def outbound(mail, attempt): pass")
    assert stage.door.way_out.phases == {HookPhase.OUTBOUND}
    assert [each.name for each in stage.door.way_out._scripts] == ["b"]
    assert Stage(tmp_path, "def data(mail): pass").door.way_out.phases == frozenset()


def test_done_keeps_the_others_from_being_asked(tmp_path: Path) -> None:
    first = "from outrider.policy.api import DONE\ndef response(attempt): return DONE"
    stage = Stage(tmp_path, first, "def response(attempt): raise AssertionError")
    response(stage, LATER)
    assert stage.told.failures == []


async def test_a_question_that_nobody_waits_for_any_more_ends(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        ended = []
        async def outbound(mail, attempt):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)
        """,
    )
    answer = stage.door.way_out.outbound(leaving_of())
    assert isinstance(answer, Awaitable)
    task = asyncio.ensure_future(answer)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.scripts[0]._functions[HookPhase.OUTBOUND].__globals__["ended"] == [1]


def test_the_longest_time_is_below_any_that_a_message_has(tmp_path: Path) -> None:
    stage = Stage(tmp_path, f"def outbound(mail, attempt): attempt.hold_back({SECONDS_MAX})")
    assert outbound(stage) == [Stay(HELD_BACK, SECONDS_MAX)]


async def test_others_have_a_turn_while_many_are_asked_about(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "def outbound(mail, attempt): pass")
    recipients = [f"u{number}@one.test" for number in range(25)]
    leaving = leaving_of(submission(*recipients))
    answer = stage.door.way_out.outbound(leaving)
    assert isinstance(answer, Awaitable)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    assert list(await answer) == [leaving.content] * 25
    task.cancel()
    assert turns >= 2
