"""What became of a message, told from whatever events are left of it."""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from outrider.base.clock import FakeClock, SystemClock
from outrider.base.ids import IdSource, MessageId
from outrider.record import trace
from outrider.server import states
from outrider.server.states import States

MESSAGE = "01k9q4m2x7f3a8w0z1"


def write(folder: Path, *events: dict[str, Any]) -> None:
    lines = (json.dumps(event, separators=(",", ":")) + "\n" for event in events)
    (folder / "1.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        (
            [{"type": "reception", "tenant": "shop", "recipient": "*@example.net"}],
            [("*@example.net", "queued", "shop")],
        ),
        # only an alteration is left that names the message
        ([{"type": "hold"}], [("", "held", "")]),
    ],
)
async def test_no_event_has_to_be_complete(
    tmp_path: Path, events: list[dict[str, Any]], expected: list[tuple[str, str, str]] | None
) -> None:
    common = {"message_id": MESSAGE, "entry": 7, "time": "2026-11-24T12:00:00Z"}
    write(tmp_path, *(common | event for event in events))
    found = await States(tmp_path, tmp_path / "nobody.sock", SystemClock()).lookup(MESSAGE)
    shown = None if found is None else [(each.recipient, each.state, each.tenant) for each in found]
    assert shown == expected


async def test_who_asks_before_the_event_is_written_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    young = IdSource(clock, 1).next()
    looks: list[str] = []
    other = {"type": "reception", "message_id": "another", "text": "x" * (3 << 20)}
    write(tmp_path, other)
    octets: list[int] = []

    def life_of(folder: Path, message_id: str, beyond: trace.Ends = MappingProxyType({})) -> Any:
        looks.append(message_id)
        octets.append(sum(beyond.values()))
        if len(looks) == 3:
            event = {"type": "reception", "message_id": young, "entry": 7, "time": "2026-11-24T12:00:00Z"}
            write(folder, other, event | {"recipient": "*@example.net"})
        return trace.life_of(folder, message_id, beyond)

    monkeypatch.setattr(states, "life_of", life_of)
    found = await States(tmp_path, tmp_path / "nobody.sock", clock).lookup(young)
    assert found is not None
    assert [each.recipient for each in found] == ["*@example.net"]
    assert looks == [young] * 3
    assert octets[0] == 0
    assert min(octets[1:]) > 3 << 20, "what was looked through is not looked through again"


@pytest.mark.parametrize("age", [61.0, -61.0])
async def test_nobody_waits_for_what_is_not_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    looks: list[str] = []

    def life_of(_folder: Path, message_id: str) -> list[dict[str, Any]]:
        looks.append(message_id)
        return []

    monkeypatch.setattr(states, "life_of", life_of)
    clock = FakeClock()
    asked = [IdSource(clock, 1).next(), MessageId("no id")]
    clock.step_wall(age)
    for each in asked:
        assert await States(tmp_path, tmp_path / "nobody.sock", clock).lookup(each) is None
    assert looks == asked


async def test_a_young_id_that_nobody_knows_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_PAUSE_SECONDS", 0.0)
    clock = FakeClock()
    made_up = IdSource(clock, 1).next()
    assert await States(tmp_path, tmp_path / "nobody.sock", clock).lookup(made_up) is None
