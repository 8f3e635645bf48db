"""HTTP injection through the whole server: what is promised holds over workers, crashes and restarts."""

import http.client
import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from outrider.base.clock import SystemClock
from tests.e2e.outrider_process import PROGRAM, OutriderProcess, configuration_for, serving, start_server
from tests.hostility.raw_receiver import RawReceiver, raw_receiver
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

MESSAGE: dict[str, Any] = {
    "from": "shop@sender.test",
    "to": ["a@receiver.test"],
    "subject": "Your order",
    "text": "It is on its way.\n",
}


def now() -> datetime:
    return datetime.fromtimestamp(SystemClock().wall(), UTC)


class Door(NamedTuple):
    """The HTTP door of a running server."""

    server: OutriderProcess
    key: str
    receiver: RawReceiver

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **fields: str
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.ports["http"], timeout=PATIENCE_SECONDS
        )
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        octets = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, octets, headers)
            with connection.getresponse() as answer:
                text = answer.read()
                is_json = not answer.headers.get_content_type().endswith("ndjson")
                found = json.loads(text) if is_json else text
                return answer.status, found, dict(answer.headers)
        finally:
            connection.close()

    def post(self, message: Any, **fields: str) -> tuple[int, Any, dict[str, str]]:
        return self.ask("POST", "/v1/messages", message, **fields)

    def state(self, message_id: str) -> Any:
        return self.ask("GET", f"/v1/messages/{message_id}")[1]


@contextmanager
def opened(
    folder: Path, workers: int = 2, more: str = "", environment: dict[str, str] | None = None
) -> Iterator[Door]:
    folder.mkdir()
    users = folder / "users.toml"
    line = [*PROGRAM, "user", "key", "create", "web", "-d", "sender.test", "--file", str(users), "--json"]
    made = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    with raw_receiver() as receiver:
        text = configuration_for(
            {"receiver.test": receiver.port}, workers=workers, users_file=users, more=more
        )
        with serving(folder, text, environment) as server:
            yield Door(server, json.loads(made.stdout)["key"], receiver)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path / "server") as door:
        yield door


def again(door: Door, *, crash: bool) -> Door:
    """The same server, started again from what is on its disk."""
    if crash:
        door.server.kill()
    else:
        door.server.stop()
    if door.server.process.stdout is not None:
        door.server.process.stdout.close()
    started = start_server(door.server.folder)
    door.server.process, door.server.ports = started.process, started.ports
    return door


def receptions(door: Door) -> list[dict[str, Any]]:
    return [event for event in door.server.events() if event["type"] == "reception"]


def test_personal_messages_arrive_each_with_its_own(door: Door) -> None:
    status, answer, _ = door.post(
        {
            **{name: MESSAGE[name] for name in ("from",)},
            "subject": "Hello {{name}}",
            "text": "Dear {{name}}, your code is {{code}}.\n",
            "html": "<p>Dear {{name}}</p>",
            "variables": {"code": 7},
            "metadata": {"campaign": "autumn", "secret_note": "not for the log"},
            "recipients": [
                {
                    "address": f"{name}@receiver.test",
                    "variables": {"name": name.upper() + "<b>"},
                    "metadata": {"customer_id": f"c-{name}"},
                }
                for name in ("ann", "bob", "cid")
            ],
            "attachments": [{"content": "aGVsbG8=", "content_type": "text/plain", "filename": "h.txt"}],
        },
        Idempotency_Key="personal-1",
    )
    assert (status, answer["recipients"], len(answer["ids"])) == (202, 3, 3)
    wait_until(lambda: len(door.receiver.taken) == 3, "three deliveries")
    for taken in door.receiver.taken:
        name = taken.recipients[0].partition("@")[0].upper().encode()
        others = {b"ANN", b"BOB", b"CID"} - {name}
        assert b"Subject: Hello %b<b>\r\n" % name in taken.wire
        assert b"<p>Dear %b&lt;b&gt;</p>" % name in taken.wire
        assert b"your code is 7." in taken.wire
        assert b'filename="h.txt"' in taken.wire
        assert b"aGVsbG8=" in taken.wire
        assert not any(other in taken.wire for other in others)
    wait_until(lambda: sum(e["type"] == "delivery" for e in door.server.events()) == 3, "their events")
    for event in door.server.events():
        if event["type"] in ("reception", "delivery"):
            name = event["recipient"].partition("@")[0]
            assert event["metadata"] == {"campaign": "autumn", "customer_id": f"c-{name}"}
    assert "not for the log" not in json.dumps(door.server.events())


