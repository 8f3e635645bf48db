"""What leaves is signed, by configuration and by scripts; an independent verifier agrees."""

import asyncio
import smtplib
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from outrider.server.requests import ask
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, await_events, copies, events_of, id_in, log_lines, provider, reply_to
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import DOMAIN, pem, records

WORLD = provider("one", "one.test", "127.30.8.1")

SCRIPT = """\
from outrider.policy.answers import CONTINUE
from outrider.wire.dkim.request import SignRequest

def final_validation(mail):
    if mail.mail_from.startswith("twice@"):
        [first] = mail.signing
        mail.sign(SignRequest("sender.test", "ed25519", first.key.replace("rsa2048", "ed25519")))
    if mail.mail_from.startswith("bare@"):
        mail.leave_unsigned()
    if mail.mail_from.startswith("lost@"):
        mail.sign(SignRequest("sender.test", "rsa2048", "file:/nowhere/key.pem"))
    return CONTINUE
"""

CONTENT = b"From: Ann <ann@sender.test>\r\nTo: joe@one.test\r\nSubject: order\r\n\r\nOn its way.\r\n.dot\r\n"


def configuration(folder: Path, practice: Practice, more: str = "") -> str:
    """A server whose table signs for one domain with a key of a file."""
    for name in ("rsa2048", "ed25519"):
        path = folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(pem(name))
    table = f'[[dkim]]\ndomain = "{DOMAIN}"\nselector = "rsa2048"\nkey_file = "rsa2048.pem"\n'
    return practice.configuration(more=table + more)


