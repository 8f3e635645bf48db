"""Reads `--help` of every command of `outrider`.

The command objects are taken as they come: typer may bring a click of its own, whose classes are not ours to
name.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer


def cell(text: object) -> str:
    """Text that stands in one cell of a table."""
    return re.sub(r"\s+", " ", str(text or "")).replace("|", "\\|").strip()


def help_lines(text: str) -> Iterator[str]:
    """The help text with its examples, which are indented, as blocks of code."""
    fenced = False
    for line in inspect.cleandoc(text).splitlines():
        example = line.startswith("  ") or (fenced and not line)
        if example != fenced:
            yield from ("```",) if fenced else ("", "```sh")
            fenced = example
        yield line.removeprefix("  ") if example else line
    if fenced:
        yield "```"


def _parameter_rows(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.get_params(context):
        about = cell(getattr(parameter, "help", ""))
        if parameter.param_type_name != "option":
            yield f"| `{cell(parameter.name).upper()}` | {about} |"
        elif "--help" not in parameter.opts:
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            default = parameter.default
            shown = not (default is None or default is False or default in ("", [], ()) or callable(default))
            yield f"| {names} | {about}{f' Default: `{cell(default)}`.' if shown else ''} |"


def command_lines(command: Any, name: str, parent: Any = None) -> Iterator[str]:
    """The page's lines for one command and all below it."""
    context = command.context_class(command, info_name=name, parent=parent)
    yield from (f"## `{context.command_path}`", "", *help_lines(command.help or ""), "")
    rows = list(_parameter_rows(command, context))
    if rows:
        yield from ("| parameter | what it does |", "| --- | --- |", *rows, "")
    if hasattr(command, "list_commands"):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from command_lines(found, inner, context)


def command_pages() -> list[str]:
    """The whole tree of commands."""
    from outrider.cli.main import app

    return list(command_lines(typer.main.get_command(app), "outrider"))
