"""A message's life in words: each event is a step, in the order of time, and waits are said."""

from typing import Any

import pytest

from outrider.record.timeline import Step, steps_of
from outrider.record.trace import reports_of, states_of

RECEIVED = {
    "type": "reception",
    "id": "1.1.10.0",
    "time": "2026-11-24T10:00:00.000000Z",
    "message_id": "m",
    "entry": 1,
    "mail_from": "*@shop.test",
    "recipient": "*@one.test",
    "domain": "one.test",
    "size": 512,
    "tenant": "shop",
    "stream": "news",
    "channel": "smtp",
    "binding": "b1",
    "listener": "submission",
    "protocol": "ESMTPSA",
    "client": "192.0.2.7",
    "helo": "app.shop.test",
    "principal": "user:app",
    "tls": "TLSv1.3 AES",
}
DEFERRED = {
    "type": "transient",
    "id": "1.1.20.0",
    "time": "2026-11-24T10:00:01.000000Z",
    "message_id": "m",
    "entry": 1,
    "recipient": "*@one.test",
    "attempts": 1,
    "phase": "rcpt",
    "reply_code": 450,
    "reply_enhanced": "4.2.0",
    "reply_text": "Later",
    "host": "mx.one.test",
    "peer": "198.51.100.1:25",
    "source": "192.0.2.1",
    "tls": "TLSv1.2 X",
    "seconds": 0.25,
    "due_time": "2026-11-24T10:05:01.000000Z",
}
BOUNCED = {
    **DEFERRED,
    "type": "bounce",
    "id": "2.1.30.0",
    "time": "2026-11-24T10:05:02.000000Z",
    "attempts": 2,
    "reply_code": 550,
    "reply_enhanced": "5.1.1",
    "reply_text": "No such user",
    "bounce_class": "mailbox-unknown",
    "queued_seconds": 302.0,
}
RETRIED = {
    "type": "retry",
    "id": "3.1.1.0",
    "time": "2026-11-24T10:04:00.000000Z",
    "entry": 1,
    "actor": "root",
}
REPORT = {
    "type": "reception",
    "id": "2.1.30.1",
    "time": BOUNCED["time"],
    "message_id": "r",
    "recipient": "*@shop.test",
}


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps]


def test_the_whole_life_reads_from_reception_to_report() -> None:
    steps = steps_of([RECEIVED, DEFERRED, RETRIED, BOUNCED], [REPORT])
    assert kinds(steps) == ["received", "queued", "deferred", "waits", "retry", "bounced", "report"]
    received, queued, deferred, waits, retry, bounced, report = steps
    for words in (
        "listener submission",
        "ESMTPSA",
        "192.0.2.7",
        "user:app",
        "TLSv1.3",
        "shop",
        "news",
        "512",
    ):
        assert words in received.text
    assert "binding b1" in queued.text
    assert (
        "mx.one.test [198.51.100.1:25] over TLSv1.2 X from 192.0.2.1 said at RCPT: 450 4.2.0 Later (0.250 s)"
        in (deferred.text)
    )
    assert (deferred.attempt, deferred.seconds) == (1, 0.25)
    assert (waits.text, waits.until) == ("300 s for the next attempt", DEFERRED["due_time"])
    assert retry.text == "by root"
    assert retry.recipient == "*@one.test"
    assert "classed as mailbox-unknown; 302.0 s after reception" in bounced.text
    assert (report.message_id, "queued as r" in report.text) == ("r", True)


def test_a_failure_of_ours_is_not_put_into_a_peers_mouth() -> None:
    ours = {**DEFERRED, "ours": True, "host": "", "peer": "", "phase": "connect", "reply_text": "Refused"}
    assert steps_of([ours])[0].text.startswith("this server says at CONNECT: 450 4.2.0 Refused")


def test_what_is_still_queued_waits() -> None:
    row = {"entry": 1, "state": "held", "held": "a complaint", "due_time": "2026-11-24T12:00:00.000000Z"}
    last = steps_of([RECEIVED], queued=[row])[-1]
    assert (last.kind, last.text, last.recipient) == ("waits", "on hold: a complaint", "*@one.test")
    assert last.until == ""  # it waits for somebody, not for its next attempt


ORDER = {"number": 4, "actor": "root", "reason": "they asked", "until_time": "2026-11-24T14:00:00Z"}


