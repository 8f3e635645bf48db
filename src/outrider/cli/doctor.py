"""`outrider doctor`: looks at everything around the server and says how to mend what is wrong."""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from outrider.base.exits import Exit
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, printable, show

if TYPE_CHECKING:
    from outrider.server.doctor.finding import Finding

_STYLES = {"good": "green", "note": "blue", "warning": "yellow", "fault": "bold red"}


def print_findings(findings: Sequence["Finding"]) -> None:
    """A table: how bad, what, and under it how to mend it."""
    table = Table(header_style="bold", show_lines=False)
    for column in ("", "check", "found"):
        table.add_column(column, overflow="fold")
    for one in findings:
        what = Text(printable(one.what))
        if one.mend:
            what.append(f"\n→ {printable(one.mend)}", style="italic")
        table.add_row(Text(one.level.value, style=_STYLES[one.level.value]), Text(one.check), what)
    show(table)


def doctor(
    config: ConfigPath = CONFIG_DEFAULT,
    reach: Annotated[
        list[str] | None,
        typer.Option(help="Domain whose exchanger is connected to, on port 25. May be repeated."),
    ] = None,
    reach_port: Annotated[int, typer.Option(help="Port instead of 25.", min=1, max=65535)] = 25,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    show_all: Annotated[bool, typer.Option("--all/--problems", help="Show what is well too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Look at DNS, ports, disk, files, limits, clock, listeners and data sources; exit code 1 if one is bad.

    Examples:
      outrider doctor -c /etc/outrider/outrider.toml
      outrider doctor --reach example.com --strict
    """
    from outrider.base.clock import SystemClock
    from outrider.server.configuration import read
    from outrider.server.doctor.examine import examine
    from outrider.server.doctor.finding import Level, as_data, worst

    found = read(config, os.environ)
    files = [path for path in found.sources.files if path.exists()]
    findings = asyncio.run(
        examine(
            found.settings, files, SystemClock, os.environ, reach=tuple(reach or ()), reach_port=reach_port
        )
    )
    level = worst(findings)
    failed = level is Level.FAULT or (strict and level is Level.WARNING)
    if as_json:
        print_json({**as_data(findings), "ok": not failed})
    else:
        print_findings([one for one in findings if show_all or one.level is not Level.GOOD])
    if failed:
        raise typer.Exit(Exit.FOUND)
