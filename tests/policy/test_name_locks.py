"""Locks by name: one holder on the node, a queue within a process, and nothing that outlives its holder."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from outrider.base.errors import StoreError
from outrider.policy.name_locks import LOCKS_MAX, NameLocks

ANN, BOB, CID = (type(name, (), {})() for name in ("Ann", "Bob", "Cid"))


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[NameLocks]:
    locks = NameLocks(tmp_path / "locks")
    yield locks
    locks.close()


async def soon(answer: bool | Awaitable[bool]) -> bool:
    return answer if isinstance(answer, bool) else await answer


class Process:
    """Another process that holds a name until it is told to let go, or is killed."""

    def __init__(self, path: Path, name: bytes) -> None:
        ready, is_ready = os.pipe()
        self._end, end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                other = NameLocks(path)
                os.write(is_ready, b"y" if other.lock(name, ANN) is True else b"n")
                os.read(self._end, 1)
                other.unlock(name, ANN)
            finally:
                os._exit(0)
        os.close(is_ready)
        os.close(self._end)
        self._end = end
        assert os.read(ready, 1) == b"y"
        os.close(ready)

    def ends(self, number: signal.Signals | None = None) -> None:
        """Let go and end, or be killed."""
        if number is None:
            os.write(self._end, b".")
        else:
            os.kill(self.pid, number)
        os.waitpid(self.pid, 0)
        os.close(self._end)


async def test_a_name_that_is_free_is_held_at_once_and_others_are_not_concerned(locks: NameLocks) -> None:
    assert locks.lock(b"a", ANN) is True
    assert locks.lock(b"b", BOB) is True
    assert locks.unlock(b"a", ANN)
    assert locks.lock(b"a", BOB) is True


async def test_within_a_process_they_have_it_in_the_order_in_which_they_asked(locks: NameLocks) -> None:
    held: list[object] = []

    async def work(owner: object) -> None:
        await soon(locks.lock(b"a", owner))
        held.append(owner)
        await asyncio.sleep(0)
        assert held[-1] is owner
        locks.unlock(b"a", owner)

    async with asyncio.TaskGroup() as tasks:
        for owner in (ANN, BOB, CID):
            tasks.create_task(work(owner))
    assert held == [ANN, BOB, CID]
    assert locks._names == {}


async def test_who_does_not_hold_a_name_cannot_let_it_go_nor_hold_it_twice(locks: NameLocks) -> None:
    for wrong in (ANN, BOB):
        with pytest.raises(ValueError, match="not held by the session"):
            locks.unlock(b"a", wrong)
    locks.lock(b"a", ANN)
    with pytest.raises(ValueError, match="held already"):
        locks.lock(b"a", ANN)
    with pytest.raises(ValueError, match="not held by the session"):
        locks.unlock(b"a", BOB)


async def test_what_a_session_holds_is_free_when_it_has_ended(locks: NameLocks) -> None:
    locks.lock(b"a", ANN)
    locks.lock(b"b", ANN)
    locks.lock(b"c", BOB)
    waiting = asyncio.ensure_future(soon(locks.lock(b"a", CID)))
    await asyncio.sleep(0)
    locks.release(ANN)
    assert await waiting
    assert locks.lock(b"b", CID) is True
    with pytest.raises(ValueError, match="not held"):
        locks.unlock(b"c", ANN)


async def test_who_gives_up_waiting_keeps_nobody_waiting(locks: NameLocks) -> None:
    locks.lock(b"a", ANN)
    second = asyncio.ensure_future(soon(locks.lock(b"a", BOB)))
    third = asyncio.ensure_future(soon(locks.lock(b"a", CID)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    locks.unlock(b"a", ANN)
    assert await third
    locks.unlock(b"a", CID)
    assert locks._names == {}


async def test_who_is_cancelled_in_the_moment_of_his_turn_passes_it_on(locks: NameLocks) -> None:
    locks.lock(b"a", ANN)
    second = asyncio.ensure_future(soon(locks.lock(b"a", BOB)))
    third = asyncio.ensure_future(soon(locks.lock(b"a", CID)))
    await asyncio.sleep(0)
    locks.unlock(b"a", ANN)
    second.cancel()
    assert await third
    assert second.cancelled()


async def test_what_was_asked_for_and_never_awaited_holds_nothing(locks: NameLocks) -> None:
    locks.lock(b"a", ANN)
    waiting = locks.lock(b"a", BOB)
    assert not isinstance(waiting, bool)
    waiting.close()  # type: ignore[attr-defined]  # a coroutine
    locks.unlock(b"a", ANN)
    assert locks.lock(b"a", CID) is True


@pytest.mark.parametrize("number", [None, signal.SIGKILL], ids=["let-go", "killed"])
async def test_another_process_is_waited_for_and_its_death_frees_the_name(
    tmp_path: Path, locks: NameLocks, number: signal.Signals | None
) -> None:
    other = Process(tmp_path / "locks", b"a")
    first = asyncio.ensure_future(soon(locks.lock(b"a", ANN)))
    second = asyncio.ensure_future(soon(locks.lock(b"a", BOB)))
    assert locks.lock(b"b", ANN) is True
    for _ in range(5):
        await asyncio.sleep(0)
    assert not first.done()
    other.ends(number)
    assert await first
    assert not second.done()
    locks.unlock(b"a", ANN)
    assert await second


async def test_who_gives_up_on_another_process_leaves_the_turn_to_the_next(
    tmp_path: Path, locks: NameLocks
) -> None:
    other = Process(tmp_path / "locks", b"a")
    first = asyncio.ensure_future(soon(locks.lock(b"a", ANN)))
    second = asyncio.ensure_future(soon(locks.lock(b"a", BOB)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    locks.release(ANN)
    other.ends()
    assert await second


async def test_names_in_use_are_bounded(locks: NameLocks) -> None:
    for number in range(LOCKS_MAX):
        locks.lock(b"%d" % number, ANN)
    with pytest.raises(ValueError, match="at most 1000 names"):
        locks.lock(b"more", ANN)
    locks.unlock(b"0", ANN)
    assert locks.lock(b"more", ANN) is True


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="locks cannot be used"):
        NameLocks(tmp_path / "no-such" / "locks")
