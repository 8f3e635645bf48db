"""Each command has its operation of the control API or says why not, and the other way round."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outrider.base.errors import OutriderError, UnavailableError
from outrider.cli.main import app
from outrider.server.control_api.app import openapi
from tests.house.test_commands import COMMANDS
from tools.command_routes import COUNTERPARTS, ROUTES_ALONE

NAMED = {" ".join(words): words for words in COMMANDS}
ASKING = [words for words, found in COUNTERPARTS.items() if found.needs_server]
BOTH = [words for words, found in COUNTERPARTS.items() if found.routes and not found.needs_server]
NOBODY = "nobody answers at"


def test_every_command_has_an_operation_or_says_why_not() -> None:
    assert set(COUNTERPARTS) == set(NAMED), "a row for each command belongs into tools/command_routes.py"
    silent = [words for words, found in COUNTERPARTS.items() if bool(found.routes) is bool(found.why)]
    assert silent == []


def test_every_operation_is_named_by_a_command_or_says_for_whom_it_is() -> None:
    operations = {f"{method.upper()} {path}" for path, each in openapi()["paths"].items() for method in each}
    named = {route for found in COUNTERPARTS.values() for route in found.routes}
    assert named | set(ROUTES_ALONE) == operations, "each operation stands in tools/command_routes.py"
    assert not named & set(ROUTES_ALONE)


def example_of(words: str) -> list[str]:
    """The words of the first example in the command's help that is one command."""
    help_text = COMMANDS[NAMED[words]].help or ""
    for line in help_text.partition("Examples:")[2].splitlines():
        if line.strip().startswith(f"outrider {words}") and not set(line) & set("|<&$"):
            return shlex.split(line)[1:]
    raise AssertionError(f"outrider {words} shows no example that stands alone")


def trouble_of(words: str, folder: Path) -> BaseException | None:
    """What the command's own example complains of where no server runs."""
    config = folder / "outrider.toml"
    config.write_text('[server]\nstate_directory = "state"\n')
    line = [*example_of(words), "-c", str(config)]
    if "--stdin" in [name for option in COMMANDS[NAMED[words]].params for name in option.opts]:
        line.append("--stdin")
    return CliRunner().invoke(app, line, input="long enough\n").exception


@pytest.mark.parametrize("words", ASKING)
def test_what_needs_a_server_says_that_none_answers(words: str, tmp_path: Path) -> None:
    trouble = trouble_of(words, tmp_path)
    assert isinstance(trouble, UnavailableError), trouble
    assert NOBODY in trouble.message


@pytest.mark.parametrize("words", BOTH)
def test_what_needs_no_server_does_not_look_for_one(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trouble = trouble_of(words, tmp_path)
    assert trouble is None or isinstance(trouble, OutriderError | SystemExit), trouble
    assert NOBODY not in str(trouble)
