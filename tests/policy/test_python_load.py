"""Scripts in Python that cannot be loaded: each fault with file and line; and what counts as a hook."""

import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from outrider.model.hooks import HookPhase
from outrider.policy import python
from outrider.policy.budget import CpuBudget
from outrider.policy.declare import HOOKS
from outrider.policy.errors import ScriptError
from tests.policy.acting import Stage, written


def load(folder: Path, text: str) -> python.PythonScript:
    return python.load("loaded", written(folder, "loaded", text), CpuBudget(1))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("def data(mail):\n    retrun 5 6\n", 2, "invalid syntax"),
        ("def data(mail):\n\tpass\n        pass\n", 3, "inconsistent use of tabs"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError"),
        ("import no_such_module_anywhere\n", 1, "ModuleNotFoundError: No module named"),
        ("raise SystemExit(4)\n", 1, "SystemExit: 4"),
        ("x = 1\n", 0, "has no hook; hooks are connect, ehlo,"),
        ("", 0, "has no hook"),
        ("data = {}\n", 0, "has no hook"),
        ("class data: pass\n", 0, "has no hook"),
        ("\ndef data():\n    pass\n", 2, "a hook of this phase is called as data(mail)"),
        ("def mailfrom(connection):\n    pass\n", 1, "called as mailfrom(connection, sender)"),
        ("def data(mail, *, more):\n    pass\n", 1, "called as data(mail)"),
        (
            "def data(mail): pass\n\n\ndef mail_from(connection, sender): pass\n",
            4,
            "mail_from is no hook; mailfrom is",
        ),
        ("def each_recpt(mail): pass\n", 1, "each_recpt is no hook; each_rcpt is. Begin it with _"),
        ("from socket import connect\n", 1, "ImportError"),
    ],
)
def test_each_fault_has_its_file_and_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    sys.modules.pop("outrider_policy_loaded", None)
    with pytest.raises(ScriptError) as raised:
        load(tmp_path, text)
    error = raised.value
    assert reason in error.reason
    assert (error.script, error.line, error.phase) == (str(tmp_path / "loaded.py"), line, "load")
    assert "outrider_policy_loaded" not in sys.modules


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="cannot be read"):
        python.load("a", tmp_path / "absent.py", CpuBudget(1))
    path = tmp_path / "odd.py"
    path.write_bytes(b"x = '\xff'\ndef data(mail): pass\n")
    with pytest.raises(ScriptError, match=r"odd.py:1: load: .*(utf-8|encoding)"):
        python.load("a", path, CpuBudget(1))
    path.write_bytes(b"def data(mail): pass\0\n")
    with pytest.raises(ScriptError, match="null bytes"):
        python.load("a", path, CpuBudget(1))


def test_an_error_in_a_module_that_is_imported_names_the_scripts_line(tmp_path: Path) -> None:
    (tmp_path / "imported_by_policy.py").write_text("def broken(:\n", encoding="utf-8")
    text = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport imported_by_policy\n"
    try:
        with pytest.raises(ScriptError, match=r"loaded.py:3: load: SyntaxError"):
            load(tmp_path, text)
    finally:
        sys.path.remove(str(tmp_path))


def test_every_phase_can_be_a_hook_plain_and_async(tmp_path: Path) -> None:
    for word in ("def", "async def"):
        text = "\n".join(
            f"{word} {phase}({', '.join(each.name for each in HOOKS[phase].arguments)}): pass"
            for phase in HookPhase
        )
        assert load(tmp_path, text).phases == frozenset(HookPhase)


def test_decorated_imported_and_own_names(tmp_path: Path) -> None:
    script = load(
        tmp_path,
        """\
        import functools
        from json import loads as _loads
        auth = {"not": "a hook"}
        def _data_of(mail): pass
        def logged(function):
            @functools.wraps(function)
            def inner(*arguments):
                return function(*arguments)
            return inner
        @logged
        def data(mail): pass
        @functools.cache
        def mailfrom(connection, sender): pass
        each_rcpt = lambda mail: None
        class Helper: pass
        """,
    )
    assert script.phases == {HookPhase.DATA, HookPhase.MAILFROM, HookPhase.EACH_RCPT}
    assert script.line_of(HookPhase.DATA) == 10


async def test_a_decorated_hook_that_is_async_is_awaited(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        import asyncio
        from outrider.policy.api import Refuse
        def logged(function):
            def inner(mail):
                return function(mail)
            return inner
        @logged
        async def data(mail):
            await asyncio.sleep(0)
            return Refuse(550, "5.7.1 waited")
        """,
    )
    decision = await stage.decided()
    assert str(getattr(decision, "reply", "")) == "550 5.7.1 waited"


def test_dataclasses_and_late_annotations_work(tmp_path: Path) -> None:
    script = load(
        tmp_path,
        """\
        from __future__ import annotations
        from dataclasses import dataclass
        @dataclass
        class Customer:
            name: str
        def data(mail): pass
        """,
    )
    assert script.phases == {HookPhase.DATA}


def test_a_script_that_cannot_be_loaded_leaves_the_one_before(tmp_path: Path) -> None:
    load(tmp_path, "here = 1\ndef data(mail): pass\n")
    before = sys.modules["outrider_policy_loaded"]
    with pytest.raises(ScriptError):
        load(tmp_path, "def data(: pass\n")
    assert sys.modules["outrider_policy_loaded"] is before


def test_the_examples_in_the_modules_own_text_load(tmp_path: Path) -> None:
    example = dedent(str(python.__doc__).split("\n\n", 1)[1].split("\n\nIn: ")[0])
    assert load(tmp_path, example).phases == {HookPhase.MAILFROM, HookPhase.SET_BINDING}


HURRIED = """\
import signal
assert 1500 < signal.setitimer(signal.ITIMER_REAL, 0.05)[0] <= 2000
"""
"""The time that was set runs; what is left of it begins in the script, so that it ends there too."""
ENDLESS = """\
def data(mail): pass
while True:
    pass
"""
STUBBORN = """\
def data(mail): pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
WAITING = """\
import time
def data(mail): pass
time.sleep(600)
"""


@pytest.mark.parametrize(("text", "last"), [(ENDLESS, 5), (STUBBORN, 9), (WAITING, 5)])
def test_a_top_level_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, last: int
) -> None:
    monkeypatch.setattr(python, "LOAD_SECONDS", 2000)
    before, timer = signal.signal(signal.SIGALRM, signal.SIG_IGN), signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with pytest.raises(ScriptError, match="did not end within 2000 s") as failed:
            load(tmp_path, HURRIED + text)
        assert 2 <= failed.value.line <= last
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        assert 500 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
        assert load(tmp_path, "def data(mail): pass\n").phases == {HookPhase.DATA}
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
