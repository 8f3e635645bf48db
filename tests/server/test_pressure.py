"""When new mail is refused: little room, much memory, stores that are behind, the end of the process."""

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from outrider.base.log import ListLog
from outrider.model.reply import Reply
from outrider.server.memory import give_back, resident_bytes
from outrider.server.options import ServerOptions
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies

MIB = 1 << 20
LIMIT = 100 * MIB
ENORMOUS = 1 << 60


class Surroundings:
    """Memory and stores as the test says."""

    def __init__(self, folder: Path, *, min_free_bytes: int = 0) -> None:
        self.used = 0
        self.behind: Reply | None = None
        self.log = ListLog()
        options = ServerOptions(min_free_bytes=min_free_bytes, memory_limit_bytes=LIMIT)
        self.pressure = Pressure(options, folder, self.log, lambda: self.used, lambda: self.behind)

    def refusal(self) -> Reply | None:
        self.pressure.check()
        return self.pressure.refusal


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def test_nothing_is_refused_without_reason(around: Surroundings) -> None:
    assert around.pressure.refusal is None
    assert around.refusal() is None
    assert around.log.lines == []


def test_little_room_is_452(tmp_path: Path) -> None:
    assert Surroundings(tmp_path, min_free_bytes=ENORMOUS).refusal() == replies.DISK_LOW
    assert Surroundings(tmp_path, min_free_bytes=1).refusal() is None


def test_memory_is_refused_above_the_limit_and_taken_again_below_nine_tenths(around: Surroundings) -> None:
    seen = []
    for used in (LIMIT, LIMIT + 1, LIMIT, LIMIT * 91 // 100, LIMIT * 90 // 100, LIMIT):
        around.used = used
        seen.append(around.refusal() is not None)
    assert seen == [False, True, True, True, False, False]
    assert [fields["refusal"] == "none" for _, _, fields in around.log.lines] == [False, True]


def test_each_change_is_told_once(around: Surroundings) -> None:
    around.used = LIMIT * 2
    assert around.refusal() == replies.MEMORY_HIGH
    assert around.refusal() == replies.MEMORY_HIGH
    assert [event for _, event, _ in around.log.lines] == ["intake.changed"]


def test_stores_that_are_behind_refuse(around: Surroundings) -> None:
    around.behind = replies.SPOOL_FAILED
    assert around.refusal() == replies.SPOOL_FAILED
    around.behind = None
    assert around.refusal() is None


def test_the_end_of_the_process_wins_over_everything(around: Surroundings) -> None:
    around.used = LIMIT * 2
    around.pressure.drain()
    assert around.pressure.refusal == replies.SHUTTING_DOWN
    around.used = 0
    assert around.refusal() == replies.SHUTTING_DOWN


def test_every_refusal_is_transient() -> None:
    refusals = (replies.DISK_LOW, replies.MEMORY_HIGH, replies.SHUTTING_DOWN, replies.SPOOL_FAILED)
    assert {reply.code // 100 for reply in refusals} == {4}


def test_resident_memory_is_that_of_a_python_process() -> None:
    assert 5 * MIB < resident_bytes() < 1 << 40


def test_what_is_nearly_short_is_told_before_anything_is_refused(
    around: Surroundings, tmp_path: Path
) -> None:
    around.used = LIMIT * 91 // 100
    assert around.refusal() is None
    assert around.pressure.shortage == "memory"
    around.used = 0
    around.refusal()
    assert around.pressure.shortage == ""
    full = Surroundings(tmp_path, min_free_bytes=ENORMOUS)
    full.refusal()
    assert full.pressure.shortage == "disk"


class Looks:
    """Memory as two looks find it, and whether there was a second one."""

    def __init__(self, first: int) -> None:
        self._found = [LIMIT // 2, first]
        self.again = asyncio.Event()

    def __call__(self) -> int:
        used = self._found.pop()
        if not self._found:
            self.again.set()
        return used


@pytest.mark.parametrize("used", [LIMIT * 91 // 100, LIMIT * 2])
async def test_free_memory_is_given_back_while_it_is_nearly_short_and_looked_at_again(
    tmp_path: Path, used: int
) -> None:
    looks, given = Looks(used), []
    options = ServerOptions(min_free_bytes=0, memory_limit_bytes=LIMIT)
    pressure = Pressure(options, tmp_path, ListLog(), looks, give_back=lambda: given.append(used))
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(pressure.watch())
        await looks.again.wait()
        watching.cancel()
    assert given == [used]
    assert pressure.refusal is None


async def test_while_memory_is_not_short_none_is_given_back(tmp_path: Path) -> None:
    looks, given = Looks(LIMIT * 90 // 100), []
    options = ServerOptions(min_free_bytes=0, memory_limit_bytes=LIMIT)
    pressure = Pressure(options, tmp_path, ListLog(), looks, give_back=lambda: given.append(1))
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(pressure.watch())
        await looks.again.wait()  # a second later
        watching.cancel()
    assert given == []


HOLES = """
from outrider.server.memory import give_back, resident_bytes

before = resident_bytes()
pairs = [(bytearray(b"x") * 65_536, bytearray(b"y") * 1024) for _ in range(2000)]  # from the heap, in turn
kept = [small for _, small in pairs]
del pairs
unused = resident_bytes() - before
give_back()
print(unused, resident_bytes() - before)
"""


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_of_objects_are_given_back() -> None:
    gc.disable()
    try:
        circle = weakref.ref(Circle())
        assert circle() is not None
        give_back()
        assert circle() is None
    finally:
        gc.enable()


def test_free_memory_between_what_is_used_is_given_back() -> None:
    """In a process of its own, because what others left free would be taken first."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    unused, left = map(int, done.stdout.split())
    assert unused > 100 * MIB
    assert left < unused // 2
