"""Recipients whom policy refuses while it takes the message for others: one frame, their ends, one report."""

import email
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.classify.options import DsnOptions
from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Finished, Keyed, Stored
from outrider.model.flow import (
    Decided,
    Delivery,
    Message,
    Notify,
    Origin,
    Phase,
    Recipient,
    Refusal,
    RefusedRecipient,
    Submission,
)
from outrider.model.reply import Reply
from outrider.model.route import REFUSED
from outrider.record.derive import events_of
from outrider.record.events import Bounced, Received
from outrider.record.redact import Profile, Redactor
from outrider.server.reports import Reports
from outrider.server.unsent import ends_unsent, is_unsent
from outrider.wire.smtp.content import stuff_plain
from tests.server.conftest import StubPolicy
from tests.server.test_ingress import SUBMISSION
from tests.server.test_ingress_scripts import HTTP, World, taken

PLAIN = b"From: shop@sender.test\r\nSubject: hello\r\n\r\n.Hello\r\n" + b"x" * 50 + b"\r\n"
NO = Reply(550, "5.7.1", ("no mail for you",))
GONE = Reply(551, "5.1.6", ("gone",))
PLACE = ContentRef(1, 1, 64, 200)


def recipient(name: str, **more: Any) -> Recipient:
    return Recipient(Address(name, "two.test"), **more)


def submitted(*recipients: Recipient, origin: Origin = SUBMISSION.origin, **envelope: Any) -> Submission:
    """A message for a@one.test and others."""
    everybody = (Recipient(Address("a", "one.test")), *recipients)
    return replace(
        SUBMISSION,
        origin=origin,
        envelope=replace(SUBMISSION.envelope, recipients=everybody, **envelope),
        content=stuff_plain(PLAIN),
    )


def decided(submission: Submission, *replies: Reply) -> Decided:
    """It is taken for the first recipient and refused for the others."""
    first, *others = submission.envelope.recipients
    own = replace(submission, envelope=replace(submission.envelope, recipients=(first,)))
    refused = tuple(RefusedRecipient(each, reply) for each, reply in zip(others, replies, strict=True))
    return Decided((Message(own, (Delivery(first, "one.test"),)),), refused)


class ReportingWorld(World):
    """An intake with scripts that reports."""

    def __init__(self, folder: Path, *decisions: Any, **dsn: Any) -> None:
        super().__init__(folder, *decisions)
        clock = FakeClock()
        reports = Reports(
            DsnOptions(**dsn),
            "mail.example.test",
            StubPolicy(),
            self.log,
            IdSource(clock, 7),
            clock,
            ListLog(),
        )
        self.ingress._frames._report = reports.of_refused

    def submit(self, submission: Submission) -> tuple[list[Change], list[bytes]]:
        """Changes and contents of the one frame that it makes."""
        self.ingress.submit(submission, self.heard.append, self.session)  # type: ignore[arg-type]
        [(changes, contents)] = self.log.frames
        return list(changes), [b"".join(each) for each in contents]


def kept(changes: list[Change]) -> list[Stored]:
    return [each for each in changes if isinstance(each, Stored)]


def ends(changes: list[Change]) -> list[Finished]:
    return [each for each in changes if isinstance(each, Finished)]


async def test_all_of_it_is_one_frame_and_the_250_says_so(tmp_path: Path) -> None:
    submission = submitted(recipient("no"), recipient("gone"))
    world = ReportingWorld(tmp_path, decided(submission, NO, GONE))
    changes, contents = world.submit(submission)
    taken_, refused, report = kept(changes)
    assert [str(each.recipient.address) for each in taken_.deliveries] == ["a@one.test"]
    assert [str(each.recipient.address) for each in refused.deliveries] == ["no@two.test", "gone@two.test"]
    assert (refused.message_id, refused.mail_from) == (taken_.message_id, taken_.mail_from)
    assert [(each.entry, each.kind, each.attempted.outcome.reply) for each in ends(changes)] == [
        (refused.first_entry, "bounced", NO),
        (refused.first_entry + 1, "bounced", GONE),
    ]
    assert all(each.attempted.outcome.phase == Phase.QUEUE for each in ends(changes))
    assert len({taken_.first_entry, refused.first_entry, refused.first_entry + 1, report.first_entry}) == 4
    header = PLAIN[: PLAIN.index(b"\r\n\r\n") + 4]
    assert contents[:2] == [PLAIN.replace(b"\r\n.", b"\r\n.."), header]
    assert [each.size for each in kept(changes)] == [len(each) for each in contents]
    assert (is_unsent(taken_), is_unsent(refused), is_unsent(report)) == (False, True, False)
    assert all(ends_unsent(each) for each in ends(changes))
    assert world.heard == []
    world.settle()
    [reply] = world.heard
    assert (reply.code, reply.lines) == (
        250,
        (f"Ok: queued as {taken_.message_id}, durable, without 2 recipients whom policy refuses",),
    )
    assert world.told == []


