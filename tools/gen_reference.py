"""Writes the reference pages from the code: options, replies, events, metrics, commands, standards, Lua.

In: the packages of src/outrider. Out: pages in docs/reference; with --check nothing is written and the exit
status is 1 when a page is out of date.

Invariant: a page depends on the code alone, not on the machine, the time or the environment.
Not here: the page of promises (tools/check_promises.py).
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator

from tools.project_files import ROOT
from tools.reference_code import Constant, reply_constants
from tools.reference_commands import command_pages
from tools.reference_control import control_lines
from tools.reference_hooks import hook_lines
from tools.reference_options import option_sections
from tools.reference_standards import standards_rows

REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `make docs` from the code; do not edit. -->"


def cell(text: object) -> str:
    """Text that stands in one cell of a table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell(item) for item in row) + " |"


def page(title: str, *parts: str) -> str:
    """A page with its title, the note that it is generated, and one final line end."""
    return "\n".join([f"# {title}", "", NOTE, "", *parts]).rstrip("\n") + "\n"


def options_page() -> str:
    """Every option of the configuration, section by section."""
    lines = [
        "The configuration is one TOML file, `outrider.toml`. A name that ends in a unit is in that unit.",
        "An unknown name is refused, with the nearest known one.",
    ]
    for section in option_sections():
        lines += ["", f"## {section.heading}", "", section.text, ""]
        rows: list[tuple[object, ...]] = [
            (f"`{option.name}`", option.default, option.unit, option.bounds, option.text, option.source)
            for option in section.options
        ]
        lines += table(("option", "default", "unit", "bounds", "what it does", "source"), rows)
    return page("Options", *lines)


def replies_page() -> str:
    """Every reply that we can send and every outcome that we give ourselves."""
    lines = [
        "Every text that a peer can hear from us, and every outcome that we state ourselves, is one constant."
    ]
    groups: dict[str, list[Constant]] = {}
    for constant in reply_constants():
        groups.setdefault(constant.module, []).append(constant)
    for module, constants in groups.items():
        lines += ["", f"## {module}", ""]
        rows: list[tuple[object, ...]] = [
            (one.code, one.enhanced or "", one.text, f"`{one.name}`", one.source) for one in constants
        ]
        lines += table(("code", "status", "text", "constant", "why"), rows)
    return page("Replies", *lines)


def events_page() -> str:
    """The kinds of events with their fields, and the whole schema."""
    from outrider.record import events

    schema = events.schema()
    definitions = schema.get("$defs", {})
    lines = [
        "Event files hold one JSON object a line, of one of these types. Empty fields are left out.",
        f"This is version {events.SCHEMA_VERSION} of the schema.",
    ]
    for name in sorted(definitions):
        fields = definitions[name].get("properties", {})
        tags = fields.get("type", {}).get("enum", [])
        lines += ["", f"## {tags[0] if tags else name}", "", definitions[name].get("description", ""), ""]
        needed = set(definitions[name].get("required", ()))
        about = field_texts(getattr(events, name, None))
        rows: list[tuple[object, ...]] = [
            (f"`{field}`", type_name(kind), "yes" if field in needed else "", about.get(field, ""))
            for field, kind in fields.items()
            if field != "type"
        ]
        lines += table(("field", "type", "always", "what it says"), rows)
    lines += ["", "## The schema", "", "```json", json.dumps(schema, indent=1, sort_keys=True), "```"]
    return page("Events", *lines)


def field_texts(kind: type | None) -> dict[str, str]:
    """What the `Attributes` sections of a class and its bases say of each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__ if kind else ()):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def type_name(kind: dict[str, object]) -> str:
    """A short name of a JSON schema type."""
    if isinstance(any_of := kind.get("anyOf"), list):
        return " or ".join(type_name(one) for one in any_of)
    if "$ref" in kind:
        return str(kind["$ref"]).rpartition("/")[2]
    if "enum" in kind:
        return f"one of {kind['enum']}"
    return f"{kind.get('type', 'any')}{' (date-time)' if kind.get('format') == 'date-time' else ''}"


def metrics_page() -> str:
    """Every metric with its labels."""
    from outrider.record.metrics import DEFINITIONS

    rows: list[tuple[object, ...]] = [
        (f"`{name}`", one.kind, ", ".join(one.labels), one.help) for name, one in sorted(DEFINITIONS.items())
    ]
    head = ("metric", "kind", "labels", "what it counts")
    return page("Metrics", "Served for Prometheus by the metrics listener.", "", *table(head, rows))


def commands_page() -> str:
    """The exit codes, and `--help` of every command."""
    from outrider.base.exits import Exit

    rows: list[tuple[object, ...]] = [(int(code), code.about) for code in Exit]
    return page("Commands", "## Exit codes", "", *table(("code", "meaning"), rows), "", *command_pages())


def control_page() -> str:
    """Every operation of the control API."""
    return page("Control API", *control_lines())


def hooks_page() -> str:
    """Every hook of policy, and what it is given."""
    return page("Hooks", *hook_lines())


def standards_page() -> str:
    """Every standard that the code cites, with the places."""
    text = "What the code cites, where, and what the server does with it."
    return page("Standards", text, "", *table(("document", "title", "here", "cited in"), standards_rows()))


def lua_page() -> str:
    """Every function of Momentum's API for scripts in Lua."""
    from tools.reference_lua import INTRODUCTION, counts, phases, sections

    lines = [*INTRODUCTION, "", *table(("status", "functions", "hooks"), list(counts()))]
    for section, rows in sections().items():
        lines += ["", f"## {section}", ""]
        cells: list[tuple[object, ...]] = [
            (f"`{row.name}`", row.status.value, phases(row), row.note) for row in rows
        ]
        lines += table(("function", "status", "where", "what differs"), cells)
    return page("Lua API", *lines)


def openapi_document() -> str:
    """The interface of HTTP injection, for programs."""
    from outrider.receive.http_openapi import openapi

    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "options.md": options_page,
    "replies.md": replies_page,
    "events.md": events_page,
    "metrics.md": metrics_page,
    "commands.md": commands_page,
    "control-api.md": control_page,
    "hooks.md": hooks_page,
    "standards.md": standards_page,
    "lua-api.md": lua_page,
    "openapi.json": openapi_document,
}


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the pages; 1 when a page is out of date or cannot be made."""
    parser = argparse.ArgumentParser(description="Write the generated reference pages.")
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args(argv).check
    faults = 0
    for name, make in PAGES.items():
        target = REFERENCE / name
        try:
            text = make()
        except (ImportError, AttributeError, SyntaxError) as error:
            print(f"docs/reference/{name}: cannot be made: {error}")
            faults += 1
            continue
        if check:
            if not target.is_file() or target.read_text(encoding="utf-8") != text:
                print(f"docs/reference/{name} is out of date: run `make docs`")
                faults += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
