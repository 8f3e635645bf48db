"""`outrider user`: logins in the control database, or with `--file` those of a users file."""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.base.errors import AddressError, ConfigError
from outrider.cli.control_store import (
    DefaultStream,
    Description,
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
    change_rights,
    rights_of,
    rights_row,
    unix_time,
    with_store,
)
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, settings_of
from outrider.privacy import credentials, importing, issuing
from outrider.privacy.passwords import check_password, hash_password
from outrider.store import credentials as stored
from outrider.store.checks import check_sender_domain
from outrider.store.credentials import USERS
from outrider.store.records import Rights, shown

app = typer.Typer(no_args_is_help=True, help="Logins of those who may send.")
key_app = typer.Typer(
    no_args_is_help=True, help="Bearer keys in a users file; `outrider key` has the others."
)
app.add_typer(key_app, name="key")

UsersFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        envvar="OUTRIDER_USERS",
        help="Work on this users file instead of the control database.",
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose mail it is, for fairness and limits.")]
Domains = Annotated[
    list[str],
    typer.Option(
        "--domain",
        "-d",
        help="Domain allowed in MAIL FROM; repeat it. `.example.com` allows subdomains, `*` any. "
        "Without one, those of the tenant; in a users file, only the null sender.",
    ),
]
FromStdin = Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, one line.")]


def _path(file: Path | None, config: Path) -> Path:
    if file is not None:
        return file
    path = settings_of(config).server.users_file
    if path is None:
        raise ConfigError(f"{config}: server.users_file is not set; set it, or name a file with --file")
    return path


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("the two passwords differ; nothing was changed")
    check_password(password)
    return password


def _domains(texts: list[str]) -> frozenset[str]:
    try:
        return frozenset(map(check_sender_domain, texts))
    except AddressError as error:
        raise ConfigError(f"--domain: {error.message}") from error


def _done(*, as_json: bool, text: str, **facts: object) -> None:
    if as_json:
        print_json(facts)
    else:
        typer.echo(text)  # not wrapped: a key must survive copying


Name = Annotated[str, typer.Argument(help="Login name, as clients give it in AUTH.")]


