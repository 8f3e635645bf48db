"""Writes the manual page `outrider(1)` on standard output, from the commands themselves.

In: the command line as it is registered. Out: roff with the man macros. `make install` runs it.

Standards: man-pages(7) (sections and their order).
"""

import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import typer

from outrider.base.exits import Exit
from outrider.cli.main import app

FILES = (
    ("/etc/outrider/outrider.toml", "Configuration; outrider init writes one."),
    ("/var/lib/outrider", "Spool, control database, events."),
    ("/run/outrider", "Sockets between the processes and of the command line."),
    ("/usr/share/doc/outrider", "The manual."),
)


def roff(text: str) -> str:
    """Text that roff shows as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def listed(pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    """A list of terms and what they are."""
    for term, meaning in pairs:
        yield from (".TP", f".B {roff(term)}", roff(meaning))


def commands(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Each command with the first line of its help."""
    context = command.context_class(command, info_name=name, parent=parent)
    if not hasattr(command, "list_commands"):
        yield context.command_path, inspect.cleandoc(command.help or "").partition("\n")[0]
        return
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        if found is not None and not found.hidden:
            yield from commands(found, inner, context)


def manual() -> str:
    """The page."""
    release = version("outrider")
    lines = [
        f'.TH OUTRIDER 1 "" "Outrider {release}" "User Commands"',
        ".SH NAME",
        "outrider \\- outbound messaging server",
        ".SH SYNOPSIS",
        ".B outrider",
        ".I COMMAND",
        "[\\fIOPTION\\fR]...",
        ".SH DESCRIPTION",
        "Outrider takes messages by SMTP or HTTP, stores them durably and delivers them at the pace that",
        "each receiver tolerates.",
        roff("Each command says more with --help, and answers in JSON with --json."),
        ".SH COMMANDS",
        *listed(commands(typer.main.get_command(app), "outrider")),
        ".SH FILES",
        *listed(FILES),
        ".SH EXIT STATUS",
        *listed(tuple((str(int(code)), code.about) for code in Exit)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(manual())
