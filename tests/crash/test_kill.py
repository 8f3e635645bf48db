"""Twenty rounds of `make kill`: nothing acknowledged is lost, every duplicate has its reason, all drains."""

import sys
from pathlib import Path

import pytest

from tests.crash.kill import siege

ROUNDS = 20
CALM_SECONDS = 1.5
# shorter than by hand, so that twenty rounds take about a minute


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the sockets of processes from /proc")
async def test_nothing_is_lost_and_every_duplicate_has_its_reason(tmp_path: Path) -> None:
    account = await siege(tmp_path, ROUNDS, seed=20, calm_seconds=CALM_SECONDS)
    sys.stdout.write(f"{account.line()}\n")
    assert account.lost == []
    assert account.unexplained == []
    assert account.queued == 0
    assert account.rounds == ROUNDS
    assert account.acknowledged > 500
    assert account.delivered + account.bounced == account.acknowledged
