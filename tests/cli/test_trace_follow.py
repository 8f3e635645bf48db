"""Following a message tells each new step once, also when the same thing stops it for another reason."""

from pathlib import Path
from typing import Any

import pytest

from outrider.cli import trace


def life(*texts: str, final: bool = False) -> dict[str, Any]:
    steps = [{"time": "2026-11-24T10:00:00Z", "kind": "waits", "text": text, "until": ""} for text in texts]
    return {"message_id": "m", "recipients": ["*"], "steps": steps, "queued": [], "is_final": final}


def test_a_wait_without_an_end_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suspended, held = "is due; the path is suspended", "on hold: a complaint"
    later = [life(suspended), life(held), life("the sender has been told", final=True)]
    monkeypatch.setattr(trace, "_life", lambda *_: later.pop(0))
    monkeypatch.setattr(trace, "_pause", lambda _: None)
    trace._follow(life(suspended), Path("outrider.toml"), as_json=False)
    told = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition("waits")[2].strip() for line in told] == [
        suspended,
        held,
        "the sender has been told",
    ]