@pytest.fixture(scope="module")
def server(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    """Signs by configuration alone."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, configuration(folder, storing)) as running:
        yield running


@pytest.fixture(scope="module")
def scripted(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    """The same, with a script."""
    folder = tmp_path_factory.mktemp("scripted")
    (folder / "sign.py").write_text(SCRIPT, encoding="utf-8")
    more = '[[policy.script]]\nname = "sign"\nsource = "sign.py"\n'
    with serving(folder, configuration(folder, storing, more)) as running:
        yield running


def received(server: OutriderProcess, store: Path, sender: str, content: bytes = CONTENT) -> bytes:
    """What the receiver got of a message."""
    code, text = reply_to(server, content, mail_from=sender)
    assert code == 250
    message_id = id_in(text)
    await_events(server, 1, "delivery", message_id=message_id)
    [found] = copies(store, message_id)
    return found


def signatures(message: bytes) -> int:
    return (b"\r\n" + message.partition(b"\r\n\r\n")[0]).count(b"\r\nDKIM-Signature:")


def test_mail_of_a_configured_domain_is_signed_as_it_leaves(server: OutriderProcess, store: Path) -> None:
    message = received(server, store, "ann@sender.test")
    assert signatures(message) == 1
    assert verifies(message, records("rsa2048"))
    assert message.startswith(b"DKIM-Signature:")


def test_mail_of_another_domain_is_not(server: OutriderProcess, store: Path) -> None:
    content = CONTENT.replace(b"ann@sender.test", b"ann@other.test")
    assert signatures(received(server, store, "ann@other.test", content)) == 0


def test_scripts_add_and_leave_out_signatures(scripted: OutriderProcess, store: Path) -> None:
    assert signatures(received(scripted, store, "ann@sender.test")) == 1
    message = received(scripted, store, "twice@sender.test")
    assert signatures(message) == 2
    assert verifies(message, records("rsa2048", "ed25519"), 0)
    assert verifies(message, records("rsa2048", "ed25519"), 1)
    assert signatures(received(scripted, store, "bare@sender.test")) == 0


def test_what_cannot_be_signed_waits_and_the_log_says_why(scripted: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", scripted.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.sendmail("lost@sender.test", ["joe@one.test"], CONTENT)
    wait_until(lambda: log_lines(scripted, "guard.not_signed") != [], "a line of the log")
    assert "/nowhere/key.pem" in log_lines(scripted, "guard.not_signed")[0]["error"]
    assert scripted.command("queue", "count")["count"] == 1
    oldest = asyncio.run(ask(scripted.folder / "state" / "run" / "queue.sock", "queue.oldest"))
    assert oldest["is_known"]
    [reception] = [
        each for each in events_of(scripted, "reception") if each["mail_from"] == "lost@sender.test"
    ]
    received = datetime.fromisoformat(str(reception["time"])).timestamp()
    assert abs(received - oldest["received_time"]) < PATIENCE_SECONDS


@pytest.mark.parametrize("name", ["server", "scripted"])
@pytest.mark.parametrize("authors", [b"", b"From: Ann <ann@sender.test>\r\nFrom: joe@other.test\r\n"])
def test_nobody_vouches_for_a_message_without_one_author(
    request: pytest.FixtureRequest, store: Path, name: str, authors: bytes
) -> None:
    server = request.getfixturevalue(name)
    content = authors + CONTENT.partition(b"\r\n")[2]
    if authors:
        code, text = reply_to(server, content, mail_from="ann@sender.test")
        assert (code, text.partition(" ")[0]) == (550, "5.6.0")
    else:  # it names no domain, so nothing is to be signed
        assert signatures(received(server, store, "ann@sender.test", content)) == 0
    # a script that leaves it unsigned may send it
    if name == "scripted":
        assert signatures(received(server, store, "bare@sender.test", content)) == 0


DATABASE_SCRIPT = """\
from outrider.policy.api import SignRequest, keep_key, source

async def each_rcpt(mail):
    mail.message.header.set("X-Customer-Known", "yes" if await customer(mail) else "no")

async def set_binding(mail):
    row = await customer(mail)
    if row:
        mail.binding = row["binding"]

async def final_validation(mail):
    row = await customer(mail)
    if row:
        mail.sign(SignRequest("sender.test", row["selector"], keep_key(row["pem"])))

async def customer(mail):
    [name] = mail.header("X-Customer")
    query = "SELECT binding, selector, pem FROM customer WHERE name = ?"
    source_of = source("down" if name == "nobody-answers" else "crm")
    rows = source_of.peek(query, (name,)) or await source_of.fetch(query, (name,))
    return rows[0] if rows else None
"""
DATABASE = """\
[[policy.script]]
name = "customers"
source = "customers.py"
[[data_source]]
name = "crm"
url = "sqlite:///crm.sqlite"
connect_seconds = 60
query_seconds = 60
[[data_source]]
name = "down"
url = "postgresql://nobody@127.0.0.1:1/none"
[[delivery.override]]
binding = "vip"
ehlo_name = "vip.example.test"
"""


@pytest.fixture(scope="module")
def customers(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    """Bindings and keys are in a database."""
    folder = tmp_path_factory.mktemp("customers")
    (folder / "customers.py").write_text(DATABASE_SCRIPT, encoding="utf-8")
    with sqlite3.connect(folder / "crm.sqlite") as database:
        database.execute("CREATE TABLE customer (name TEXT, binding TEXT, selector TEXT, pem TEXT)")
        row = ("acme", "vip", "ed25519", pem("ed25519").decode())
        database.execute("INSERT INTO customer VALUES (?, ?, ?, ?)", row)
    database.close()
    with serving(folder, storing.configuration(more=DATABASE)) as running:
        yield running


def test_bindings_and_keys_come_from_a_database(customers: OutriderProcess, store: Path) -> None:
    message = received(customers, store, "ann@sender.test", b"X-Customer: acme\r\n" + CONTENT)
    [_] = (customers.folder / "state" / "keys" / "dkim" / ".texts").glob("*.pem")
    assert b"\r\nX-Customer-Known: yes\r\n" in message
    assert verifies(message, records("ed25519"))
    [event] = [each for each in events_of(customers, "delivery") if each["binding"] == "vip"]
    assert event["mail_from"] == "ann@sender.test"
    unknown = received(customers, store, "ann@sender.test", b"X-Customer: nobody\r\n" + CONTENT)
    assert b"\r\nX-Customer-Known: no\r\n" in unknown
    assert signatures(unknown) == 0


def test_a_source_that_is_down_costs_no_message(customers: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", customers.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail("ann@sender.test")
        client.rcpt("joe@one.test")
        code, text = client.data(b"X-Customer: nobody-answers\r\n" + CONTENT)
    assert (code, text) == (451, b"4.3.0 Policy takes too long, try again later")
    wait_until(lambda: log_lines(customers, "policy.failed") != [], "a line of the log")
    [line] = log_lines(customers, "policy.failed")
    assert (line["script"], line["phase"], line["reason"]) == ("customers", "each_rcpt", "TooSlowError")
    assert line["error"].startswith("data source down: ")
