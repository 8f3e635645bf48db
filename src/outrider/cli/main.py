"""The `outrider` command: runs what is asked for and turns our errors into exit codes.

The commands are in `registry`; the codes are `base.exits`.
"""

import io
import os
import sys
from typing import Annotated, Any

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
from outrider.cli.registry import CommandGroup
from outrider.server.requests import RefusedError

PARSER_USAGE = 2

app = typer.Typer(
    name="outrider",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"outrider {version('outrider')}")
        raise typer.Exit


@app.callback()
def outrider(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An outbound messaging server. `outrider init` writes a configuration, `outrider serve` runs it."""


class _Output(io.FileIO):
    """Standard output; where nobody reads it any more, the command ends as if by the signal (`Exit.UNREAD`).

    The signal itself is no use: it would also end a command whose server hangs up.
    """

    def write(self, octets: Any, /) -> int:
        """All or a part of `octets`."""
        try:
            return super().write(octets)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # what is in buffers is written once more, at the end
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise SystemExit(Exit.UNREAD) from None
            _complain(f"standard output: {error.strerror}")
            raise SystemExit(Exit.IO) from None


def main() -> None:
    """Entry point of the installed command."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(sys.stdout.fileno(), "w", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=sys.stdout.errors,
            line_buffering=sys.stdout.isatty(),
            write_through=sys.stdout.write_through,
        )
    try:
        _run()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _run() -> None:
    """Run what is asked for and end with its code."""
    _be_lenient()
    try:
        app()
    except SystemExit as end:
        # what the parser of the command line ends with is the shell's own code for bad usage
        sys.exit(Exit.USAGE if end.code == PARSER_USAGE else end.code)
    except OutriderError as error:
        _complain(str(error))
        sys.exit(exit_code(error))
    except UnicodeEncodeError as error:
        # an octet of the command line that is no UTF-8 stands as half a character (PEP 383)
        if not any("\udc80" <= each <= "\udcff" for each in error.object):
            raise
        _complain(f"{error.object!r} is no text in UTF-8; write it so")
        sys.exit(Exit.USAGE)
    except OSError as error:
        is_refused = isinstance(error, PermissionError)
        place = "" if error.filename is None else f"{error.filename}: "
        remedy = "; become root or the user of the server" if is_refused else ""
        _complain(f"{place}{error.strerror or error}{remedy}")
        sys.exit(Exit.NO_PERMISSION if is_refused else Exit.IO)


def _be_lenient() -> None:
    """A terminal or a locale of another time shows `?` for what it does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding != "utf-8":
            from outrider.cli.output import is_utf8

            if not is_utf8(stream):
                stream.reconfigure(errors="replace")


def _complain(why: str) -> None:
    from outrider.cli.output import printable

    sys.stderr.write(f"outrider: {printable(why)}\n")


def exit_code(error: OutriderError) -> int:
    """The sysexits code of one of our errors."""
    if isinstance(error, ConfigError | KeyAbsentError):
        return Exit.CONFIG
    if isinstance(error, UnavailableError):
        return Exit.UNAVAILABLE
    if isinstance(error, SpoolError):
        from outrider.spool.frames import FormatError

        return Exit.DATA if isinstance(error, FormatError) else Exit.IO
    if isinstance(error, PermissionDeniedError):
        return Exit.NO_PERMISSION
    if isinstance(error, RefusedError | StoreError):
        return Exit.DATA
    return Exit.SOFTWARE


if __name__ == "__main__":
    main()
