"""`outrider serve` and `outrider check-config`: from a configuration to a running server."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from outrider.base.exits import Exit
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, say

if TYPE_CHECKING:
    from outrider.server.configuration import Configuration

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override an option: section.key=value (TOML value). May be repeated."),
]


def overrides_of(settings: list[str] | None) -> dict[str, object]:
    """What `--set` gives: dotted names to values."""
    from outrider.server.sources import value_of

    chosen: dict[str, object] = {}
    for item in settings or ():
        name, equals, text = item.partition("=")
        if not equals or "." not in name:
            raise typer.BadParameter(f"{item!r}: write section.key=value")
        chosen[name] = value_of(text)
    return chosen


def configuration_of(config: Path, settings: list[str] | None) -> "Configuration":
    """What a start would read, with what `--set` gives; the defaults where there is no file.

    Raises:
        ConfigError: With all faults.
    """
    from outrider.server.configuration import read

    return read(config if config.exists() else None, os.environ, overrides_of(settings))


def serve(
    config: ConfigPath = CONFIG_DEFAULT,
    override: Set = None,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input closes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the server in the foreground until SIGTERM or Ctrl-C; it drains and ends.

    When everything works it says so in one line, with the addresses; its log goes to standard error.

    Examples:
      outrider serve
      outrider serve -c /etc/outrider/outrider.toml --set server.workers=4
    """
    from outrider.server.configuration import read
    from outrider.server.node import run

    overrides = overrides_of(override)
    settings = read(config, os.environ, overrides).settings

    def ready(endpoints: dict[str, str]) -> None:
        if as_json:
            say(msgspec.json.encode({"ready": True, "listeners": endpoints}).decode())
        else:
            say("Ready. " + ", ".join(f"{name} on {endpoint}" for name, endpoint in endpoints.items()))
        sys.stdout.flush()

    sys.exit(
        run(
            settings,
            ready,
            input_fd=sys.stdin.fileno() if until_eof else None,
            read=lambda: read(config, os.environ, overrides),
        )
    )


def check_config(config: ConfigPath = CONFIG_DEFAULT, override: Set = None, as_json: AsJson = False) -> None:
    """Check a configuration without starting anything; every fault is shown at once.

    Certificates and passwords of data sources that cannot be read, and addresses to send from that this host
    does not have, are a warning only, as the server may run as another user and on another host.

    Examples:
      outrider check-config -c outrider.toml
      outrider check-config --json
    """
    from outrider.base.errors import ConfigError
    from outrider.server.configuration import load
    from outrider.server.doctor.bindings import strangers
    from outrider.server.doors import unusable_certificates
    from outrider.server.scripts import check_scripts
    from outrider.store.sources.secret import unreadable_files

    try:
        settings = load(Path(config), os.environ, overrides_of(override))
        check_scripts(settings)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "message": error.message, "faults": list(error.faults)})
            raise typer.Exit(Exit.CONFIG) from None
        raise
    warnings = [
        *unusable_certificates(settings),
        *unreadable_files(settings.data_source),
        *(f"{each.place}: {each.address} is no address of this host" for each in strangers(settings)),
    ]
    if as_json:
        print_json({"ok": True, "faults": [], "warnings": warnings})
    else:
        for warning in warnings:
            typer.echo(f"outrider: warning: {warning}; it runs only where that is mended", err=True)
        say(f"{config} is right: {len(settings.listener)} SMTP and {len(settings.http)} HTTP listeners.")
