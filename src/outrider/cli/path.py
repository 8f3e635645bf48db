"""`outrider path …`: the paths that mail goes out by; suspend and resume them."""

from typing import Annotated, Any

import typer

from outrider.cli.asking import Yes, counted_first
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    control,
    number,
    print_json,
    print_list,
    print_table,
    say,
)
from outrider.cli.queue import check_one_of, parse_age

app = typer.Typer(
    no_args_is_help=True, help="Look at paths (channel, binding, site); suspend and resume them."
)

SORTS = ("queued", "waiting", "deferred", "granted", "connections", "failures", "delivered", "site")
FIGURES = ("queued", "waiting", "deferred", "granted", "on_disk", "connections", "failures")
COLUMNS = ("site", "binding", *FIGURES, "state")

Site = Annotated[str, typer.Argument(help="Site, *.suffix, or * for all; quote the *.")]
SitePattern = Annotated[str, typer.Option(help="Site, or *.suffix.")]
Channel = Annotated[str, typer.Option(help="Channel.")]
Binding = Annotated[str, typer.Option(help="Binding.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log and with the suspension.")]


@app.command("list")
def list_(
    site: SitePattern = "*",
    binding: Binding = "*",
    channel: Channel = "*",
    sort: Annotated[str, typer.Option(help=f"Sort by: {', '.join(SORTS)}.")] = "queued",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 30,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List paths with what waits, what is under way, and their state.

    `queued` counts all entries of a path; `waiting`, `deferred` and `granted` those in memory, `on_disk` the
    rest: what is due much later, and what is on hold.

    Examples:
      outrider path list
      outrider path list --site '*.example.test' --sort failures
    """
    check_one_of("--sort", sort, SORTS)
    asked = {"site": site, "binding": binding, "channel": channel, "sort": sort}
    with control(config) as server:
        rows = list(server.pages("/v1/paths", limit, **asked))
        whole = server.get("/v1/paths", **asked, limit=1)
    if as_json:
        print_json(rows)
        return
    sums: list[Any] = [
        number(sum(row[column] or 0 for row in rows)) if column in FIGURES else "" for column in COLUMNS
    ]
    sums[0] = f"{len(rows)} paths"
    print_table("Paths", COLUMNS, [[row[column] for column in COLUMNS] for row in rows], totals=sums)
    if not whole["counted"]:
        say("What waits on disk is not counted here: too many domains are queued. See outrider queue count.")
    elif whole["unresolved"]:
        say(
            f"{whole['unresolved']} queued entries are not counted here: their domains never had a route, or "
            "none was looked up yet."
        )


@app.command("show")
def show(
    site: Annotated[str, typer.Argument(help="Site, as `outrider path list` shows it.")],
    binding: Binding = "default",
    channel: Channel = "smtp",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show one path: its figures, domains, last replies, and what suspends it.

    Examples:
      outrider path show mx.example.test
    """
    from outrider.server.control_api.client import path_of

    with control(config) as server:
        found = server.get(path_of("paths", channel, binding, site))
    if as_json:
        print_json(found)
        return
    say(f"{channel}/{binding}/{site}: {found['state']}")
    say("  " + ", ".join(f"{name} {number(found[name])}" for name in FIGURES if found[name] is not None))
    for kept in found["suspensions"]:
        say(f"  {_told(kept)}")
    if found["top_domains"]:
        print_table("Domains", ("domain", "queued"), [tuple(row.values()) for row in found["top_domains"]])
    if found["replies"]:
        rows = [(row["name"], row["entries"], row["attempts"]) for row in found["replies"]]
        print_table("Last replies", ("reply", "entries", "most attempts"), rows)


@app.command("suspend")
def suspend(
    site: Site,
    binding: Binding = "*",
    channel: Channel = "*",
    reason: Reason = "",
    during: Annotated[
        str | None, typer.Option("--for", help="How long: 90, 15m, 2h, 3d; without it until it is resumed.")
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which paths it concerns.")] = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Stop sending on paths; their mail waits. It holds over restarts.

    Examples:
      outrider path suspend mx.example.test --for 2h --reason 'they asked us to' --yes
      outrider path suspend '*' --reason 'network work' --yes
    """
    asked = {
        "site": site,
        "binding": binding,
        "channel": channel,
        "seconds": None if during is None else parse_age(during),
    }
    with control(config) as server:
        answer = counted_first(
            lambda body: server.post("/v1/suspensions", {**asked, **body}),
            lambda counted: len(counted["paths"]),
            question="Stop sending on {} known paths?",
            warning="{} paths would stop",
            deed="suspending",
            reason=reason,
            yes=yes,
            dry_run=dry_run,
            has_count=False,
        )
    if as_json:
        print_json(answer)
        return
    for name in answer["paths"]:
        say(f"  {name}")
    if answer["suspension"] is None:
        say(f"{len(answer['paths'])} known paths match; nothing was changed.")
    else:
        kept = answer["suspension"]
        say(f"{_told(kept)}; lift it with `outrider path resume {kept['number']}`.")


@app.command("resume")
def resume(
    suspension: Annotated[int, typer.Argument(help="Number, as `outrider path suspensions` shows it.")],
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Lift a suspension; sending goes on within the limits of the paths.

    Examples:
      outrider path resume 3 --reason 'they are back'
    """
    from outrider.server.control_api.client import path_of

    with control(config) as server:
        answer = server.delete(path_of("suspensions", suspension), reason=reason)
    print_json(answer) if as_json else say(f"Lifted: {_told(answer['suspension'])}.")


@app.command("suspensions")
def suspensions(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List suspensions with their reasons and ends.

    Examples:
      outrider path suspensions
    """
    with control(config) as server:
        items = server.get("/v1/suspensions")["items"]
    columns = ("number", "channel", "binding", "site", "since_time", "until_time", "actor", "reason")
    rows = [[row[column] for column in columns] for row in items]
    print_list("Suspensions", columns, rows, items, as_json=as_json)


def _told(kept: dict[str, Any]) -> str:
    until = f"until {kept['until_time']}" if kept["until_time"] else "until it is resumed"
    where = f"{kept['channel']}/{kept['binding']}/{kept['site']}"
    return f"suspension {kept['number']} of {where} {until}, by {kept['actor']}: {kept['reason']}"
