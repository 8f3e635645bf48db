"""What an option of `outrider queue` or `outrider path` does not know is refused, with what it knows."""

import pytest
from typer.testing import CliRunner

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
