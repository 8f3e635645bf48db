"""`outrider top`: the server live. Keys sort, filter and drill down; without a terminal, one line a second.

In: the control API, and keys from the terminal. Out: a screen that rich draws, or lines.

Theory: one thread waits in `select` for a key or for the time of the next sample, so that nothing is
asked while a key is worked on and the terminal is always left as it was found. What others wrote
(replies, names) is put on the screen as text, never as markup, and without control characters.
"""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from outrider.base.clock import SystemClock
from outrider.base.errors import UnavailableError
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, control, number, print_json, say
from outrider.cli.status import summary
from outrider.cli.top_model import HELP, Level, Row, Sample, Top, line_of

PATHS_MAX: Final = 1_000
# control_api.models.ITEMS_MAX
NAME_CHARACTERS = 24
# chosen: as much of a site's name, or of a reply, as tells it from others
GAP = 2
# between columns, as rich pads them
HEAD_LINES: Final = 8
# status, title, table head, totals and the line of keys
KEYS: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
}
# ECMA-48 (cursor keys) and xterm's application mode: what terminals send

Lines = Annotated[int | None, typer.Option(min=1, help="Without a terminal: end after so many lines.")]


def top(lines: Lines = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show the running server live; h shows the keys. Without a terminal it prints one line a second.

    Examples:
      outrider top
      outrider top --lines 60 > minute.log
      outrider top --json --lines 1
    """
    with control(config) as server:
        if as_json or lines or not (sys.stdin.isatty() and sys.stdout.isatty()):
            _print_lines(server, lines, as_json=as_json)
        else:
            _show(server, config)


def _sample(server: Any, path: tuple[str, str, str] | None = None) -> Sample:
    """Ask for everything that is on the screen."""
    from outrider.server.control_api.client import path_of

    clock = SystemClock()
    try:
        status = server.get("/v1/status")
        at = clock.now()
        paths = server.get("/v1/paths", limit=PATHS_MAX)["items"]
        detail = server.get(path_of("paths", *path)) if path else None
    except UnavailableError as error:
        server.close()
        return Sample(clock.now(), error=error.message)
    return Sample(at, status, paths, detail)


# without a terminal


def _print_lines(server: Any, lines: int | None, *, as_json: bool) -> None:
    view = Top()
    printed = 0
    while lines is None or printed < lines:
        sample = _sample(server)
        if sample.error and not printed:
            raise UnavailableError(sample.error)
        view.take(sample)
        if as_json:
            print_json({"status": view.sample.status, "rates": view.rates, "paths": view.sample.paths})
        elif sample.error:
            say(sample.error)
        else:
            say(line_of(view))
        sys.stdout.flush()
        printed += 1
        if lines is None or printed < lines:
            time.sleep(view.seconds)


# with one


def _show(server: Any, config: Path) -> None:
    view = Top()
    clock = SystemClock()
    console = Console(highlight=False)
    view.take(_sample(server))
    if view.sample.error:
        raise UnavailableError(view.sample.error)
    with _raw(sys.stdin.fileno()), Live(console=console, screen=True, auto_refresh=False) as live:
        next_at = clock.now() + view.seconds
        while not view.is_over:
            view.page = max(console.size.height - HEAD_LINES, 3)
            live.update(screen(view, config, console.size.width), refresh=True)
            wait = None if view.is_paused else max(next_at - clock.now(), 0.0)
            for key in _keys(sys.stdin.fileno(), wait):
                before = view.path
                view.press(key)
                if view.path != before:
                    next_at = 0.0
            if not view.is_paused and clock.now() >= next_at:
                view.take(_sample(server, view.path))
                next_at = clock.now() + view.seconds


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Keys come at once and are not shown; the terminal is left as it was."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _keys(terminal: int, wait: float | None) -> list[str]:
    """The keys that came within `wait` seconds; None waits for one."""
    ready, _, _ = select.select([terminal], [], [], wait)
    if not ready:
        return []
    octets = os.read(terminal, 1024)
    if not octets:
        return ["q"]  # the terminal is gone
    return parse_keys(octets)


def parse_keys(octets: bytes) -> list[str]:
    """Names or characters of the keys; sequences that nobody knows are left out."""
    keys: list[str] = []
    longest = max(map(len, KEYS))
    position = 0
    while position < len(octets):
        for length in range(longest, 0, -1):
            name = KEYS.get(octets[position : position + length])
            if name == "escape" and octets[position + 1 : position + 2] in (b"[", b"O"):
                name = None
            if name is not None:
                keys.append(name)
                position += length
                break
        else:
            position = _skip_or_take(octets, position, keys)
    return keys


def _skip_or_take(octets: bytes, position: int, keys: list[str]) -> int:
    if octets[position] == 0x1B:  # a sequence ends with a letter or ~ (ECMA-48)
        end = position + 2
        while end < len(octets) and not 0x40 <= octets[end] <= 0x7E:
            end += 1
        return end + 1
    length = next((size for size in (1, 2, 3, 4) if _is_text(octets[position : position + size])), 1)
    text = octets[position : position + length].decode("utf-8", "replace")
    if text.isprintable():
        keys.append(text)
    return position + length


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# the screen


def screen(view: Top, config: Path, width: int) -> RenderableType:
    """Everything as it is to be seen on a terminal of `width` columns."""
    if view.shows_help:
        return _help(config)
    parts: list[RenderableType] = [Text(line, overflow="ellipsis", no_wrap=True) for line in _head(view)]
    parts += [_table(view, width), Text(_foot(view), style="reverse", overflow="ellipsis", no_wrap=True)]
    return Group(*parts)


def _head(view: Top) -> list[str]:
    lines = summary(view.sample.status)
    rates = view.rates
    lines.append(
        f"Each second: {rates.get('accepted', 0):.1f} accepted, {rates.get('delivered', 0):.1f} delivered, "
        f"{rates.get('transient', 0):.1f} deferred, {rates.get('bounced', 0):.1f} bounced."
    )
    return lines


def _table(view: Top, width: int) -> Table:
    level = view.level
    rows = view.rows()
    start = max(0, min(level.selected - view.page // 2, len(rows) - view.page))
    shown = rows[start : start + view.page]
    table = Table(
        title=_title(level, len(rows)),
        title_justify="left",
        header_style="bold",
        expand=True,
        show_footer=True,
        box=None,
    )
    columns = _that_fit(level, shown, width)
    for column in columns:
        mark = _mark(level, column)
        is_number = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(
            column.replace("_", " ") + mark,
            footer=_sum(rows, column) if is_number and level.kind != "messages" else "",
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for place, row in enumerate(shown, start):
        style = "reverse" if place == level.selected else ""
        table.add_row(*(_cell(row, column) for column in columns), style=style)
    return table


def _mark(level: Level, column: str) -> str:
    return (" v" if level.reverse else " ^") if column == level.sort else ""


def _that_fit(level: Level, rows: list[Row], width: int) -> list[str]:
    """The columns for which there is room: of those that say less, the last are left out first."""
    columns = list(level.columns)
    needed = {
        column: max(
            len(column) + len(_mark(level, column)),
            *(min(_cell(row, column).cell_len, NAME_CHARACTERS) for row in rows),
            0,
        )
        + GAP
        for column in columns
    }
    while sum(needed[column] for column in columns) > width:
        spare = [column for column in columns[1:] if column not in {level.sort, "state", "last_reply"}]
        if not spare:
            break
        columns.remove(spare[-1])
    return columns


def _title(level: Level, count: int) -> str:
    matching = f", matching {level.filter!r}" if level.filter else ""
    return f"{level.title} ({count}{matching})"


def _sum(rows: list[Row], column: str) -> str:
    if column == "next_seconds":
        return ""
    return number(sum(row.get(column) or 0 for row in rows))


def _cell(row: Row, column: str) -> Text:
    value = row.get(column)
    if column == "last_reply" and row.get("held"):
        value = f"on hold: {row['held']}"
    if value is None:
        return Text("")
    if isinstance(value, float):
        return Text(f"{value:.1f}")
    return Text("".join(each if each.isprintable() else " " for each in str(value)))


def _foot(view: Top) -> str:
    if view.sample.error:
        return f" {view.sample.error}; asking again "
    if view.is_typing:
        return f" filter: {view.level.filter}_ "
    state = "paused; " if view.is_paused else f"every {view.seconds:g} s; "
    return f" {state}h help, enter look into, escape back, s sort, / filter, space pause, q quit "


def _help(config: Path) -> RenderableType:
    table = Table(title="Keys", title_justify="left", box=None)
    for keys, meaning in HELP:
        table.add_row(keys, meaning)
    return Group(table, Text(f"Server of {config}. Any key goes back."))
