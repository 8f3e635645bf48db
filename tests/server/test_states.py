"""What became of a message, told from whatever events are left of it."""

import json
from pathlib import Path
from typing import Any

import pytest

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
    found = await States(tmp_path, tmp_path / "nobody.sock").lookup(MESSAGE)
    shown = None if found is None else [(each.recipient, each.state, each.tenant) for each in found]
    assert shown == expected
