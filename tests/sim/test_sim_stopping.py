"""What ends a tool of the practice internet, and what ends it at once."""

import asyncio
import os
import signal

import pytest

from outrider.sim.stopping import Stopping


async def interrupted(times: int, *, has_ended: bool) -> Stopping:
    """Waits to be stopped, and goes on for some turns after that."""
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    try:
        if has_ended:
            stopping.event.set()
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(20):
                await asyncio.sleep(0.001)
        await stopping.event.wait()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
    return stopping


@pytest.mark.parametrize("has_ended", [False, True])
async def test_one_interrupt_ends_in_good_order(has_ended: bool) -> None:
    made = await asyncio.create_task(interrupted(1, has_ended=has_ended))  # noqa: TID251 - its own to cancel
    assert made.event.is_set()


async def test_a_second_interrupt_ends_at_once() -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(interrupted(2, has_ended=False))  # noqa: TID251 - its own to cancel
