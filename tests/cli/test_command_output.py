"""What commands say to people."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from outrider.base.exits import Exit
from outrider.cli import output
from outrider.cli.doctor import print_findings
from outrider.cli.output import print_done, print_facts, print_json, print_table, say
from outrider.server.doctor.finding import fault


def test_what_is_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = ", ".join(f"listener-{number} on 127.0.0.1:{40_000 + number}" for number in range(20))
    say(text)
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize("words", [("config", "show"), ("--help",), ("--version",)])
def test_a_command_that_nobody_reads_any_more_is_quiet(tmp_path: Path, words: tuple[str, ...]) -> None:
    """As other programs that write into `head`; 1 would say that a check found something."""
    config = tmp_path / "outrider.toml"
    config.write_text("", encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "OUTRIDER_CONFIG": str(config)}
    line = [sys.executable, "-m", "outrider.cli.main", *words]
    done = subprocess.run(
        line, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=environment
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.UNREAD, "")


def test_an_output_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-m", "outrider.cli.main", "--version"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (Exit.IO, "outrider: standard output: No space left on device\n")


def test_a_row_of_a_table_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = tuple(f"a value of {number}" for number in range(10))
    print_table("Values", tuple(f"column {number}" for number in range(10)), [row])
    assert [line for line in capsys.readouterr().out.splitlines() if all(value in line for value in row)]


def test_a_finding_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    what = "192.0.2.2 is no public address; receivers see another one, and nobody can say from here which"
    print_findings([fault("dns.reverse", what, "look at the name of the public address")])
    assert what in capsys.readouterr().out


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(
        output, "Console", partial(Console, force_terminal=True, color_system=None, width=columns)
    )


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_no_number_and_no_id_is_in_pieces_however_narrow_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_terminal(monkeypatch, columns)
    reply = "451 4.7.1 Greylisted, try again in some hours, when our list has been told of you"
    rows = [
        ("1m8q9ang3b0z4v0001", "sub.example.test", 3_003, "14 s ago", 2_000, "suspended", 11_600, reply, None)
    ]
    names = ("message", "for", "queued", "due", "attempts", "state", "size", "last reply", "note")
    print_table("Queued entries", names, rows, totals=("1 of 3,003", "", "3,003", "", "", "", "", "", ""))
    out = capsys.readouterr().out
    assert all(len(line) <= columns for line in out.splitlines())
    words = {word.rstrip(",") for word in out.split()}
    assert {"1m8q9ang3b0z4v0001", "3003", "2000", "11600", "suspended", "Greylisted", "3,003"} <= words


def test_a_long_first_cell_is_folded_and_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ("x" * 300, 1)
    print_table("Values", ("a", "b"), [row])
    on_terminal(monkeypatch, 60)
    print_table("Values", ("a", "b"), [row])
    assert capsys.readouterr().out.count("x") == 600


def test_facts_are_words_and_not_python(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "domains": (),
        "scopes": ["inject", "status"],
        "expires": None,
        "enabled": True,
        "sandbox": False,
        "n": 0,
    }
    print_facts("Key", facts, as_json=False)
    rows = {
        name.strip(): value.strip()
        for _, name, value, _ in (
            line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line
        )
    }
    assert rows == {
        "domains": "",
        "scopes": "inject, status",
        "expires": "",
        "enabled": "yes",
        "sandbox": "no",
        "n": "0",
    }


HOSTILE = "a\x1b]0;owned\x07\x9b2J\x7f\u202eb\U000e0001c"
"""A title for the terminal, a C1 control, text that runs backwards, and a tag beyond 16 bits."""


def test_nothing_that_others_wrote_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    print_table(HOSTILE, ("what",), [(HOSTILE,)], totals=(HOSTILE,))
    print_done(HOSTILE, {}, as_json=False)
    print_findings([fault("dns.hostname", HOSTILE, HOSTILE)])
    print_json({"a": HOSTILE})
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert json.loads(out[out.index('{\n  "a"') :]) == {"a": HOSTILE}, "JSON tells machines the same"


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo")
    assert capsys.readouterr().out == "one\ntwo\n"
