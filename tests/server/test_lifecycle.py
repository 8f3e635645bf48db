"""A process that is told to end takes no other settings any more."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import NullLog
from outrider.server.channel import Channel, Message, channel_pair
from outrider.server.follow import Snapshot, Swap
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.settings import Settings
from tests.patience import PATIENCE_SECONDS


@contextmanager
def channels() -> Iterator[tuple[Channel, Channel]]:
    own, its = channel_pair()
    try:
        yield own, its
    finally:
        asyncio.get_running_loop().remove_reader(its.fileno())
        own.close()
        its.close()


async def heard(channel: Channel) -> Message:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (message := channel.receive()) is None:  # noqa: ASYNC110 - the loop reads the other end
            await asyncio.sleep(0)
        return message


@pytest.mark.parametrize("is_draining", [False, True])
async def test_a_commit_swaps_unless_the_process_drains(*, is_draining: bool) -> None:
    settings = Settings()
    swapped: list[int] = []

    def prepare(snapshot: Snapshot) -> Swap:
        async def swap() -> None:
            swapped.append(snapshot.epoch)

        return swap

    reading, writing = os.pipe()
    with channels() as (own, its):
        life = Lifecycle(
            Birth("worker-0", 0, settings, {}, reading, writing, FakeClock(), NullLog(), channel=its)
        )
        async with asyncio.TaskGroup() as tasks:
            life.follow(prepare, tasks)
            lists: dict[str, Any] = dict.fromkeys(("sockets", "counts", "places", "changed", "waiting"), ())
            told = settings.model_dump_json(exclude_unset=True)
            own.send("prepare", epoch=2, settings=told, is_signalled=False, **lists)
            assert (await heard(own)).kind == "prepared"
            if is_draining:
                life.drain()
            own.send("commit", epoch=2)
            assert (await heard(own)).kind == "committed"
        assert swapped == ([] if is_draining else [2])
    os.close(reading)
    os.close(writing)