def test_a_batch_is_answered_line_by_line(door: Door) -> None:
    lines = [json.dumps(MESSAGE | {"subject": f"Line {number}"}).encode() for number in range(100)]
    lines[10] = b"{not json"
    lines[20] = json.dumps(MESSAGE | {"from": "ceo@bank.test"}).encode()
    lines[30] = json.dumps(MESSAGE | {"idempotency_key": "line"}).encode()
    lines[31] = lines[30]
    status, text, _ = door.ask("POST", "/v1/batches", b"\n".join(lines), kind="application/x-ndjson")
    results = [json.loads(line) for line in text.splitlines()]
    assert status == 200
    assert [each["line"] for each in results] == list(range(1, 101))
    found = {each["line"]: each["status"] for each in results if each["status"] != 202}
    assert found.pop(32, 409) == 409  # if the first of the two was stored by then, it is its answer
    assert found == {11: 400, 21: 403}
    again_status, again_text, _ = door.ask("POST", "/v1/batches", lines[30], kind="application/x-ndjson")
    assert again_status == 200
    assert json.loads(again_text)["answer"] == results[30]["answer"]
    wait_until(lambda: len(door.receiver.taken) == 97, "what was accepted is delivered")


def test_send_at_waits_over_a_crash_and_is_seen_in_the_queue(door: Door) -> None:
    at = now() + timedelta(seconds=2)
    assert door.post(MESSAGE | {"subject": "soon", "send_at": at.isoformat()})[0] == 202
    later = (now() + timedelta(days=2)).replace(microsecond=0)
    status, answer, _ = door.post(MESSAGE | {"subject": "later", "send_at": later.isoformat()})
    assert status == 202
    assert door.post(MESSAGE | {"send_at": (later + timedelta(days=9)).isoformat()})[0] == 422
    wait_until(lambda: len(door.receiver.taken) == 1, "the first one")
    assert now() >= at
    assert b"Subject: soon\r\n" in door.receiver.taken[0].wire
    # a reply in flight when all die may mean a duplicate, so its end is recorded first
    wait_until(lambda: any(event["type"] == "delivery" for event in door.server.events()), "its event")
    again(door, crash=True)
    wait_until(lambda: door.server.command("queue", "count")["count"] == 1, "the second one waits")
    (state,) = door.state(answer["id"])["recipients"]
    assert state["state"] == "queued"
    assert datetime.fromisoformat(state["due_time"]) == later
    assert door.server.command("queue", "retry", "--id", answer["id"], "--yes")["changed"] == 1
    wait_until(lambda: len(door.receiver.taken) == 2, "an operator may send it now")


def test_an_idempotency_key_is_remembered_over_restarts(door: Door) -> None:
    status, answer, fields = door.post(MESSAGE, Idempotency_Key='"order-1"')
    assert (status, fields.get("outrider-repeated")) == (202, None)
    for crash in (True, False):
        again(door, crash=crash)
        repeated, again_answer, fields = door.post(MESSAGE, Idempotency_Key="order-1")
        assert (repeated, again_answer, fields["outrider-repeated"]) == (202, answer, "true")
        other, problem, _ = door.post(MESSAGE | {"subject": "Another"}, Idempotency_Key="order-1")
        assert (other, problem["code"]) == (422, "key_reused")
    assert len(receptions(door)) == 1


