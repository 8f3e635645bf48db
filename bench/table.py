"""Shows a bench result as a table, and what moved against the committed one."""

from typing import Any

from rich.console import Console
from rich.table import Table

MOVED = 0.15
# differences below 15 % are not real on shared machines (measured)


def show(result: dict[str, Any], previous: dict[str, Any] | None) -> None:
    console = Console()
    table = Table(
        title=f"{result['machine']['cpu']}, Python {result['machine']['python']}", title_justify="left"
    )
    columns = list(result["rows"][0])
    for column in columns:
        table.add_column(
            column.replace("_", " "), justify="left" if column in {"program", "case"} else "right"
        )
    for row in result["rows"]:
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)
    before = (previous or {}).get("ratios", {})
    ratios = Table("ratio", "now", "committed", "moved", title="Ratios", title_justify="left")
    for name, value in result["ratios"].items():
        old = before.get(name)
        change = value / old - 1 if old else 0.0
        moved = f"{change:+.0%}" if abs(change) > MOVED else ""
        if name in result["of_an_earlier_run"]:
            moved = "of an earlier run"
        ratios.add_row(name, str(value), "" if old is None else str(old), moved)
    console.print(ratios)
