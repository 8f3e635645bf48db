"""Decisions by a table alone, from memory: what rows decide, what holds without one, how it fails."""

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outrider.base.clock import SystemClock
from outrider.base.log import ListLog
from outrider.model.flow import Decided, Message, Refusal, Submission
from outrider.model.hooks import HookPhase
from outrider.policy import python
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.errors import ScriptError, TooSlowError
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.lookup import lookups_of
from outrider.policy.lookup_options import LookupOptions
from outrider.policy.script import Script
from outrider.policy.scripted import Scripts
from outrider.policy.surroundings import HERE
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from outrider.wire.smtp import replies
from tests.policy.acting import SMTP, Told, messages, submission, written

ROWS = (
    ("acme", "vip", 1, "relay.test", "gold"),
    ("plain", None, None, "", None),
    ("odd", "nowhere", 0, "", "x"),
    ("urgent", "", 7, "", ""),
    ("astray", "", 0, "no domain", ""),
    ("group", "pool", 0, "", ""),
)
QUERY = {
    "name": "customer",
    "text": "SELECT * FROM customer WHERE name = ?",
    "parameters": ["customer"],
}
CUSTOMER = {"customer": "header:X-Customer"}
POOL = BindingGroupOptions.model_validate({"name": "pool", "members": ["vip"]})


