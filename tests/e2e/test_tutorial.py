"""The tutorial: every line of the page is executed, and prints what the page shows."""

import os
import re
import tempfile
from pathlib import Path

import pytest

from tests.e2e.walkthrough import Shell, Step, missing_line, steps_of
from tests.peers.processes import answers, free_port
from tools.project_files import ROOT

PAGE = ROOT / "docs" / "tutorial" / "first-message.md"
PORTS = ("2525", "8025", "2526")
PRELUDE = 'make() { command make -o .venv/.ready "$@"; }'
"""What `make` sets up at first is there already; nothing is fetched."""


def test_the_tutorial_works_as_written() -> None:
    free = {port: str(free_port()) for port in PORTS}
    page = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: free[found[1]], PAGE.read_text("utf-8"))
    # short, because Unix sockets lie below it
    with tempfile.TemporaryDirectory(prefix="outrider-") as folder:
        environment = {
            **os.environ,
            "HOME": folder,
            "TMPDIR": folder,
            "OUTRIDER_RECORD__METRICS_PORT": "0",
        }
        shell = Shell(ROOT, environment, PRELUDE)
        try:
            for step in steps_of(page):
                shell.do(step)
        finally:
            shell.end()
        assert not any(answers(int(port)) for port in free.values()), "it tidies up"
        assert not list(Path(folder).glob("*.key"))


def test_it_takes_a_newcomer_everywhere_that_it_promises() -> None:
    code = "".join(step.code for step in steps_of(PAGE.read_text("utf-8")))
    for word in (
        "make run",
        "trace",
        "queue list",
        "tenant add",
        "key add",
        "max_message_rate",
        "encryption",
    ):
        assert word in code


def test_a_page_that_shows_what_is_not_printed_is_found_out() -> None:
    printed = "one\n┏━━━━┓\n│ two │  3 │\nthree\n"
    for shown in ("one\nthree\n", "│ two    │ 3 │\n", "│ … │ 3 │\n", "o…\n…hree\n", ""):
        assert missing_line(shown, printed) == "", shown
    for shown, missing in (("three\none\n", "one"), ("on\n", "on"), ("two …\n", "two …")):
        assert missing_line(shown, printed) == missing


def test_a_command_that_fails_is_found_out(tmp_path: Path) -> None:
    shell = Shell(tmp_path, os.environ)
    try:
        assert shell.do(Step("VALUE=1\necho one\n", "one\n")).startswith("one\n")
        assert shell.do(Step("echo $VALUE\n", "1\n")).startswith("1\n")
        with pytest.raises(AssertionError, match="<failed: false>"):
            shell.do(Step("false\n"))
    finally:
        shell.end()


def test_no_block_of_a_page_is_passed_over() -> None:
    assert steps_of("```sh\na\n```\n\n```text\nb\n```\n```sh\nc\n```\n") == [Step("a\n", "b\n"), Step("c\n")]
    for page in ("```toml\na = 1\n```\n", "```text\nb\n```\n", "```\nb\n```\n"):
        with pytest.raises(AssertionError):
            steps_of(page)
