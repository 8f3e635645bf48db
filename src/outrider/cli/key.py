"""`outrider key`: API keys, made here, shown once, kept as hashes."""

from typing import Annotated, Any

import typer

from outrider.cli.control_store import (
    DefaultStream,
    Description,
    Domains,
    Expires,
    Networks,
    NeverExpires,
    OfTenant,
    Reason,
    Sandbox,
    SetDomains,
    SetNetworks,
    SetSandbox,
    SetStreams,
    Streams,
    TenantName,
    change_rights,
    rights_of,
    rights_row,
    unix_time,
    with_store,
)
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table
from outrider.privacy import issuing
from outrider.store import credentials
from outrider.store.credentials import KEYS
from outrider.store.records import SCOPES, shown

app = typer.Typer(no_args_is_help=True, help="API keys for HTTP.")

KeyId = Annotated[str, typer.Argument(help="Id of the key: the part between the first underscores.")]


@app.command("add")
def add(
    key_id: Annotated[str, typer.Argument(help="Id: letters, digits, hyphens; drawn when left out.")] = "",
    tenant: TenantName = "default",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="inject or status; repeat it. Without one, both.")
    ] = None,
    domain: Domains = None,
    stream: Streams = None,
    default_stream: DefaultStream = None,
    network: Networks = None,
    expires: Expires = None,
    sandbox: Sandbox = False,
    description: Description = None,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once; only its hash is kept.

    Examples:
      outrider key add shop -t acme --scope inject --network 192.0.2.0/24 --expires 2027-12-31
      curl -H "Authorization: Bearer $(outrider key add ci --sandbox --json | jq -r .key)" …
    """
    rights = rights_of(tenant, description, domain, stream, default_stream, network, expires, sandbox=sandbox)
    scopes = tuple(scope) if scope else SCOPES
    issued = with_store(
        config,
        lambda db, author: issuing.issue_key(db, author, rights, key_id=key_id, scopes=scopes),
        reason,
    )
    _print(issued, as_json=as_json)


def _print(issued: issuing.Issued, *, as_json: bool) -> None:
    if as_json:
        print_json({**shown(issued.key), "key": issued.text})
    else:
        typer.echo(issued.text)  # alone and not wrapped: a key must survive copying


@app.command("list")
def list_(tenant: OfTenant = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List keys; no secrets.

    Examples:
      outrider key list -t acme
    """
    found = with_store(config, lambda db, _author: credentials.list_all(db, KEYS, tenant))
    if as_json:
        print_json([shown(key) for key in found])
        return
    columns = ("id", "tenant", "domains", "streams", "networks", "state", "scopes")
    rows = [(key.id, *rights_row(key.rights), ", ".join(key.scopes)) for key in found]
    print_table("API keys", columns, rows)


@app.command("show")
def show(key_id: KeyId, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show what a key may do.

    Examples:
      outrider key show shop
    """
    facts = shown(with_store(config, lambda db, _author: credentials.find(db, KEYS, key_id)))
    if as_json:
        print_json(facts)
    else:
        print_table(f"Key {key_id}", ("what", "value"), [(name, str(facts[name])) for name in facts])


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


def _set(key_id: str, config: ConfigPath, reason: str, word: str, *, as_json: bool, **asked: Any) -> None:
    key = change_rights(config, KEYS, key_id, reason, **asked)
    if as_json:
        print_json(shown(key))
    else:
        typer.echo(f"{word} {key_id}; workers know within two seconds.")


@app.command("set")
def set_(
    key_id: KeyId,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="All its scopes from now on: inject, status.")
    ] = None,
    domain: SetDomains = None,
    stream: SetStreams = None,
    default_stream: DefaultStream = None,
    network: SetNetworks = None,
    expires: Expires = None,
    never_expires: NeverExpires = False,
    sandbox: SetSandbox = None,
    description: Description = None,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change what a key may do; what is left out stays as it is, and the key itself too.

    Examples:
      outrider key set shop --network 192.0.2.0/24 --network 2001:db8::/32 --reason "seen from elsewhere"
      outrider key set ci --live --expires 2027-12-31
    """
    _set(
        key_id,
        config,
        reason,
        "Changed",
        as_json=as_json,
        scopes=scope,
        domains=domain,
        streams=stream,
        stream=default_stream,
        networks=network,
        expires_time=unix_time(expires),
        never_expires=never_expires,
        is_sandbox=sandbox,
        description=description,
    )


@app.command("disable")
def disable(
    key_id: KeyId, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Refuse a key until it is enabled again.

    Examples:
      outrider key disable shop --reason "unusual volume"
    """
    _set(key_id, config, reason, "Disabled", as_json=as_json, is_enabled=False)


@app.command("enable")
def enable(
    key_id: KeyId, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Let a key work again.

    Examples:
      outrider key enable shop
    """
    _set(key_id, config, reason, "Enabled", as_json=as_json, is_enabled=True)


@app.command("revoke")
def revoke(
    key_id: KeyId, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Remove a key for good; workers refuse it within two seconds.

    Examples:
      outrider key revoke shop --reason "leaked"
    """
    with_store(config, lambda db, author: credentials.remove(db, author, KEYS, key_id), reason)
    if as_json:
        print_json({"id": key_id})
    else:
        typer.echo(f"Revoked {key_id}.")