class Desk:
    """Look-ups over one database, and what they decide."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = Told()
        self.options: list[DataSourceOptions] = []
        self.sources: Sources | None = None
        self.door: Scripts | None = None

    def open(self, *tables: dict[str, Any], script: str = "", **source: Any) -> None:
        base = {"name": "crm", "url": f"sqlite:///{self.folder}/crm.db", "query": [QUERY], **source}
        self.options = [DataSourceOptions.model_validate(base)]
        self.sources = HERE.sources = Sources(self.options, SystemClock(), ListLog(), {})
        scripts: list[Script] = [*lookups_of([table_of(**each) for each in tables], self.options)]
        if script:
            path = written(self.folder, "script", script)
            scripts.append(python.load("script", path, CpuBudget(0.05)))
        bindings = Bindings(("default", "vip"), [POOL])
        self.door = Scripts(scripts, self.told, wait_seconds=5.0, bindings=bindings)

    async def decide(
        self, customer: str | None = "acme", submitted: Submission | None = None
    ) -> Decided | Refusal:
        assert self.door is not None
        field = "" if customer is None else f"X-Customer: {customer}\r\n"
        plain = f"{field}From: shop@sender.test\r\n\r\nHello\r\n".encode()
        submitted = submitted or submission(plain=plain)
        decision = self.door.open(submitted.origin).decide(submitted)
        return decision if isinstance(decision, Decided | Refusal) else await decision

    async def message(self, customer: str | None = "acme") -> Message:
        (message,) = messages(await self.decide(customer))
        return message


def table_of(**more: Any) -> LookupOptions:
    base = {"name": "customer", "source": "crm", "query": "customer", "parameters": CUSTOMER}
    return LookupOptions.model_validate({**base, **more})


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(HERE, "sources", None)
    database = sqlite3.connect(tmp_path / "crm.db")
    with database:
        database.execute(
            "CREATE TABLE customer (name TEXT, binding TEXT, priority INT, route TEXT, plan TEXT)"
        )
        database.executemany("INSERT INTO customer VALUES (?, ?, ?, ?, ?)", ROWS)
    database.close()
    made = Desk(tmp_path)
    yield made
    if made.sources is not None:
        await made.sources.close()


ALL = {
    "assign": {"binding": "binding", "priority": "priority", "routing_domain": "route"},
    "notes": {"plan": "plan"},
}


async def test_the_first_row_decides(desk: Desk) -> None:
    desk.open(ALL)
    message = await desk.message()
    (delivery,) = message.deliveries
    assert (delivery.binding, delivery.priority, delivery.routing_domain) == ("vip", 1, "relay.test")
    assert dict(message.notes) == {"plan": "gold"}
    assert desk.told.calls == [HookPhase.EACH_RCPT, HookPhase.SET_BINDING]


@pytest.mark.parametrize("customer", ["plain", "nobody", "", None, "acme" * 200])
async def test_without_a_value_or_a_row_the_defaults_hold(desk: Desk, customer: str | None) -> None:
    desk.open(ALL)
    (delivery,) = (await desk.message(customer)).deliveries
    assert (delivery.binding, delivery.priority, delivery.routing_domain) == ("default", 0, "one.test")
    assert desk.told.failures == []


async def test_what_is_remembered_waits_for_nothing(desk: Desk) -> None:
    desk.open(ALL)
    await desk.message()
    assert desk.door is not None
    field = submission(plain=b"X-Customer: acme\r\n\r\nHello\r\n")
    decision = desk.door.open(SMTP).decide(field)
    assert isinstance(decision, Decided)


async def test_one_row_decides_in_both_phases_though_nothing_is_remembered(desk: Desk) -> None:
    """Between them the customer goes; what was begun with the row ends with it."""
    script = """
        import sqlite3
        def each_rcpt(mail):
            with sqlite3.connect(mail.context["where"]) as database:
                database.execute("DELETE FROM customer")
            database.close()
    """
    where = {"name": "where", "query": "where", "parameters": {}, "notes": {"where": "file"}}
    queries = [QUERY, {"name": "where", "text": f"SELECT '{desk.folder}/crm.db' AS file"}]
    desk.open(ALL, where, script=script, cache={"entries": 0}, query=queries)
    (delivery,) = (await desk.message()).deliveries
    assert delivery.binding == "vip"
    assert desk.told.failures == []
    (delivery,) = (await desk.message()).deliveries
    assert delivery.binding == "default"


async def test_what_a_script_changes_between_the_phases_is_asked_anew(desk: Desk) -> None:
    script = "def each_rcpt(mail):\n    mail.message.header.set('X-Customer', 'acme')\n"
    desk.open(ALL, script=script)
    (delivery,) = (await desk.message("nobody")).deliveries
    assert (delivery.binding, delivery.routing_domain) == ("vip", "one.test")


async def test_nothing_is_asked_without_a_value_or_with_one_that_is_no_name(desk: Desk) -> None:
    always = [{"name": "customer", "text": "SELECT 'vip' AS binding, ? AS asked", "parameters": ["customer"]}]
    desk.open({"assign": {"binding": "binding"}}, query=always)
    for customer in (None, "", "x" * 513):
        assert (await desk.message(customer)).deliveries[0].binding == "default"
    for customer in ("x", "x" * 512):
        assert (await desk.message(customer)).deliveries[0].binding == "vip"


async def test_a_value_that_the_source_cannot_take_has_no_row(desk: Desk) -> None:
    """A path of HTTP takes no `..`; that is seen before anybody is asked."""
    query = {"name": "customer", "text": "GET /customers/{}", "parameters": ["customer"]}
    desk.open({**ALL, "no_row": "550 5.7.1 No"}, url="http://127.0.0.1:1", query=[query])
    refusal = await desk.decide("..")
    assert isinstance(refusal, Refusal)
    assert (refusal.reply.code, desk.told.failures) == (550, [])


async def test_a_script_after_it_has_the_last_word(desk: Desk) -> None:
    desk.open(
        ALL, script="def set_binding(mail):\n    assert mail.binding == 'vip'\n    mail.binding = 'default'\n"
    )
    (delivery,) = (await desk.message()).deliveries
    assert (delivery.binding, desk.told.failures) == ("default", [])


async def test_later_tables_decide_after_earlier_ones_and_see_their_notes(desk: Desk) -> None:
    first = {"name": "first", "notes": {"plan": "plan"}}
    second = {
        "name": "second",
        "query": "plan",
        "parameters": {"plan": "context:plan"},
        "assign": {"binding": "binding"},
    }
    queries = [
        QUERY,
        {"name": "plan", "text": "SELECT 'vip' AS binding WHERE ? = 'gold'", "parameters": ["plan"]},
    ]
    desk.open(first, second, query=queries)
    assert [(await desk.message(each)).deliveries[0].binding for each in ("acme", "odd")] == [
        "vip",
        "default",
    ]


async def test_a_group_is_a_binding_or_asked_for_as_a_group(desk: Desk) -> None:
    for assign in ({"binding": "binding"}, {"binding_group": "binding"}):
        desk.open({"assign": assign})
        assert (await desk.message("group")).deliveries[0].binding == "vip"


async def test_without_a_row_a_message_can_be_refused(desk: Desk) -> None:
    desk.open({**ALL, "no_row": "550 5.7.1 Unknown customer"})
    assert (await desk.message()).deliveries[0].binding == "vip"
    for customer in ("nobody", None):
        refusal = await desk.decide(customer)
        assert isinstance(refusal, Refusal)
        assert str(refusal.reply) == "550 5.7.1 Unknown customer"
    assert desk.told.failures == []


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        ("odd", "the column binding names no binding and no group of this configuration"),
        ("urgent", "the column priority is neither 0 nor 1"),
        ("astray", "the column route is no domain"),
    ],
)
async def test_a_row_that_says_what_cannot_be_fails_loudly(desk: Desk, customer: str, said: str) -> None:
    desk.open(ALL)
    refusal = await desk.decide(customer)
    assert isinstance(refusal, Refusal)
    assert refusal.reply == replies.POLICY_FAILED
    [failure] = desk.told.failures
    assert isinstance(failure, ScriptError)
    assert (failure.script, failure.reason) == ("customer", said)


async def test_a_column_that_is_not_there_is_named(desk: Desk) -> None:
    desk.open({"assign": {"binding": "bindings"}})
    assert isinstance(await desk.decide(), Refusal)
    [failure] = desk.told.failures
    assert failure.reason == "the row has no column bindings; it has: name, binding, priority, route, plan"
    assert (failure.script, failure.phase) == ("customer", HookPhase.SET_BINDING)


async def test_a_source_that_is_down_is_a_451_and_named_in_the_context(desk: Desk) -> None:
    seen = "def ehlo(connection, name):\n    assert connection.context['datasource_error'] == 'crm'\n"
    desk.open(ALL, url=f"sqlite:///{desk.folder}/gone/crm.db", script=seen)
    assert desk.door is not None
    session = desk.door.open(SMTP)
    decision = session.decide(submission(plain=b"X-Customer: acme\r\n\r\nHello\r\n"))
    assert not isinstance(decision, Decided | Refusal)
    refusal = await decision
    assert isinstance(refusal, Refusal)
    assert session.ehlo(SMTP, "again.test") is None  # else the script would have failed
    assert refusal.reply == replies.POLICY_SLOW
    [failure] = desk.told.failures
    assert isinstance(failure, TooSlowError)
    assert failure.reason.startswith("data source crm: ")
    assert "acme" not in failure.reason


async def test_secret_notes_are_not_stored(desk: Desk) -> None:
    desk.open({"notes": {"secret_plan": "plan", "name": "name"}})
    assert dict((await desk.message()).notes) == {"name": "acme"}


HOSTILE = (
    "' OR '1'='1",
    "acme' --",
    "x'; DROP TABLE customer; --",
    "=?utf-8?q?acme=0D=0A?= x",
    "?",
    "$1",
    "*",
    "..",
    "\udcff",
)


@pytest.mark.parametrize("value", HOSTILE)
async def test_what_a_header_says_is_nothing_but_a_value(desk: Desk, value: str) -> None:
    desk.open({**ALL, "no_row": "550 5.7.1 Unknown customer"})
    plain = b"X-Customer: " + value.encode("utf-8", "surrogateescape") + b"\r\n\r\nHello\r\n"
    refusal = await desk.decide(submitted=submission(plain=plain))
    assert isinstance(refusal, Refusal)
    assert refusal.reply.code == 550
    assert desk.told.failures == []
    assert (await desk.message()).deliveries[0].binding == "vip"


async def test_each_value_of_a_message_can_ask(desk: Desk) -> None:
    expected = {
        "from_domain": "sender.test",
        "mail_from": "shop@bounce.test",
        "mail_from_domain": "bounce.test",
        "rcpt_to": "joe@one.test",
        "rcpt_domain": "one.test",
        "routing_domain": "one.test",
        "tenant": "acme",
        "stream": "news",
        "user": "ann",
        "listener": "smtp",
        "client": "192.0.2.1",
        "helo": "client.test",
        "header:X-Any": "thing",
        "context:note": "noted",
    }
    names = [f"p{at}" for at in range(len(expected))]
    text = "SELECT " + ", ".join(f"? AS {name}" for name in names)
    desk.open(
        {
            "query": "all",
            "parameters": dict(zip(names, expected, strict=True)),
            "notes": dict(zip(names, names, strict=True)),
        },
        query=[{"name": "all", "text": text, "parameters": names}],
        script="def data(mail):\n    mail.connection.context['note'] = 'noted'\n",
    )
    assert desk.door is not None

    origin = replace(SMTP, principal="ann", tenant="acme", stream="news")
    plain = b"From: Shop <shop@sender.test>\r\nX-Any: thing\r\nX-Any: other\r\n\r\nHello\r\n"
    submitted = submission(origin=origin, plain=plain, mail_from="shop@bounce.test")
    (message,) = messages(await desk.decide(submitted=submitted))
    notes = dict(message.notes)
    assert [notes[name] for name in names] == [*expected.values()]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "it decides nothing"),
        ({"assign": {"binding": "b", "binding_group": "g"}}, "binding and binding_group exclude each other"),
        ({**ALL, "no_row": "refuse"}, "write continue, or a code and a text"),
        ({**ALL, "no_row": "250 fine"}, "250 refuses nothing"),
        ({**ALL, "no_row": "550 4.7.1 no"}, "of another class"),
        ({**ALL, "parameters": {"customer": "header"}}, "'header' is nothing that a message has"),
        ({**ALL, "parameters": {"customer": "from_domian"}}, "did you mean from_domain?"),
        ({**ALL, "parameters": {"customer": "header:"}}, "'header:' is nothing"),
        ({**ALL, "parameters": {"customer": "header:A B"}}, "'header:A B' is nothing"),
        ({**ALL, "notes": {"": "plan"}}, "is no note with its column"),
    ],
)
def test_a_table_that_means_nothing_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        table_of(**table)
