"""Nobody relays unless told to: the classic probes, and the matrix of grants."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from outrider.model.address import Address
from outrider.model.reply import Reply
from outrider.receive.access import Access, domain_allowed
from outrider.receive.options import ListenerOptions
from outrider.wire.smtp import replies
from tests.receive.principals import FakePrincipal

# Envelopes that open-relay testers have used since the nineties: sender, recipient.
PROBES = [
    ("probe@probe.example", "victim@victim.example"),
    ("<>", "victim@victim.example"),
    ("probe@localhost", "victim@victim.example"),
    ("probe", "victim@victim.example"),
    ("probe@mx.outrider.test", "victim@victim.example"),
    ("probe@[127.0.0.1]", "victim@victim.example"),
    ("probe@[198.51.100.7]", "victim@victim.example"),
    ("probe@[IPv6:::1]", "victim@victim.example"),
    ("probe@mx.outrider.test", "victim%victim.example@mx.outrider.test"),
    ("probe@mx.outrider.test", "victim%victim.example@[127.0.0.1]"),
    ("probe@mx.outrider.test", '"victim@victim.example"'),
    ("probe@mx.outrider.test", '"victim%victim.example"'),
    ("probe@mx.outrider.test", "victim@victim.example@mx.outrider.test"),
    ("probe@mx.outrider.test", '"victim@victim.example"@mx.outrider.test'),
    ("probe@mx.outrider.test", "victim@victim.example@[127.0.0.1]"),
    ("probe@mx.outrider.test", "@mx.outrider.test:victim@victim.example"),
    ("probe@mx.outrider.test", "@[127.0.0.1]:victim@victim.example"),
    ("probe@mx.outrider.test", "@localhost,@mx.outrider.test:victim@victim.example"),
    ("probe@mx.outrider.test", "victim.example!victim"),
    ("probe@mx.outrider.test", "victim.example!victim@mx.outrider.test"),
    ("probe@mx.outrider.test", "victim.example!victim@[127.0.0.1]"),
    ("probe@mx.outrider.test", "mx.outrider.test!victim%victim.example"),
    ("postmaster@mx.outrider.test", "postmaster"),
    ("postmaster@mx.outrider.test", "postmaster@mx.outrider.test"),
    ("probe@probe.example", "victim@[IPv6:2001:db8::1]"),
    ("probe@probe.example", '"victim"@victim.example'),
    ("probe@probe.example", "victim@VICTIM.example."),
    ("probe@probe.example", "victim@victim.example\\"),
    ("probe@probe.example", "victim@victim。example"),
]


@pytest.mark.parametrize("greeting", ["EHLO probe.example", "HELO probe.example", "EHLO [127.0.0.1]"])
@pytest.mark.parametrize("client", ["198.51.100.7", "127.0.0.1", "::1", "::ffff:192.0.2.1", "fe80::1%eth0"])
@pytest.mark.parametrize(("sender", "recipient"), PROBES)
async def test_a_default_listener_relays_for_nobody(
    world: Callable[..., Any], sender: str, recipient: str, client: str, greeting: str
) -> None:
    made = world(trusted_networks=())
    sender = sender if sender.startswith("<") else f"<{sender}>"
    said = made.connect(client).lines(
        greeting, f"MAIL FROM:{sender}", f"RCPT TO:<{recipient}>", "DATA", "Subject: probe", ".", "QUIT"
    )
    assert not [line for line in said if line.startswith("354")]
    assert made.intake.submissions == []


@pytest.mark.parametrize(("sender", "recipient"), PROBES[:8])
async def test_neither_does_one_that_trusts_others(
    world: Callable[..., Any], sender: str, recipient: str
) -> None:
    made = world(trusted_networks=("192.0.2.0/24", "2001:db8::/32"))
    sender = sender if sender.startswith("<") else f"<{sender}>"
    made.connect("198.51.100.7").lines("EHLO x", f"MAIL FROM:{sender}", f"RCPT TO:<{recipient}>", "DATA", ".")
    assert made.intake.submissions == []


someone = partial(FakePrincipal, "joe", sender_domains=frozenset({"acme.example", ".sub.example"}))
ALLOWED = Address("a", "acme.example")
OTHER = Address("a", "other.example")
NET = ("192.0.2.0/24", "2001:db8::/32")
INSIDE, OUTSIDE = "192.0.2.9", "198.51.100.9"

# options, client, who, sender, refusal of MAIL, refusal of RCPT
MATRIX: list[tuple[dict[str, Any], str, FakePrincipal | None, Address | None, Reply | None, Reply | None]] = [
    ({}, "127.0.0.1", None, ALLOWED, replies.AUTH_REQUIRED, replies.RELAY_DENIED),
    ({}, OUTSIDE, someone(), ALLOWED, None, None),
    ({}, OUTSIDE, someone(), OTHER, replies.sender_denied("other.example"), None),
    ({}, OUTSIDE, someone(), Address("a", "x.sub.example"), None, None),
    ({}, OUTSIDE, someone(), Address("a", "sub.example"), replies.sender_denied("sub.example"), None),
    (
        {},
        OUTSIDE,
        someone(),
        Address("a", "acme.example.evil.example"),
        replies.sender_denied("acme.example.evil.example"),
        None,
    ),
    ({}, OUTSIDE, someone(), Address("a", "notacme.example"), replies.sender_denied("notacme.example"), None),
    ({}, OUTSIDE, someone(sender_domains=frozenset()), OTHER, replies.sender_denied("other.example"), None),
    ({}, OUTSIDE, someone(sender_domains=frozenset("*")), OTHER, None, None),
    ({}, OUTSIDE, someone(), None, None, None),
    ({}, OUTSIDE, None, None, replies.AUTH_REQUIRED, replies.RELAY_DENIED),
    ({"trusted_networks": NET}, INSIDE, None, OTHER, None, None),
    ({"trusted_networks": NET}, "2001:db8:5::1", None, OTHER, None, None),
    ({"trusted_networks": NET}, "::ffff:192.0.2.9", None, OTHER, None, None),
    ({"trusted_networks": NET}, OUTSIDE, None, OTHER, replies.AUTH_REQUIRED, replies.RELAY_DENIED),
    ({"trusted_networks": NET}, OUTSIDE, someone(), ALLOWED, None, None),
    ({"trusted_networks": NET, "sender_domains": ["acme.example"]}, INSIDE, None, ALLOWED, None, None),
    (
        {"trusted_networks": NET, "sender_domains": ["acme.example"]},
        INSIDE,
        None,
        OTHER,
        replies.sender_denied("other.example"),
        None,
    ),
    (
        {"trusted_networks": NET, "sender_domains": ["*"]},
        INSIDE,
        someone(),
        OTHER,
        replies.sender_denied("other.example"),
        None,
    ),
    ({"require_auth": True}, OUTSIDE, someone(), ALLOWED, None, None),
    ({"require_auth": True}, OUTSIDE, None, ALLOWED, replies.AUTH_REQUIRED, replies.RELAY_DENIED),
    (
        {"require_auth": True, "trusted_networks": NET},
        INSIDE,
        None,
        ALLOWED,
        replies.AUTH_REQUIRED,
        replies.RELAY_DENIED,
    ),
    ({"require_auth": True, "trusted_networks": NET}, INSIDE, someone(), ALLOWED, None, None),
    (
        {"require_auth": True, "trusted_networks": NET},
        OUTSIDE,
        someone(),
        ALLOWED,
        None,
        replies.RELAY_DENIED,
    ),
]


@pytest.mark.parametrize(("options", "client", "who", "sender", "mail", "rcpt"), MATRIX)
def test_the_matrix(
    options: dict[str, Any],
    client: str,
    who: FakePrincipal | None,
    sender: Address | None,
    mail: Reply | None,
    rcpt: Reply | None,
) -> None:
    access = Access(ListenerOptions(**options))
    trusted = access.is_trusted(client)
    assert access.refuse_sender(sender, trusted=trusted, principal=who, can_auth=True) == mail
    assert access.refuse_recipient(trusted=trusted, principal=who) == rcpt
    if mail == replies.AUTH_REQUIRED:
        # Without AUTH on offer the sender passes, so that the record can name the refused recipients.
        assert access.refuse_sender(sender, trusted=trusted, principal=who, can_auth=False) is None


@pytest.mark.parametrize(
    ("domain", "allowed", "expected"),
    [
        ("a.example", ("a.example",), True),
        ("a.example", ("*",), True),
        ("a.example", (), False),
        ("x.a.example", (".a.example",), True),
        ("a.example", (".a.example",), False),
        ("xa.example", ("a.example", ".a.example"), False),
        ("[192.0.2.1]", ("a.example",), False),
    ],
)
def test_domain_allowed(domain: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert domain_allowed(domain, allowed) is expected


async def test_a_disabled_tenant_sends_nothing_from_its_trusted_network(world: Callable[..., Any]) -> None:
    made = world(tenant="acme")
    client = made.connect()
    client.lines("EHLO client.example")
    assert client.lines("MAIL FROM:<a@acme.example>")[-1].startswith("250")
    client.lines("RSET")
    made.authenticator.shut = frozenset({"acme"})
    assert client.lines("MAIL FROM:<a@acme.example>") == [
        "450 4.7.1 Sending is disabled for you now, ask your postmaster"
    ]
    made.authenticator.shut = frozenset({"other"})
    assert client.lines("MAIL FROM:<a@acme.example>")[-1].startswith("250")


async def test_a_stranger_does_not_learn_that_a_tenant_is_disabled(world: Callable[..., Any]) -> None:
    made = world(tenant="acme", trusted_networks=())
    client = made.connect()
    client.lines("EHLO client.example")
    before = client.lines("MAIL FROM:<a@acme.example>", "RCPT TO:<b@far.example>", "RSET")
    made.authenticator.shut = frozenset({"acme"})
    assert client.lines("MAIL FROM:<a@acme.example>", "RCPT TO:<b@far.example>", "RSET") == before
