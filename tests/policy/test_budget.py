"""Processor time of Python hooks: who uses it up is stopped, whatever it catches, and nobody else is."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outrider.model.flow import Refusal
from outrider.policy import budget as budget_module
from outrider.policy.budget import CpuBudget
from outrider.policy.errors import BudgetError
from outrider.wire.smtp import replies
from tests.policy.acting import Stage, messages, submission

FAILED = Refusal(replies.POLICY_FAILED, "policy")

SPINS = {
    "loop": """
        while True:
            pass
        """,
    "catches": """
        while True:
            try:
                sum(range(1000))
            except BaseException:
                continue
        """,
    "catches twice": """
        while True:
            try:
                try:
                    sum(range(1000))
                except BaseException:
                    sum(range(1000))
            except BaseException:
                sum(range(1000))
        """,
    "finally": """
        def spin():
            try:
                while True:
                    pass
            finally:
                return None
        while True:
            spin()
        """,
    "generator": """
        def numbers():
            while True:
                try:
                    yield sum(range(1000))
                except BaseException:
                    pass
        for _ in numbers():
            pass
        """,
    "comprehension": """
        sum(1 for _ in iter(int, 1))
        """,
    "recursion": """
        def again():
            try:
                again()
            except BaseException:
                again()
        while True:
            again()
        """,
}


def body(text: str) -> str:
    """A script whose hook spins, plain or between waits."""
    return "\n".join("    " + line[8:] for line in text.strip("\n").splitlines())


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A script that spins.

    A tick may meet a callback of the collector's, from which nothing can be raised; the next one ends the
    script. pytest would describe such a one with its thousands of contexts, for minutes.
    """
    monkeypatch.setattr(sys, "unraisablehook", bool)
    word, spin = request.param
    stage = Stage(tmp_path, f"import asyncio\n{word} data(mail):\n{body(SPINS[spin])}\n", seconds=0.02)
    stage.budget.start()
    yield stage
    stage.budget.stop()


@pytest.mark.parametrize("stage", [("def", name) for name in SPINS], indirect=True, ids=[*SPINS])
def test_a_hook_that_spins_is_stopped_whatever_it_catches(stage: Stage) -> None:
    assert stage.decide() == FAILED
    assert isinstance(stage.failure, BudgetError)
    assert stage.failure.line > 2


@pytest.mark.parametrize("stage", [("async def", name) for name in SPINS], indirect=True, ids=[*SPINS])
async def test_and_so_is_one_that_could_wait(stage: Stage) -> None:
    assert await stage.decided() == FAILED
    assert isinstance(stage.failure, BudgetError)


TICK = """
import asyncio
import os
import signal
def _tick(count):
    for _ in range(count):
        os.kill(os.getpid(), signal.SIGPROF)
"""


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    """Makes scripts that have two ticks of processor time, and no clock but their own."""

    def make(text: str) -> Stage:
        stage = Stage(tmp_path, TICK + text, seconds=0.02)
        stage.budget.start()
        stage.budget.stop()  # only its handler stays
        return stage

    before = signal.getsignal(signal.SIGPROF)
    yield make
    signal.signal(signal.SIGPROF, before)


async def test_each_step_between_waits_has_its_own_time(ticking: Callable[[str], Stage]) -> None:
    stage = ticking("""
async def data(mail):
    for _ in range(5):
        _tick(2)
        await asyncio.sleep(0)
async def data_spool(mail):
    await asyncio.sleep(0)
    _tick(3)
""")
    assert await stage.decided() == FAILED
    assert isinstance(stage.failure, BudgetError)
    assert stage.failure.phase == "data_spool"


def test_each_hook_has_its_own_time(ticking: Callable[[str], Stage]) -> None:
    stage = ticking("""
def each_rcpt(mail):
    _tick(2)
""")
    assert len(messages(stage.decide(submission(*(f"a{n}@one.test" for n in range(8)))))) == 1


async def test_what_runs_beside_a_waiting_hook_is_not_charged(ticking: Callable[[str], Stage]) -> None:
    stage = ticking("""
async def data(mail):
    for _ in range(3):
        await asyncio.sleep(0)
""")

    async def beside() -> None:
        for _ in range(3):
            for _ in range(30):
                os.kill(os.getpid(), signal.SIGPROF)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        decision = tasks.create_task(stage.decided())
        tasks.create_task(beside())
    assert messages(decision.result())


def test_catching_the_end_meets_the_next_one(ticking: Callable[[str], Stage]) -> None:
    stage = ticking("""
def data(mail):
    try:
        try:
            try:
                _tick(3)
            except BaseException:
                len("")
        except BaseException:
            len("")
    except BaseException:
        len("")
""")
    assert stage.decide() == FAILED
    assert isinstance(stage.failure, BudgetError)


GROWS = """
import resource
def _grow(kibibytes):
    first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = []
    while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - first <= kibibytes:
        kept.append(b"x" * (1 << 20))
"""


def test_a_hook_that_has_the_process_grow_is_stopped_whatever_it_catches(
    ticking: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "GROWTH_KIB", 8_192)
    stage = ticking(f"""{GROWS}
def data(mail):
    _tick(1)
    _grow(8192)
    try:
        _tick(1)
    except BaseException:
        len("")
""")
    assert stage.decide() == FAILED
    assert isinstance(stage.failure, BudgetError)
    assert stage.failure.reason == "it used too much memory"


def test_what_was_used_before_a_hook_is_not_charged(
    ticking: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "GROWTH_KIB", 8_192)
    stage = ticking(f"""{GROWS}
_grow(16384)
def data(mail):
    _tick(2)
def data_spool(mail):
    _tick(1)
    _grow(1024)
    _tick(1)
def each_rcpt(mail):
    _tick(3)
""")
    assert stage.decide() == FAILED  # of each_rcpt, which has no more than two ticks
    assert isinstance(stage.failure, BudgetError)
    assert (stage.failure.phase, stage.failure.reason) == ("each_rcpt", "it used up its processor time")


def test_nothing_is_raised_while_no_script_runs() -> None:
    budget = CpuBudget(0.02)
    budget.start()
    try:
        for _ in range(200):  # however the ticks fall
            os.kill(os.getpid(), signal.SIGPROF)
        budget.begin()
        budget.is_running = False
        for _ in range(200):
            os.kill(os.getpid(), signal.SIGPROF)
    finally:
        budget.stop()
