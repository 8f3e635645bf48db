"""`outrider key set` and `outrider user set`: what a credential may do is changed, and nothing else of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.base.errors import StoreError
from outrider.cli.credential import rights_row
from outrider.cli.main import app
from outrider.store.records import Rights


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "outrider.toml"
    path.write_text('[server]\nstate_directory = "state"\n')
    return path


def run(config: Path, *words: str, stdin: str = "", code: int = 0) -> Any:
    line = [*words, "--json", "-c", str(config)]
    result = CliRunner().invoke(app, line, input=stdin, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return None if code else json.loads(result.stdout)


def test_what_is_not_named_stays(config: Path) -> None:
    made = run(config, "key", "add", "shop", "--scope", "inject", "--network", "192.0.2.0/24", "--sandbox")
    del made["key"]
    changed = run(config, "key", "set", "shop", "-d", "b.example", "-d", "a.example", "--reason", "ticket 1")
    assert changed == {**made, "domains": ["a.example", "b.example"]}
    assert run(config, "key", "show", "shop") == changed
    [row] = run(config, "audit", "list", "--action", "key.changed")
    assert (row["subject"], row["reason"]) == ("shop", "ticket 1")
    assert json.loads(row["details"]) == {"domains": ["b.example", "a.example"], "user_id": os.getuid()}


def test_lists_are_emptied_and_ends_taken_away_by_name(config: Path) -> None:
    run(config, "key", "add", "shop", "--network", "192.0.2.0/24", "--expires", "2099-01-01", "--sandbox")
    changed = run(config, "key", "set", "shop", "-n", "", "--never-expires", "--live", "--scope", "status")
    assert (changed["networks"], changed["expires_time"], changed["is_sandbox"]) == ([], None, False)
    assert changed["scopes"] == ["status"]


def test_what_has_ended_is_said_to_have_ended() -> None:
    rights = Rights("acme", expires_time=60.0)
    assert [rights_row(rights, now)[-1] for now in (59.0, 60.0)] == [
        "until 1970-01-01 00:01+00:00",
        "ended 1970-01-01 00:01+00:00",
    ]


def test_a_login_is_changed_without_its_password(config: Path) -> None:
    run(config, "user", "add", "joe", "--stdin", stdin="long enough\n")
    before = run(config, "user", "show", "joe")
    changed = run(config, "user", "set", "joe", "--network", "192.0.2.1")
    assert changed == {**before, "networks": ["192.0.2.1/32"]}
    assert run(config, "user", "show", "joe") == changed


def test_what_cannot_be_is_refused_and_changes_nothing(config: Path) -> None:
    made = run(config, "key", "add", "shop")
    with pytest.raises(StoreError, match="say what to change"):
        run(config, "key", "set", "shop")
    for wrong in (("--network", "no network"), ("--stream", "absent"), ("--scope", "")):
        with pytest.raises(StoreError):
            run(config, "key", "set", "shop", *wrong)
    shown = run(config, "key", "show", "shop")
    assert shown == {name: made[name] for name in shown}


@pytest.mark.parametrize(
    "words", [("user", "disable"), ("user", "remove"), ("key", "disable"), ("key", "revoke")], ids=" ".join
)
def test_what_keeps_somebody_out_needs_a_reason(config: Path, words: tuple[str, ...]) -> None:
    run(config, "user", "add", "joe", "--stdin", stdin="long enough\n")
    run(config, "key", "add", "joe")
    run(config, *words, "joe", code=2)
    assert run(config, words[0], "show", "joe")["is_enabled"]
    run(config, *words, "joe", "--reason", "seen elsewhere")
    [row] = run(config, "audit", "list", "--limit", "1")
    assert (row["subject"], row["reason"]) == ("joe", "seen elsewhere")


def test_times_are_shown_as_the_control_api_shows_them(config: Path) -> None:
    made = run(config, "key", "add", "shop", "--expires", "2099-01-01")
    assert made["expires_time"] == "2099-01-01T00:00:00.000000Z"
    assert run(config, "key", "show", "shop")["created_time"] == made["created_time"]
    assert run(config, "tenant", "show", "default")["created_time"] is None


@pytest.mark.parametrize(
    "time", ["2099-01-01T00:00:00", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00.000000Z"]
)
def test_an_end_is_given_as_it_is_shown(config: Path, time: str) -> None:
    made = run(config, "key", "add", "shop", "--expires", time)
    assert made["expires_time"] == "2099-01-01T00:00:00.000000Z"


def test_who_cannot_send_yet_is_told_what_is_missing(config: Path) -> None:
    def told(*words: str, stdin: str = "") -> str:
        result = CliRunner().invoke(app, [*words, "-c", str(config)], input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stderr

    assert "tenant default has no verified domain" in told("key", "add", "web")
    told("domain", "add", "shop.example")
    added = told("user", "add", "joe", "--stdin", "-d", "a.shop.example", stdin="long enough\n")
    assert (
        "not verified: a.shop.example; its mail is refused until `outrider domain add a.shop.example" in added
    )
    told("domain", "verify", "shop.example", "--trust")
    assert told("user", "add", "ann", "--stdin", "-d", "a.shop.example", stdin="long enough\n") == ""
    assert told("key", "add", "ci") == ""
    assert told("key", "add", "reads", "--scope", "status", "-d", "other.example") == ""
    assert "not verified: other.example" in told(
        "key", "add", "more", "-d", "shop.example", "-d", "other.example"
    )
