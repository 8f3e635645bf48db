"""Events are a pure function of change sets and their place."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Forgotten, Moved
from outrider.model.flow import Origin
from outrider.model.reply import Reply
from outrider.record.derive import Place, events_of, noticed, parse_id, refused
from outrider.record.events import (
    Bounced,
    Deferred,
    Delivered,
    Discarded,
    Expired,
    Held,
    Purged,
    Received,
    Released,
    Rerouted,
    decode_line,
    encode_lines,
    schema,
)
from outrider.record.redact import Profile, Redactor
from tests.record.tokens import FixedTokens

REF = ContentRef(3, 1, 640, 900)
ALICE = Address("alice", "example.com")
BOB = Address("bob", "example.org")


def test_a_reception_has_one_event_for_each_recipient(make: Any) -> None:
    events = events_of(REF, [make.stored(ALICE, BOB)], Redactor())
    assert [type(event) for event in events] == [Received, Received]
    assert [event.id for event in events] == ["3.1.640.0", "3.1.640.1"]
    first, second = events
    assert isinstance(first, Received)
    assert isinstance(second, Received)
    assert (first.recipient, first.domain, first.entry) == ("*@example.com", "example.com", 7)
    assert (second.recipient, second.domain, second.entry) == ("*@example.org", "example.org", 8)
    assert (first.mail_from, first.tenant, first.stream) == ("*@sender.example", "acme", "news")
    assert first.time == datetime.fromtimestamp(1_790_000_000.25, UTC)


def test_an_attempt_carries_all_facts(make: Any) -> None:
    (event,) = events_of(REF, [make.retried(ALICE)], Redactor())
    assert isinstance(event, Deferred)
    line = msgspec.json.decode(encode_lines([event]))
    assert line == {
        "type": "transient",
        "id": "3.1.640.0",
        "time": "2026-09-21T14:13:22.750000Z",
        "message_id": "01k9q4m2x7f3a8w0z1",
        "entry": 7,
        "mail_from": "*@sender.example",
        "recipient": "*@example.com",
        "domain": "example.com",
        "size": 2048,
        "tenant": "acme",
        "stream": "news",
        "channel": "smtp",
        "binding": "default",
        "site": "mx.example.net",
        "attempts": 1,
        "phase": "rcpt",
        "reply_code": 451,
        "reply_enhanced": "4.7.1",
        "reply_text": "Try later",
        "bounce_class": "greylisted",
        "host": "mx1.example.net",
        "peer": "198.51.100.1:25",
        "source": "192.0.2.2:4000",
        "seconds": 0.125,
        "queued_seconds": 2.5,
        "due_time": "2026-09-21T14:23:20.250000Z",
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("delivered", Delivered),
        ("bounced", Bounced),
        ("expired", Expired),
        ("purged", Purged),
        ("discarded", Discarded),
        ("of-a-newer-program", Discarded),
    ],
)
def test_each_end_has_its_event(make: Any, kind: str, expected: type) -> None:
    (event,) = events_of(REF, [make.finished(ALICE, kind=kind, reason="root: for alice")], Redactor())
    assert type(event) is expected
    if isinstance(event, Purged | Discarded):
        assert event.reason == "root: for <redacted>"


def test_alterations_say_what_they_did(make: Any) -> None:
    changes = [make.altered(held="audit"), make.altered(binding="pool-2"), make.altered()]
    held, rerouted, released = events_of(REF, changes, Redactor())
    assert isinstance(held, Held)
    assert (held.reason, held.actor, held.entry) == ("audit", "root", 7)
    assert isinstance(rerouted, Rerouted)
    assert rerouted.binding == "pool-2"
    assert isinstance(released, Released)


def test_copies_of_what_was_told_tell_nothing(make: Any) -> None:
    moved = Moved(make.stored(ALICE), ((7, 1, 0, 0.0, "", "default", "example.com", False),))
    assert events_of(REF, [Forgotten((1, 2)), moved], Redactor()) == []


def test_numbers_count_events_not_changes(make: Any) -> None:
    changes: list[Change] = [Forgotten((1,)), make.stored(ALICE, BOB), make.finished(ALICE)]
    assert [event.id[-2:] for event in events_of(REF, changes, Redactor())] == [".0", ".1", ".2"]


def test_ids_name_places() -> None:
    assert parse_id("3.1.640.2") == Place(1, 640, 2)
    assert parse_id("3.x19a.2") is None
    assert parse_id("") is None
    assert parse_id("3.1.6x.2") is None
    assert parse_id("3.1.٣.2") is None
    assert Place(1, 640, 2) < Place(1, 641, 0) < Place(2, 0, 0)


def test_a_refusal_may_hold_anything() -> None:
    origin = Origin("smtp", "ESMTP", "203.0.113.5", "alice@evil\x1b[2J", None, None)
    reply = Reply(550, "5.7.1", ("no bob@example.org",))
    event = refused("3.x1.1", 0.5, origin, "<alice@x>\n", "bob", reply, Redactor(), 4)
    assert event.mail_from == "<*@x> "
    assert event.recipient == "<redacted>"
    assert event.helo == "*@evil[2J"
    assert event.reply_text == "no *@example.org"
    assert event.suppressed == 4


def test_notices_are_redacted_too() -> None:
    event = noticed("3.x1.1", 0.5, "worker.restarted", {"who": "alice@example.com", "code": 9}, Redactor())
    assert event.fields == {"who": "*@example.com", "code": 9}


def test_every_event_fits_the_schema_and_reads_back(make: Any) -> None:
    kinds = ("delivered", "bounced", "expired", "purged", "discarded")
    changes = [make.stored(ALICE), make.retried(ALICE), make.altered(held="x"), make.altered()]
    changes += [make.finished(ALICE, kind=kind) for kind in kinds]
    events = events_of(REF, changes, Redactor())
    lines = encode_lines(events).splitlines()
    assert [decode_line(line) for line in lines] == events
    tags = set(schema()["discriminator"]["mapping"])
    assert {msgspec.json.decode(line)["type"] for line in lines} <= tags
    assert tags >= {
        "reception",
        "delivery",
        "transient",
        "bounce",
        "expiration",
        "purge",
        "discard",
        "refusal",
    }
    assert tags >= {"hold", "release", "alteration", "notice", "opened"}


def test_the_schema_describes_each_field() -> None:
    definitions = schema()["$defs"]
    assert {"id", "time", "message_id", "reply_code", "bounce_class"} <= set(
        definitions["Bounced"]["properties"]
    )


local_parts = st.from_regex(r"[a-z][a-z0-9]{9,20}", fullmatch=True)
replies = st.text(st.characters(codec="utf-8"), max_size=60)


@given(
    sender=local_parts,
    recipient=local_parts,
    before=replies,
    after=replies,
    helo=replies,
    profile=st.sampled_from([profile for profile in Profile if profile is not Profile.FULL]),
)
def test_no_line_holds_a_local_part(
    make: Any, sender: str, recipient: str, before: str, after: str, helo: str, profile: Profile
) -> None:
    mail_from = Address(sender, "sender.example")
    to = Address(recipient, "example.com")
    text = f"{before} {recipient}@example.com {recipient.upper()} {sender} {after}"
    reply = Reply(550, "5.1.1", (text, f"<{sender}@sender.example>"))
    changes = [
        make.stored(to, mail_from=mail_from, helo=f"{helo}{sender}@x"),
        make.finished(to, kind="bounced", reply=reply, mail_from=mail_from),
        make.finished(to, kind="purged", reason=f"asked by {recipient}@example.com", mail_from=mail_from),
    ]
    lines = encode_lines(events_of(REF, changes, Redactor(profile, tokens=FixedTokens())))
    shown = lines.decode().lower()
    assert sender not in shown
    assert recipient not in shown
    assert lines.count(b"\n") == 3


@given(log=st.integers(0, 1 << 20), offset=st.integers(0, 1 << 30), segment=st.integers(0, 1 << 20))
def test_a_replay_gives_the_same_octets(make: Any, log: int, offset: int, segment: int) -> None:
    ref = ContentRef(log, segment, offset, 100)
    changes = [make.stored(ALICE, BOB), make.retried(ALICE), make.finished(BOB)]
    first = encode_lines(events_of(ref, changes, Redactor()))
    decoded: list[Change] = msgspec.msgpack.decode(msgspec.msgpack.encode(changes), type=list[Change])
    assert encode_lines(events_of(ref, decoded, Redactor())) == first
