"""`outrider path list` says what its table leaves out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.cli import path
from outrider.cli.main import app
from outrider.server.control_api.client import ControlClient
from tests.server.control_site import PATH

FIGURES = {"delivered": 0, "transient": 0, "bounced": 0}


class Server(ControlClient):
    """Knows one path, and what it could not count."""

    def __init__(self, folder: Path, **facts: Any) -> None:
        super().__init__(folder)
        self.facts = {"counted": True, "unresolved": 0, **facts}

    def get(self, _path: str, /, **_query: Any) -> Any:
        return {"items": [{**PATH, **FIGURES}], "next_cursor": None, "total": 1, **self.facts}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, ""),
        ({"unresolved": 4}, "4 queued entries are not counted here"),
        ({"counted": False}, "What waits on disk is not counted here"),
    ],
)
def test_it_says_what_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], told: str
) -> None:
    @contextmanager
    def control(_config: Path) -> Iterator[Server]:
        yield Server(tmp_path, **facts)

    monkeypatch.setattr(path, "control", control)
    shown = CliRunner().invoke(app, ["path", "list"], catch_exceptions=False).output
    assert "mx.one.test" in shown
    assert ("not counted here" in shown) is bool(told)
    assert told in shown
