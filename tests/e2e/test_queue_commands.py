"""An operator at work: looks at deferred mail, counts first, then acts on a part of it."""

import http.client
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider.cli.output import directories_of
from outrider.server.requests import AT_WORK
from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving
from tests.e2e.practice import Practice, await_events, events_of, provider, queue_is, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = (
    provider(
        "closed", "closed.test", "127.30.3.1", '[[provider.rule]]\non = "rcpt"\nreply = "450 4.2.0 Later"'
    )
    + provider(
        "shut", "below.shut.test", "127.30.3.2", '[[provider.rule]]\non = "rcpt"\nreply = "450 4.2.0 Later"'
    )
    + provider("open", "open.test", "127.30.3.3")
    + provider("sender", "sender.test", "127.30.3.5")
    + provider(
        "grey",
        "grey.test",
        "127.30.3.4",
        '[[provider.rule]]\non = "rcpt"\ntimes = 1\nreply = "450 4.2.0 Once"',
    )
)
# an hour: what is deferred stays so until somebody acts
SHAPING = "[[shaping.override]]\nsite = '*'\nretry_interval_seconds = 3600\nmax_retry_interval_seconds = 3600"


@pytest.fixture
def deferred(practice: Practice, serve: Callable[[str], OutriderProcess]) -> OutriderProcess:
    """A server with two entries deferred for closed.test and one for below.shut.test."""
    server = serve(practice.configuration(more=SHAPING))
    for recipient in ("a@closed.test", "b@closed.test", "c@below.shut.test"):
        send(server.ports["smtp"], recipient)
    wait_until(lambda: attempts_made(server) == [1, 1, 1], "each was tried once")
    return server


def attempts_made(server: OutriderProcess) -> list[int]:
    return [row["attempts"] for row in server.command("queue", "list")]


def listed(server: OutriderProcess, *arguments: str) -> list[str]:
    return sorted(row["routing_domain"] for row in server.command("queue", "list", *arguments))


def test_list_and_count_by_filter(deferred: OutriderProcess) -> None:
    rows = deferred.command("queue", "list")
    assert listed(deferred) == ["below.shut.test", "closed.test", "closed.test"]
    assert listed(deferred, "--domain", "CLOSED.test") == ["closed.test", "closed.test"]
    assert listed(deferred, "--domain", "*.shut.test") == ["below.shut.test"]
    assert listed(deferred, "--domain", "nobody.test") == []
    assert listed(deferred, "--id", rows[0]["message_id"]) == [rows[0]["routing_domain"]]
    assert listed(deferred, "--older-than", "3600") == []
    assert len(listed(deferred, "--attempts", "1")) == 3
    assert listed(deferred, "--attempts", "2") == []
    assert len(listed(deferred, "--limit", "2")) == 2
    assert len(listed(deferred, "--tenant", "default", "--stream", rows[0]["stream"])) == 3
    assert listed(deferred, "--tenant", "other") == []
    counted = {
        options: deferred.command("queue", "count", *options)["count"]
        for options in [(), ("--domain", "closed.test"), ("--held",), ("--not-held",), ("--tenant", "other")]
    }
    assert list(counted.values()) == [3, 2, 0, 3, 0]


def test_hold_waits_for_release(deferred: OutriderProcess, practice: Practice) -> None:
    tried = practice.seen("closed").deferred
    dry = deferred.command("queue", "hold", "--domain", "closed.test", "--dry-run")
    assert dry == {"matched": 2, "changed": 0, "busy": 0, "dry_run": True}
    assert deferred.command("queue", "count", "--held")["count"] == 0
    done = deferred.command("queue", "hold", "--domain", "closed.test", "--reason", "a complaint", "--yes")
    assert done == {"matched": 2, "changed": 2, "busy": 0, "dry_run": False}
    assert {row["held"] for row in deferred.command("queue", "list", "--held")} == {"a complaint"}
    assert [event["reason"] for event in await_events(deferred, 2, "hold")] == ["a complaint"] * 2
    # held mail is not attempted, not even when it is made due
    deferred.command("queue", "retry", "--not-held", "--yes")
    wait_until(lambda: sorted(attempts_made(deferred)) == [1, 1, 2], "the free one was tried again")
    assert practice.seen("closed").deferred == tried
    released = deferred.command("queue", "release", "--domain", "closed.test", "--yes")
    assert released == {"matched": 2, "changed": 2, "busy": 0, "dry_run": False}
    assert practice.seen("closed").deferred == tried, "released mail keeps its due time"
    deferred.command("queue", "retry", "--domain", "closed.test", "--yes")
    wait_until(lambda: practice.seen("closed").deferred == tried + 2, "released mail was tried")
    assert deferred.command("queue", "count", "--held")["count"] == 0
    assert len(await_events(deferred, 2, "release")) == 2
    assert len(await_events(deferred, 3, "retry")) == 3


def test_the_dispatcher_tells_what_is_changed_while_it_works(deferred: OutriderProcess) -> None:
    """Should it die, whoever asked knows how far it came."""
    arguments = {"actor": "tester", "reason": "why", "routing_domain": "closed.test"}
    question = msgspec.msgpack.encode((1, "queue.hold", arguments))
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE_SECONDS)
        asking.connect(str(directories_of(deferred.config).sockets_directory / "queue.sock"))
        asking.sendall(len(question).to_bytes(4, "big") + question)
        with asking.makefile("rb") as answers:
            told = [msgspec.msgpack.decode(answers.read(int.from_bytes(answers.read(4)))) for _ in range(2)]
    assert told[0][:2] == [AT_WORK, 2]
    assert told[1][:2] == [1, {"matched": 2, "changed": 2, "busy": 0}]


