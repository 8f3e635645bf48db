"""A table decides by configuration alone: bindings, refusals and signing keys, from real databases."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.base.log import NullLog
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from tests.e2e.outrider_process import OutriderProcess, ServerError, serving
from tests.e2e.practice import Practice, await_events, copies, id_in, log_lines, provider, reply_to
from tests.patience import PATIENCE_SECONDS
from tests.peers import databases
from tests.peers.databases import PASSWORD, DatabaseServer
from tests.peers.processes import wait_until
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import pem, records

WORLD = provider("one", "one.test", "127.30.23.1")
CONTENT = b"From: Ann <ann@sender.test>\r\nTo: joe@one.test\r\nSubject: order\r\n\r\nOn its way.\r\n"
SERVED = {"postgresql": databases.postgresql, "mysql": databases.mariadb, "redis": databases.redis}
KINDS = ("sqlite", *(pytest.param(kind, marks=pytest.mark.peer) for kind in SERVED))
QUERIES = {
    "customer": ("SELECT binding, plan FROM customers WHERE name = ?", "HGETALL customer:?"),
    "key": ("SELECT selector, private_key FROM signing_keys WHERE domain = ?", "HGETALL key:?"),
}
TABLES = """
[[binding]]
name = "vip"
ehlo_name = "vip.example.test"
[[policy.lookup]]
name = "customers"
source = "crm"
query = "customer"
parameters = { name = "header:X-Customer" }
assign = { binding = "binding" }
notes = { plan = "plan" }
no_row = "550 5.7.1 Unknown customer"
[[dkim]]
domain = "*"
key_source = "crm"
key_query = "key"
"""


@dataclass
class Shop:
    """A database with a customer and a key, and the server that asks it."""

    kind: str
    url: str
    database: DatabaseServer | None = None
    server: OutriderProcess = field(init=False)

    @property
    def source(self) -> str:
        """Its `[[data_source]]`; nothing is remembered beyond a moment."""
        at = 1 if self.kind == "redis" else 0
        password = 'password_file = "password"\n' if self.database else ""
        queries = "".join(
            f'[[data_source.query]]\nname = "{name}"\ntext = "{texts[at]}"\nparameters = ["{parameter}"]\n'
            for (name, texts), parameter in zip(QUERIES.items(), ("name", "from_domain"), strict=True)
        )
        return (
            f'[[data_source]]\nname = "crm"\nurl = "{self.url}"\n{password}'
            f"connect_seconds = {PATIENCE_SECONDS}\nquery_seconds = {PATIENCE_SECONDS}\n"
            f"[data_source.cache]\nseconds = 0.05\nnegative_seconds = 0.05\n"
            f"[data_source.breaker]\nopen_seconds = 0.05\n{queries}"
        )

    async def fill(self) -> None:
        options = {"name": "crm", "url": self.url, "writable": True, "connect_seconds": PATIENCE_SECONDS}
        if self.database:
            options["password_environment"] = "WORD"
        sources = Sources(
            [DataSourceOptions.model_validate(options)], SystemClock(), NullLog(), {"WORD": PASSWORD}
        )
        crm, key = sources.find("crm"), pem("ed25519").decode()
        if self.kind == "redis":
            await crm.execute("HSET customer:acme binding vip plan gold")
            await crm.execute("HSET key:sender.test selector ed25519 private_key ?", (key,))
        else:
            await crm.execute("CREATE TABLE customers (name VARCHAR(99), binding TEXT, plan TEXT)")
            await crm.execute(
                "CREATE TABLE signing_keys (domain VARCHAR(99), selector TEXT, private_key TEXT)"
            )
            await crm.execute("INSERT INTO customers VALUES ('acme', 'vip', 'gold')")
            await crm.execute("INSERT INTO signing_keys VALUES ('sender.test', 'ed25519', ?)", (key,))
        await sources.close()

    def hand_in(self, *fields: bytes, content: bytes = CONTENT) -> tuple[int, str]:
        """The reply to a message with more fields in its header."""
        return reply_to(self.server, b"".join(each + b"\r\n" for each in fields) + content)

    def delivered(self, store: Path, *fields: bytes, content: bytes = CONTENT) -> tuple[str, bytes]:
        """The binding by which a message went out, and what the receiver got."""
        code, text = self.hand_in(*fields, content=content)
        assert code == 250, text
        message_id = id_in(text)
        [event] = await_events(self.server, 1, "delivery", message_id=message_id)
        [found] = copies(store, message_id)
        return event["binding"], found


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Shop]:
    """The database."""
    if kind == "sqlite":
        (folder / "crm.db").touch()
        yield Shop(kind, f"sqlite:///{folder}/crm.db")
        return
    if reason := databases.missing(kind):
        pytest.skip(reason)
    with SERVED[kind]() as database:
        place = f"127.0.0.1:{database.port}"
        url = f"redis://{place}/1" if kind == "redis" else f"{kind}://outrider@{place}/shop"
        yield Shop(kind, url, database)


@contextmanager
def deciding(kind: str, practice: Practice, folder: Path) -> Iterator[Shop]:
    """A server that asks it."""
    with opened(kind, folder) as made:
        asyncio.run(made.fill())
        (folder / "password").touch(0o600)
        (folder / "password").write_text(PASSWORD)
        with serving(folder, practice.configuration(more=made.source + TABLES)) as running:
            made.server = running
            yield made


@pytest.fixture(scope="module", params=KINDS)
def shop(
    request: pytest.FixtureRequest, storing: Practice, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    with deciding(request.param, storing, tmp_path_factory.mktemp("server")) as made:
        yield made


def test_a_row_decides_binding_and_signature(shop: Shop, store: Path) -> None:
    binding, message = shop.delivered(store, b"X-Customer: acme")
    assert binding == "vip"
    assert message.count(b"DKIM-Signature:") == 1
    assert verifies(message, records("ed25519"))


def test_an_author_without_a_key_is_not_signed(shop: Shop, store: Path) -> None:
    content = CONTENT.replace(b"ann@sender.test", b"ann@other.test")
    binding, message = shop.delivered(store, b"X-Customer: acme", content=content)
    assert (binding, message.count(b"DKIM-Signature:")) == ("vip", 0)


@pytest.mark.parametrize(
    "value",
    [
        b"nobody",
        b"' OR '1'='1",
        b"acme' --",
        b"x'; DROP TABLE customers; --",
        b"acme HGETALL key:sender.test",
        b"=?utf-8?q?acme=0D=0ADEL_customer=3Aacme?=",
        b"\xff\xfe",
        b"x" * 900,
        b"",
    ],
)
def test_no_row_refuses_whatever_the_header_says(shop: Shop, store: Path, value: bytes) -> None:
    assert shop.hand_in(b"X-Customer: " + value) == (550, "5.7.1 Unknown customer")
    assert shop.delivered(store, b"X-Customer: acme")[0] == "vip"


def test_a_message_without_the_field_has_no_row(shop: Shop) -> None:
    assert shop.hand_in() == (550, "5.7.1 Unknown customer")
    assert log_lines(shop.server, "policy.failed") == []


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.peer) for kind in SERVED])
def fragile(
    request: pytest.FixtureRequest, storing: Practice, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A shop whose database a test takes down."""
    with deciding(request.param, storing, tmp_path_factory.mktemp("fragile")) as made:
        yield made


