"""Texts of signing keys go when no message of the queue is as old as they are, and not before."""

import os
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import KeyAbsentError, UnavailableError
from outrider.base.files import OsFiles
from outrider.privacy.signing_keys import PRUNE_SECONDS, SigningKeys
from outrider.server.key_pruning import prune_once
from tests.wire.dkim.signing import pem

DAY = 86_400.0
TEXT = pem("ed25519").decode()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def written_ago(folder: Path, clock: FakeClock, seconds: float) -> tuple[SigningKeys, str]:
    """A key that was brought so long ago, and its name."""
    keys = SigningKeys(OsFiles(), folder, None, clock)
    name = keys.keep(TEXT)
    (path,) = (folder / ".texts").iterdir()
    at = clock.wall() - seconds
    os.utime(path, (at, at))
    return SigningKeys(OsFiles(), folder, None, clock), name


class Queue:
    """Answers as the dispatcher does."""

    def __init__(self, received_time: float | None, *, is_known: bool = True) -> None:
        self._answer = {"is_known": is_known, "received_time": received_time}

    async def __call__(self, operation: str) -> Any:
        assert operation == "queue.oldest"
        return self._answer


async def test_a_key_of_a_waiting_message_stays_however_long_it_waits(
    tmp_path: Path, clock: FakeClock
) -> None:
    keys, name = written_ago(tmp_path, clock, 400 * DAY)
    assert await prune_once(keys, Queue(clock.wall() - 400 * DAY), clock) == 0
    assert keys.get(name).algorithm == "ed25519-sha256"


async def test_a_key_that_no_message_names_goes(tmp_path: Path, clock: FakeClock) -> None:
    keys, name = written_ago(tmp_path, clock, 30 * DAY)
    assert await prune_once(keys, Queue(clock.wall() - 20 * DAY), clock) == 1
    with pytest.raises(KeyAbsentError):
        keys.get(name)


async def test_an_empty_queue_keeps_what_was_used_within_a_week(tmp_path: Path, clock: FakeClock) -> None:
    keys, _ = written_ago(tmp_path, clock, PRUNE_SECONDS)
    assert await prune_once(keys, Queue(None), clock) == 0
    keys, _ = written_ago(tmp_path, clock, PRUNE_SECONDS + 2 * DAY)
    assert await prune_once(keys, Queue(None), clock) == 1


async def test_nothing_goes_while_the_queue_is_not_wholly_known(tmp_path: Path, clock: FakeClock) -> None:
    keys, _ = written_ago(tmp_path, clock, 400 * DAY)
    assert await prune_once(keys, Queue(None, is_known=False), clock) == 0

    async def nobody(_operation: str) -> Any:
        raise UnavailableError("nobody answers")

    with pytest.raises(UnavailableError):
        await prune_once(keys, nobody, clock)
    assert await prune_once(keys, Queue(None), clock) == 1