def test_a_hold_outlives_a_restart(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration(more=SHAPING)) as server:
        send(server.ports["smtp"], "a@closed.test")
        wait_until(lambda: attempts_made(server) == [1], "it was tried once")
        server.command("queue", "hold", "--yes", "--reason", "for later")
        server.kill()
    tried = practice.seen("closed").deferred
    with serving(tmp_path / "server", practice.configuration(more=SHAPING)) as server:
        assert [row["held"] for row in server.command("queue", "list")] == ["for later"]
        assert practice.seen("closed").deferred == tried
        server.command("queue", "release", "--yes")
        server.command("queue", "retry", "--yes")
        wait_until(lambda: practice.seen("closed").deferred == tried + 1, "released mail was tried")


def test_retry_by_filter(deferred: OutriderProcess) -> None:
    done = deferred.command("queue", "retry", "--domain", "closed.test", "--yes")
    assert done == {"matched": 2, "changed": 2, "busy": 0, "dry_run": False}
    wait_until(lambda: sorted(attempts_made(deferred)) == [1, 2, 2], "those were tried again")


def test_move_sends_it_elsewhere(deferred: OutriderProcess, practice: Practice) -> None:
    before = practice.seen("open").recipients
    move = ("queue", "move", "--domain", "below.shut.test", "--to-domain", "open.test")
    assert deferred.command(*move, "--dry-run")["matched"] == 1
    assert practice.seen("open").recipients == before
    assert deferred.command(*move, "--yes", "--reason", "below.shut.test is away")["changed"] == 1
    assert listed(deferred) == ["closed.test", "closed.test", "open.test"]
    deferred.command("queue", "retry", "--domain", "open.test", "--yes")
    # the new place refuses a recipient of another domain: it is asked, and the entry ends there
    wait_until(lambda: listed(deferred) == ["closed.test", "closed.test"], "it left the queue")
    assert [event["site"] for event in await_events(deferred, 1, "bounce")] == ["mx.open.test"]
    assert len(await_events(deferred, 1, "alteration")) == 1


def test_purge_removes_and_says_why(deferred: OutriderProcess) -> None:
    dry = deferred.command("queue", "purge", "--domain", "closed.test", "--dry-run")
    assert dry == {"matched": 2, "changed": 0, "busy": 0, "dry_run": True}
    assert deferred.command("queue", "count")["count"] == 3
    done = deferred.command("queue", "purge", "--domain", "closed.test", "--reason", "spam run", "--yes")
    assert done == {"matched": 2, "changed": 2, "busy": 0, "dry_run": False}
    assert listed(deferred) == ["below.shut.test"]
    purged = await_events(deferred, 2, "purge")
    assert all("spam run" in event["reason"] for event in purged)
    [told] = await_events(deferred, 1, "admin")
    assert (told["action"], told["target"], told["result"]) == ("queue.purge", "domain=closed.test", "done")
    assert (told["reason"], told["matched"], told["changed"]) == ("spam run", 2, 2)
    deferred.kill()


def test_without_yes_nothing_is_done(deferred: OutriderProcess) -> None:
    line = [*PROGRAM, "queue", "purge", "-c", str(deferred.config)]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "3 entries would be changed" in " ".join(done.stderr.replace("│", " ").split())
    assert deferred.command("queue", "count")["count"] == 3


def test_trace_tells_the_life_and_status_the_state(
    practice: Practice, serve: Callable[[str], OutriderProcess]
) -> None:
    server = serve(practice.configuration(more=SHAPING))
    message_id = send(server.ports["smtp"], "customer@grey.test")
    await_events(server, 1, "transient", message_id=message_id)
    halfway = server.command("trace", message_id)
    assert [event["type"] for event in halfway["events"]] == ["reception", "transient"]
    assert [(row["routing_domain"], row["attempts"]) for row in halfway["queued"]] == [("grey.test", 1)]
    status = server.command("status")
    assert (status["queue"]["alive"], status["queue"]["held"], status["granting"]) == (1, 0, True)
    assert sorted(worker["number"] for worker in status["workers"]) == [0, 1]
    server.command("queue", "retry", "--id", message_id, "--yes")
    await_events(server, 1, "delivery", message_id=message_id)
    wait_until(queue_is(server, 0), "the queue is empty")
    whole = server.command("trace", message_id)
    assert [event["type"] for event in whole["events"]][-1] == "delivery"
    assert whole["queued"] == []
    assert not events_of(server, "bounce")


def test_http_tells_the_state_of_each_recipient(practice: Practice, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    users = folder / "users.toml"
    line = [*PROGRAM, "user", "key", "create", "web", "-d", "sender.test", "--file", str(users), "--json"]
    made = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    key = json.loads(made.stdout)["key"]
    with serving(folder, practice.configuration(more=SHAPING, users_file=users)) as server:

        def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            connection = http.client.HTTPConnection(
                "127.0.0.1", server.ports["http"], timeout=PATIENCE_SECONDS
            )
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            with connection.getresponse() as answer:
                found = answer.status, json.loads(answer.read())
            connection.close()
            return found

        status, accepted = ask(
            "POST",
            "/v1/messages",
            {
                "from": "shop@sender.test",
                "to": ["a@closed.test", "b@open.test"],
                "subject": "Your order",
                "text": "It is on its way.",
            },
        )
        assert status == 202
        path = f"/v1/messages/{accepted['id']}"

        def states() -> dict[str, str]:
            found = ask("GET", path)[1].get("recipients", ())  # the other worker may not have heard of it yet
            return {each["recipient"]: each["state"] for each in found}

        wait_until(
            lambda: states() == {"a@closed.test": "queued", "b@open.test": "delivered"}, "both are told"
        )
        assert ask("GET", "/v1/messages/000000000000000000")[0] == 404
