"""What commands say to people."""

import pytest

from outrider.cli.output import print_table, say


def test_what_is_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = ", ".join(f"listener-{number} on 127.0.0.1:{40_000 + number}" for number in range(20))
    say(text)
    assert capsys.readouterr().out == text + "\n"


def test_a_row_of_a_table_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = tuple(f"a value of {number}" for number in range(10))
    print_table("Values", tuple(f"column {number}" for number in range(10)), [row])
    assert [line for line in capsys.readouterr().out.splitlines() if all(value in line for value in row)]
