"""`outrider explain path`: what holds for a path, and where each value comes from."""

import asyncio
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, control, print_json, print_table, say
from outrider.cli.serve import Set, configuration_of
from outrider.model.flow import Path

app = typer.Typer(no_args_is_help=True, help="Explain what holds for a path, and why.")


@app.command("path")
def path(
    path: Annotated[str, typer.Argument(help="CHANNEL/BINDING/SITE, as `outrider path list` shows it.")] = "",
    domain: Annotated[
        str, typer.Option(help="Instead of a path: a domain; its site is found by routes and DNS.")
    ] = "",
    binding: Annotated[str, typer.Option(help="With --domain: the binding.")] = "default",
    channel: Annotated[str, typer.Option(help="With --domain: the channel.")] = "smtp",
    running: Annotated[
        bool, typer.Option("--running", help="Ask the running server instead of reading the files.")
    ] = False,
    given: Annotated[
        bool, typer.Option("--given", help="Only what a file, the environment or a flag gives.")
    ] = False,
    config: ConfigPath = CONFIG_DEFAULT,
    override: Set = None,
    as_json: AsJson = False,
) -> None:
    """Show every option of shaping and delivery of a path: its value, the scope and the place it comes from.

    Without --running the configuration is read as a start would read it, and no server is needed.

    Examples:
      outrider explain path smtp/news/mx.example.test
      outrider explain path --domain example.test --binding news --given
      outrider explain path smtp/news/mx.example.test --running --json
    """
    if bool(path) is bool(domain):
        raise typer.BadParameter("name a path, or a domain with --domain")
    from outrider.server.path_explanation import parse_path

    wanted = parse_path(path) if path else Path(channel, binding, "")
    if running:
        where = {"site": wanted.site} if path else {"domain": domain}
        with control(config) as server:
            found = server.get("/v1/config/path", channel=wanted.channel, binding=wanted.binding, **where)
    else:
        found = _read(wanted, domain, config, override)
    if given:
        found["values"] = [row for row in found["values"] if row["origin"] != "default"]
    print_json(found) if as_json else _show(found)


def _read(path: Path, domain: str, config: Any, override: list[str] | None) -> dict[str, Any]:
    """From the configuration; the site is that of `domain` where one is named."""
    from outrider.base.clock import SystemClock
    from outrider.model.mailbox import parse_domain
    from outrider.server.path_explanation import explain_path, find_site

    clock = SystemClock()
    configuration = configuration_of(config, override)
    if domain:
        try:
            name = parse_domain(domain)
        except ValueError as error:
            raise typer.BadParameter(f"{domain!r} is no domain: {error}") from error
        path = replace(path, site=asyncio.run(find_site(configuration.settings, name, clock)))
    return explain_path(configuration.settings, configuration.origins(), path, clock)


def _show(found: dict[str, Any]) -> None:
    known = "" if found["is_known"] else " (no binding of that name is configured)"
    say(f"{found['path']}{known}")
    if found["groups"]:
        say(f"  Groups: {', '.join(found['groups'])}")
    if found["age_days"] is not None:
        say(f"  The binding has been sending for {found['age_days']} days.")
    for section in ("shaping", "delivery"):
        rows = [row for row in found["values"] if row["section"] == section]
        cells = [
            (row["name"], row["value"], row["unit"], row["scope"], row["origin"], row["shared_by"] and "yes")
            for row in rows
        ]
        print_table(section.capitalize(), ("option", "value", "unit", "scope", "from", "shared"), cells)
