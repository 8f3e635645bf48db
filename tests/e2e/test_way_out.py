"""Scripts of the way out in a running server, in both languages: the shipped example, and one that fails."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import (
    Practice,
    await_events,
    await_restart,
    copies,
    events_of,
    id_in,
    kill_child,
    log_lines,
    provider,
    queue_is,
    reply_to,
    reports_of,
)
from tests.peers.processes import wait_until
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import DOMAIN, pem, records
from tools.project_files import ROOT

EXAMPLES = {
    "python": ROOT / "examples" / "policy" / "late_codes.py",
    "lua": ROOT / "examples" / "policy" / "lua" / "late_codes.lua",
}
RULE = '[[provider.rule]]\non = "rcpt"\nreply = "{}"'
WORLD = (
    provider("one", "one.test", "127.30.26.1")
    + provider("fast", "fast.test", "127.30.26.2", RULE.format("550 5.7.1 Too fast"))
    + provider("full", "full.test", "127.30.26.3", RULE.format("452 4.2.2 Mailbox full"))
)
FAILING = {
    "python": """\
from pathlib import Path
MENDED = Path(__file__).parent / "mended"

def outbound(mail, attempt):
    if not MENDED.exists():
        raise RuntimeError("odd")
""",
    "lua": """\
require("msys.core")
local mod = {}
function mod:outrider_outbound(msg, attempt, vctx)
  if not msys.readfile("mended") then error("odd") end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("failing", mod)
""",
}

WAITING = {
    "python": """\
import asyncio
from pathlib import Path
FOLDER = Path(__file__).parent

async def opened(what):
    (FOLDER / what).touch()
    while not (FOLDER / "open").exists():
        await asyncio.sleep(0.02)

async def outbound(mail, attempt):
    if attempt.routing_domain == "one.test":
        await opened("before")

async def response(attempt):
    if attempt.code == 550:
        await opened("after")
    elif attempt.disposition == "delivered":
        await opened("delivered")
""",
    "lua": """\
require("msys.core")
local mod = {}
local function opened(what)
  print(what)
  while not msys.readfile("open") do msys.sleep(0.02) end
end
function mod:outrider_outbound(msg, attempt, vctx)
  if attempt.routing_domain == "one.test" then opened("before") end
  return msys.core.VALIDATE_CONT
end
function mod:outrider_response(attempt, vctx)
  if attempt.code == 550 then opened("after") end
  if attempt.disposition == "delivered" then opened("delivered") end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("waiting", mod)
