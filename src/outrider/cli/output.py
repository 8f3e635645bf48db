"""How commands speak: a table for people, JSON for machines, and where a command finds its server."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

CONFIG_DEFAULT = Path("outrider.toml")

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", envvar="OUTRIDER_CONFIG", help="The server's configuration file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    Console(soft_wrap=True, highlight=False, markup=False).print(
        msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), soft_wrap=True
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; numbers stand right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


def say(text: str) -> None:
    """One line for people."""
    Console(highlight=False, markup=False).print(text, soft_wrap=True)


def ask_server(config: Path, operation: str, **arguments: Any) -> Any:
    """Ask the running server that `config` describes.

    Raises:
        UnavailableError: It does not answer.
    """
    from outrider.server.configuration import load
    from outrider.server.requests import ask

    settings = load(config, os.environ)
    return asyncio.run(ask(settings.server.sockets_directory / "control.sock", operation, **arguments))
