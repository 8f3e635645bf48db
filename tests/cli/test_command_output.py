"""What commands say to people."""

import pytest

from outrider.cli.output import say


def test_what_is_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = ", ".join(f"listener-{number} on 127.0.0.1:{40_000 + number}" for number in range(20))
    say(text)
    assert capsys.readouterr().out == text + "\n"