def test_keys_are_exact_while_processes_are_killed(door: Door) -> None:
    """Clients repeat each request until they hear 202; meanwhile workers and dispatcher die."""
    keys = [f"order-{number}" for number in range(60)]
    answers: dict[str, set[str]] = {key: set() for key in keys}
    statuses: set[int] = set()
    rng = random.Random(4)
    done = threading.Event()

    def client(own: list[str]) -> None:
        for key in own:
            body = MESSAGE | {"metadata": {"order": key}}
            while not done.is_set():
                try:
                    status, answer, _ = door.post(body, Idempotency_Key=key)
                except (OSError, http.client.HTTPException):
                    continue  # whether it was stored is what nobody knows
                statuses.add(status)
                if status == 202:
                    answers[key].add(answer["id"])
                    if len(answers[key]) > 1 or rng.random() < 0.5:
                        break  # half of them ask once more after the answer
                elif status in (409, 503, 504):
                    done.wait(0.02)
                else:
                    raise AssertionError((status, answer))

    # each key is asked for by two clients, on whichever worker takes the connection
    clients = [threading.Thread(target=client, args=(keys[part::4],)) for part in range(4) for _ in range(2)]
    for thread in clients:
        thread.start()
    try:
        for round_ in range(4):
            name = ("worker-0", "dispatcher", "worker-1", "dispatcher")[round_]
            kill_process(door, name)
            wait_until(lambda: len(receptions(door)) >= 10 * (round_ + 1), "some more")  # noqa: B023 - called here
        wait_until(
            lambda: not any(thread.is_alive() for thread in clients), "every client has its answers", 120
        )
    finally:
        done.set()
    assert all(len(found) == 1 for found in answers.values()), answers
    wait_until(lambda: len(receptions(door)) >= len(keys), "all receptions")
    stored = [(event["metadata"]["order"], event["message_id"]) for event in receptions(door)]
    assert sorted(stored) == sorted((key, *answers[key]) for key in keys)
    assert 202 in statuses


def kill_process(door: Door, name: str) -> None:
    """SIGKILL to one process; returns once a successor is there."""
    pid = pid_of(door, name)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid_of(door, name) != pid, f"a successor of {name}")


def pid_of(door: Door, name: str) -> int:
    """The latest process of this name, as the supervisor told."""
    started = [json.loads(line) for line in door.server.log().splitlines() if "process.started" in line]
    return next(int(each["pid"]) for each in reversed(started) if each["name"] == name)


@pytest.mark.parametrize(
    "fault", ["fdatasync:*/logs/*.log:{}:EIO", "pwritev:*/logs/*.log:{}:SHORT,pwritev:*/logs/*.log:{}:EIO"]
)
def test_personal_messages_without_a_key_are_taken_all_or_none(tmp_path: Path, fault: str) -> None:
    """Together they are longer than several segments, and the disk fails once, at any moment of it."""
    request = {
        **{name: MESSAGE[name] for name in ("from", "subject")},
        "text": "{{name}}" + "x" * 3_000,
        "recipients": [
            {"address": f"r{number}@receiver.test", "variables": {"name": str(number)}}
            for number in range(100)
        ],
    }
    small = "[spool]\nsegment_octets = 65536\n"  # a fault in making one ahead refuses nothing
    refused = 0
    for at in range(2, 7):
        environment = {"OUTRIDER_FAULTS": fault.replace("{}", str(at))}
        with opened(tmp_path / f"server-{at}", 1, small, environment) as door:
            statuses = [door.post(request)[0] for _ in range(4)]
            assert set(statuses) <= {202, 503}
            refused += statuses.count(503)
            taken = 100 * statuses.count(202)
            wait_until(lambda: len(door.receiver.taken) >= taken, "all of those that were taken")  # noqa: B023
            wait_until(lambda: door.server.command("queue", "count")["count"] == 0, "an empty queue")
            assert len(door.receiver.taken) == taken, "and none of the others"
    assert refused >= 2, "the faults struck"
