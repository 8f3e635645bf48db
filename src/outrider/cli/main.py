"""The `outrider` command: registers the commands and turns our errors into exit codes.

The codes are `base.exits`.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from outrider.base.errors import (
    ConfigError,
    KeyAbsentError,
    OutriderError,
    PermissionDeniedError,
    SpoolError,
    StoreError,
    UnavailableError,
)
from outrider.base.exits import Exit
from outrider.cli import (
    audit,
    backup,
    config,
    demo,
    dkim,
    doctor,
    domain,
    explain,
    init,
    inject,
    key,
    keys,
    path,
    policy,
    preflight,
    queue,
    serve,
    sim,
    sink,
    source,
    status,
    tenant,
    top,
    trace,
    user,
)
from outrider.server.requests import RefusedError

PARSER_USAGE = 2

app = typer.Typer(
    name="outrider",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"outrider {version('outrider')}")
        raise typer.Exit


@app.callback()
def outrider(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An outbound messaging server. `outrider init` writes a configuration, `outrider serve` runs it."""


app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("check-config")(serve.check_config)
app.add_typer(config.app, name="config")
app.command("reload")(config.reload)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("status")(status.status)
app.command("top")(top.top)
app.add_typer(queue.app, name="queue")
app.add_typer(path.app, name="path")
app.add_typer(explain.app, name="explain")
app.command("trace")(trace.trace)
app.add_typer(tenant.app, name="tenant")
app.add_typer(user.app, name="user")
app.add_typer(key.app, name="key")
app.add_typer(domain.app, name="domain")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(dkim.app, name="dkim")
app.command("preflight")(preflight.preflight)
app.add_typer(source.app, name="source")
app.add_typer(policy.app, name="policy")
app.command("inject")(inject.inject)
app.command("sink")(sink.sink)
app.command("sim")(sim.sim)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the installed command."""
    try:
        app()
    except SystemExit as end:
        # what the parser of the command line ends with is the shell's own code for bad usage
        sys.exit(Exit.USAGE if end.code == PARSER_USAGE else end.code)
    except OutriderError as error:
        sys.stderr.write(f"outrider: {error}\n")
        sys.exit(exit_code(error))
    except OSError as error:
        sys.stderr.write(f"outrider: {error}\n")
        sys.exit(Exit.NO_PERMISSION if isinstance(error, PermissionError) else Exit.IO)


def exit_code(error: OutriderError) -> int:
    """The sysexits code of one of our errors."""
    if isinstance(error, ConfigError | KeyAbsentError):
        return Exit.CONFIG
    if isinstance(error, UnavailableError):
        return Exit.UNAVAILABLE
    if isinstance(error, SpoolError):
        return Exit.IO
    if isinstance(error, PermissionDeniedError):
        return Exit.NO_PERMISSION
    if isinstance(error, RefusedError | StoreError):
        return Exit.DATA
    return Exit.SOFTWARE


if __name__ == "__main__":
    main()
