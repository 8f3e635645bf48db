"""A script refuses one of several recipients: the others get their mail, the sender hears about him."""

import email
import json
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving
from tests.e2e.practice import await_events, events_of, id_in, post, practising, provider, queue_is
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = (
    provider("one", "one.test", "127.30.11.1")
    + provider("two", "two.test", "127.30.11.2")
    + provider("shop", "shop.test", "127.30.11.3")
)

PYTHON = """
from outrider.policy.api import Refuse

def each_rcpt(mail):
    name = mail.rcpt_to.partition("-")[0]
    if name == "blocked":
        return Refuse(550, "5.7.1 no mail for you")
    if name == "later":
        return Refuse(451, "4.7.1 not now")
    mail.message.header.set("X-For", mail.rcpt_to)
"""

LUA = """
require("msys.core"); require("msys.extended.message"); require("msys.extended.vctx")
local mod = {}
function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local name = string.match(msg:rcptto(), "^(.-)%-")
  if name == "blocked" then
    vctx:set_code(550, "5.7.1 no mail for you")
  elseif name == "later" then
    vctx:set_code(451, "4.7.1 not now")
  else
    msg:header("X-For", msg:rcptto())
  end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
"""


class Shop(NamedTuple):
    """A running server with the script, its key for HTTP, and what the practice internet received."""

    server: OutriderProcess
    key: str
    store: Path

    def send(self, *recipients: str, **options: Any) -> str:
        """Hand a message in; the reply to its data."""
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            assert client.mail(options.pop("mail_from", "news@shop.test"))[0] == 250
            for recipient in recipients:
                assert client.rcpt(recipient, [f"{name}={text}" for name, text in options.items()])[0] == 250
            code, text = client.data(b"From: news@shop.test\r\nSubject: hello\r\n\r\ntext\r\n")
            return f"{code} {text.decode()}"

    def post(self, message: Any) -> tuple[int, Any]:
        return post(self.server, self.key, message)

    def received(self, number: int) -> list[tuple[str, str]]:
        """Recipient and X-For of what went out to recipients of a test."""
        found = []
        for path in self.store.rglob("*.eml"):
            try:
                envelope = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):
                continue  # it is being written
            message = email.message_from_bytes(path.read_bytes())
            found += [(each, str(message["X-For"])) for each in envelope["recipients"]]
        return sorted(each for each in found if f"-{number}@" in each[0])

    def reports(self, number: int) -> list[Any]:
        """Reports about recipients of a test that came to shop.test."""
        parsed = [email.message_from_bytes(path.read_bytes()) for path in sorted(self.store.rglob("*.eml"))]
        reports = [each for each in parsed if each.get_content_type() == "multipart/report"]
        return [each for each in reports if f"-{number}@" in str(each)]


@pytest.fixture(scope="module", params=["shop.py", "shop.lua"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, store = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("received")
    (folder / request.param).write_text(PYTHON if request.param == "shop.py" else LUA, encoding="utf-8")
    users = folder / "users.toml"
    line = [*PROGRAM, "user", "key", "create", "web", "-d", "shop.test", "--file", str(users), "--json"]
    made = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    policy = f'[[policy.script]]\nname = "shop"\nsource = "{request.param}"\n'
    with (
        practising(WORLD, store) as practice,
        serving(folder, practice.configuration(more=policy, users_file=users)) as server,
    ):
        yield Shop(server, json.loads(made.stdout)["key"], store)


def test_the_others_get_their_mail_and_the_sender_hears_why(shop: Shop) -> None:
    server = shop.server
    reply = shop.send("a-1@one.test", "blocked-1@two.test", "b-1@two.test", ORCPT="rfc822;x@shop.test")
    assert reply.endswith(", durable, without 1 recipient whom policy refuses")
    message_id = id_in(reply)
    await_events(server, 2, "delivery", message_id=message_id)
    [bounce] = events_of(server, "bounce", message_id=message_id)
    assert (bounce["recipient"], bounce["ours"], bounce["phase"], bounce["bounce_class"]) == (
        "blocked-1@two.test",
        True,
        "queue",
        "own-policy",
    )
    assert (bounce["reply_code"], bounce["reply_text"]) == (550, "no mail for you")
    wait_until(lambda: len(shop.reports(1)) == 1, "the report")
    wait_until(queue_is(server, 0), "the queue is empty")
    assert shop.received(1) == [("a-1@one.test", "a-1@one.test"), ("b-1@two.test", "b-1@two.test")]
    [report] = shop.reports(1)
    _, status, returned = report.get_payload()
    [_, about] = status.get_payload()
    assert (about["Final-Recipient"], about["Original-Recipient"]) == (
        "rfc822; blocked-1@two.test",
        "rfc822; x@shop.test",
    )
    assert (about["Action"], about["Status"]) == ("failed", "5.7.1")
    assert "Subject: hello" in str(returned)
    shown = server.command("trace", message_id)
    states = {each["recipient"]: each["state"] for each in shown["recipients"]}
    assert states == {
        "a-1@one.test": "delivered",
        "blocked-1@two.test": "bounced",
        "b-1@two.test": "delivered",
    }
    kinds = [step["kind"] for step in shown["steps"] if step.get("recipient") == "blocked-1@two.test"]
    assert kinds == ["refused", "bounced"]
    assert any(step["kind"] == "report" for step in shown["steps"])


def test_for_now_nobody_gets_it_and_for_good_all_are_refused(shop: Shop) -> None:
    assert shop.send("a-2@one.test", "later-2@two.test", "blocked-2@two.test") == "451 4.7.1 not now"
    assert shop.send("blocked-2@one.test", "blocked-2@two.test") == "550 5.7.1 no mail for you"
    assert shop.send("a-2@one.test", "blocked-2@two.test", NOTIFY="NEVER").startswith("250 ")
    wait_until(lambda: shop.received(2) != [], "the one delivery")
    wait_until(queue_is(shop.server, 0), "the queue is empty")
    assert shop.received(2) == [("a-2@one.test", "a-2@one.test")]
    assert shop.reports(2) == []


def test_by_http_the_answer_lists_them(shop: Shop) -> None:
    message = {"from": "news@shop.test", "subject": "hello", "text": "text"}
    to, cc = ["a-3@one.test", "blocked-3@one.test"], ["blocked-3@two.test"]
    status, answer = shop.post({**message, "to": to, "cc": cc})
    refused = {"smtp": "550 5.7.1 no mail for you", "recipients": [1, 2]}
    assert (status, answer["recipients"], answer["refused"]) == (202, 3, [refused])
    each = [{"address": f"{name}-3@two.test"} for name in ("c", "blocked", "d")]
    status, answer = shop.post({**message, "recipients": each})
    assert (status, len(answer["ids"])) == (202, 3)
    assert answer["refused"] == [refused | {"recipients": [1]}]
    [bounce] = await_events(shop.server, 1, "bounce", message_id=answer["ids"][1])
    assert bounce["recipient"] == "blocked-3@two.test"
    status, problem = shop.post({**message, "to": ["a-3@one.test", "later-3@one.test"]})
    assert (status, problem["smtp"]) == (429, "451 4.7.1 not now")
    status, problem = shop.post({**message, "to": ["blocked-3@one.test"]})
    assert (status, problem["smtp"]) == (403, "550 5.7.1 no mail for you")
    wait_until(lambda: len(shop.received(3)) == 3, "the others")
    assert [whom for whom, _ in shop.received(3)] == ["a-3@one.test", "c-3@two.test", "d-3@two.test"]
