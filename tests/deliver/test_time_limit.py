"""A wait ends with TimeoutError when its time is over, and otherwise nothing is different."""

import asyncio

import pytest

from outrider.deliver.smtp.limit import TimeLimit


async def test_what_is_in_time_is_not_touched() -> None:
    with TimeLimit(60) as limit:
        await asyncio.sleep(0)
    assert not limit.is_over
    await asyncio.sleep(0)


async def test_what_takes_too_long_ends() -> None:
    limit = TimeLimit(0)
    with pytest.raises(TimeoutError), limit:
        await asyncio.Event().wait()
    assert limit.is_over
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the task is not cancelled for anything that follows"


async def test_another_s_cancellation_stays_one() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        with TimeLimit(60):
            started.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait())
        await started.wait()
        task.cancel()
    assert task.cancelled()


async def test_both_at_once_is_a_cancellation() -> None:
    async def wait() -> None:
        limit = TimeLimit(0)
        with limit:
            while not limit.is_over:  # noqa: ASYNC110 - the limit ends the sleep, not an event
                await asyncio.sleep(0)

    async def cancelled_too() -> None:
        task = asyncio.current_task()
        assert task is not None
        with TimeLimit(0):
            task.cancel()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(cancelled_too())
    assert task.cancelled()
    with pytest.raises(TimeoutError):
        await wait()


async def test_an_error_of_the_block_goes_through() -> None:
    with pytest.raises(ConnectionRefusedError), TimeLimit(60):
        raise ConnectionRefusedError
