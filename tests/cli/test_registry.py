"""A command is imported when it is asked for, and with it nothing of the others."""

import subprocess
import sys

import pytest

ASKED = """
import contextlib
import sys
from outrider.cli.main import main
sys.argv = ["outrider", *sys.argv[1:]]
with contextlib.suppress(SystemExit):
    main()
sys.stderr.write(" ".join(sys.modules))
"""


def imported(*words: str) -> tuple[str, set[str]]:
    """What a command line prints, and the modules that it loaded."""
    line = [sys.executable, "-c", ASKED, *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("words", [("queue", "list", "--help"), ("status", "--help"), ("reload", "--help")])
def test_a_command_loads_nothing_of_the_others(words: tuple[str, ...]) -> None:
    shown, modules = imported(*words)
    assert f"outrider {words[0]}" in shown
    own = {"outrider.cli." + {"reload": "config"}.get(words[0], words[0])}
    known = {"outrider.cli.key", "outrider.cli.sim", "outrider.cli.queue", "outrider.cli.status", *own}
    assert known & modules == own
    assert not modules & {"sqlalchemy", "dns", "uvloop", "outrider.sim.server"}


def test_help_of_the_whole_and_mistakes_know_all_commands() -> None:
    shown, modules = imported("--help")
    assert {"outrider.cli.key", "outrider.cli.sim"} <= modules
    assert "audit" in shown
    assert "demo" in shown


def test_the_version_is_told_without_any_command() -> None:
    shown, modules = imported("--version")
    assert shown.startswith("outrider 0.")
    ours = {name for name in modules if name.startswith("outrider.cli.")}
    assert ours == {"outrider.cli.main", "outrider.cli.registry"}
