"""An argument of the command line that is no UTF-8 is told in words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outrider.base.exits import Exit


def test_a_reason_in_another_charset_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "outrider.toml").write_text('[server]\nhostname = "mx.test"\n', encoding="utf-8")
    arguments = [b"tenant", b"add", b"acme", b"--reason", b"Stra\xdfe"]
    done = subprocess.run(
        [*map(os.fsencode, (sys.executable, "-m", "outrider.cli.main")), *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == Exit.USAGE
    assert done.stderr == b"outrider: 'Stra\\udcdfe' is no text in UTF-8; write it so\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_output_that_is_not_utf8_shows_what_it_can_and_json_all(tmp_path: Path, *, as_json: bool) -> None:
    (tmp_path / "outrider.toml").write_text('[server]\nhostname = "mx.test"\n', encoding="utf-8")
    line = [sys.executable, "-m", "outrider.cli.main", "config", "explain", "shaping.default.max_connections"]
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*line, *(["--json"] if as_json else [])],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if as_json:
        assert "≥ 1, ≤ 10_000" in str(json.loads(done.stdout))
    else:
        assert "Bounds: ? 1, ? 10_000" in done.stdout
