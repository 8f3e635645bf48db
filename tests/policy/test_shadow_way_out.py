"""Scripts of the way out beside the live ones: asked the same, and what differs is listed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider.base.clock import FakeClock
from outrider.model.flow import Phase
from outrider.model.hooks import HookPhase
from outrider.model.way_out import Stay
from outrider.policy import shadow as shadow_module
from outrider.policy.shadow import Shadow
from outrider.policy.sightings import Message
from outrider.policy.surroundings import HERE
from outrider.policy.way_out_sightings import Outward
from tests.policy.acting import Stage, submission
from tests.policy.leaving import LATER, OK, UNKNOWN, ended_of, leaving_of

LIVE = """
from outrider.policy.api import Refuse
def outbound(mail, attempt):
    if mail.rcpt_to.startswith("late"):
        return Refuse(550, "5.7.1 Too late")
    mail.message.header.append("X-Own", mail.rcpt_to)
def response(attempt):
    if attempt.disposition == "transient":
        attempt.retry_after(60 + attempt.attempts)
        attempt.note("rule", "one")
def disposal(attempt):
    attempt.note("end", attempt.ending)
"""
OTHER = """
def outbound(mail, attempt):
    if mail.rcpt_to.startswith("late"):
        attempt.hold_back(60)
    elif not mail.rcpt_to.startswith("plain"):
        mail.message.header.append("X-Own", "another")
async def response(attempt):
    if attempt.disposition == "permanent":
        attempt.disposition = "transient"
    elif attempt.disposition == "transient":
        attempt.retry_after(90)
        attempt.note("rule", "two")
def disposal(attempt):
    raise RuntimeError("odd")
"""


class Listening:
    """`policy.surroundings.Tap` that keeps what it hears, as it would come over a socket."""

    is_on = True

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def session(self, session: Any, _origin: Any) -> Any:
        return session

    def outward(self, told: Outward) -> None:
        self.heard.append(msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Message))


@pytest.fixture
def tap() -> Iterator[Listening]:
    HERE.tap = listening = Listening()
    yield listening
    HERE.tap = None


Make = Callable[[str], tuple[Stage, Shadow]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with asyncio.TaskGroup() as tasks:

        def made(other: str) -> tuple[Stage, Shadow]:
            for name in ("live", "other"):
                (tmp_path / name).mkdir()
            live, shadow = Stage(tmp_path / "live", LIVE), Shadow(FakeClock(), tasks, with_addresses=True)
            shadow.door = Stage(tmp_path / "other", other).door
            shadow.door.way_out._told = shadow
            return live, shadow

        yield made


async def ask_all(live: Stage) -> None:
    """Everything that a live worker asks."""
    way_out = live.door.way_out
    names = ("late@one.test", "joe@one.test", "plain@one.test")
    questions: list[Any] = [
        way_out.outbound(leaving_of(submission(*names))),
        way_out.response(ended_of(LATER)),
        way_out.response(ended_of(UNKNOWN)),
        way_out.response(ended_of(OK, Phase.BODY)),
        way_out.disposal(ended_of(UNKNOWN, kind="bounced")),
    ]
    for question in questions:
        if isawaitable(question):
            await question


async def seen(shadow: Shadow, tap: Listening) -> dict[tuple[str, str, str], int]:
    """What differs, after the shadow saw all that was heard."""
    HERE.tap = None
    for each in tap.heard:
        shadow.take(1, each)
    await asyncio.wait(set(shadow._tasks._tasks))
    differences = shadow.report()["differences"]
    return {(each["phase"], each["live"], each["shadow"]): each["times"] for each in differences}


async def test_what_differs_is_counted_by_its_kind(make: Make, tap: Listening) -> None:
    live, shadow = make(OTHER)
    await ask_all(live)
    assert await seen(shadow, tap) == {
        ("outbound", "refused: 550 5.7.1 Too late", "held back: 451 4.7.1 Held back by policy"): 1,
        ("outbound", "edited", "edited otherwise"): 1,
        ("outbound", "edited", "goes as it is"): 1,
        ("response", "note rule this", "note rule another"): 1,
        ("response", "permanent", "transient"): 1,
        ("disposal", "note end this", "note end none (failed: a:14: disposal: ScriptError)"): 1,
    }
    assert (shadow.counts.asked, shadow.counts.differing, shadow.counts.dropped) == (5, 6, 0)
    example = shadow.report()["examples"][-1]
    assert (example["phase"], example["recipient"], example["message_id"]) == (
        "outbound",
        "late@one.test",
        "0" * 18,
    )


async def test_the_same_scripts_differ_in_nothing(make: Make, tap: Listening) -> None:
    live, shadow = make(LIVE)
    await ask_all(live)
    assert await seen(shadow, tap) == {}
    assert shadow.counts.asked == 5


async def test_what_is_too_much_is_dropped_and_counted(
    make: Make, tap: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "WAITING_MAX", 2)
    live, shadow = make(LIVE)
    await ask_all(live)
    await seen(shadow, tap)
    assert (shadow.counts.asked, shadow.counts.dropped) == (2, 3)


async def test_the_answers_of_the_live_scripts_are_what_they_would_be(make: Make, tap: Listening) -> None:
    live, _ = make(OTHER)
    answer = live.door.way_out.outbound(leaving_of(submission("late@one.test")))
    assert not isinstance(answer, Awaitable)
    [stay] = answer
    assert isinstance(stay, Stay)
    assert stay.reply.text == "Too late"
    tap.is_on = False
    live.door.way_out.response(ended_of(LATER))
    assert len(tap.heard) == 1
    assert live.told.calls == [HookPhase.OUTBOUND, HookPhase.RESPONSE]
