"""`outrider key`: API keys, made here, shown once, kept as hashes."""

from typing import Annotated

import typer

from outrider.base.clock import SystemClock
from outrider.cli.control_store import OfTenant, Reason, with_store
from outrider.cli.credential import (
    RIGHTS_COLUMNS,
    Changes,
    change,
    changed_rights,
    common_commands,
    missing_domains,
    new_rights,
    print_missing,
    remove,
    rights_row,
)
from outrider.cli.declared import takes
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_done, print_list
from outrider.privacy import issuing
from outrider.store import credentials
from outrider.store.credentials import KEYS
from outrider.store.editor import Author
from outrider.store.engine import Database
from outrider.store.records import SCOPES, Rights, shown

app = typer.Typer(no_args_is_help=True, help="API keys for HTTP.")

KeyId = Annotated[str, typer.Argument(help="Id of the key: the part between the first underscores.")]


@app.command("add")
@takes("rights", new_rights)
def add(
    key_id: Annotated[str, typer.Argument(help="Id: letters, digits, hyphens; drawn when left out.")] = "",
    *,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="inject or status; repeat it. Without one, both.")
    ] = None,
    rights: Rights,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once; only its hash is kept.

    Examples:
      outrider key add shop -t acme --scope inject --network 192.0.2.0/24 --expires 2027-12-31
      curl -H "Authorization: Bearer $(outrider key add ci --sandbox --json | jq -r .key)" …
    """
    scopes = tuple(scope) if scope else SCOPES

    async def issue(database: Database, author: Author) -> tuple[issuing.Issued, str]:
        made = await issuing.issue_key(database, author, rights, key_id=key_id, scopes=scopes)
        return made, await missing_domains(database, KEYS, made.key.id)

    issued, missing = with_store(config, issue, reason)
    _print(issued, as_json=as_json)
    print_missing(missing)


def _print(issued: issuing.Issued, *, as_json: bool) -> None:
    print_done(issued.text, {**shown(issued.key), "key": issued.text}, as_json=as_json)


@app.command("list")
def list_(tenant: OfTenant = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List keys; no secrets.

    Examples:
      outrider key list -t acme
    """
    found = with_store(config, lambda db, _author: credentials.list_all(db, KEYS, tenant))
    now = SystemClock().wall()
    columns = ("id", *RIGHTS_COLUMNS, "scopes")
    rows = [(key.id, *rights_row(key.rights, now), ", ".join(key.scopes)) for key in found]
    print_list("API keys", columns, rows, [shown(key) for key in found], as_json=as_json)


common_commands(app, KEYS, "shop")


@app.command("rotate")
def rotate(
    key_id: KeyId, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Give a key another secret and print it, once; the old one works no more.

    Examples:
      outrider key rotate shop --reason "seen in a log"
    """
    issued = with_store(config, lambda db, author: issuing.rotate_key(db, author, key_id), reason)
    _print(issued, as_json=as_json)


@app.command("set")
@takes("changes", changed_rights)
def set_(
    key_id: KeyId,
    *,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="All its scopes from now on: inject, status.")
    ] = None,
    changes: Changes,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change what a key may do; what is left out stays as it is, and the key itself too.

    Examples:
      outrider key set shop --network 192.0.2.0/24 --network 2001:db8::/32 --reason "seen from elsewhere"
      outrider key set ci --live --expires 2027-12-31
    """
    change(config, KEYS, key_id, reason, "Changed", changes, as_json=as_json, scopes=scope)


@app.command("revoke")
def revoke(
    key_id: KeyId, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Remove a key for good; workers refuse it within two seconds.

    Examples:
      outrider key revoke shop --reason "leaked"
    """
    remove(config, KEYS, key_id, reason)
    print_done(f"Revoked {key_id}.", {"id": key_id}, as_json=as_json)
