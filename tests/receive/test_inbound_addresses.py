"""Which addresses an inbound listener accepts, for what, and which configurations are refused."""

from typing import Any

import pytest

from outrider.model.address import Address
from outrider.receive.inbound import InboundAddresses
from outrider.receive.inbound_options import InboundMailbox, Purpose
from outrider.receive.options import ListenerOptions
from tests.receive.conftest import build

MAILBOXES = tuple(
    InboundMailbox(purpose=Purpose(purpose), address=address)
    for purpose, address in [
        ("bounce", "Bounce-*@B.example"),
        ("unsubscribe", "bounce-stop-*@b.example"),
        ("abuse", "bounce-abuse@b.example"),
        ("feedback", "*-fbl@b.example"),
        ("abuse", "abuse@example.test"),
    ]
)


@pytest.mark.parametrize(
    ("local_part", "domain", "purpose"),
    [
        ("bounce-17", "b.example", "bounce"),
        ("BOUNCE-17=a.b", "b.example", "bounce"),
        ("bounce-", "b.example", "bounce"),
        ("bounce-stop-1", "b.example", "unsubscribe"),
        ("bounce-abuse", "b.example", "abuse"),
        ("x-fbl", "b.example", "feedback"),
        ("abuse", "example.test", "abuse"),
        ("bounce", "b.example", None),
        ("bounce-17", "example.test", None),
        ("bounce-17", "x.b.example", None),
        ("xbounce-17", "b.example", None),
        ("abuse", "b.example", None),
        ("abusex", "example.test", None),
        ("fbl", "b.example", None),
    ],
)
def test_an_address_has_the_purpose_of_its_closest_entry(
    local_part: str, domain: str, purpose: str | None
) -> None:
    assert InboundAddresses(MAILBOXES).purpose_of(Address(local_part, domain)) == purpose


def test_a_pattern_does_not_match_where_its_ends_would_overlap() -> None:
    addresses = InboundAddresses([InboundMailbox(purpose=Purpose.BOUNCE, address="ab*ba@b.example")])
    assert addresses.purpose_of(Address("aba", "b.example")) is None
    assert addresses.purpose_of(Address("abba", "b.example")) == "bounce"


@pytest.mark.parametrize(
    "address",
    [
        "x",
        "@b.example",
        "a*b*c@b.example",
        "a@*.example",
        "a@*",
        '"a"@b.example',
        "a b@b.example",
        "ä@b.example",
    ],
)
def test_an_address_that_is_none_is_a_fault(address: str) -> None:
    with pytest.raises(ValueError, match=r"write local-part@domain|plain ASCII|star"):
        InboundMailbox(purpose=Purpose.BOUNCE, address=address)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"role": "inbound"}, "at least one"),
        (
            {"role": "inbound", "mailbox": MAILBOXES, "trusted_networks": ("127.0.0.0/8",)},
            "relays for nobody",
        ),
        ({"role": "inbound", "mailbox": MAILBOXES, "require_auth": True}, "relays for nobody"),
        ({"mailbox": MAILBOXES}, "is for a listener of role"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ListenerOptions(**options)


async def test_any_client_and_any_sender_but_only_these_recipients() -> None:
    made = build(role="inbound", mailbox=MAILBOXES)
    client = made.connect("203.0.113.1")
    assert client.lines(
        "EHLO c.test", "MAIL FROM:<>", "RCPT TO:<Bounce-1@b.example>", "RCPT TO:<b@dest.example>",
        "RCPT TO:<abuse@EXAMPLE.test>", "RCPT TO:<bounce-1@b.example.>",
        "RCPT TO:<@b.example:c@dest.example>",
        "RCPT TO:<c%dest.example@b.example>", 'RCPT TO:<"c@dest.example"@b.example>',
    )[2:] == [
        "250 2.1.0 Sender ok", "250 2.1.5 Recipient ok", "550 5.1.1 No such mailbox here",
        "250 2.1.5 Recipient ok", "501 5.1.3 Bad recipient address syntax", "550 5.1.1 No such mailbox here",
        "550 5.1.1 No such mailbox here", "550 5.1.1 No such mailbox here",
    ]  # fmt: skip


async def test_auth_is_neither_offered_nor_taken_even_where_the_options_say_so() -> None:
    made = build(role="inbound", mailbox=MAILBOXES, auth_without_tls=True)
    client = made.connect("203.0.113.1")
    assert b"AUTH" not in client.send(b"EHLO c.test\r\n")
    assert client.lines("AUTH PLAIN AGpvZQBzZWNyZXQ=") == ["502 5.5.1 Command not implemented"]


async def test_a_stranger_names_no_stream() -> None:
    made = build(role="inbound", mailbox=MAILBOXES, streams=("none",))
    client = made.connect("203.0.113.1")
    client.lines("HELO c.test", "MAIL FROM:<>", "RCPT TO:<bounce-1@b.example>", "DATA")
    assert client.send(b"X-Outrider-Stream: urgent\r\n\r\nhello\r\n.\r\n").startswith(b"250 ")
    assert made.intake.submissions[0].origin.stream == "default"
