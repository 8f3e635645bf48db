"""The example scripts together in a running server, on mail that comes and goes by SMTP."""

import json
import shutil
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import events_of, practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tests.wire.dkim.signing import pem

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "policy"
WORLD = provider("one", "one.test", "127.30.11.1") + provider(
    "gateway", "gateway.partner.example", "127.30.11.2"
)
ORDER = (
    "rate_limit",
    "streams_by_header",
    "route_by_domain",
    "disclaimer",
    "verp",
    "database_binding",
)
TABLES = "".join(f'[[policy.script]]\nname = "{name}"\nsource = "{name}.py"\n' for name in ORDER)
BINDINGS = "".join(f'[[binding]]\nname = "{name}"\n' for name in ("transactional", "bulk", "vip"))

PATIENT = f"connect_seconds = {PATIENCE_SECONDS}\nquery_seconds = {PATIENCE_SECONDS}\n"


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    for name in ORDER:
        shutil.copy(EXAMPLES / f"{name}.py", folder)
    text = (folder / "rate_limit.py").read_text(encoding="utf-8")
    (folder / "rate_limit.py").write_text(text.replace("DEFAULT = 1_000", "DEFAULT = 30"), encoding="utf-8")
    with closing(sqlite3.connect(folder / "crm.db")) as database:
        database.execute("CREATE TABLE customer (id TEXT, binding TEXT)")
        database.execute("CREATE TABLE signing (domain TEXT, selector TEXT, private_key TEXT)")
        database.execute("INSERT INTO customer VALUES ('42', 'vip')")
        key = pem("ed25519").decode()
        database.execute("INSERT INTO signing VALUES ('shop.example', 's1', ?)", (key,))
        database.commit()
    source = f'[[data_source]]\nname = "crm"\nurl = "sqlite:///{folder}/crm.db"\n' + PATIENT
    with (
        practising(WORLD, store) as practice,
        serving(folder, practice.configuration(more=BINDINGS + source + TABLES)) as running,
    ):
        yield running


def hand_in(server: OutriderProcess, sender: str, recipients: list[str], plain: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.sendmail(sender, recipients, plain)


def arrived(store: Path, mark: str) -> list[tuple[dict[str, Any], str]]:
    """Envelope and text of each message that holds `mark`."""
    found = []
    for path in sorted(store.rglob("*.eml")):
        text = path.read_bytes().decode("utf-8", "replace")
        if mark in text:
            with suppress(FileNotFoundError, ValueError):  # it is being written
                found.append((json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), text))
    return found


def test_everything_that_the_examples_do_to_one_message(server: OutriderProcess, store: Path) -> None:
    hand_in(
        server,
        "news@shop.example",
        ["ann@one.test", "bob@partner.example"],
        b"From: news@shop.example\r\nSubject: mark-1\r\nX-Message-Kind: receipt\r\n"
        b"X-Outrider-Context: customer=42\r\n\r\nHello\r\n",
    )
    wait_until(lambda: len(arrived(store, "mark-1")) == 1, "the message")
    [(envelope, text)] = arrived(store, "mark-1")
    assert envelope["mail_from"] == "news+ann=one.test@shop.example"
    assert "X-Message-Kind" not in text
    assert "X-Outrider-Context" not in text
    assert text.endswith("Hello\r\n\r\n-- \r\nThis message is from Company Ltd, 1 Example Street.\r\n")
    assert "DKIM-Signature: v=1; a=ed25519-sha256;" in text
    assert "d=shop.example;" in text.replace("\r\n", "")
    # the gateway of practice relays for nobody, but it was asked
    wait_until(
        lambda: any(
            (each["recipient"], each["host"]) == ("bob@partner.example", "mx.gateway.partner.example")
            for each in events_of(server, "bounce")
        ),
        "the gateway's reply",
    )
    events = events_of(server, "reception")
    assert {event["binding"] for event in events if "ann" in event["recipient"]} == {"vip"}


def test_a_header_alone_chooses_the_binding(server: OutriderProcess, store: Path) -> None:
    hand_in(
        server,
        "a@other.test",
        ["joe@one.test"],
        b"Subject: mark-2\r\nX-Message-Kind: newsletter\r\n\r\nHi\r\n",
    )
    wait_until(lambda: len(arrived(store, "mark-2")) == 1, "the message")
    of_joe: list[dict[str, Any]] = []

    def is_recorded() -> bool:
        of_joe[:] = [each for each in events_of(server, "reception") if each["recipient"] == "joe@one.test"]
        return bool(of_joe)

    wait_until(is_recorded, "the reception's event")
    [event] = of_joe
    assert event["binding"] == "bulk"


def test_a_customer_is_held_to_its_hour_over_all_workers(server: OutriderProcess) -> None:
    answers = []
    for _ in range(35):  # connections go to one worker or the other
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], None, 30, ("127.0.0.9", 0)) as client:
            client.helo("client.test")
            client.mail("a@other.test")
            answers.append(client.rcpt("joe@one.test"))
    codes = [code for code, _ in answers]
    assert codes.count(451) >= 5
    assert codes == sorted(codes)  # once it is over the limit it stays so
    assert answers[-1] == (451, b"4.7.1 No more than 30 recipients an hour")
