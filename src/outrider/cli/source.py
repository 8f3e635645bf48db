"""`outrider source …`: the data sources that policy asks; list them, and ask one as policy would."""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    print_json,
    print_list,
    print_table,
    say,
    settings_of,
)

if TYPE_CHECKING:
    from outrider.store.sources.rows import Rows
    from outrider.store.sources.sources import Sources

app = typer.Typer(no_args_is_help=True, help="Data sources of policy: list them, and ask one.")

_NAME = re.compile(r"[\w.-]+")
# what may be the name of a query, and no text of one

COLUMNS = ("name", "kind", "url", "queries", "writable", "tls", "connections", "cache seconds")


@app.command("list")
def list_(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List the data sources that are configured; none is connected to.

    Examples:
      outrider source list
      outrider source list --json
    """
    rows: list[dict[str, Any]] = [
        {
            "name": each.name,
            "kind": each.address.kind,
            "url": each.url,
            "queries": [query.name for query in each.query],
            "writable": each.writable,
            "tls": each.tls or each.address.is_https,
            "connections": each.pool.max,
            "cache seconds": each.cache.seconds,
        }
        for each in settings_of(config).data_source
    ]
    facts = [{key.replace(" ", "_"): value for key, value in row.items()} for row in rows]
    shown = [{**row, "queries": ", ".join(row["queries"])} for row in rows]
    cells = [[row[column] for column in COLUMNS] for row in shown]
    print_list("Data sources", COLUMNS, cells, facts, as_json=as_json)


@app.command("test")
def ask_once(
    name: Annotated[str, typer.Argument(help="The data source.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(help="Parameters of the query, by position.")
    ] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Name of one of its queries, or a text.")] = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Connect to a data source and ask it as policy would, but without its cache.

    Without --query it is only found out whether it can be asked. Exit code 69 when it cannot, 65 when it
    refuses the query.

    Examples:
      outrider source test customers
      outrider source test customers --query binding shop.example
      outrider source test customers -q 'SELECT * FROM customers WHERE domain = ?' shop.example --json
    """
    from outrider.base.clock import SystemClock
    from outrider.base.log import NullLog
    from outrider.store.sources.sources import Sources

    clock = SystemClock()
    configured = settings_of(config).data_source
    options = [each for each in configured if each.name == name]
    texts = {each.name: each.text for one in options for each in one.query}

    async def asked() -> "tuple[Rows | None, float]":
        sources = Sources(options or configured, clock, NullLog(), os.environ)
        try:
            begun_at = clock.now()
            rows = await _ask(sources, name, texts.get(query, query), tuple(parameters or ()))
            return rows, clock.now() - begun_at
        finally:
            await sources.close()

    rows, seconds = asyncio.run(asked())
    if as_json:
        found = None if rows is None else [dict(row) for row in rows]
        print_json({"source": name, "ok": True, "seconds": round(seconds, 6), "rows": found})
    elif rows is None:
        say(f"{name} can be asked; connecting and a first answer took {seconds * 1_000:.1f} ms.")
    else:
        columns = tuple(rows[0]) if rows else ()
        if rows:
            print_table(name, columns, [[_shown(value) for value in row.values()] for row in rows])
        say(f"{len(rows)} row{'s' * (len(rows) != 1)}, {seconds * 1_000:.1f} ms with connecting.")


async def _ask(sources: "Sources", name: str, text: str, parameters: tuple[str, ...]) -> "Rows | None":
    source = sources.find(name)
    if not text:
        await source.probe()
        return None
    if _NAME.fullmatch(text) and source.options.address.kind != "redis":  # there a command may be one word
        from outrider.store.sources.failures import SourceQueryError

        known = ", ".join(query.name for query in source.options.query) or "none"
        raise SourceQueryError(f"data source {name} has no query {text!r}; configured: {known}")
    return await source.fetch(text, parameters, use_cache=False)


def _shown(value: Any) -> Any:
    """As people read it: nothing at all is not the same as an empty text."""
    if isinstance(value, bytes):
        return value.hex(" ")
    return "NULL" if value is None else value
