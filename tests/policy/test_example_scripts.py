"""The scripts that are shown as examples do what they say."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outrider.base.clock import SystemClock
from outrider.base.log import NullLog
from outrider.model.flow import Decided, Message, Origin, Refusal, Submission
from outrider.policy import python
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.scripted import Scripts
from outrider.policy.shared import create_cells
from outrider.policy.surroundings import HERE
from outrider.server.rehearsing import LookedAtKeys
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from outrider.wire.dkim.stored import unpack
from outrider.wire.message.content import maybe_text
from outrider.wire.message.editable import EditableMessage
from tests.policy.acting import SMTP, Told, address, submission
from tests.wire.dkim.signing import pem

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "policy"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


class Example:
    """One example as the policy of a server."""

    def __init__(self, name: str) -> None:
        self.told = Told()
        self.script = python.load(name, FOLDER / f"{name}.py", CpuBudget(1))
        self.door = Scripts(
            [self.script],
            self.told,
            wait_seconds=20,
            bindings=Bindings(("default", "transactional", "bulk", "vip")),
        )

    async def decide(self, submitted: Submission) -> Decided | Refusal:
        decision = self.door.open(submitted.origin).decide(submitted)
        found = decision if isinstance(decision, Decided | Refusal) else await decision
        assert self.told.failures == []
        return found

    async def messages(self, submitted: Submission) -> tuple[Message, ...]:
        decided = await self.decide(submitted)
        assert isinstance(decided, Decided), decided
        return decided.messages


@pytest.mark.parametrize("name", NAMES)
def test_each_example_loads(name: str) -> None:
    assert Example(name).script.phases


def test_each_kind_of_example_is_there() -> None:
    assert NAMES == [
        "database_binding",
        "disclaimer",
        "late_codes",
        "rate_limit",
        "route_by_domain",
        "streams_by_header",
        "verp",
    ]


async def test_mail_to_a_partner_goes_to_its_gateway() -> None:
    [message] = await Example("route_by_domain").messages(submission("a@partner.example", "b@one.test"))
    domains = [each.routing_domain for each in message.deliveries]
    assert domains == ["gateway.partner.example", "one.test"]


async def test_a_header_chooses_binding_and_priority_and_does_not_leave() -> None:
    example = Example("streams_by_header")
    plain = b"From: a@b.test\r\nX-Message-Kind: %b\r\nSubject: x\r\n\r\nx\r\n"
    for kind, binding, priority in ((b"receipt", "transactional", 1), (b"newsletter", "bulk", 0)):
        [message] = await example.messages(submission(plain=plain % kind))
        [delivery] = message.deliveries
        assert (delivery.binding, delivery.priority) == (binding, priority)
        assert message.submission.content.wire == b"From: a@b.test\r\nSubject: x\r\n\r\nx\r\n"
    [message] = await example.messages(submission())
    assert message.deliveries[0].binding == "default"
    refusal = await example.decide(submission(plain=plain % b"spam"))
    assert str(getattr(refusal, "reply", "")).startswith("550 5.7.1 X-Message-Kind is one of")


def texts(message: Message) -> list[str | None]:
    return [maybe_text(part) for part in EditableMessage(message.submission.content).walk()]


HTML = (
    b"From: a@company.example\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: text/plain\r\n\r\nHello\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b"<html><body><p>Hello</p></body></html>\r\n--b--\r\n"
)
SIGNED = HTML.replace(b"multipart/alternative", b"multipart/signed")


async def test_a_disclaimer_goes_into_each_text_that_leaves_and_into_nothing_else() -> None:
    example = Example("disclaimer")
    inside, outside = await example.messages(submission("a@company.example", "b@one.test", plain=HTML))
    assert inside.submission.content.wire == HTML
    _, plain, html = texts(outside)
    assert plain == "Hello\r\n\r\n-- \r\nThis message is from Company Ltd, 1 Example Street.\r\n"
    assert html is not None
    assert "<p>Hello</p><hr><p>This message is from Company Ltd, 1 Example Street.</p></body>" in html
    [again] = await example.messages(submission(plain=outside.submission.content.wire))
    assert again.submission.content.wire == outside.submission.content.wire
    [signed] = await example.messages(submission(plain=SIGNED))
    assert signed.submission.content.wire == SIGNED


async def test_each_recipient_has_a_reverse_path_of_his_own() -> None:
    example = Example("verp")
    recipients = ("ann@two.example", "bob@one.test", "x" * 60 + "@one.test")
    found = await example.messages(submission(*recipients, mail_from="news@shop.example"))
    senders = {
        str(message.deliveries[0].recipient.address): str(message.submission.envelope.mail_from)
        for message in found
    }
    assert senders == {
        "ann@two.example": "news+ann=two.example@shop.example",
        "bob@one.test": "news+bob=one.test@shop.example",
        recipients[2]: "news@shop.example",
    }
    [message] = await example.messages(submission(*recipients, mail_from="other@shop.example"))
    assert str(message.submission.envelope.mail_from) == "other@shop.example"


@pytest.fixture
def _counting() -> Iterator[None]:
    HERE.take_cells(create_cells)
    yield
    HERE.take_cells(None)


@pytest.mark.usefixtures("_counting")
def test_a_customer_has_so_many_recipients_an_hour() -> None:
    example = Example("rate_limit")
    trial = Origin("smtp", "ESMTPA", "192.0.2.1", "client.test", "trial", None)
    [recipient] = submission().envelope.recipients
    answers: list[Any] = [example.door.open(trial).rcpt_to(trial, recipient) for _ in range(52)]
    assert answers[:50] == [None] * 50
    assert [str(each) for each in answers[50:]] == ["451 4.7.1 No more than 50 recipients an hour"] * 2
    assert example.door.open(SMTP).rcpt_to(SMTP, recipient) is None


@pytest.fixture
async def _crm(tmp_path: Path) -> AsyncIterator[None]:
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database:
        database.execute("CREATE TABLE customer (id TEXT, binding TEXT)")
        database.execute("CREATE TABLE signing (domain TEXT, selector TEXT, private_key TEXT)")
        database.execute("INSERT INTO customer VALUES ('42', 'vip')")
        database.execute("INSERT INTO signing VALUES ('sender.test', 's1', ?)", (pem("ed25519").decode(),))
        database.commit()
    options = DataSourceOptions.model_validate({"name": "crm", "url": f"sqlite:///{tmp_path}/crm.db"})
    sources = Sources((options,), SystemClock(), NullLog(), {})
    HERE.sources, HERE.keys = sources, LookedAtKeys()
    yield
    HERE.sources = HERE.keys = None
    await sources.close()


@pytest.mark.usefixtures("_crm")
async def test_binding_and_key_come_from_a_database() -> None:
    example = Example("database_binding")
    [message] = await example.messages(replace(submission(), notes=(("customer", "42"),)))
    assert message.deliveries[0].binding == "vip"
    [request] = unpack(message.signing).signatures
    assert (request.domain, request.selector, request.key[:5]) == ("sender.test", "s1", "text:")
    [message] = await example.messages(replace(submission(), notes=(("customer", "7"),)))
    assert message.deliveries[0].binding == "default"
    other = submission(plain=b"From: a@other.test\r\n\r\nx\r\n")
    [message] = await example.messages(other)
    assert message.signing == b""


PAGE = FOLDER.parents[1] / "docs" / "how-to" / "decide-with-scripts.md"
SHOWN = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_page_names_every_example() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"examples/policy/{name}.py" not in text] == []


@pytest.mark.parametrize("text", SHOWN, ids=[each.partition("\n")[0] for each in SHOWN])
def test_what_the_page_shows_is_a_script_that_loads(text: str, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(text, encoding="utf-8")
    assert python.load("shown", tmp_path / "shown.py", CpuBudget(1)).phases


async def test_the_first_script_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOWN[0], encoding="utf-8")
    example = Example("verp")
    script = python.load("shop", tmp_path / "shop.py", CpuBudget(1))
    example.door = Scripts([script], example.told, wait_seconds=20, bindings=Bindings(("default", "bulk")))
    [recipient] = submission().envelope.recipients
    session = example.door.open(SMTP)
    answer: Any = session.rcpt_to(SMTP, replace(recipient, address=address("a@old.example")))
    assert str(answer) == "550 5.1.6 old.example has moved to new.example"
    assert session.rcpt_to(SMTP, recipient) is None
    plain = b"From: a@b.test\r\nList-Unsubscribe: <https://b.test/u>\r\n\r\nx\r\n"
    [message] = await example.messages(submission(plain=plain))
    assert message.deliveries[0].binding == "bulk"
    [message] = await example.messages(submission())
    assert message.deliveries[0].binding == "default"
