"""`outrider config …` and `outrider reload`: what is configured, why, and what a reload would change."""

from typing import Annotated, Any

import typer

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, control, print_json, print_table, say
from outrider.cli.serve import Set, configuration_of

app = typer.Typer(no_args_is_help=True, help="Explain, show and compare the configuration.")


@app.command("explain")
def explain(
    name: Annotated[
        str, typer.Argument(help="An option (server.workers), a section (net), or a pattern (*.port).")
    ],
    config: ConfigPath = CONFIG_DEFAULT,
    override: Set = None,
    as_json: AsJson = False,
) -> None:
    """Say what options mean, their unit, bounds and default, what they are now, and where that comes from.

    Without a configuration file the defaults are explained.

    Examples:
      outrider config explain server.workers
      outrider config explain listener.limits
      outrider config explain '*_seconds' --json
    """
    from outrider.server.explanation import explain as explained

    found = [each.told() for each in explained(configuration_of(config, override), name)]
    if as_json:
        print_json(found)
        return
    for number, each in enumerate(found):
        if number:
            say("")
        _say_option(each)


def _say_option(told: dict[str, Any]) -> None:
    unit = f" ({told['unit']})" if told["unit"] else ""
    say(f"{told['name']}{unit}")
    say(f"  {told['meaning']}")
    if told["bounds"]:
        say(f"  Bounds: {told['bounds']}")
    source = f" ({told['default_source']})" if told["default_source"] else ""
    say(f"  Default: {told['default']}{source}")
    for value in told["values"]:
        of = f" of {value['name']}" if value["name"] != told["name"] else ""
        say(f"  Now{of}: {value['value']}, from {value['origin']}")
    say(f"  A change takes effect at a {told['changes_by']}.")


@app.command("show")
def show(
    config: ConfigPath = CONFIG_DEFAULT,
    override: Set = None,
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value comes from.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not left to its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole configuration as the server would take it.

    Examples:
      outrider config show --changed --origin
      outrider config show --json
    """
    from outrider.server.catalogue import values

    configuration = configuration_of(config, override)
    rows = []
    for value in values(configuration.settings):
        found = configuration.sources.exact_origin(value.location)
        if found.kind != "default" or not changed:
            rows.append((value.name, value.shown, str(found)))
    if as_json:
        print_json([{"name": name, "value": shown, "origin": source} for name, shown, source in rows])
        return
    for name, shown, source in rows:
        say(f"{name} = {shown}" + (f"  # {source}" if origin else ""))


@app.command("diff")
def diff(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Compare the running server with its files, environment and flags: what a reload would change.

    Exit code 78 when the files have faults, which a reload would refuse.

    Examples:
      outrider config diff
      outrider config diff --json
    """
    with control(config) as server:
        _show_answer(server.get("/v1/config/diff"), as_json=as_json)


def reload(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Have the running server read its configuration again: all of it, or nothing when it has a fault.

    Connections, transactions and queued mail go on. What needs a restart is named and stays as it runs.

    Examples:
      outrider reload
      outrider config diff && outrider reload
    """
    with control(config) as server:
        _show_answer(server.post("/v1/reload", {}), as_json=as_json)


def _show_answer(answer: dict[str, Any], *, as_json: bool) -> None:
    """The server's answer: what changed, or why nothing did."""
    if as_json:
        print_json(answer)
    elif not answer["ok"]:
        say(f"Nothing was changed: {answer['reason']}")
        for fault in answer["faults"]:
            say(f"  {fault}")
    else:
        _say_changes(answer)
    if not answer["ok"]:
        raise typer.Exit(answer["code"])


def _say_changes(answer: dict[str, Any]) -> None:
    live = [change for change in answer["changes"] if not change["needs_restart"]]
    waiting = [change for change in answer["changes"] if change["needs_restart"]]
    columns = ("option", "from", "to", "set in")
    done = "Would change" if answer["dry_run"] else "Changed"
    if live:
        print_table(done, columns, [_row(change) for change in live])
    if waiting:
        print_table(
            "Needs a restart, and stays as it runs until then", columns, [_row(one) for one in waiting]
        )
    for each in answer["stranded"]:
        say(
            f"Queued for binding {each['binding']}, which is not configured any more: {each['entries']}. It "
            "goes out as the defaults say, unless you move it: "
            f"outrider queue move --binding {each['binding']} --to-binding NAME"
        )
    if not answer["changes"]:
        say("The configuration is what the server runs with.")
    if not answer["dry_run"]:
        say(f"Reloaded (epoch {answer['epoch']}); scripts and certificates were read again.")


def _row(change: dict[str, Any]) -> tuple[str, ...]:
    return change["name"], change["old"], change["new"], change["origin"]
