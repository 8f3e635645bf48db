"""A message as hooks see it: what may change in which phase, and that nobody is lost or gets another's."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.base.errors import AddressError, LocalProtocolError
from outrider.model.flow import Content, Traits
from outrider.model.hooks import RECIPIENT_PHASES, HookPhase
from outrider.model.route import DISCARD
from outrider.policy.errors import ForbiddenError
from outrider.policy.mail import AHEAD_SECONDS_MAX, SIGNATURES_MAX, Mail, messages_of
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.stored import unpack
from outrider.wire.message.editable import EditableMessage
from outrider.wire.smtp.content import stuff_plain
from tests.policy.acting import PLAIN, mail_of, submission

OTHER = stuff_plain(b"Subject: other\r\n\r\nOther\r\n")
REQUEST = SignRequest("sender.test", "s1", "key")
EARLY = {HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN}
EACH = {HookPhase.EACH_RCPT}
BINDING = {HookPhase.SET_BINDING}
FINAL = {HookPhase.FINAL_VALIDATION}
MAIL_PHASES = (HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN, *RECIPIENT_PHASES)


def _set(name: str, value: object) -> Callable[[Mail], None]:
    return lambda mail: setattr(mail, name, value)


def _get(name: str) -> Callable[[Mail], Any]:
    return lambda mail: getattr(mail, name)


def _edit(mail: Mail) -> None:
    mail.message.header.set("Subject", "other")
    mail.settle()


CHANGES: dict[str, tuple[Callable[[Mail], Any], Callable[[Mail], Any], Any, set[HookPhase]]] = {
    "mail_from": (
        _set("mail_from", "other@sender.test"),
        _get("mail_from"),
        "other@sender.test",
        EARLY | EACH,
    ),
    "recipients": (_set("recipients", ["x@two.test"]), _get("recipients"), ("x@two.test",), EARLY),
    "rcpt_to": (_set("rcpt_to", "x@two.test"), _get("rcpt_to"), "x@two.test", EACH),
    "content": (_set("content", OTHER), _get("content"), OTHER, EARLY | EACH),
    "message": (_edit, lambda mail: mail.header("subject"), ["other"], EARLY | EACH),
    "routing_domain": (_set("routing_domain", "mx.test"), _get("routing_domain"), "mx.test", EACH),
    "binding": (_set("binding", "vip"), _get("binding"), "vip", BINDING),
    "try_binding": (lambda mail: mail.try_binding("vip"), _get("binding"), "vip", BINDING),
    "priority": (_set("priority", 1), _get("priority"), 1, BINDING),
    "not_before_time": (_set("not_before_time", 1.8e9), _get("not_before_time"), 1.8e9, EACH),
    "sign": (lambda mail: mail.sign(REQUEST), _get("signing"), (REQUEST,), FINAL),
    "leave_unsigned": (lambda mail: mail.leave_unsigned(), _get("signing"), (), FINAL),
    "discard": (lambda mail: mail.discard("why"), _get("is_discarded"), True, EARLY | EACH),
}


@pytest.mark.parametrize("phase", MAIL_PHASES)
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_allowed_or_refused_and_then_nothing_changed(name: str, phase: HookPhase) -> None:
    change, look, changed, allowed = CHANGES[name]
    mail = mail_of(replace(submission(), not_before_time=1.79e9))
    mail.enter(phase)
    before = state(mail)
    if phase in allowed:
        change(mail)
        assert look(mail) == changed
        return
    with pytest.raises(ForbiddenError) as error:
        change(mail)
    assert f"not in {phase}" in error.value.reason
    assert all(each in error.value.reason for each in allowed)
    assert state(mail) == before


def state(mail: Mail) -> tuple[object, ...]:
    """All that a message is."""
    return (
        mail.mail_from,
        mail.recipients,
        mail.content,
        mail.routing_domain,
        mail.binding,
        mail.priority,
        mail.not_before_time,
        mail.signing,
        mail.is_discarded,
        dict(mail.context),
        mail.header("subject"),
    )


READ_ONLY = (
    "id",
    "size",
    "received_time",
    "phase",
    "connection",
    "context",
    "signing",
    "message",
    "recipient",
)


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_can_only_be_read(name: str) -> None:
    mail = mail_of(submission())
    with pytest.raises(AttributeError):
        setattr(mail, name, None)


@pytest.mark.parametrize(
    ("phase", "name", "value", "error", "why"),
    [
        (HookPhase.EACH_RCPT, "mail_from", "nobody", AddressError, "."),
        (HookPhase.EACH_RCPT, "rcpt_to", "", AddressError, "."),
        (HookPhase.EACH_RCPT, "rcpt_to", "a@b.test\r\nRCPT TO:<c@d.test>", AddressError, "."),
        (HookPhase.EACH_RCPT, "rcpt_to", "jöe@one.test", AddressError, "."),
        (HookPhase.DATA, "recipients", "joe@one.test", TypeError, "not one text"),
        (HookPhase.DATA, "recipients", ["joe@one.test", "nobody"], AddressError, "."),
        (HookPhase.EACH_RCPT, "routing_domain", "no domain", AddressError, "."),
        (HookPhase.SET_BINDING, "binding", "no-such", LookupError, "no binding and no group 'no-such'"),
        (HookPhase.SET_BINDING, "priority", 2, ValueError, "neither"),
        (HookPhase.EACH_RCPT, "not_before_time", float("nan"), ValueError, "days ahead"),
        (HookPhase.EACH_RCPT, "not_before_time", float("inf"), ValueError, "days ahead"),
        (HookPhase.EACH_RCPT, "not_before_time", -1, ValueError, "days ahead"),
        (HookPhase.EACH_RCPT, "not_before_time", 1.79e9 + AHEAD_SECONDS_MAX + 1, ValueError, "days ahead"),
        (HookPhase.DATA, "content", Content("text", Traits.NONE, 0), TypeError, "bytes"),  # type: ignore[arg-type]
        (HookPhase.DATA, "content", Content(b"", Traits.NONE, 0), LocalProtocolError, "CRLF"),
        (HookPhase.DATA, "content", Content(b"x", Traits.NONE, 0), LocalProtocolError, "CRLF"),
        (HookPhase.DATA, "content", Content(b"a\nb\r\n", Traits.NONE, 0), LocalProtocolError, "bare"),
        (HookPhase.DATA, "content", Content(b"a\0b\r\n", Traits.NONE, 0), LocalProtocolError, "NUL"),
        (HookPhase.DATA, "content", Content(b"\r\n.\r\nMAIL\r\n", Traits.NONE, 0), LocalProtocolError, "dot"),
    ],
)
def test_what_no_message_can_be(
    phase: HookPhase, name: str, value: object, error: type[Exception], why: str
) -> None:
    mail = mail_of(submission(), phase)
    before = state(mail)
    with pytest.raises(error, match=why):
        setattr(mail, name, value)
    assert state(mail) == before


def test_traits_of_another_content_are_found_anew() -> None:
    mail = mail_of(submission())
    mail.content = Content("Subject: ö\r\n\r\n..x\r\n".encode(), Traits.NONE, 0)
    assert mail.content.traits == Traits.EIGHT_BIT | Traits.DOTTED | Traits.HEADER_UTF8
    assert mail.content.header_octets == len("Subject: ö\r\n".encode())


def test_a_message_that_is_only_read_keeps_its_very_content() -> None:
    mail = mail_of(submission())
    before = mail.content
    assert mail.header("subject") == ["hello"]
    mail.settle()
    mail.content = before
    assert mail.content is before


LETTER = (
    b"Subject: hello\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
)


@pytest.mark.parametrize("early", ["", "header", "root"])
@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.header.set("Subject", "other"),
        lambda message: message.header.delete("Subject"),
        lambda message: message.set_body(b"other\r\n"),
        lambda message: message.set_raw(b"\r\nother\r\n"),
        lambda message: message.root.header.append("X-A", "b"),
        lambda message: message.root.first_child.header.append("X-A", "b"),
        lambda message: message.root.first_child.set_body(b"other\r\n"),
        lambda message: message.root.first_child.unlink(),
        lambda message: message.root.last_child.insert_before(message.root.first_child),
        lambda message: message.root.add_last(message.root.first_child),
        lambda message: message.root.first_child.set_transfer_encoding("8bit"),
    ],
)
def test_a_change_that_is_forbidden_is_refused_where_it_is_tried(
    early: str, change: Callable[[EditableMessage], object]
) -> None:
    mail = mail_of(submission(plain=LETTER))
    before = mail.content
    if early:
        getattr(mail.message, early)
    mail.enter(HookPhase.FINAL_VALIDATION)
    with pytest.raises(ForbiddenError, match=r"content changes in data, .* only, not in final_valid"):
        change(mail.message)
    mail.settle()
    assert mail.content is before
    assert mail.message.raw() == LETTER


def test_recipients_are_named_once_and_keep_what_the_client_said_of_them() -> None:
    submitted = submission("joe@one.test")
    [joe] = submitted.envelope.recipients
    with_dsn = replace(joe, notify=1, metadata=(("customer_id", "7"),))
    submitted = replace(submitted, envelope=replace(submitted.envelope, recipients=(with_dsn,)))
    mail = mail_of(submitted)
    mail.recipients = [*mail.recipients, "ann@two.test", "ann@TWO.test", "joe@one.test"]
    assert mail.recipients == ("joe@one.test", "ann@two.test")
    assert mail._recipients[0] is with_dsn
    mail.recipients = ()
    assert (mail.recipients, mail.rcpt_to, mail.routing_domain) == ((), "", "")


def test_a_priority_is_a_number_whatever_it_was() -> None:
    mail = mail_of(submission(), HookPhase.SET_BINDING)
    mail.priority = True
    assert type(mail.priority) is int


def test_signatures_are_bounded_and_are_requests() -> None:
    mail = mail_of(submission(), HookPhase.FINAL_VALIDATION)
    for _ in range(SIGNATURES_MAX):
        mail.sign(REQUEST)
    with pytest.raises(ValueError, match="signatures"):
        mail.sign(REQUEST)
    mail.leave_unsigned()
    with pytest.raises(TypeError, match="SignRequest"):
        mail.sign("sender.test")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "kept"), [("", "discarded by policy"), ("half \ud800", "half ?"), ("x" * 500, "x" * 200)]
)
def test_the_reason_of_a_discard_can_be_written(reason: str, kept: str) -> None:
    mail = mail_of(submission())
    mail.discard(reason)
    [message] = messages_of(submission(), mail.split())
    assert message.discard == kept
    assert [each.channel for each in message.deliveries] == [DISCARD]
    with pytest.raises(TypeError, match="text"):
        mail.discard(None)  # type: ignore[arg-type]


def test_what_stays_alike_is_one_message_and_one_content() -> None:
    submitted = submission("a@one.test", "b@two.test", "c@one.test")
    mails = mail_of(submitted).split()
    for mail in mails:
        mail.enter(HookPhase.SET_BINDING)
    mails[1].binding = "vip"
    [message] = messages_of(submitted, mails)
    assert message.submission.content is submitted.content
    assert [each.binding for each in message.deliveries] == ["default", "vip", "default"]
    assert [each.routing_domain for each in message.deliveries] == ["one.test", "two.test", "one.test"]


def test_notes_and_signatures_make_a_message_of_its_own_and_secrets_do_not() -> None:
    submitted = submission("a@one.test", "b@two.test", "c@one.test")
    mail = mail_of(submitted)
    mail.context.keep_secret("token")
    mails = mail.split()
    for number, each in enumerate(mails):
        each.context["token"] = str(number)
        each.enter(HookPhase.FINAL_VALIDATION)
    assert len(messages_of(submitted, mails)) == 1
    mails[1].context["who"] = "b"
    mails[2].sign(REQUEST)
    first, second, third = messages_of(submitted, mails)
    assert (first.notes, second.notes, third.notes) == ((), (("who", "b"),), ())
    assert (first.signing, unpack(third.signing).signatures) == (b"", (REQUEST,))


def test_a_sender_that_changes_before_the_split_is_that_of_all() -> None:
    submitted = submission("a@one.test", "b@one.test", "c@two.test")
    mail = mail_of(submitted)
    mail.mail_from = "bounces@sender.test"
    mails = mail.split()
    mails[1].enter(HookPhase.EACH_RCPT)
    mails[1].mail_from = ""
    first, second = messages_of(submitted, mails)
    assert str(first.submission.envelope.mail_from) == "bounces@sender.test"
    assert [str(each.recipient.address) for each in first.deliveries] == ["a@one.test", "c@two.test"]
    assert second.submission.envelope.mail_from is None
    assert str(submitted.envelope.mail_from) == "shop@sender.test"


Step = tuple[str, int, str]

NAMES = st.sampled_from(["a", "b", "c", "d"])
DOMAINS = st.sampled_from(["one.test", "two.test", "three.test"])
ADDRESSES = st.builds(lambda name, domain: f"{name}@{domain}", NAMES, DOMAINS)
LATER = st.lists(
    st.tuples(
        st.sampled_from(
            ["rcpt_to", "content", "binding", "mail_from", "note", "discard", "sign", "priority"]
        ),
        st.integers(0, 7),
        ADDRESSES,
    ),
    max_size=12,
)


def act(mails: tuple[Mail, ...], step: Step) -> None:
    """Do one thing to one recipient's message, in a phase in which it is allowed."""
    what, at, text = step
    mail = mails[at % len(mails)]
    match what:
        case "rcpt_to" | "mail_from":
            mail.enter(HookPhase.EACH_RCPT)
            setattr(mail, what, text)
        case "content":
            mail.enter(HookPhase.EACH_RCPT)
            mail.message.header.set("X-For", text)
            mail.settle()
        case "discard":
            mail.enter(HookPhase.EACH_RCPT)
            mail.discard(text)
        case "binding" | "priority":
            mail.enter(HookPhase.SET_BINDING)
            mail.binding = "vip"
        case "sign":
            mail.enter(HookPhase.FINAL_VALIDATION)
            mail.sign(replace(REQUEST, selector=text.partition("@")[0]))
        case _:
            mail.context["note"] = text


