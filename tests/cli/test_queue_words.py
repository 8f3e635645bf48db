"""The words of `outrider queue` and `outrider path`: what an option knows, and what somebody is asked."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.cli import queue
from outrider.cli.main import app


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("queue", "list", "--state", "nope"), "--state is one of held, due, deferred"),
        (("queue", "summary", "--by", "nope"), "--by is one of domain, site, path, tenant,"),
        (("path", "list", "--sort", "nope"), "--sort is one of queued, waiting, deferred,"),
    ],
)
def test_a_word_that_an_option_does_not_know(command: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code != 0
    assert told in done.stderr


@pytest.mark.parametrize(
    ("operation", "done", "asked"),
    [("purge", "Purged", "Purge {} entries?"), ("retry", "Due now", "Retry {} entries?")],
)
def test_the_question_is_what_will_be_done(
    monkeypatch: pytest.MonkeyPatch, operation: str, done: str, asked: str
) -> None:
    questions = []

    def counted(_ask: Callable[..., Any], _count: Callable[..., Any], **words: Any) -> dict[str, int]:
        questions.append(words["question"])
        return {"matched": 0, "changed": 0, "busy": 0, "audit": 0}

    monkeypatch.setattr(queue, "counted_first", counted)
    monkeypatch.setattr(queue, "control", lambda _config: nullcontext())
    choices = {"yes": False, "dry_run": False, "as_json": False, "reason": "", "needs_reason": False}
    queue.act(operation, done, {}, Path("outrider.toml"), **choices)  # type: ignore[arg-type]
    assert questions == [asked]
