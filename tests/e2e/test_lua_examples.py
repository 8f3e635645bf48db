"""The shipped examples in Lua, all of them in one running server."""

import shutil
import sqlite3
from collections.abc import Iterator
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, await_events, copies, id_in, log_lines, provider, reply_to
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import pem, records
from tools.project_files import ROOT

EXAMPLES = ROOT / "examples" / "policy" / "lua"
WORLD = provider("one", "one.test", "127.30.24.1") + provider(
    "office", "head-office.test", "127.30.24.2", "behaviour = { accept_any_domain = true }"
)
CUSTOMERS = (("acme", "gold", 1_000), ("odd", "no-such", 1_000), ("none", None, None), ("small", "gold", 3))
PLAIN = "From: Ann <ann@{author}>\r\nTo: joe@one.test\r\nSubject: order\r\n{fields}\r\nOn its way.\r\n"
PARTS = """\
From: Ann <ann@other.test>\r
Subject: order\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="m"\r
\r
--m\r
Content-Type: multipart/alternative; boundary="a"\r
\r
--a\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
Gr=FC=DFe\r
--a\r
Content-Type: text/html; charset=utf-8\r
\r
<html><BODY>Gr\u00fc\u00dfe</BODY></html>\r
--a--\r
--m\r
Content-Type: text/plain; name="notes.txt"\r
Content-Disposition: attachment; filename="notes.txt"\r
\r
untouched\r
--m--\r
"""
SEALED = """\
From: Ann <ann@other.test>\r
Subject: order\r
MIME-Version: 1.0\r
Content-Type: multipart/signed; boundary="m"; micalg=sha-256; protocol="application/pgp-signature"\r
\r
--m\r
Content-Type: text/plain\r
\r
signed\r
--m\r
Content-Type: application/pgp-signature\r
\r
x\r
--m--\r
"""


@pytest.fixture(scope="module")
def server(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    for script in EXAMPLES.glob("*.lua"):
        shutil.copy(script, folder)
    with sqlite3.connect(folder / "crm.sqlite") as database:
        database.executescript((EXAMPLES / "crm.sql").read_text(encoding="utf-8"))
        database.executemany("INSERT INTO customer VALUES (?, ?, ?)", CUSTOMERS)
        keys = [("sender.test", name, pem(name).decode()) for name in ("ed25519", "rsa2048")]
        database.executemany("INSERT INTO dkim VALUES (?, ?, ?)", keys)
    database.close()
    more = (EXAMPLES / "outrider.toml").read_text(encoding="utf-8")
    with serving(folder, storing.configuration(more=more)) as running:
        yield running


def plain(*fields: str, author: str = "sender.test") -> bytes:
    return PLAIN.format(author=author, fields="".join(f"{each}\r\n" for each in fields)).encode()


handed_in = partial(reply_to, mail_from="news@sender.test")
"""The reply to a message."""


def delivered(server: OutriderProcess, content: bytes, *recipients: str) -> list[tuple[dict[str, str], str]]:
    """The events of a message's deliveries, in the order of recipients, and its id."""
    code, text = handed_in(server, content, *recipients)
    assert code == 250, (text, log_lines(server, "policy.failed"))
    message_id = id_in(text)
    wanted = len(recipients) or 1
    events = await_events(server, wanted, "delivery", message_id=message_id)
    return [(event, message_id) for event in sorted(events, key=lambda event: str(event["recipient"]))]


def received(server: OutriderProcess, store: Path, content: bytes, *recipients: str) -> bytes:
    """A message as the receiver got it."""
    message_id = delivered(server, content, *recipients)[0][1]
    return copies(store, message_id)[0]


@pytest.mark.parametrize(
    ("field", "binding"),
    [
        ("X-Customer: acme", "gold"),
        ("X-Customer: odd", "shared"),
        ("X-Customer: none", "shared"),
        ("X-Customer: nobody", "shared"),
        ("X-Customer: ' OR '1'='1", "shared"),
        ("X-Other: x", "shared"),
    ],
)
def test_the_table_says_the_binding(server: OutriderProcess, field: str, binding: str) -> None:
    [(event, _)] = delivered(server, plain(field))
    assert event["binding"] == binding


def test_a_stream_has_its_bindings_and_its_field_is_gone(server: OutriderProcess, store: Path) -> None:
    for stream, binding in (("transactional", "quick"), ("Marketing", "bulk")):
        [(event, _)] = delivered(server, plain(f"X-Stream: {stream}"))
        assert event["binding"] == binding
    assert b"X-Stream" not in received(server, store, plain("X-Stream: marketing"))
    assert handed_in(server, plain("X-Stream: secret")) == (550, "5.7.1 X-Stream names no stream")


@pytest.mark.parametrize("domain", ["branch.example", "north.branch.example", "a.b.branch.example"])
def test_a_domain_goes_where_the_table_says(server: OutriderProcess, storing: Practice, domain: str) -> None:
    before = storing.seen("office").messages
    [(event, _)] = delivered(server, plain(), f"joe@{domain}")
    assert event["recipient"] == f"joe@{domain}"
    assert storing.seen("office").messages == before + 1


def test_texts_get_a_disclaimer_and_nothing_else_does(server: OutriderProcess, store: Path) -> None:
    message = message_from_bytes(received(server, store, PARTS.encode()), policy=policy.default)
    text, html, notes = (part.get_content() for part in message.walk() if not part.is_multipart())
    assert text.replace("\r\n", "\n").startswith("Gr\u00fc\u00dfe\n")
    assert "-- \nSent by Example Ltd." in text.replace("\r\n", "\n")
    assert html.strip().endswith("Exampletown.</small></p></BODY></html>")
    assert notes.strip() == "untouched"
    simple = received(server, store, plain(author="other.test"))
    assert simple.endswith(b"On its way.\r\n\r\n-- \r\nSent by Example Ltd., registered in Exampletown.\r\n")


def test_what_is_signed_gets_none(server: OutriderProcess, store: Path) -> None:
    assert b"Example Ltd." not in received(server, store, SEALED.encode())


def test_each_recipient_of_bulk_has_a_path_of_his_own(server: OutriderProcess) -> None:
    whom = ("ann+x@one.test", "joe@one.test")
    events = delivered(server, plain("Precedence: bulk"), *whom)
    assert [event["mail_from"] for event, _ in events] == [
        "news+ann_2Bx=one.test@sender.test",
        "news+joe=one.test@sender.test",
    ]
    [(event, _)] = delivered(server, plain(), "joe@one.test")
    assert event["mail_from"] == "news@sender.test"
    [(event, _)] = delivered(server, plain("Precedence: bulk"), f"{'j' * 60}@one.test")
    assert event["mail_from"] == "news@sender.test"


def test_each_key_of_the_table_signs_what_leaves(server: OutriderProcess, store: Path) -> None:
    message = received(server, store, plain())
    assert b"Example Ltd." in message
    for at in range(2):
        assert verifies(message, records("rsa2048", "ed25519"), at)
    assert b"DKIM-Signature" not in received(server, store, plain(author="other.test"))


def test_an_allowance_is_counted_over_all_workers(server: OutriderProcess) -> None:
    replies = [handed_in(server, plain("X-Customer: small"))[0] for _ in range(5)]
    assert replies == [250, 250, 250, 451, 451]
    said = handed_in(server, plain("X-Customer: small"))[1]
    assert said == "4.7.1 The hourly allowance is used up"
    assert handed_in(server, plain("X-Customer: acme"))[0] == 250
    assert log_lines(server, "policy.failed") == []
