"""The `outrider` command: registers the commands and turns our errors into exit codes.

Exit codes (sysexits.h): 0 done, 1 a check failed, 2 usage, 65 the server refuses what was asked, 69 nobody
answers, 70 a bug of ours, 74 spool, 77 no permission, 78 configuration.
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
    UnavailableError,
)
from outrider.cli import (
    backup,
    config,
    demo,
    doctor,
    init,
    inject,
    keys,
    path,
    queue,
    serve,
    sim,
    sink,
    status,
    top,
    trace,
    user,
)
from outrider.server.requests import RefusedError

EX_DATAERR = 65
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_IOERR = 74
EX_NOPERM = 77
EX_CONFIG = 78
# sysexits.h

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
app.command("trace")(trace.trace)
app.add_typer(user.app, name="user")
app.add_typer(keys.app, name="keys")
app.command("inject")(inject.inject)
app.command("sink")(sink.sink)
app.command("sim")(sim.sim)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the installed command."""
    try:
        app()
    except OutriderError as error:
        sys.stderr.write(f"outrider: {error}\n")
        sys.exit(exit_code(error))


def exit_code(error: OutriderError) -> int:
    """The sysexits code of one of our errors."""
    if isinstance(error, ConfigError | KeyAbsentError):
        return EX_CONFIG
    if isinstance(error, UnavailableError):
        return EX_UNAVAILABLE
    if isinstance(error, SpoolError):
        return EX_IOERR
    if isinstance(error, PermissionDeniedError):
        return EX_NOPERM
    if isinstance(error, RefusedError):
        return EX_DATAERR
    return EX_SOFTWARE


if __name__ == "__main__":
    main()
