"""What the service manager hears: one datagram for each thing, and nothing that blocks or raises."""

import os
import uuid
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.server.notify import Notifier
from tests.server.service_manager import Hearing, hearing


def notifier(manager: Hearing, clock: FakeClock, *, watchdog_seconds: int = 0, pid: int = 0) -> Notifier:
    environment = {"NOTIFY_SOCKET": manager.address}
    if watchdog_seconds:
        environment["WATCHDOG_USEC"] = str(watchdog_seconds * 1_000_000)
        environment["WATCHDOG_PID"] = str(pid or os.getpid())
    made = Notifier.from_environment(environment, clock)
    assert environment == {}, "children must not inherit what is ours"
    return made


@pytest.mark.parametrize("abstract", [False, True])
def test_a_life_is_told(tmp_path: Path, *, abstract: bool) -> None:
    address = f"@outrider-test-{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
    clock = FakeClock()
    clock.at = 12.5
    with hearing(address) as manager:
        told = notifier(manager, clock)
        told.ready("Ready: 2 workers;\nsmtp on 127.0.0.1:25")
        told.reloading()
        told.stopping(20.0)
        told.close()
        assert manager.waiting() == [
            ["READY=1", "STATUS=Ready: 2 workers; smtp on 127.0.0.1:25"],
            ["RELOADING=1", "MONOTONIC_USEC=12500000"],
            ["STOPPING=1", "STATUS=Finishing what is under way", "EXTEND_TIMEOUT_USEC=20000000"],
        ]


def test_the_status_tells_who_is_missing_and_when_all_are_back(tmp_path: Path) -> None:
    with hearing(tmp_path / "notify") as manager:
        told = notifier(manager, FakeClock())
        told.ready("Ready")
        for names in ([], ["worker-1"], ["worker-1"], []):
            told.missing(names)
        told.close()
        assert manager.waiting()[1:] == [["STATUS=Starting again: worker-1"], ["STATUS=Ready"]]


def test_the_watchdog_hears_a_third_of_its_time_apart_while_all_children_beat(tmp_path: Path) -> None:
    clock = FakeClock()
    with hearing(tmp_path / "notify") as manager:
        told = notifier(manager, clock, watchdog_seconds=30)
        for _ in range(61):
            told.sign_of_life([1.0, 0.0], 60.0)
            clock.advance(0.5)
        assert manager.waiting() == [["WATCHDOG=1"]] * 4
        for _ in range(100):
            told.sign_of_life([1.0, 60.1], 60.0)
            clock.advance(0.5)
        assert len(manager.waiting()) == 4
        told.sign_of_life([1.0, 0.2], 60.0)
        assert len(manager.waiting()) == 5
        told.close()


def test_another_process_s_watchdog_is_not_ours(tmp_path: Path) -> None:
    with hearing(tmp_path / "notify") as manager:
        told = notifier(manager, FakeClock(), watchdog_seconds=30, pid=1)
        told.sign_of_life([0.0], 60.0)
        told.close()
        assert manager.waiting() == []


def test_a_long_start_asks_for_more_time_only_while_its_processes_beat(tmp_path: Path) -> None:
    clock = FakeClock()
    with hearing(tmp_path / "notify") as manager:
        told = notifier(manager, clock)
        for silence in (0.0, 0.0, 99.0):
            told.starting(["dispatcher"], [silence], 30.0)
            clock.advance(20.0)
        told.close()
        assert (
            manager.waiting()
            == [["STATUS=Starting: waiting for dispatcher", "EXTEND_TIMEOUT_USEC=60000000"]] * 2
        )


def test_without_a_manager_or_with_a_dead_one_nothing_fails(tmp_path: Path) -> None:
    for address in ("", "relative/path", str(tmp_path / "nobody")):
        told = Notifier.from_environment({"NOTIFY_SOCKET": address}, FakeClock())
        told.ready("Ready")
        told.close()


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with hearing(tmp_path / "notify") as manager:
        told = notifier(manager, FakeClock())
        for number in range(5_000):
            told.missing([f"worker-{number}"])
        told.close()
        assert 0 < len(manager.waiting()) < 5_000