@pytest.mark.parametrize(
    ("more", "text", "until"),
    [
        ({}, "is due; its path has not taken it yet", ""),
        ({"path_state": "active"}, "is due; its path has not taken it yet", ""),
        ({"site": ""}, "is due; no route to one.test is known now", ""),
        ({"path_state": "throttled"}, "is due; the path smtp/b1/mx.one.test is throttled", ""),
        ({"path_state": "suspended"}, "is due; the path smtp/b1/mx.one.test is suspended", ""),
        (
            {"path_state": "suspended", "suspended": ORDER},
            "is due; the path smtp/b1/mx.one.test is suspended (suspension 4 by root: they asked)",
            "2026-11-24T14:00:00Z",
        ),
        (
            {"path_state": "suspended", "suspended": {**ORDER, "until_time": None}},
            "is due; the path smtp/b1/mx.one.test is suspended (suspension 4 by root: they asked)",
            "",
        ),
    ],
)
def test_what_is_due_says_what_stops_it(more: dict[str, Any], text: str, until: str) -> None:
    row = {
        "entry": 1,
        "state": "due",
        "channel": "smtp",
        "binding": "b1",
        "site": "mx.one.test",
        "routing_domain": "one.test",
        "due_time": "2026-11-24T12:00:00.000000Z",
        **more,
    }
    last = steps_of([RECEIVED], queued=[row])[-1]
    assert (last.kind, last.text, last.until) == ("waits", text, until)


def test_every_event_gives_a_step_even_of_a_kind_that_is_new() -> None:
    unknown = {"type": "something", "id": "9.1.1.0", "time": "2026-11-24T10:00:05.000000Z"}
    assert kinds(steps_of([RECEIVED, unknown])) == ["received", "queued", "something"]


def test_several_recipients_are_received_once() -> None:
    second = {**RECEIVED, "entry": 2, "id": "1.1.10.1", "recipient": "*@two.test", "domain": "two.test"}
    steps = steps_of([RECEIVED, second])
    assert kinds(steps) == ["received", "queued", "queued"]
    assert "2 recipients" in steps[0].text


def test_reports_are_found_by_the_frame_that_they_share(tmp_path: Any) -> None:
    import json

    message, other = "0" * 18, "1" * 18
    life = [
        {**RECEIVED, "message_id": message},
        {**BOUNCED, "message_id": message, "mail_from": "*@shop.test"},
    ]
    lines = [
        *life,
        {**REPORT, "message_id": other, "protocol": "internal"},
        {**REPORT, "id": "2.1.31.0", "message_id": "2" * 18, "protocol": "internal"},
    ]
    (tmp_path / "1").mkdir()
    from outrider.record.files import open_path

    path = open_path(tmp_path, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert [each["message_id"] for each in reports_of(tmp_path, life)] == [other]


def test_only_what_waits_for_a_time_has_an_end() -> None:
    """A hold ends when somebody releases it, and who makes something due does not put it off."""
    later, now = "2026-11-24T12:00:00.000000Z", "2026-11-24T10:01:00.500000Z"
    at = {"entry": 1, "time": "2026-11-24T10:01:00.000000Z", "actor": "root"}
    hold, retry = {**at, "type": "hold", "due_time": later}, {**at, "type": "retry", "due_time": now}
    release = {**at, "type": "release", "due_time": later}
    assert [step.until for step in steps_of([RECEIVED, hold, retry, release])[2:]] == ["", "", later]


def test_who_makes_a_held_entry_due_leaves_it_held() -> None:
    held = {"type": "hold", "entry": 1, "time": "2026-11-24T10:01:00Z"}
    released = {"type": "release", "entry": 1, "time": "2026-11-24T10:06:00Z"}
    assert states_of([RECEIVED, held, RETRIED])[0]["state"] == "held"
    assert states_of([RECEIVED, held, RETRIED, released])[0]["state"] == "queued"


def test_a_recipient_whom_policy_refused_was_never_queued() -> None:
    refused = {**RECEIVED, "id": "1.1.10.1", "entry": 2, "recipient": "*@two.test", "domain": "two.test"}
    refused["channel"] = "refused"
    end = {**BOUNCED, "id": "1.1.10.2", "time": RECEIVED["time"], "entry": 2, "recipient": "*@two.test"}
    end |= {"host": "", "peer": "", "phase": "queue", "ours": True, "bounce_class": "own-policy"}
    steps = steps_of([RECEIVED, refused, end])
    assert [(step.kind, step.entry) for step in steps] == [
        ("received", 0),
        ("queued", 1),
        ("refused", 2),
        ("bounced", 2),
    ]
    assert steps[2].text == "for two.test, by policy"
    assert "2 recipients" in steps[0].text