@app.command("add")
def add(
    name: Name,
    *,
    domain: Domains = [],  # noqa: B006 - typer copies it
    tenant: Tenant = "default",
    stream: Streams = None,
    default_stream: DefaultStream = None,
    network: Networks = None,
    expires: Expires = None,
    sandbox: Sandbox = False,
    description: Description = None,
    reason: Reason = "",
    from_stdin: FromStdin = False,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a login; asks for the password twice, or reads it with --stdin.

    Examples:
      outrider user add shop -t acme --domain shop.example
      echo "$PASSWORD" | outrider user add crm -t acme --stream crm --network 192.0.2.0/24 --stdin
    """
    domains = _domains(domain)
    rights = rights_of(
        tenant, description, sorted(domains), stream, default_stream, network, expires, sandbox=sandbox
    )
    if file is not None:
        _refuse_finer(rights)
    password = _password(from_stdin=from_stdin)
    if file is None:
        with_store(config, lambda db, author: issuing.issue_user(db, author, name, password, rights), reason)
        _done(as_json=as_json, text=f"Added {name}; it works within two seconds.", user=name)
    else:
        credentials.add_user(file, credentials.User(name, hash_password(password), tenant, domains))
        _done(as_json=as_json, text=f"Added {name}; it works at once.", user=name, file=str(file))


def _refuse_finer(rights: Rights) -> None:
    if rights != Rights(rights.tenant, domains=rights.domains):
        raise ConfigError(
            "a users file knows only tenant and domains; leave out --file for streams, networks, expiry and "
            "sandbox"
        )


@app.command("passwd")
def passwd(
    name: Name,
    *,
    from_stdin: FromStdin = False,
    reason: Reason = "",
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change a password.

    Examples:
      outrider user passwd shop
    """
    password = _password(from_stdin=from_stdin)
    if file is None:
        with_store(config, lambda db, author: issuing.change_password(db, author, name, password), reason)
    else:
        credentials.set_password(file, name, hash_password(password))
    _done(as_json=as_json, text=f"Changed the password of {name}.", user=name)


@app.command("remove")
def remove(
    name: Name,
    *,
    reason: Reason = "",
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a login; its sessions end within seconds (those of a users file keep what they have).

    Examples:
      outrider user remove shop --reason "replaced by shop2"
    """
    if file is None:
        with_store(config, lambda db, author: stored.remove(db, author, USERS, name), reason)
    else:
        credentials.remove_user(file, name)
    _done(as_json=as_json, text=f"Removed {name}.", user=name)


def _set(name: str, config: Path, reason: str, word: str, *, as_json: bool, **asked: Any) -> None:
    change_rights(config, USERS, name, reason, **asked)
    _done(as_json=as_json, text=f"{word} {name}; workers know within two seconds.", user=name)


@app.command("set")
def set_(
    name: Name,
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
    """Change what a login may do; what is left out stays as it is. Its open sessions end within seconds.

    Examples:
      outrider user set shop --domain shop.example --domain .shop.example --reason "ticket 4711"
      outrider user set crm --network '' --never-expires
    """
    _set(
        name,
        config,
        reason,
        "Changed",
        as_json=as_json,
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
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Refuse a login until it is enabled again; its sessions end within seconds.

    Examples:
      outrider user disable shop --reason "unusual volume"
    """
    _set(name, config, reason, "Disabled", as_json=as_json, is_enabled=False)


@app.command("enable")
def enable(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Let a login work again.

    Examples:
      outrider user enable shop
    """
    _set(name, config, reason, "Enabled", as_json=as_json, is_enabled=True)


@app.command("show")
def show(name: Name, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show what a login may do.

    Examples:
      outrider user show shop
    """
    facts = shown(with_store(config, lambda db, _author: stored.find(db, USERS, name)))
    if as_json:
        print_json(facts)
    else:
        print_table(f"User {name}", ("what", "value"), [(key, str(facts[key])) for key in facts])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A users file, as `server.users_file` names it.")],
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Take the logins and keys of a users file into the control database, all or none.

    Passwords and keys stay what they are. Tenants that are new trust their domains, as the file did.

    Examples:
      outrider user import users.toml
    """
    taken = with_store(
        config,
        lambda db, author: importing.import_credentials(db, author, credentials.read_credentials(file)),
        reason,
    )
    _done(
        as_json=as_json,
        text=f"Took {taken.users} logins, {taken.keys} keys and {taken.tenants} new tenants; "
        "server.users_file can go.",
        users=taken.users,
        keys=taken.keys,
        tenants=taken.tenants,
    )


@app.command("list")
def list_all(
    tenant: OfTenant = None,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show logins, or with --file all that is in a users file; no hashes.

    Examples:
      outrider user list
      outrider user list --json | jq '.users[].name'
    """
    if file is not None:
        _list_file(file, as_json=as_json)
        return
    found = with_store(config, lambda db, _author: stored.list_all(db, USERS, tenant))
    if as_json:
        print_json({"users": [shown(user) for user in found]})
        return
    columns = ("name", "tenant", "domains", "streams", "networks", "state")
    print_table("Logins", columns, [(user.name, *rights_row(user.rights)) for user in found])


def _list_file(file: Path, *, as_json: bool) -> None:
    found = credentials.read_credentials(file)
    users = [
        {"name": user.name, "tenant": user.tenant, "sender_domains": sorted(user.sender_domains)}
        for user in found.users.values()
    ]
    keys = [
        {"id": key.id, "tenant": key.tenant, "sender_domains": sorted(key.sender_domains)}
        for key in found.keys.values()
    ]
    if as_json:
        print_json({"users": users, "keys": keys})
        return
    rows = [
        ("user", user.name, user.tenant, ", ".join(sorted(user.sender_domains)))
        for user in found.users.values()
    ]
    rows += [
        ("key", key.id, key.tenant, ", ".join(sorted(key.sender_domains))) for key in found.keys.values()
    ]
    print_table("Who may send", ("kind", "name", "tenant", "sender domains"), rows)


@key_app.command("create")
def key_create(
    key_id: Annotated[str, typer.Argument(help="Id of the key: letters, digits, hyphens.")],
    *,
    domain: Domains = [],  # noqa: B006 - typer copies it
    tenant: Tenant = "default",
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once; only its hash is kept.

    Examples:
      outrider user key create web --domain shop.example
      curl -H "Authorization: Bearer $(outrider user key create ci -d ci.example --json | jq -r .key)" …
    """
    path = _path(file, config)
    text = credentials.make_key(path, key_id, tenant, _domains(domain))
    _done(as_json=as_json, text=text, id=key_id, key=text, file=str(path))


@key_app.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    *,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; the server refuses it within a second.

    Examples:
      outrider user key revoke web
    """
    path = _path(file, config)
    credentials.revoke_key(path, key_id)
    _done(as_json=as_json, text=f"Revoked {key_id}.", id=key_id, file=str(path))
