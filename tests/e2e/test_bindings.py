"""Bindings: mail of each leaves from its address with its EHLO name, whatever assigns it."""

import json
import smtplib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, ServerError, serving
from tests.e2e.practice import Practice, await_events, events_of, provider, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.7.1") + provider("two", "two.test", "127.30.7.2")

SCRIPT = """\
def set_binding(mail):
    wanted = mail.mail_from.partition("@")[0]
    if wanted != "plain":
        assert mail.try_binding(wanted)

def final_validation(mail):
    mail.context["binding"] = mail.binding + "/" + mail.binding_group
"""

BINDINGS = """
[policy]
default_binding = "news"
[[policy.script]]
name = "shop"
source = "shop.py"

[[binding]]
name = "news"
source_addresses = ["127.40.0.1"]
ehlo_name = "news.sender.test"
[[binding]]
name = "bills"
source_addresses = ["127.40.0.2"]
ehlo_name = "bills.sender.test"
[[binding]]
name = "spare"
source_addresses = ["127.40.0.3"]
ehlo_name = "spare.sender.test"
[[binding_group]]
name = "pool"
members = ["bills", "spare"]
[[delivery.override]]
group = "pool"
site = "mx.two.test"
ehlo_name = "pool.sender.test"
"""


@pytest.fixture(scope="module")
def server(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
    with serving(folder, storing.configuration(more=BINDINGS)) as running:
        yield running


def left_as(store: Path, *messages: str) -> Counter[tuple[str, str]]:
    """How often these messages came from which address with which EHLO name."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(store.rglob("*.json")):
        content = path.with_suffix(".eml").read_bytes()
        if any(message_id.encode() in content for message_id in messages):
            envelope = json.loads(path.read_text(encoding="utf-8"))
            found[envelope["client"].partition(":")[0], envelope["ehlo"]] += 1
    return found


def deliveries(server: OutriderProcess, *messages: str) -> Counter[str]:
    """Bindings of the deliveries of messages, once all are there."""
    found: Counter[str] = Counter()
    for message_id in messages:
        [event] = await_events(server, 1, "delivery", message_id=message_id)
        found[event["binding"]] += 1
    return found


@pytest.mark.parametrize(
    ("sender", "binding", "left"),
    [
        ("news@sender.test", "news", ("127.40.0.1", "news.sender.test")),
        ("bills@sender.test", "bills", ("127.40.0.2", "bills.sender.test")),
        ("spare@sender.test", "spare", ("127.40.0.3", "spare.sender.test")),
        ("plain@sender.test", "news", ("127.40.0.1", "news.sender.test")),
    ],
)
def test_mail_of_a_binding_leaves_from_its_address_with_its_name(
    server: OutriderProcess, store: Path, sender: str, binding: str, left: tuple[str, str]
) -> None:
    messages = [send(server.ports["smtp"], "joe@one.test", mail_from=sender) for _ in range(3)]
    assert deliveries(server, *messages) == {binding: 3}
    assert left_as(store, *messages) == {left: 3}


def test_each_recipient_gets_a_member_of_the_group_and_options_of_the_group(
    server: OutriderProcess, store: Path
) -> None:
    names = [f"joe{number}@one.test" for number in range(10)]
    message_id = send(server.ports["smtp"], *names, "ann@two.test", mail_from="pool@sender.test")
    events = await_events(server, 11, "delivery", message_id=message_id)
    there = Counter(event["binding"] for event in events if event["site"] == "mx.one.test")
    assert there == {"bills": 5, "spare": 5}
    left = left_as(store, message_id)
    assert {source for source, _ in left} == {"127.40.0.2", "127.40.0.3"}
    assert {name for source, name in left if name.startswith("pool")} == {"pool.sender.test"}
    [event] = [event for event in events if event["site"] == "mx.two.test"]
    assert event["binding"] in {"bills", "spare"}


def test_a_suspended_member_is_skipped_and_mail_that_has_it_waits(server: OutriderProcess) -> None:
    suspended = server.command("path", "suspend", "*", "--binding", "bills", "--reason", "a block", "--yes")[
        "suspension"
    ]["number"]

    try:
        message_id = send(server.ports["smtp"], "joe@one.test", mail_from="bills@sender.test")
        waits = [row for row in server.command("queue", "list") if row["binding"] == "bills"]
        assert message_id in {row["message_id"] for row in waits}
        messages = [
            send(server.ports["smtp"], "ann@one.test", mail_from="pool@sender.test") for _ in range(8)
        ]
        assert deliveries(server, *messages) == {"spare": 8}
        moved = send(server.ports["smtp"], "joe@one.test", mail_from="bills@sender.test")
        server.command("queue", "move", "--id", moved, "--to-binding", "news", "--reason", "blocked", "--yes")
        assert deliveries(server, moved) == {"news": 1}
    finally:
        server.command("path", "resume", str(suspended), "--reason", "lifted")
    assert deliveries(server, message_id) == {"bills": 1}


def test_suspensions_are_heeded_from_the_first_mail_after_a_start(storing: Practice, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT, encoding="utf-8")
    with serving(tmp_path, storing.configuration(more=BINDINGS)) as server:
        server.command("path", "suspend", "*", "--binding", "spare", "--reason", "a block", "--yes")
    with serving(tmp_path, storing.configuration(more=BINDINGS)) as server:
        messages = [
            send(server.ports["smtp"], "joe@one.test", mail_from="pool@sender.test") for _ in range(6)
        ]
        assert deliveries(server, *messages) == {"bills": 6}


def test_mail_that_gets_no_binding_is_refused_for_now(storing: Practice, tmp_path: Path) -> None:
    text = storing.configuration(more='[policy]\ndefault_binding = "none"\n')
    with serving(tmp_path, text) as server:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            client.mail("shop@sender.test")
            client.rcpt("joe@one.test")
            assert client.data(b"Subject: test\r\n\r\ntext\r\n")[0] == 451
        assert events_of(server, "reception") == []
        wait_until(lambda: len(events_of(server, "refusal")) == 1, "the refusal is recorded")


def test_bindings_are_changed_by_a_reload(storing: Practice, tmp_path: Path, store: Path) -> None:
    one = '[[binding]]\nname = "default"\nsource_addresses = ["127.40.0.{}"]\n'
    text = storing.configuration(more=one.format(8))
    with serving(tmp_path, text) as server:
        first = send(server.ports["smtp"], "joe@one.test", mail_from="reload@sender.test")
        deliveries(server, first)
        before = server.config.read_text(encoding="utf-8")
        server.config.write_text(before.replace("127.40.0.8", "127.40.0.9"), encoding="utf-8")
        answer = server.command("reload")
        assert [change["name"] for change in answer["changes"]] == ["binding.default.source_addresses"]
        assert not any(change["needs_restart"] for change in answer["changes"])
        # a connection that is open may be used on; mail of another path opens its own
        second = send(server.ports["smtp"], "ann@two.test", mail_from="reload@sender.test")
        deliveries(server, second)
    assert [source for source, _ in left_as(store, first)] == ["127.40.0.8"]
    assert [source for source, _ in left_as(store, second)] == ["127.40.0.9"]


def test_mail_of_a_binding_that_a_reload_takes_away_is_told_of(storing: Practice, tmp_path: Path) -> None:
    old = '[[binding]]\nname = "old"\n[policy]\ndefault_binding = "old"\n'
    with serving(tmp_path, storing.configuration(more=old)) as server:
        server.command("path", "suspend", "*", "--binding", "old", "--reason", "it leaves", "--yes")
        message = send(server.ports["smtp"], "joe@one.test", mail_from="stranded@sender.test")
        before = server.config.read_text(encoding="utf-8")
        server.config.write_text(before.replace(old, ""), encoding="utf-8")
        stranded = [{"binding": "old", "entries": 1}]
        assert server.command("config", "diff")["stranded"] == stranded
        assert server.command("reload")["stranded"] == stranded
        move = ("queue", "move", "--binding", "old", "--to-binding", "default", "--reason", "gone", "--yes")
        server.command(*move)
        assert deliveries(server, message) == Counter({"default": 1})
        assert server.command("reload")["stranded"] == []


def test_a_running_server_explains_its_paths(server: OutriderProcess) -> None:
    deliveries(server, send(server.ports["smtp"], "ann@two.test", mail_from="bills@sender.test"))
    for asked in (("smtp/bills/mx.two.test",), ("--domain", "two.test", "--binding", "bills")):
        found = server.command("explain", "path", *asked, "--running")
        assert (found["path"], found["groups"]) == ("smtp/bills/mx.two.test", ["pool"])
        [name] = [row for row in found["values"] if row["name"] == "ehlo_name"]
        assert (name["value"], name["level"]) == ('"pool.sender.test"', "group::site")
        assert name["origin"].startswith(str(server.config))
        assert found == server.command("explain", "path", "smtp/bills/mx.two.test")
    with pytest.raises(ServerError, match="is no domain"):
        server.command("explain", "path", "--domain", "a..b", "--running")
