"""Every command has its JSON form and its examples."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from outrider.cli.main import app


def leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, each in inner.items():
        yield from leaves(each, *words, name)


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_there_are_commands() -> None:
    expected = {"init", "serve", "check-config", "queue", "trace", "inject", "sink", "sim", "user", "status"}
    assert {words[0] for words in COMMANDS} >= expected


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_a_json_form(words: tuple[str, ...]) -> None:
    assert "--json" in [name for option in COMMANDS[words].params for name in option.opts]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_shows_examples(words: tuple[str, ...]) -> None:
    assert "Examples" in CliRunner().invoke(app, [*words, "--help"]).stdout


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("outrider 0.")