def test_while_the_database_is_down_mail_stays_with_its_sender(fragile: Shop, store: Path) -> None:
    assert fragile.database is not None
    assert fragile.delivered(store, b"X-Customer: acme")[0] == "vip"
    fragile.database.kill()
    wait_until(lambda: fragile.hand_in(b"X-Customer: acme")[0] == 451, "what was remembered is too old")
    assert fragile.hand_in(b"X-Customer: acme") == (451, "4.3.0 Policy takes too long, try again later")
    line = log_lines(fragile.server, "policy.failed")[-1]
    assert (line["script"], line["phase"], line["reason"]) == ("customers", "each_rcpt", "TooSlowError")
    assert line["error"].startswith("data source crm: ")
    fragile.database.start()
    wait_until(lambda: fragile.hand_in(b"X-Customer: acme")[0] == 250, "it is found again")


def test_tables_are_changed_by_a_reload(storing: Practice, store: Path, tmp_path: Path) -> None:
    with deciding("sqlite", storing, tmp_path) as made:
        text = made.server.config.read_text(encoding="utf-8")
        assert made.hand_in()[0] == 550
        without = text[: text.index("[[policy.lookup]]")] + text[text.index("[[dkim]]") :]
        made.server.config.write_text(without, encoding="utf-8")
        made.server.command("reload")
        binding, message = made.delivered(store, b"X-Customer: nobody")
        assert (binding, message.count(b"DKIM-Signature:")) == ("default", 1)
        made.server.config.write_text(
            text.replace('query = "customer"', 'query = "custom"'), encoding="utf-8"
        )
        with pytest.raises(ServerError, match="has no query 'custom'"):
            made.server.command("reload")
        made.server.config.write_text(text, encoding="utf-8")
        made.server.command("reload")
        assert made.hand_in()[0] == 550
