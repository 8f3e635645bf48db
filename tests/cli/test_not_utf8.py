"""An argument of the command line that is no UTF-8 is told in words."""

import os
import subprocess
import sys
from pathlib import Path

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
