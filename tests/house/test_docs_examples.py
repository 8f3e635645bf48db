"""What the pages show works: configurations are valid; commands, options, links and pages exist.

Not here: the tutorial, which is executed (tests/e2e/test_tutorial.py), and lines of main.cf, which a real
Postfix reads (tests/peers/test_peers_migration.py).
"""

import re
import shlex
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from outrider.cli.main import app
from outrider.server.catalogue import options
from outrider.server.settings import Settings
from outrider.sim.options import WorldOptions
from tools.project_files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


WRITTEN = [page for page in PAGES if "reference" not in page.parts]
"""Those that people wrote."""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
        for number, block in enumerate(found):
            yield f"{page.relative_to(ROOT)}:{number}", textwrap.dedent(block)


def commands() -> Iterator[tuple[str, str]]:
    for place, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s\|\s", line):
                if part.startswith("outrider "):
                    yield place, part


@pytest.mark.parametrize(("place", "text"), list(blocks("toml")), ids=lambda value: value.partition("\n")[0])
def test_a_configuration_on_a_page_is_valid(place: str, text: str) -> None:
    tables = tomllib.loads(text)
    for listener in tables.get("listener", []):
        listener.pop("certificate", None)  # the files are the reader's
        listener.pop("private_key", None)
        listener.pop("tls", None)
    model = WorldOptions if "provider" in tables else Settings
    assert model.model_validate(tables) is not None, place


@pytest.mark.parametrize(("place", "line"), list(commands()))
def test_a_command_on_a_page_exists_with_its_options(place: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    context = command.context_class(command)
    words = shlex.split(line, comments=True)[1:]
    while words and not words[0].startswith("-") and hasattr(command, "get_command"):
        command = command.get_command(context, words.pop(0))
        assert command is not None, f"{place}: no such command: {line}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert given - {"--help"} <= known, f"{place}: {line}"


def test_the_pages_show_both() -> None:
    assert len(list(blocks("toml"))) > 5
    assert len(list(commands())) > 10


@pytest.mark.parametrize(("place", "text"), list(blocks("sh")), ids=lambda value: value.partition("\n")[0])
def test_what_is_to_be_pasted_into_a_shell_is_understood_by_one(place: str, text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), place


def known_names() -> set[str]:
    """Options and sections, modules, and what the code calls its events and log lines."""
    found = {option.name for option in options()}
    found |= {name.rpartition(".")[0] for name in found} | set(Settings.model_fields)
    modules = list((ROOT / "src" / "outrider").rglob("*.py"))
    sources = "".join(path.read_text(encoding="utf-8") for path in modules)
    for path in modules:
        parts = path.relative_to(ROOT / "src" / "outrider").with_suffix("").parts
        found |= {".".join(parts), ".".join(parts[:-1])}
    return found | set(re.findall(r'"([a-z_]+\.[a-z_.]+)"', sources))


def test_an_option_that_a_page_names_exists() -> None:
    known = known_names()
    wrong = []
    for page in WRITTEN:
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", page.read_text(encoding="utf-8")):
            is_file = name.endswith(".toml")
            if name.partition(".")[0] in Settings.model_fields and name not in known and not is_file:
                wrong.append(f"{page.relative_to(ROOT)}: {name}")
    assert not wrong


UNITS = {"": 1.0, "s": 1.0, "h": 3_600.0, "d": 86_400.0}


def shown_defaults(page: str) -> dict[str, float]:
    """`name` (number) of a page, in the table of settings; a time in seconds."""
    found = re.findall(r"`([a-z_.]+)` \(([\d,]+) ?([shd]?)\)", page)
    return {name: float(number.replace(",", "")) * UNITS[unit] for name, number, unit in found}


@pytest.mark.parametrize("name", ["postfix", "kumomta"])
def test_a_default_that_a_page_shows_is_the_default(name: str) -> None:
    page = (ROOT / "docs" / "how-to" / f"migrate-from-{name}.md").read_text(encoding="utf-8")
    defaults = {option.name: option.default.strip("`") for option in options()}
    ours = {key: value for key, value in shown_defaults(page).items() if key in defaults}
    assert len(ours) >= 5
    assert ours == {key: float(defaults[key]) for key in ours}


LACKS = {"dkim": "DKIM", "dane": "DANE", "mta_sts": "MTA-STS", "milter": "milter", "webhook": "webhooks"}
"""Parts of the names that options would have, and what the pages call what is not there."""


@pytest.mark.parametrize("name", ["postfix", "kumomta"])
def test_what_is_said_to_be_missing_is_missing(name: str) -> None:
    page = (ROOT / "docs" / "how-to" / f"migrate-from-{name}.md").read_text(encoding="utf-8")
    missing = page.partition("## What has no counterpart")[2].partition("\n## ")[0]
    known = {option.name for option in options()}
    for part, called in LACKS.items():
        found = [option for option in known if part in option]
        assert not (found and called in missing), f"{found} exist now: say so on the page"


def anchors(page: str) -> set[str]:
    """Where a link into the page may lead."""
    heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            if target.startswith(("http:", "https:")):
                continue
            if not found.exists() or (anchor and anchor not in anchors(found.read_text(encoding="utf-8"))):
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert not wrong


def test_the_manual_lists_every_page() -> None:
    manual = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([^)#]+)\)", manual))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT}
    missing = {page for page in pages if not page.startswith("decisions/")} - listed - {"README.md"}
    assert not missing


def test_every_file_of_the_project_that_a_page_names_exists() -> None:
    source = ROOT / "src" / "outrider"
    missing = []
    for page in (*ROOT.glob("*.md"), *WRITTEN):
        named = re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:py|sh|toml))`", page.read_text(encoding="utf-8"))
        for name in {
            one for one in named if re.match(r"(src|tests|tools|bench|examples|docs|packaging)/", one)
        }:
            if not any(ROOT.glob(name)):
                missing.append(f"{page.name}: {name}")
        if page.parent.name in ("how-to", "tutorial"):
            continue  # what these name without the project's folders are the reader's own files
        rooms = {path.name for path in source.iterdir()}
        for name in {one for one in named if one.partition("/")[0] in rooms}:
            if not any(source.glob(name)):
                missing.append(f"{page.name}: {name}")
        if page.name == "ARCHITECTURE.md":
            bare = {one for one in named if "/" not in one and one.endswith(".py")}
            missing += [f"{page.name}: {name}" for name in bare if not any(source.rglob(name))]
            assert len(named) > 80
    assert not missing


def test_the_map_of_the_server_has_each_of_its_modules_once() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    mapped = page.partition("It is the largest room;")[2].partition("\n## ")[0]
    server = ROOT / "src" / "outrider" / "server"
    modules = {path.stem for path in server.glob("*.py")} | {
        path.parent.name for path in server.glob("*/*.py")
    }
    assert sorted(re.findall(r"`(\w+)/?`", mapped)) == sorted(modules - {"__init__"})
