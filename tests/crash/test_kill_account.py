"""The account of a kill run finds what is lost, doubled or without a reason."""

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import SystemClock
from tests.crash import standstill
from tests.crash.kill_account import (
    Account,
    Ending,
    Kill,
    Queue,
    Record,
    Sighting,
    draw_up,
    explain,
    read_record,
)
from tests.crash.kill_processes import (
    children_of,
    connections_of,
    is_running,
    logs_of,
    owner_of,
    parse_connections,
    pause,
)
from tests.crash.standstill import Standstill
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

TO = "user@plain.test"
OTHER = "other@plain.test"


def sighting(at: float, *, number: str = "smtp-1", message_id: str = "m1", sender: int = 40) -> Sighting:
    return Sighting(message_id, number, TO, at, sender)


def kill(
    at: float, *, pids: frozenset[int] = frozenset((40,)), logs: frozenset[int] = frozenset((3,))
) -> Kill:
    return Kill(at, ("worker-0",), pids, logs)


def event(kind: str, event_id: str, entry: int = 7, *, at: float = 100.0, to: str = TO) -> dict[str, Any]:
    time = datetime.fromtimestamp(at, UTC).isoformat()
    return {"type": kind, "id": event_id, "time": time, "entry": entry, "message_id": "m1", "recipient": to}


DELIVERED = Ending("delivery", 100.0, 5)


def test_a_reply_in_flight_explains_a_duplicate() -> None:
    taken = [sighting(90.0), sighting(99.9, sender=41)]
    (reason,) = explain(taken, DELIVERED, [kill(90.2)])
    assert reason == "reply in flight when worker-0 was killed, 200 ms after the reply"


def test_one_recorded_delivery_needs_no_reason() -> None:
    assert explain([sighting(99.9)], DELIVERED, []) == []


def test_what_no_kill_explains() -> None:
    taken = [sighting(90.0), sighting(99.9, sender=41)]
    for kills in (
        [],
        [kill(92.0)],  # long after the reply: its finish was synced by then
        [kill(87.0)],  # long before it
        [kill(90.2, pids=frozenset((50,)))],  # a process that had nothing to do with it
        [kill(90.2, logs=frozenset((5,)))],  # its log does hold the finish
    ):
        (reason,) = explain(taken, DELIVERED, kills)
        assert reason.startswith("unexplained"), kills


def test_a_machine_that_stood_still_has_kept_a_reply_so_much_longer() -> None:
    taken = [sighting(90.0), sighting(99.9, sender=41)]
    for at, late in ((92.0, 1.5), (87.0, 1.5)):
        (reason,) = explain(taken, DELIVERED, [replace(kill(at), late_seconds=late)])
        assert reason.startswith("reply in flight"), at
        (reason,) = explain(taken, DELIVERED, [replace(kill(at), late_seconds=0.5)])
        assert reason.startswith("unexplained"), at


def test_a_standstill_is_seen_around_its_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    went, goes = threading.Event(), threading.Event()

    def late(_descriptor: int) -> None:
        went.set()
        goes.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(standstill, "NOTABLE_SECONDS", 0.0)
    with Standstill(tmp_path) as machine:
        monkeypatch.setattr(os, "fsync", late)
        assert went.wait(PATIENCE_SECONDS)
        at = SystemClock().wall()
        goes.set()
        wait_until(lambda: machine.around(at) > 0.0, "the standstill is told")
        assert machine.around(at - 3600) == machine.around(at + 3600) == 0.0


def test_nothing_is_sent_again_after_its_delivery_was_recorded() -> None:
    (reason,) = explain([sighting(99.9), sighting(100.5)], DELIVERED, [kill(100.6)])
    assert reason == "unexplained: sent again after its delivery was recorded"


def test_a_delivery_before_the_simulator_took_it_is_a_lie() -> None:
    (reason,) = explain([sighting(101.0)], DELIVERED, [])
    assert reason.startswith("unexplained")


def test_events_are_neither_doubled_nor_lost() -> None:
    record = read_record([event("reception", "1.0.0.0"), event("delivery", "1.0.9.0")])
    assert record == Record(endings={("m1", TO): Ending("delivery", 100.0, 1)})
    doubled = read_record(
        [event("reception", "1.0.0.0"), event("delivery", "1.0.9.0"), event("delivery", "1.0.9.0")]
    )
    assert doubled.faults == [
        "event 1.0.9.0 is there 2 times",
        "entry 7 has 2 final events: delivery, delivery",
    ]
    orphan = read_record([event("bounce", "1.0.9.0")])
    assert orphan.faults == ["entry 7 has a final event and no reception"]
    twice = read_record([event("reception", "1.0.0.0"), event("reception", "2.0.0.0")])
    assert twice.faults == ["entry 7 has two receptions"]
    assert twice.open == {("m1", TO)}


def account(**given: Any) -> Account:
    """An account of one delivered message, with what is given instead."""
    record = read_record([event("reception", "5.0.0.0"), event("delivery", "5.0.9.0")])
    facts: dict[str, Any] = {
        "fates": {"acknowledged": [("smtp-1", TO)], "refused": [], "unknown": []},
        "sightings": [sighting(99.9)],
        "reported": [],
        "queue": Queue(),
        "kills": [kill(90.0)],
        "record": record,
        **given,
    }
    return draw_up(**facts)