async def test_the_report_names_all_of_them_with_their_replies(tmp_path: Path) -> None:
    submission = submitted(recipient("no", orcpt="rfc822;nobody@two.test"), recipient("gone"), envid="E1")
    world = ReportingWorld(tmp_path, decided(submission, NO, GONE))
    changes, contents = world.submit(submission)
    report = kept(changes)[-1]
    assert report.mail_from is None
    assert [str(each.recipient.address) for each in report.deliveries] == ["shop@sender.test"]
    parsed: Any = email.message_from_bytes(contents[-1])
    text, status, returned = parsed.get_payload()
    assert "550 5.7.1 no mail for you" in text.get_payload()
    whole, *groups = status.get_payload()
    assert whole["Original-Envelope-Id"] == "E1"
    fields = ("Final-Recipient", "Action", "Status", "Diagnostic-Code")
    assert [[group[field] for field in fields] for group in groups] == [
        ["rfc822; no@two.test", "failed", "5.7.1", "x-outrider; 550 5.7.1 no mail for you"],
        ["rfc822; gone@two.test", "failed", "5.1.6", "x-outrider; 551 5.1.6 gone"],
    ]
    assert groups[0]["Original-Recipient"] == "rfc822; nobody@two.test"
    assert "Subject: hello" in str(returned)


async def test_with_ret_full_the_whole_message_comes_back(tmp_path: Path) -> None:
    submission = submitted(recipient("no"), ret="FULL")
    world = ReportingWorld(tmp_path, decided(submission, NO))
    _, contents = world.submit(submission)
    assert PLAIN.replace(b"\r\n.", b"\r\n..") in contents[-1]


@pytest.mark.parametrize(
    ("submission", "options"),
    [
        (submitted(recipient("no", notify=int(Notify.NEVER))), {}),
        (submitted(recipient("no", notify=int(Notify.SUCCESS))), {}),
        (submitted(recipient("no"), mail_from=None), {}),
        (submitted(recipient("no"), origin=replace(SUBMISSION.origin, sandbox=True)), {}),
        (submitted(recipient("no")), {"policy_refusals": False}),
        (submitted(recipient("no")), {"enabled": False}),
    ],
    ids=["never", "success", "null-sender", "sandbox", "option", "disabled"],
)
async def test_where_nobody_is_to_be_told_the_end_is_recorded_all_the_same(
    tmp_path: Path, submission: Submission, options: dict[str, bool]
) -> None:
    world = ReportingWorld(tmp_path, decided(submission, NO), **options)
    changes, contents = world.submit(submission)
    assert len(kept(changes)) == len(contents) == 2
    assert "no@two.test" in [str(each.attempted.recipient) for each in ends(changes)]


async def test_events_say_that_policy_ended_it(tmp_path: Path) -> None:
    submission = submitted(recipient("no", metadata=(("order", "5"), ("secret_x", "hush"))))
    world = ReportingWorld(tmp_path, decided(submission, NO))
    changes, _ = world.submit(submission)
    events = events_of(PLACE, changes, Redactor(Profile.FULL))
    received = [each for each in events if isinstance(each, Received)]
    assert [(each.recipient, each.channel) for each in received][:2] == [
        ("a@one.test", "smtp"),
        ("no@two.test", REFUSED),
    ]
    [bounce] = [each for each in events if isinstance(each, Bounced)]
    assert (bounce.recipient, bounce.ours, bounce.phase, bounce.bounce_class) == (
        "no@two.test",
        True,
        "queue",
        "own-policy",
    )
    assert (bounce.reply_code, bounce.reply_enhanced, bounce.reply_text) == (550, "5.7.1", "no mail for you")
    assert bounce.metadata == {"order": "5"}


async def test_what_was_not_stored_is_refused_as_a_whole(tmp_path: Path) -> None:
    submission = submitted(recipient("no"))
    world = ReportingWorld(tmp_path, decided(submission, NO))
    world.submit(submission)
    world.log.waiting[0](None)
    assert [each.code for each in world.heard] == [451]


async def test_keys_are_made_anew_when_it_is_known_who_is_refused(tmp_path: Path) -> None:
    submission = replace(submitted(recipient("no")), origin=HTTP.origin)
    world = ReportingWorld(tmp_path, decided(submission, NO))
    heard: list[list[list[RefusedRecipient]]] = []
    early, late = Keyed(b"key", b"d", b"without", 1.0), Keyed(b"key", b"d", b"with", 1.0)

    def keep(refused: Any) -> list[list[Keyed]]:
        heard.append([list(each) for each in refused])
        assert world.log.frames == []
        return [[late]]

    world.ingress.submit_all((submission,), [[early]], world.heard.append, keep)
    assert heard == [[[RefusedRecipient(recipient("no"), NO)]]]
    assert [each for each in world.log.changes if isinstance(each, Keyed)] == [late]


async def test_of_a_request_of_several_messages_one_may_be_refused(tmp_path: Path) -> None:
    world = ReportingWorld(tmp_path, taken(HTTP), Refusal(NO, "policy"), taken(HTTP))
    world.ingress.submit_all((HTTP, HTTP, HTTP), (), world.heard.append)
    assert [len(kept(list(changes))) for changes, _ in world.log.frames] == [1, 2, 1]
    [end] = ends(world.log.changes)
    assert (end.kind, end.attempted.outcome.reply) == ("bounced", NO)
    world.settle()
    assert [str(each) for each in world.heard] == [
        f"250 2.0.0 Ok: queued as {HTTP.message_id}, durable, without 1 recipient whom policy refuses"
    ]
