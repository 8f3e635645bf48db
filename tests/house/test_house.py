"""The house as a whole: what `make check` holds besides formatting and types."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tools import check_citations, check_shape
from tools.lock import uv_environment
from tools.project_files import ROOT


def test_layers_siblings_and_homes_are_kept(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_citation_has_the_one_form_and_names_a_section_that_exists() -> None:
    assert [str(fault) for fault in check_citations.project_faults()] == []


def test_every_file_has_its_shape() -> None:
    assert [str(fault) for fault in check_shape.project_faults()] == []


def test_every_runtime_dependency_is_declared_once_and_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    written = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    wanted = sorted(line.strip() for line in written if line.strip() and not line.startswith("#"))
    assert sorted(project["dependencies"]) == wanted
    locked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}==" in f"\n{locked}" for name in wanted)


def test_the_index_of_pip_is_handed_over_and_local_places_only_when_needed() -> None:
    pip = {"index-url": "one", "find-links": "a b", "extra-index-url": "two"}
    assert uv_environment(pip, {"HOME": "h"}) == {"UV_DEFAULT_INDEX": "one", "HOME": "h"}
    assert uv_environment(pip, {"UV_INDEX": "mine"}, local=True) == {
        "UV_DEFAULT_INDEX": "one",
        "UV_FIND_LINKS": "a,b",
        "UV_INDEX": "mine",
    }


def test_every_page_that_is_linked_exists() -> None:
    import re

    broken = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
