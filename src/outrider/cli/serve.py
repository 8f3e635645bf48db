"""`outrider init`, `outrider serve`, `outrider check-config`: from nothing to a running server."""

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, say

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override an option: section.key=value (TOML value). May be repeated."),
]

_TEMPLATE = """\
# Outrider. Every option, its meaning and its default: docs/reference/options.md. `outrider check-config`
# checks it.

[server]
hostname = "{hostname}"
workers = {workers}
state_directory = "{state}"
users_file = "users.toml"  # made by `outrider user add`

[[listener]]
name = "submission"
address = "{address}"
port = {port}
# Nobody may relay until you say who: networks here, or users by `outrider user add` and TLS below.
trusted_networks = [{trusted}]
# tls = "starttls"
# certificate = "server.pem"
# private_key = "server.key"

[[http]]
name = "api"
address = "{address}"
port = {http_port}

[record]
redaction = "token"  # what events show of an address; `outrider config explain record.redaction`
"""


def init(
    config: ConfigPath = CONFIG_DEFAULT,
    hostname: Annotated[
        str, typer.Option(help="Fully qualified name of this server.")
    ] = "localhost.localdomain",
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="SMTP port.", min=1, max=65535)] = 2525,
    http_port: Annotated[int, typer.Option(help="HTTP port.", min=1, max=65535)] = 8025,
    workers: Annotated[int | None, typer.Option(help="Worker processes; the default is one a core.")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="Network that may relay, such as 127.0.0.0/8. May be repeated.")
    ] = None,
    state: Annotated[str, typer.Option(help="Directory of spool and events.")] = "outrider-state",
    as_json: AsJson = False,
) -> None:
    """Write a configuration that works on loopback.

    Examples:
      outrider init --trust 127.0.0.0/8
      outrider init -c /etc/outrider/outrider.toml --hostname mx.example.com --address 0.0.0.0
    """
    from outrider.server.configuration import load

    if config.exists():
        raise typer.BadParameter(f"{config} exists already; nothing was changed")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        _TEMPLATE.format(
            hostname=hostname,
            workers=workers or os.cpu_count() or 1,
            state=state,
            address=address,
            port=port,
            http_port=http_port,
            trusted=", ".join(f'"{network}"' for network in trust or ()),
        )
    )
    try:
        load(config)
    except Exception:
        config.unlink()
        raise
    if as_json:
        print_json({"written": str(config)})
    else:
        say(f"Wrote {config}. Next: outrider serve -c {config}")


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
    from outrider.server.configuration import load
    from outrider.server.node import run

    settings = load(config, os.environ, overrides_of(override))

    def ready(endpoints: dict[str, str]) -> None:
        if as_json:
            say(msgspec.json.encode({"ready": True, "listeners": endpoints}).decode())
        else:
            say("Ready. " + ", ".join(f"{name} on {endpoint}" for name, endpoint in endpoints.items()))
        sys.stdout.flush()

    sys.exit(run(settings, ready, input_fd=sys.stdin.fileno() if until_eof else None))


def check_config(config: ConfigPath = CONFIG_DEFAULT, override: Set = None, as_json: AsJson = False) -> None:
    """Check a configuration without starting anything; every fault is shown at once.

    Examples:
      outrider check-config -c outrider.toml
      outrider check-config --json
    """
    from outrider.base.errors import ConfigError
    from outrider.server.configuration import load

    try:
        settings = load(Path(config), os.environ, overrides_of(override))
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "message": error.message, "faults": list(error.faults)})
            raise typer.Exit(78) from None
        raise
    if as_json:
        print_json({"ok": True, "faults": []})
    else:
        say(f"{config} is right: {len(settings.listener)} SMTP and {len(settings.http)} HTTP listeners.")
