"""Counting before acting: what is asked of the server and of the person, and in which order."""

import io
from typing import Any

import pytest
import typer

from outrider.cli.asking import counted_first


class Server:
    """Keeps what it is asked; whatever is meant, it is `matched` things."""

    def __init__(self, matched: int) -> None:
        self.matched = matched
        self.asked: list[dict[str, Any]] = []

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        return {"matched": self.matched, "is_done": not body.get("dry_run")}


class Terminal(io.StringIO):
    """Standard input with somebody behind it who types `text`."""

    def isatty(self) -> bool:
        return True


def run(server: Server, **chosen: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"deed": "purging", "reason": "", "yes": False, "dry_run": False, **chosen}
    return counted_first(
        server.ask,
        lambda answer: int(answer["matched"]),
        question="Purge {} entries?",
        warning="{} entries would be purged",
        **given,
    )


def test_a_dry_run_and_nothing_that_matches_end_with_the_count() -> None:
    for server, chosen in ((Server(3), {"dry_run": True}), (Server(0), {"yes": True})):
        assert not run(server, **chosen)["is_done"]
        assert server.asked == [{"dry_run": True}]


def test_whoever_says_yes_beforehand_binds_to_no_count() -> None:
    server = Server(3)
    assert run(server, yes=True, reason="why")["is_done"]
    assert server.asked == [{"dry_run": True}, {"reason": "why"}]


def test_whoever_is_shown_a_count_says_yes_to_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(3)
    monkeypatch.setattr("sys.stdin", Terminal("y\na spam run\n"))
    assert run(server)["is_done"]
    assert server.asked == [{"dry_run": True}, {"reason": "a spam run", "expect": 3}]


def test_a_no_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(3)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    with pytest.raises(typer.Abort):
        run(server, reason="why")
    assert server.asked == [{"dry_run": True}]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [({"reason": "why"}, "3 entries would be purged"), ({"yes": True}, "needs a --reason")],
)
def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], told: str
) -> None:
    server = Server(3)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nwhy\n"))
    with pytest.raises(typer.BadParameter, match=told):
        run(server, **chosen)
    assert server.asked == [{"dry_run": True}]


def test_what_has_no_count_is_done_even_where_nothing_is_known_yet() -> None:
    server = Server(0)
    assert run(server, yes=True, reason="why", has_count=False)["is_done"]
    assert server.asked == [{"dry_run": True}, {"reason": "why"}]
