"""`outrider backup` and `outrider restore`: a copy of what must not be lost, and the way back."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.base.exits import Exit
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, printable, say

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File whose first line is the passphrase; else it is asked for."),
]


@contextlib.contextmanager
def _exits(nameless: Exit = Exit.DATA) -> Iterator[None]:
    """Give what copies and their way back raise its exit code; `nameless` where a path leads nowhere."""
    from outrider.privacy.passphrase import PassphraseError
    from outrider.server.backup.manifest import BackupError
    from outrider.server.backup.restore import OccupiedError, RunningError

    try:
        yield
    except (BackupError, PassphraseError) as error:
        sys.stderr.write(f"outrider: {printable(str(error))}\n")
        codes: dict[type[Exception], Exit] = {
            OccupiedError: Exit.CANNOT_CREATE,
            RunningError: Exit.TEMPORARY,
        }
        raise typer.Exit(codes.get(type(error)) or _code_of(error.__cause__, nameless)) from None


def _code_of(cause: BaseException | None, nameless: Exit) -> Exit:
    """The code of a copy that failed for a reason of the system's, or of its own."""
    match cause:
        case PermissionError():
            return Exit.NO_PERMISSION
        case FileNotFoundError() | NotADirectoryError() | FileExistsError():
            return nameless
        case OSError():
            return Exit.IO
        case _:
            return Exit.DATA


def _passphrase(file: Path | None, *, twice: bool) -> str:
    """The passphrase, from the file or the terminal."""
    from outrider.base.errors import ConfigError

    if file is not None:
        try:
            return file.read_text("utf-8").partition("\n")[0]
        except OSError as error:
            raise ConfigError(f"--passphrase-file: {file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:  # whose words would quote it
            raise ConfigError(f"--passphrase-file: {file} is not UTF-8") from None
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "keys are copied under a passphrase only; give --passphrase-file, or --without-keys to leave them"
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice))


def backup(
    config: ConfigPath = CONFIG_DEFAULT,
    into: Annotated[Path, typer.Option(help="Folder of the copies; each is a folder in it.")] = Path(
        "outrider-backups"
    ),
    passphrase_file: PassphraseFile = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Leave out keys, private keys and passwords.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link/--no-link", help="Share closed segments with the spool where possible.")
    ] = True,
    keep: Annotated[
        int, typer.Option(help="Remove older copies of this server beyond so many; 0 keeps all.", min=0)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Copy configuration, keys, control database and spool; the server may run meanwhile.

    Examples:
      outrider backup --into /var/backups/outrider --passphrase-file /etc/outrider/backup-passphrase
      outrider backup --without-keys --keep 7
    """
    from outrider.base.clock import SystemClock
    from outrider.server.backup.make import made_facts, make_backup
    from outrider.server.configuration import read

    found = read(config, os.environ)
    passphrase = None if without_keys else _passphrase(passphrase_file, twice=True)
    with _exits(Exit.CANNOT_CREATE):
        made = make_backup(
            found.settings,
            found.sources.files,
            into,
            SystemClock(),
            passphrase=passphrase,
            link=link,
            keep=keep,
        )
    if as_json:
        print_json(made_facts(made))
        return
    say(
        f"Copied {len(made.manifest.files)} files, {made.octets} octets, and {made.secrets} secrets "
        f"to {made.path}."
    )
    if made.manifest.database == "elsewhere":
        say("The control database is on its own server: copy it there too (pg_dump).")
    if without_keys:
        say("Keys are not in it: what they sealed cannot be read without them.")
    if made.missing_keys:
        names = ", ".join(made.missing_keys)
        say(
            f"Parts of its queue are encrypted by {names}, which is not in it: keep a copy of it elsewhere "
            "(a credential stays where it came from), or their mail cannot be restored."
        )
    for path in made.removed:
        say(f"Removed the older {path}.")


def restore(
    copy: Annotated[Path, typer.Argument(help="A folder that `outrider backup` made.")],
    root: Annotated[
        Path, typer.Option(help="Put everything below this folder instead of where it was.")
    ] = Path("/"),
    passphrase_file: PassphraseFile = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Leave the keys in the copy.")] = False,
    keep_config: Annotated[
        bool, typer.Option("--keep-config", help="Leave the configuration that is there.")
    ] = False,
    owner: Annotated[
        str, typer.Option(help="User who shall own it, when root restores; else who owned it.")
    ] = "",
    check_only: Annotated[
        bool, typer.Option("--check", help="Verify the copy whole and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a copy back to a place where nothing is; the copy is verified before anything is written.

    Examples:
      outrider restore /var/backups/outrider/outrider-20260401T020000Z --check
      outrider restore /var/backups/outrider/outrider-20260401T020000Z --keep-config
    """
    from outrider.server.backup.manifest import read_manifest
    from outrider.server.backup.restore import open_backup
    from outrider.server.backup.restore import restore as put_back

    with _exits():
        manifest, _ = read_manifest(copy)
        sealed = manifest.has_secrets and not without_keys
        opened = open_backup(copy, _passphrase(passphrase_file, twice=False) if sealed else None)
    facts: dict[str, Any] = {
        "path": str(copy),
        "made": manifest.made,
        "program": manifest.program,
        "hostname": manifest.hostname,
        "spool_format": manifest.spool_format,
        "files": len(manifest.files),
        "secrets": None if opened.secrets is None else len(opened.secrets),
    }
    if check_only:
        if as_json:
            print_json({"ok": True, **facts})
        else:
            print_table(f"{copy} is whole", ["", ""], [list(item) for item in facts.items()])
        return
    with _exits():
        done = put_back(opened, root.absolute(), owner=owner, with_config=not keep_config)
    if as_json:
        print_json(
            {
                **facts,
                "config": str(done.config),
                "state_directory": str(done.state_directory),
                "owner": done.owner,
                "written": done.files,
            }
        )
        return
    say(f"Restored {done.files} files of {manifest.made} to {done.state_directory}, owned by {done.owner}.")
    say("What was delivered after the copy was made is sent again; what was before it is not.")
    say(f"Next: outrider doctor -c {done.config}, then start the server.")
