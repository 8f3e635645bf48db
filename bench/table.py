"""Shows a bench result as a table, and what moved against the committed one."""

from typing import Any

from rich.console import Console
from rich.table import Table

MOVED = 0.15
# differences below 15 % are not real on shared machines (measured)


HEADINGS = {
    "cpu_us_per_message": "CPU µs",
    "accepted_per_second": "accepted/s",
    "delivered_per_second": "delivered/s",
    "accept_p50_ms": "p50 ms",
    "accept_p99_ms": "p99 ms",
    "peak_pss_mib": "PSS MiB",
}
# of what has a longer name in the file: a row has 92 columns then, a message is what CPU is for, and
# p50 and p99 are the time until one is accepted
LEAST_COLUMNS = 112
# what the longest name of a ratio needs with its figures; where there are fewer, as without a terminal, lines
# are broken rather than figures cut


def ran_on(machine: dict[str, Any]) -> str:
    """Machine, interpreter and its build flags, for people."""
    flags = dict.fromkeys(str(machine["python_flags"]).split())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}\n"
        f"Python {machine['python']} ({machine['interpreter']}), scanner in {machine['scanner']}\n"
        f"built with {' '.join(flags)}"
    )


def show(result: dict[str, Any], previous: dict[str, Any] | None, console: Console | None = None) -> None:
    """Print a result.

    Args:
        result: What is written to the file.
        previous: The committed one.
        console: Where to; the terminal, unless given.
    """
    console = console or Console()
    console.width = max(console.width, LEAST_COLUMNS)
    console.print(ran_on(result["machine"]), highlight=False, markup=False)
    table = Table(title="Medians", title_justify="left", box=None, header_style="bold")
    columns = list(result["rows"][0])
    for column in columns:
        table.add_column(
            HEADINGS.get(column, column),
            justify="left" if column in {"program", "case"} else "right",
            no_wrap=True,
        )
    for row in result["rows"]:
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)
    before = (previous or {}).get("ratios", {})
    ratios = Table(title="Ratios", title_justify="left", box=None, header_style="bold")
    for heading in ("ratio", "now", "committed", "moved"):
        ratios.add_column(
            heading, justify="right" if heading in {"now", "committed"} else "left", no_wrap=True
        )
    for name, value in result["ratios"].items():
        old = before.get(name)
        change = value / old - 1 if old else 0.0
        moved = f"{change:+.0%}" if abs(change) > MOVED else ""
        if name in result["of_an_earlier_run"]:
            moved = "of an earlier run"
        ratios.add_row(name, str(value), "" if old is None else str(old), moved)
    console.print(ratios)