@settings(max_examples=300)
@given(
    first=st.lists(ADDRESSES, min_size=1, max_size=8, unique=True),
    wanted=st.none() | st.lists(ADDRESSES, min_size=1, max_size=8),
    later=LATER,
)
def test_whatever_scripts_do_each_recipient_goes_out_once_and_as_was_said(
    first: list[str], wanted: list[str] | None, later: list[Step]
) -> None:
    submitted = submission(*first, plain=PLAIN)
    mail = mail_of(submitted)
    if wanted is not None:
        mail.recipients = wanted
    mails = mail.split()
    assert [each.rcpt_to for each in mails] == list(dict.fromkeys(first if wanted is None else wanted))
    for step in later:
        if step[0] != "sign" or len(mails[step[1] % len(mails)].signing) < SIGNATURES_MAX:
            act(mails, step)
    left = sorted(expected(each) for each in mails)
    found = []
    for message in messages_of(submitted, mails):
        envelope = message.submission.envelope
        assert envelope.recipients == tuple(each.recipient for each in message.deliveries)
        for delivery in message.deliveries:
            sent_from = "" if envelope.mail_from is None else str(envelope.mail_from)
            found.append(
                (
                    str(delivery.recipient.address),
                    sent_from,
                    message.submission.content.wire,
                    delivery.binding,
                    delivery.routing_domain,
                    delivery.channel,
                    message.discard,
                    len(unpack(message.signing).signatures),
                    str(message.notes),
                )
            )
    assert sorted(found) == left


def expected(mail: Mail) -> tuple[str, str, bytes, str, str, str, str, int, str]:
    """What is to go out for one recipient."""
    return (
        mail.rcpt_to,
        mail.mail_from,
        mail.content.wire,
        mail.binding,
        mail.routing_domain,
        DISCARD if mail.is_discarded else "smtp",
        mail._discard,
        len(mail.signing),
        str(tuple(mail.context.items())),
    )


def test_its_header_section_is_as_it_came_and_as_it_was_changed() -> None:
    mail = mail_of(submission(plain=b".dot: 1\r\nSubject: a\r\n folded\r\n\r\nHello\r\n"))
    assert mail.header_section == b".dot: 1\r\nSubject: a\r\n folded\r\n"
    mail.message.header.set("Subject", "b")
    assert mail.header_section == b".dot: 1\r\nSubject: b\r\n"
