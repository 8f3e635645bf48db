"""Events that cannot be synced any more: the processes start anew, and nothing is missing or there twice."""

import os
import smtplib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from outrider.base.exits import Exit
from tests.e2e.outrider_process import PROGRAM, OutriderProcess, configuration_for
from tests.e2e.practice import log_lines
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, running, wait_until

FAULTS = "fdatasync:*/events/1.jsonl:3:EIO,fdatasync:*/events/2.jsonl:3:EIO"


def send(port: int, number: int) -> bool:
    """Hand in a message; False where the server takes none now."""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
            client.sendmail(
                "shop@example.test", [f"customer{number}@example.test"], f"Subject: {number}\r\n\r\nHello\r\n"
            )
    except (smtplib.SMTPException, OSError):
        return False
    return True


def test_processes_whose_events_freeze_start_anew(
    serve: Callable[[str], OutriderProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink_port = free_port()
    monkeypatch.setenv("OUTRIDER_FAULTS", FAULTS)
    configuration = configuration_for({"example.test": sink_port}, workers=1).replace(
        "[record]", "[record]\nsync_seconds = 0.3"
    )
    with running([*PROGRAM, "sink", str(sink_port)], port=sink_port, log=tmp_path / "sink.log", cwd=tmp_path):
        server = serve(configuration)
        taken = [number for number in range(20) if send(server.ports["smtp"], number)]
        # the first logs are the dispatcher's and the worker's, in whichever order they started
        wait_until(lambda: server.log().count("record.frozen") == 2, "both processes to give up")
        wait_until(lambda: server.log().count("process.died") == 2, "both processes to end")
        assert [line["code"] for line in log_lines(server, "process.died")] == [Exit.IO, Exit.IO]
        wait_until(lambda: server.command("status")["granting"], "the successors to work")
        wait_until(lambda: send(server.ports["smtp"], 20), "a message to be taken again")
        taken.append(20)
        wait_until(lambda: server.command("queue", "count")["count"] == 0, "an empty queue")
        assert server.stop() == 0
    counts = Counter((event["type"], event.get("recipient")) for event in server.events())
    for number in taken:
        recipient = f"customer{number}@example.test"
        assert (counts["reception", recipient], counts["delivery", recipient]) == (1, 1)


def test_old_events_that_cannot_be_removed_are_told_and_the_control_api_answers(
    serve: Callable[[str], OutriderProcess], tmp_path: Path
) -> None:
    old = tmp_path / "outrider-1" / "state" / "events" / "777-1.jsonl"
    old.mkdir(parents=True)
    os.utime(old, (1.0, 1.0))
    server = serve(configuration_for({}, workers=1))
    wait_until(lambda: bool(log_lines(server, "record.not_expired")), "it is told")
    assert server.command("status")["granting"]
    assert not log_lines(server, "process.died")
