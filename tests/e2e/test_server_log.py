"""The server's log in a file, written by all its processes: rotated, moved away by hand, taken up by each."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from outrider.base.clock import SystemClock, format_utc
from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.peers.processes import wait_until

PROCESSES = {"worker-0", "worker-1", "dispatcher", "control"}
OLD = json.dumps({"ts": "2026-01-01T00:00:00.000000Z", "event": "test.earlier", "pad": "x" * 1_000})


def hour_ago() -> str:
    return format_utc(SystemClock().wall() - 3_600)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """All lines; a torn one is an error."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def swapped(path: Path) -> set[str]:
    """The processes that told this file of a reload."""
    return {str(line["process"]) for line in lines_of(path) if line["event"] == "config.swapped"}


def holders(server: OutriderProcess, path: Path) -> set[int]:
    """The processes of the server that have the file open."""
    group = server.process.pid
    found = set()
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        try:
            if os.getpgid(int(each.name)) == group and any(
                link.readlink() == path for link in (each / "fd").iterdir()
            ):
                found.add(int(each.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def reload_with(server: OutriderProcess, seconds: int) -> None:
    text = server.config.read_text("utf-8")
    before = next(line for line in text.splitlines() if line.startswith("drain_seconds"))
    server.config.write_text(text.replace(before, f"drain_seconds = {seconds}"), "utf-8")
    server.process.send_signal(signal.SIGHUP)


def test_every_process_writes_on_in_the_file_that_has_the_name(tmp_path: Path) -> None:
    log, closed, second, moved, again, aged = (
        tmp_path / name
        for name in ("outrider.log", "outrider-1.log", "outrider-2.log", "moved", "moved-again", "aged")
    )
    # what an earlier run left is large enough, so that the first look of the supervisor closes it
    log.write_text(f"{OLD}\n" * 70, "utf-8")
    configuration = configuration_for({}, workers=2).replace("[server]", "[server]\ndrain_seconds = 19")
    configuration = configuration.replace(
        "[record]", '[record]\nlog_file = "outrider.log"\nlog_rotate_bytes = 65536'
    )
    with serving(tmp_path, configuration) as server:
        wait_until(closed.exists, "the file is closed")
        reload_with(server, 18)
        wait_until(lambda: swapped(log) >= PROCESSES, f"all processes in {log}: {lines_of(log)}")
        wait_until(lambda: not holders(server, closed), "nobody has the closed file open")

        # an outside tool takes the file away; SIGHUP, as such tools send it
        log.rename(moved)
        reload_with(server, 17)
        wait_until(lambda: swapped(log) >= PROCESSES, "all processes in the next file")
        wait_until(lambda: not holders(server, moved), "nobody has the moved file open")
        assert len(holders(server, log)) == 1 + len(PROCESSES)

        # nobody says a word and nobody sends a signal
        log.rename(again)
        wait_until(lambda: not holders(server, again), "nobody has the second one open")

        # the next one began an hour ago, and a reload says that a minute is enough
        aged.write_text(json.dumps({"ts": hour_ago(), "event": "test.hour_ago"}) + "\n", "utf-8")
        aged.rename(log)
        text = server.config.read_text("utf-8")
        server.config.write_text(
            text.replace("log_rotate_bytes", "log_rotate_seconds = 60\nlog_rotate_bytes")
        )
        server.process.send_signal(signal.SIGHUP)
        wait_until(second.exists, "the old one is closed")
        assert server.stop() == 0

    first = lines_of(closed)
    assert [line["event"] for line in first[:70]] == ["test.earlier"] * 70
    assert "process.started" in [line["event"] for line in first]
    told = [line["event"] for path in (closed, moved, again, second, log) for line in lines_of(path)]
    assert told.count("record.log_rotated") == 2
    assert told.count("config.swapped") == 3 * len(PROCESSES)
    # the supervisor's last words, in the last file
    assert [line["event"] for line in lines_of(log)].count("process.ended") == len(PROCESSES)
    assert server.log() == ""
