"""What the pages show works: configurations are valid, commands and their options exist."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from outrider.cli.main import app
from outrider.server.settings import Settings
from outrider.sim.options import WorldOptions
from tools.project_files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        if "reference" not in page.parts:
            text = page.read_text(encoding="utf-8")
            for number, found in enumerate(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)):
                yield f"{page.relative_to(ROOT)}:{number}", found


def commands() -> Iterator[tuple[str, str]]:
    for place, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s\|\s", line):
                if part.startswith("outrider "):
                    yield place, part


@pytest.mark.parametrize(("place", "text"), list(blocks("toml")), ids=lambda value: value.partition("\n")[0])
def test_a_configuration_on_a_page_is_valid(place: str, text: str) -> None:
    tables = tomllib.loads(text)
    for listener in tables.get("listener", []):
        listener.pop("certificate", None)  # the files are the reader's
        listener.pop("private_key", None)
        listener.pop("tls", None)
    model = WorldOptions if "provider" in tables else Settings
    assert model.model_validate(tables) is not None, place


@pytest.mark.parametrize(("place", "line"), list(commands()))
def test_a_command_on_a_page_exists_with_its_options(place: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    context = command.context_class(command)
    words = shlex.split(line, comments=True)[1:]
    while words and hasattr(command, "get_command"):
        command = command.get_command(context, words.pop(0))
        assert command is not None, f"{place}: no such command: {line}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert given - {"--help"} <= known, f"{place}: {line}"


def test_the_pages_show_both() -> None:
    assert len(list(blocks("toml"))) > 5
    assert len(list(commands())) > 10
