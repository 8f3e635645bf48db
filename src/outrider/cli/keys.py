"""`outrider keys`: make, list, rotate, export and destroy the keys of the ring."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from outrider.cli.control_store import Reason, act_as_owner, with_store
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, say, settings_of
from outrider.privacy.keyfile import Key, Purpose, Tombstone
from outrider.store.audit import noting
from outrider.store.editor import Author
from outrider.store.engine import Database

if TYPE_CHECKING:
    from outrider.privacy.keystore import KeyStore
    from outrider.server.settings import Settings

Changed = TypeVar("Changed", Key, Tombstone)

app = typer.Typer(no_args_is_help=True, help="Keys that protect addresses, logs and the spool.")

PurposeName = Annotated[Purpose, typer.Argument(help="seal, suppress, log or spool.")]
Version = Annotated[int, typer.Argument(min=1, help="Version, as `outrider keys list` shows it.")]


def _store(config: ConfigPath) -> tuple["Settings", "KeyStore"]:
    from outrider.base.clock import SystemClock
    from outrider.base.log import NullLog
    from outrider.server.ring_changes import open_ring

    settings = settings_of(config)
    act_as_owner(settings)
    return settings, open_ring(settings, os.environ, SystemClock(), NullLog())


def _noted(
    config: ConfigPath, action: str, subject: str, reason: str, work: Callable[[], Changed]
) -> Changed:
    """Do `work`, between its rows in the audit log."""
    from outrider.server.ring_changes import noted_of

    async def do(database: Database, author: Author) -> Changed:
        async with noting(database, author, f"keyring.{action}", subject) as noted:
            changed = work()
            noted.facts |= noted_of(changed)
        return changed

    return with_store(config, do, reason)


@app.command("generate")
def generate(
    purpose: PurposeName, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Make the first key of a purpose; refuses where there is one.

    Examples:
      outrider keys generate spool
      outrider keys generate log --json
    """
    from outrider.server.ring_changes import make_first

    settings, store = _store(config)
    key = _noted(config, "generate", purpose, reason, lambda: make_first(store, purpose))
    _made(key.name, key.fingerprint, key.source, as_json=as_json)
    if not as_json and purpose is Purpose.SPOOL and settings.spool.encryption == "none":
        say("The spool is not encrypted yet: set spool.encryption and restart the server.")


@app.command("rotate")
def rotate(
    purpose: PurposeName, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Make a new version, which is used from now on; older ones stay and go on reading what they protect.

    A running server takes it up by itself: events within seconds, each log of the spool with its next
    segment.

    Examples:
      outrider keys rotate log
    """
    _, store = _store(config)
    key = _noted(config, "rotate", purpose, reason, lambda: store.add(purpose))
    _made(key.name, key.fingerprint, key.source, as_json=as_json)


def _made(name: str, fingerprint: str, path: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"key": name, "fingerprint": fingerprint, "file": path})
        return
    say(f"Made {name} (fingerprint {fingerprint}) in {path}.")
    say("Keep a copy in a safe place: what it protects cannot be read without it.")


@app.command("list")
def list_all(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show the ring: ids and fingerprints, never a key.

    Examples:
      outrider keys list
      outrider keys list --json | jq '.keys[].key'
    """
    from outrider.server.ring_changes import shown_ring

    settings = settings_of(config)
    keys = shown_ring(settings, os.environ)
    if as_json:
        print_json({"directory": str(settings.key_directory), "keys": keys})
    elif not keys:
        say(f"{settings.key_directory} holds no keys; `outrider keys generate PURPOSE` makes one.")
    else:
        print_table(
            f"Keys in {settings.key_directory}", tuple(keys[0]), [tuple(each.values()) for each in keys]
        )


@app.command("export")
def export(
    purpose: PurposeName, version: Version, *, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Print a key file with its secret, to keep a copy in a safe place. Mind where the output goes.

    Examples:
      outrider keys export spool 1 | age -r age1… > spool-1.key.age
      outrider keys export spool 1 --json
    """
    from outrider.privacy.keyfile import format_key
    from outrider.server.keys import live_ring

    key = live_ring(settings_of(config), os.environ).ring.get(purpose, version)
    if as_json:
        print_json({"key": key.name, "fingerprint": key.fingerprint, "file": format_key(key)})
    else:
        sys.stdout.write(format_key(key))


@app.command("destroy")
def destroy(
    purpose: PurposeName,
    version: Version,
    *,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            "-r",
            help="Why; kept in the audit log and in the place of the key.",
            show_default=False,
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it you only see what it means.")] = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Destroy an old version for good. First shows what can no longer be read then.

    Examples:
      outrider keys destroy log 1
      outrider keys destroy log 1 --reason "events before 2027 are to be anonymous" --yes
    """
    from outrider.server.ring_changes import doom

    settings, store = _store(config)
    key, uses, meaning = doom(settings, store, purpose, version)
    if not as_json:
        say(f"{key.name} (fingerprint {key.fingerprint}). {meaning}")
    if not yes:
        if as_json:
            print_json({"key": key.name, "destroyed": False, "uses": uses, "meaning": meaning})
        else:
            say(
                f'Nothing was changed. To do it: outrider keys destroy {purpose} {version} --reason "…" --yes'
            )
        return
    gone = _noted(config, "destroy", key.name, reason, lambda: store.destroy(purpose, version, reason))
    if as_json:
        print_json({"key": gone.name, "destroyed": True, "uses": uses, "reason": gone.reason})
    else:
        say(f"Destroyed {gone.name}. A running server forgets it when it restarts.")
