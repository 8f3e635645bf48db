"""How commands speak: a table for people, JSON for machines, and where a command finds its server."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import msgspec
import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from outrider.server.control_api.client import ControlClient
    from outrider.server.options import ServerOptions
    from outrider.server.settings import Settings

WIDTH = 200
# chosen: where there is no terminal, a row stays a line as long as it can
ID_CHARACTERS = 40
# chosen: ids have 18 (`base.ids`), names seldom more; what is longer is folded rather than cut
SHORT_CHARACTERS = 12
# chosen: longer words are seldom read as something else when they are cut
CONFIG_DEFAULT = Path("outrider.toml")

ConfigPath = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="OUTRIDER_CONFIG",
        help="The server's configuration file.",
        readable=False,  # who reads it says why not: the parser's 64 would have systemd try again
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def is_utf8(stream: TextIO) -> bool:
    """Whether everything can be written there."""
    return (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"


def printable(text: str, *, stands: Callable[[str], str] = lambda _character: "\ufffd") -> str:
    """`text` for a terminal, which obeys control characters and turns text around where it is told to.

    What we print was often written by others: names in DNS, replies, reasons.

    Args:
        text: Lines of anything.
        stands: What stands for a character that is not printable; line ends stay.
    """
    if text.replace("\n", "").isprintable():  # nearly always, and documents may be large
        return text
    return "".join(each if each == "\n" or each.isprintable() else stands(each) for each in text)


def _escaped(character: str) -> str:
    """RFC 8259 §7, in UTF-16 as it is asked there."""
    octets = character.encode("utf-16-be")
    return "".join(f"\\u{octets[place : place + 2].hex()}" for place in range(0, len(octets), 2))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if not is_utf8(sys.stdout):  # machines are told the same
        text = "".join(each if each.isascii() else _escaped(each) for each in text)
    Console(soft_wrap=True, highlight=False, markup=False).print(
        printable(text, stands=_escaped), soft_wrap=True
    )


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    totals: Sequence[Any] | None = None,
) -> None:
    """A table; numbers stand right, `totals` below a line.

    Where the terminal is so narrow that numbers, ids or short words would be in pieces, rows are paragraphs.
    """
    numeric = {place for place in range(len(columns)) if _is_numeric(rows, place)}
    whole = numeric | {0} if all(len(str(row[0])) <= ID_CHARACTERS for row in rows) else numeric
    table = Table(
        title=Text(printable(title), style="table.title"),
        title_justify="left",
        header_style="bold",
        show_footer=totals is not None,
    )
    for place, column in enumerate(columns):
        footer = "" if totals is None else _cell(totals[place])
        justify: Literal["right", "left"] = "right" if place in numeric else "left"
        table.add_column(column, footer=footer, justify=justify, overflow="fold", no_wrap=place in whole)
    for row in rows:
        table.add_row(*map(_cell, row))
    console = Console()
    if console.is_terminal:
        with console.capture() as captured:
            console.print(table)
        shown = set(captured.get().split())
        if any(not shown.issuperset(_unbroken(row, whole)) for row in rows):
            _print_paragraphs(console, title, columns, [*rows, *([] if totals is None else [totals])])
            return
    show(table)


def _is_numeric(rows: Sequence[Sequence[Any]], place: int) -> bool:
    return bool(rows) and all(isinstance(row[place], int | float) for row in rows)


def _unbroken(row: Sequence[Any], whole: set[int]) -> Iterator[str]:
    """Words of a row that are read wrongly, and cannot be copied, in pieces."""
    for place, value in enumerate(row):
        words = _cell(value).plain.split()
        yield from (words if place in whole else (each for each in words if len(each) <= SHORT_CHARACTERS))


def _print_paragraphs(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Each row for itself: its first cell, then the others with the names of their columns."""
    console.print(Text(printable(title), style="table.title"))
    for row in rows:
        console.print(_cell(row[0]), style="bold", soft_wrap=True)
        named = [
            Text.assemble((f"{column} ", "dim"), _cell(value))
            for column, value in zip(columns[1:], row[1:], strict=True)
            if value not in (None, "")
        ]
        console.print(Padding(Text(", ").join(named), (0, 0, 0, 4)))


def show(table: Table) -> None:
    """A table as wide as the terminal, or where there is none so wide that a row stays a line."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table)


def _cell(value: Any) -> Text:
    """A cell as it is: what others wrote is no markup."""
    return Text("" if value is None else printable(str(value)))


def say(text: str) -> None:
    """One line for people."""
    Console(highlight=False, markup=False).print(printable(text), soft_wrap=True)


def print_done(text: str, facts: Any, *, as_json: bool) -> None:
    """What a command did: JSON, or a line for people, not wrapped so that a key survives copying."""
    if as_json:
        print_json(facts)
    else:
        typer.echo(printable(text))


def print_facts(title: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing with all that is known of it."""
    if as_json:
        print_json(facts)
    else:
        print_table(title, ("what", "value"), [(name, _worded(value)) for name, value in facts.items()])


def _worded(value: Any) -> str:
    """A value as people write it, and not as Python does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(_worded, value))
    return str(value)


def print_list(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], facts: Any, *, as_json: bool
) -> None:
    """Many things: some cells of each for people, all that is known of each as JSON."""
    if as_json:
        print_json(facts)
    else:
        print_table(title, columns, rows)


def settings_of(config: Path) -> "Settings":
    """What a server that is started here with `config` would run with: file, `conf.d` and environment.

    Raises:
        ConfigError: With all faults.
    """
    from outrider.server.configuration import load

    return load(config, os.environ)


def directories_of(config: Path) -> "ServerOptions":
    """Where the server is that `config` describes, whatever faults all other options have just now.

    A file that is not TOML is told of on standard error.

    Raises:
        ConfigError: With the faults of these, or a file cannot be read.
    """
    from outrider.server.configuration import load_directories

    return load_directories(config, os.environ, _warn_of_file)


def _warn_of_file(fault: str) -> None:
    told = f"outrider: {fault}; only the directories of [server] were read, to find the server that runs\n"
    sys.stderr.write(printable(told))


def control(config: Path) -> "ControlClient":
    """The way to the running server that `config` describes; see `ControlClient` for what it raises."""
    from outrider.server.control_api.client import ControlClient

    return ControlClient(directories_of(config).sockets_directory)


def number(value: float) -> str:
    """A count as people read it: 1234567 is `1,234,567`."""
    return f"{value:,.0f}"


def octets(value: float) -> str:
    """A size as people read it, in binary units (IEC 80000-13)."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def until(time: str, now: datetime) -> str:
    """An RFC 3339 time as the distance from now: `in 2 h 5 min`, `3 s ago`."""
    if not time:
        return ""
    seconds = (datetime.fromisoformat(time) - now).total_seconds()
    return (
        f"in {duration(seconds)}" if seconds >= 1 else f"{duration(-seconds)} ago" if seconds <= -1 else "now"
    )


def duration(seconds: float) -> str:
    """A time as people read it: its two largest units."""
    whole = int(seconds)
    for size, unit, smaller, name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
