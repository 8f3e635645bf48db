"""The server's log: one line a thing, facts only, nothing personal, nothing that steers a terminal."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.record.log import LEVELS, ServerLog, make_log, open_log
from outrider.record.options import RecordOptions
from outrider.record.redact import Profile, Redactor


def log_on(file: io.BytesIO, **options: Any) -> ServerLog:
    chosen = RecordOptions(**{"redaction": Profile.DOMAIN, **options})
    return make_log(chosen, FakeClock(), Redactor(chosen.redaction), file, is_terminal=False)


def test_a_line_is_json_with_its_head_first() -> None:
    file = io.BytesIO()
    log_on(file).bind(process="worker-1").info("spool.segment_opened", segment=4, seconds=0.5, ok=True)
    assert file.getvalue() == (
        b'{"ts":"2026-09-21T14:13:20.000000Z","level":"info","event":"spool.segment_opened",'
        b'"process":"worker-1","segment":4,"seconds":0.5,"ok":true}\n'
    )


@pytest.mark.parametrize("level", list(LEVELS))
def test_levels_filter(level: str) -> None:
    file = io.BytesIO()
    log = log_on(file, log_level=level)
    for method in (log.debug, log.info, log.warning, log.error):
        method("test.event")
    shown = [msgspec.json.decode(line)["level"] for line in file.getvalue().splitlines()]
    assert shown == [name for name in LEVELS if LEVELS[name] >= LEVELS[level]]


def test_a_bound_log_leaves_its_parent_alone() -> None:
    file = io.BytesIO()
    log = log_on(file)
    log.bind(a=1).info("test.one")
    log.info("test.two")
    assert "a" not in msgspec.json.decode(file.getvalue().splitlines()[1])


@given(
    st.recursive(
        st.one_of(
            st.none(), st.integers(), st.text(max_size=20), st.binary(max_size=20), st.just(Path("/a/b"))
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["json", "text"]),
)
def test_any_fact_is_one_printable_line(fact: object, log_format: str) -> None:
    file = io.BytesIO()
    log_on(file, log_format=log_format).info("test.event", fact=fact, who="qzalice.smith@example.com")
    line = file.getvalue().decode()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "qzalice" not in line
    assert "*@example.com" in line


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    options = RecordOptions(redaction=Profile.DOMAIN, log_file=str(tmp_path / "outrider.log"))
    for name in ("test.one", "test.two"):
        log = open_log(options, FakeClock())
        log.info(name)
        log.close()
    lines = (tmp_path / "outrider.log").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["event"] for line in lines] == ["test.one", "test.two"]


def test_without_a_terminal_the_log_is_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    open_log(RecordOptions(redaction=Profile.DOMAIN), FakeClock()).info("test.event")
    assert capfdbinary.readouterr().err.startswith(b'{"ts":')