""",
}


@pytest.fixture(scope="module", params=["python", "lua"])
def server(
    storing: Practice, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OutriderProcess]:
    """With the example, and with signatures."""
    folder = tmp_path_factory.mktemp("server")
    source = EXAMPLES[request.param]
    shutil.copy(source, folder)
    key = folder / "key.pem"
    key.touch(0o600)
    key.write_bytes(pem("ed25519"))
    more = (
        f'[[policy.script]]\nname = "late_codes"\nsource = "{source.name}"\n'
        f'[[dkim]]\ndomain = "{DOMAIN}"\nselector = "ed25519"\nkey_file = "key.pem"\n'
    )
    with serving(folder, storing.configuration(more=more)) as running:
        yield running


def hand_in(server: OutriderProcess, *recipients: str, **notes: float) -> str:
    """Hand in a message with notes; its id."""
    fields = "".join(f"X-Outrider-Context: {name}={value}\r\n" for name, value in notes.items())
    content = f"From: Ann <ann@sender.test>\r\nSubject: code\r\n{fields}\r\n12345\r\n"
    code, text = reply_to(server, content.encode(), *recipients)
    assert code == 250, text
    return id_in(text)


def received(store: Path, message_id: str) -> dict[tuple[str, ...], bytes]:
    """What the receivers got of a message, by whom it was for."""
    found = {}
    for path in store.rglob("*.eml"):
        octets = path.read_bytes()
        if message_id.encode() in octets:
            with suppress(FileNotFoundError, ValueError):  # it is being written
                envelope = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
                found[tuple(sorted(envelope["recipients"]))] = octets
    return found


def seconds_of(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


def test_each_recipient_gets_his_own_copy_with_a_signature_that_holds(
    server: OutriderProcess, store: Path
) -> None:
    message_id = hand_in(server, "joe@one.test", "ann@one.test")
    await_events(server, 2, "delivery", message_id=message_id)
    found = received(store, message_id)
    assert sorted(found) == [("ann@one.test",), ("joe@one.test",)]
    for (recipient,), octets in found.items():
        own = recipient.replace("@", "=").encode()
        assert b"List-Unsubscribe: <mailto:leave+" + own + b"@shop.example>" in octets
        assert verifies(octets, records("ed25519"))
        assert not verifies(octets.replace(own, b"x" * len(own)), records("ed25519"))


def test_who_is_held_back_gets_it_later_and_that_was_no_attempt(server: OutriderProcess, store: Path) -> None:
    quiet_until = SystemClock().wall() + 6
    message_id = hand_in(server, "joe@one.test", quiet_until=quiet_until)
    [delivery] = await_events(server, 1, "delivery", message_id=message_id)
    assert seconds_of(delivery["time"]) >= quiet_until - 0.01
    assert delivery["attempts"] == 1
    deferrals = events_of(server, "transient", message_id=message_id)
    said = {(each["reply_text"], each["ours"], each.get("attempts", 0)) for each in deferrals}
    assert said == {("The recipient sleeps", True, 0)}
    assert len(received(store, message_id)) == 1


def test_who_is_refused_bounces_with_the_reason(server: OutriderProcess, store: Path) -> None:
    message_id = hand_in(server, "joe@one.test", "ann@one.test", valid_until=1_000_000_000)
    bounces = await_events(server, 2, "bounce", message_id=message_id)
    for bounce in bounces:
        assert (bounce["reply_code"], bounce["reply_text"]) == (550, "The code is no longer valid")
        assert (bounce["ours"], bounce["bounce_class"], bounce["phase"]) == (True, "own-policy", "queue")
        assert bounce["metadata"]["ended"] == "bounced after 1"
    assert received(store, message_id) == {}
    wait_until(lambda: reports_of(server) != [], "the report to the sender")


def test_a_host_s_refusal_can_be_tried_again(server: OutriderProcess) -> None:
    message_id = hand_in(server, "joe@fast.test")
    [deferral] = await_events(server, 1, "transient", message_id=message_id)
    assert (deferral["reply_code"], deferral.get("ours", False)) == (550, False)
    assert deferral["metadata"]["rule"] == "too-fast"
    assert 3590 <= seconds_of(deferral["due_time"]) - seconds_of(deferral["time"]) <= 3600
    assert events_of(server, "bounce", message_id=message_id) == []


def test_a_host_s_deferral_can_be_the_end(server: OutriderProcess) -> None:
    message_id = hand_in(server, "joe@full.test")
    [bounce] = await_events(server, 1, "bounce", message_id=message_id)
    assert (bounce["reply_code"], bounce["attempts"]) == (452, 3)
    assert bounce["metadata"]["ended"] == "bounced after 3"


@pytest.mark.parametrize("language", ["python", "lua"])
def test_a_script_that_fails_loses_and_doubles_nothing_also_when_its_worker_dies(
    storing: Practice, store: Path, tmp_path: Path, language: str
) -> None:
    suffix = {"python": "py", "lua": "lua"}[language]
    (tmp_path / f"failing.{suffix}").write_text(FAILING[language], encoding="utf-8")
    more = f'[[policy.script]]\nname = "failing"\nsource = "failing.{suffix}"\n[policy]\nalert_failures = 3\n'
    with serving(tmp_path, storing.configuration(more=more)) as server:
        ids = [hand_in(server, f"u{number}@one.test") for number in range(6)]
        await_events(server, 6, "transient")
        for event in events_of(server, "transient"):
            assert (event["reply_code"], event["reply_enhanced"], event["ours"]) == (451, "4.3.0", True)
        wait_until(lambda: log_lines(server, "policy.alert") != [], "an alert")
        failures = log_lines(server, "policy.failed")
        assert {(each["script"], each["phase"]) for each in failures} == {("failing", "outbound")}
        assert queue_is(server, 6)()
        for name in ("worker-0", "worker-1"):
            await_restart(server, name, kill_child(server, name))
        assert events_of(server, "delivery", "bounce", "expiration") == []
        (tmp_path / "mended").touch()
        wait_until(lambda: all(received(store, each) for each in ids), "all of them")
        wait_until(queue_is(server, 0), "an empty queue")
    counts = {each: len(copies(store, each)) for each in ids}
    assert counts == dict.fromkeys(ids, 1)


def is_asked(server: OutriderProcess, what: str) -> bool:
    """The waiting script was asked, and waits."""
    return (server.folder / what).exists() or any(
        each["text"] == what for each in log_lines(server, "policy.print")
    )


@pytest.mark.parametrize("language", ["python", "lua"])
def test_a_worker_that_dies_while_scripts_think_loses_and_doubles_nothing(
    storing: Practice, store: Path, tmp_path: Path, language: str
) -> None:
    suffix = {"python": "py", "lua": "lua"}[language]
    (tmp_path / f"waiting.{suffix}").write_text(WAITING[language], encoding="utf-8")
    more = f'[[policy.script]]\nname = "waiting"\nsource = "waiting.{suffix}"\n'
    with serving(tmp_path, storing.configuration(workers=1, more=more)) as server:
        message_id = hand_in(server, "joe@one.test", "joe@fast.test")
        for what in ("before", "after"):
            wait_until(lambda what=what: is_asked(server, what), f"a script that waits {what} the wire")  # type: ignore[misc]
        assert events_of(server, "delivery", "bounce", "transient") == []
        await_restart(server, "worker-0", kill_child(server, "worker-0"))
        (tmp_path / "open").touch()
        await_events(server, 1, "delivery", message_id=message_id)
        await_events(server, 1, "bounce", message_id=message_id)
        wait_until(lambda: len(reports_of(server)) == 1, "a report to the sender")
        wait_until(lambda: is_asked(server, "delivered"), "a script that hears of the delivery")
        assert len(events_of(server, "delivery", message_id=message_id)) == 1
        assert len(events_of(server, "bounce", message_id=message_id)) == 1
    assert list(received(store, message_id)) == [("joe@one.test",)]
