"""Limits of a path are exact over all workers, kills and restarts, and hold nobody else up."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.sim.counts import SlidingMax
from outrider.sim.tally import Tally
from tests.e2e.outrider_process import OutriderProcess, serving, start_server
from tests.e2e.practice import Practice, await_events, await_restart, kill_child, practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import PeerError, wait_until

WORLD = (
    provider("single", "single.test", "127.30.2.1", "behaviour = { delay = { body = 0.02 } }")
    + provider("triple", "triple.test", "127.30.2.2", "behaviour = { delay = { body = 0.02 } }")
    + provider("paced", "paced.test", "127.30.2.3")
    + provider("slow", "slow.test", "127.30.2.4")
    + provider("free", "free.test", "127.30.2.5")
)
SLOW_SECONDS = 3.0


class Arrivals(SlidingMax):
    """Keeps all times, so that a failure shows what came too close."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.times: list[float] = []

    def add(self, now: float) -> None:
        self.times.append(now)
        super().add(now)


def shaping(paced: str) -> str:
    """One connection, three connections, messages in a time, and one message in a time."""
    limits = {
        "single": "max_connections = 1",
        "triple": "max_connections = 3",
        "paced": f'max_message_rate = "{paced}"',
        "slow": f'max_message_rate = "1/{SLOW_SECONDS:g}"',
    }
    return "".join(
        f'[[shaping.override]]\nsite = "mx.{name}.test"\n{limit}\n' for name, limit in limits.items()
    )


def await_all(practice: Practice, loads: list["Future[Tally]"], seconds: float) -> list[Tally]:
    """Wait until all that was acknowledged was taken."""
    tallies = [load.result(60) for load in loads]
    wait_until(lambda: practice.owes_nothing(*tallies), "all that was acknowledged was taken", seconds)
    return tallies


def assert_within_limits(practice: Practice, window_limit: int, marks: dict[str, float]) -> None:
    assert practice.seen("single").connections_most == 1
    assert practice.seen("triple").connections_most == 3
    assert practice.seen("paced").recipients_in_window.most <= window_limit
    slow = practice.seen("slow").recipients_in_window
    assert isinstance(slow, Arrivals)
    assert slow.most == 1, f"arrivals at {slow.times}; processes were killed and restarted at {marks}"


def measure(practice: Practice, window_seconds: float) -> None:
    """Look at windows of these lengths; where the limit is one message, of its own."""
    practice.seen("paced").recipients_in_window = SlidingMax(window_seconds)
    practice.seen("slow").recipients_in_window = Arrivals(SLOW_SECONDS)


@pytest.fixture
def practice() -> Iterator[Practice]:
    with practising(WORLD) as practice:
        yield practice


def restart(server: OutriderProcess) -> OutriderProcess:
    """Stop in order and start again."""
    assert server.stop() == 0
    assert server.process.stdout is not None
    server.process.stdout.close()
    return start_server(server.folder)


def loads(practice: Practice, port: int, run: str, counts: dict[str, int]) -> list["Future[Tally]"]:
    """A load for each provider, over several connections, so that several workers accept its mail."""
    return [
        practice.load(port, count=count, run=f"{run}{name}", domains=[(f"{name}.test", 1.0)], connections=6)
        for name, count in counts.items()
    ]


def run_scenario(
    practice: Practice, folder: Path, *, paced: str, window: tuple[int, float], size: int, seconds: float
) -> None:
    limit, window_seconds = window
    measure(practice, window_seconds)
    marks: dict[str, float] = {}
    clock = SystemClock()
    counts = {"single": 200, "triple": 400, "paced": size, "slow": 4, "free": 300}
    with serving(folder, practice.configuration(workers=4, more=shaping(paced))) as server:
        going = loads(practice, server.ports["smtp"], "a", counts)
        free = going[-1].result(60)
        wait_until(lambda: practice.owes_nothing(free), "the free path has finished")
        assert practice.seen("paced").recipients < size, "a limited path held the free one up"

        marks["worker killed"] = clock.now()
        old = kill_child(server, "worker-1")
        await_restart(server, "worker-1", old)
        going += loads(practice, server.ports["smtp"], "b", {"free": 300})
        await_all(practice, going[-1:], PATIENCE_SECONDS)
        assert practice.seen("paced").recipients < size

        marks["dispatcher killed"] = clock.now()
        old = kill_child(server, "dispatcher")
        await_restart(server, "dispatcher", old)
        marks["dispatcher restarted"] = clock.now()
        going += loads(practice, server.ports["smtp"], "c", {"single": 40, "triple": 80, "free": 100})
        tallies = [load.result(60) for load in going]

        marks["server stopped"] = clock.now()
        again = restart(server)
        marks["server started"] = clock.now()
        try:
            going = loads(practice, again.ports["smtp"], "d", {"single": 40, "free": 100})
            tallies += await_all(practice, going, 60)
            try:
                wait_until(lambda: practice.owes_nothing(*tallies), "nothing is owed", seconds)
            except PeerError as error:
                owed = Counter(recipient.rpartition("@")[2] for _, recipient in practice.owed(*tallies))
                paths = again.command("path", "list")
                error.add_note(f"owed {owed}, {marks}, now {clock.now()}, paths {paths}")
                raise
            assert again.stop() == 0
        finally:
            again.kill()
            assert again.process.stdout is not None
            again.process.stdout.close()
    assert_within_limits(practice, limit, marks)
    assert practice.seen("slow").recipients >= 4
    assert practice.seen("paced").recipients >= size


def test_limits_are_exact_over_kills_and_restarts(practice: Practice, tmp_path: Path) -> None:
    run_scenario(practice, tmp_path / "outrider", paced="20/5", window=(20, 5.0), size=160, seconds=150)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sixty_a_minute_over_kills_and_restarts(practice: Practice, tmp_path: Path) -> None:
    run_scenario(practice, tmp_path / "outrider", paced="60/minute", window=(60, 60.0), size=150, seconds=400)


def test_one_connection_serves_mail_that_any_worker_accepted(practice: Practice, tmp_path: Path) -> None:
    measure(practice, 60.0)
    with serving(tmp_path / "outrider", practice.configuration(workers=4, more=shaping("20/5"))) as server:
        load = practice.load(
            server.ports["smtp"],
            count=120,
            domains=[("single.test", 1.0)],
            connections=24,
            connection_messages=1,
        )
        tally = await_all(practice, [load], 60)[0]
        accepted_by = {event["id"].split(".")[0] for event in await_events(server, 120, "reception")}
    assert tally.messages["acknowledged"] == 120
    assert len(accepted_by) == 4
    assert practice.seen("single").connections_most == 1
    assert practice.seen("single").report()["duplicates"] == 0