def test_everything_is_somewhere() -> None:
    good = account()
    assert good.is_good
    assert good.line() == (
        "rounds=1 acknowledged=1 delivered=1 queued=0 bounced=0 lost=0 duplicates=0 unexplained=0"
    )
    owed = [("smtp-1", TO), ("smtp-2", TO), ("smtp-3", TO), ("smtp-4", TO)]
    mixed = account(
        fates={"acknowledged": owed, "refused": [], "unknown": []},
        reported=[("smtp-2", TO)],
        queue=Queue(frozenset(), frozenset((("smtp-3", TO),))),
    )
    assert (mixed.delivered, mixed.bounced, mixed.queued) == (1, 1, 1)
    assert mixed.lost == [("smtp-4", TO)]
    assert not mixed.is_good


def test_what_must_not_have_arrived() -> None:
    nobody: dict[str, list[tuple[str, str]]] = {"acknowledged": [], "refused": [], "unknown": []}
    assert account(fates=nobody).unexplained == [f"smtp-1 to {TO} was never sent and arrived"]
    refused = {**nobody, "refused": [("smtp-1", TO)]}
    assert account(fates=refused).unexplained == [f"smtp-1 to {TO} was refused and arrived"]
    unknown = {**nobody, "unknown": [("smtp-1", TO)]}
    assert account(fates=unknown).unexplained == []


def test_a_message_that_was_taken_in_twice() -> None:
    twice = account(sightings=[sighting(99.9), sighting(99.9, message_id="m2")])
    assert twice.duplicates == 1
    assert f"smtp-1 to {TO} was taken in 2 times" in twice.unexplained


def test_events_queue_and_simulator_agree() -> None:
    assert account(sightings=[]).unexplained == [f"m1 to {TO} has a delivery event and never arrived"]
    name = frozenset((("m1", TO),))
    assert account(queue=Queue(name)).unexplained == [f"m1 to {TO} is in the queue after its final event"]
    received = read_record([event("reception", "5.0.0.0")])
    assert account(record=received).unexplained == [f"m1 to {TO} left the queue without a final event"]
    assert account(record=received, queue=Queue(name)).unexplained == []
    assert account(record=Record()).unexplained == [f"smtp-1 to {TO} arrived and has no reception event"]


def test_a_report_of_the_server_is_counted_by_its_id() -> None:
    report = Sighting("m9", "", OTHER, 95.0, 40)
    event_ = {**event("reception", "5.1.0.0", 8, to=OTHER), "message_id": "m9"}
    end = {**event("delivery", "5.1.9.0", 8, at=95.1, to=OTHER), "message_id": "m9"}
    record = read_record([event("reception", "5.0.0.0"), event("delivery", "5.0.9.0"), event_, end])
    assert account(sightings=[sighting(99.9), report], record=record).is_good


def test_the_inodes_of_connections() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n"
        "   1: 0100007F:9C40 0214007F:1F41 01 00000000:00000000 00:00000000 00000000     0        0 12 1\n"
        "   2: 0100007F:9C41 0214007F:1F41 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n"
        "   3: 0100007F:9C40 0314007F:1F41 01 00000000:00000000 00:00000000 00000000     0        0 13 1\n"
    )
    near = ("127.0.0.1", 0x9C40)
    assert parse_connections(table) == {
        (near, ("127.0.20.2", 0x1F41)): "12",
        (near, ("127.0.20.3", 0x1F41)): "13",
    }


def test_the_owner_of_a_connection() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        ends = ours.getsockname(), ours.getpeername()
        assert owner_of(ends, [4_194_305, os.getpid()]) == os.getpid()
        assert owner_of(ends, [4_194_305]) == 0
        assert owner_of((ends[0], ("127.0.0.1", 1)), [os.getpid()]) == 0


OPENS = """
import sys
with open(sys.argv[1], "w"):
    print("open", flush=True)
    sys.stdin.readline()
print("shut", flush=True)
sys.stdin.readline()
"""


def test_the_logs_that_a_process_writes(tmp_path: Path) -> None:
    lock = tmp_path / "spool" / "logs" / "7" / "lock"
    lock.parent.mkdir(parents=True)
    # one of its own, because other tests may have left logs open in this one
    with subprocess.Popen(
        [sys.executable, "-c", OPENS, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for said, logs in (("open", frozenset((7,))), ("shut", frozenset())):
            assert process.stdout.readline() == f"{said}\n"
            assert logs_of(process.pid) == logs
            process.stdin.write("go on\n")
            process.stdin.flush()
    assert logs_of(4_194_305) == frozenset()


def test_processes_that_are_gone_are_no_children() -> None:
    assert children_of(1, '{"event":"process.started","name":"worker-0","pid":4194305}\nno JSON') == {}
    assert not is_running(4_194_305)


def test_a_sender_that_nobody_knows_is_no_victim() -> None:
    unknown = sighting(100.0, sender=0)
    everybody = Kill(100.02, ("all",), frozenset((7, 8)), frozenset((3,)))
    assert explain([unknown], None, [everybody])[0].startswith("unexplained")
    assert explain([unknown], None, [kill(100.02)])[0].startswith("unexplained")


def test_what_a_process_held_is_seen_while_it_stands_still() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            "import socket, sys\n"
            "held = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            "print(held.getsockname()[1], flush=True)\n"
            "while True: pass\n"
        )
        command = [sys.executable, "-c", script, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            pause([process.pid, 4_194_305])
            assert connections_of(process.pid) == {(("127.0.0.1", port), server.getsockname())}
            assert is_running(process.pid)
            process.kill()
    assert connections_of(process.pid) == frozenset()
