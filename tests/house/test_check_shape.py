"""The shape of modules, locks and texts: each rule refuses what breaks it and takes what does not."""

import pytest

from tools.check_shape import (
    LINES_MAX,
    REGISTRY_HOSTS,
    UNFINISHED,
    check_lock,
    check_module,
    check_text,
    machine_paths,
)
from tools.project_files import ROOT


def texts_of(path: str, source: str) -> list[str]:
    return [fault.text for fault in check_module(path, source)]


def test_a_clean_module_has_no_faults() -> None:
    assert texts_of("src/outrider/wire/codec.py", '"""Codec."""\n\nLIMITS = {"a": 1}\n_TABLE = [1]\n') == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("src/outrider/a.py", "x = 1\n", "no module docstring"),
        ("src/outrider/a.py", '"""A."""\n' + "\n" * LINES_MAX, f"{LINES_MAX + 1} lines"),
        ("src/outrider/helpers.py", '"""A."""\n', "says nothing"),
        ("src/outrider/utils/codec.py", '"""A."""\n', "says nothing"),
        ("src/outrider/a.py", '"""A."""\nseen = {}\n', "module state 'seen'"),
        ("src/outrider/a.py", '"""A."""\nseen: set[int] = set()\n', "module state 'seen'"),
        ("src/outrider/a.py", '"""A."""\n\n\ndef f() -> None:\n    global g\n    g = 1\n', "global g"),
        ("src/outrider/a/__init__.py", '"""A."""\nimport os\n', "docstring and nothing else"),
        ("tests/wire/__init__.py", '"""A."""\n', "no packages"),
    ],
)
def test_each_rule_refuses(path: str, source: str, expected: str) -> None:
    assert any(expected in text for text in texts_of(path, source)), texts_of(path, source)


@pytest.mark.parametrize("word", UNFINISHED)
def test_unfinished_places_are_refused_in_the_source_only(word: str) -> None:
    source = f'"""A."""\n# {word} later\n'
    assert texts_of("src/outrider/a.py", source) == [f"unfinished place: {word}"]
    assert texts_of("tests/test_a.py", source) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index" + "-url https" + "://mirror.example.test/simple",
        "--find" + "-links wheels",
        "--extra-index" + "-url elsewhere",
        "thing @ file" + ":///tmp/thing.whl",
        "thing>=1.0",
    ],
)
def test_a_lock_holds_pins_and_hashes_only(line: str) -> None:
    assert check_lock("requirements.txt", line + "\n")


def test_the_locks_of_this_project_hold_pins_and_hashes_only() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert check_lock(name, text) == []


def test_paths_of_a_machine_and_hosts_of_registries_are_refused() -> None:
    assert check_text("README.md", f"see {ROOT}/README.md\n", machine_paths())
    assert check_text("README.md", f"from {REGISTRY_HOSTS[0]}\n", ())
    assert not check_text("README.md", "see docs/README.md\n", machine_paths())
