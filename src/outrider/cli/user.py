"""`outrider user`: logins in the control database, or with `--file` those of a users file."""

import getpass
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from outrider.base.clock import SystemClock
from outrider.base.errors import AddressError, ConfigError
from outrider.cli.control_store import OfTenant, Reason, TenantName, with_store
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
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    print_done,
    print_json,
    print_list,
    print_table,
    settings_of,
)
from outrider.privacy import credentials, importing, issuing
from outrider.privacy.passwords import check_password, hash_password
from outrider.store import credentials as stored
from outrider.store.checks import check_sender_domain
from outrider.store.credentials import USERS
from outrider.store.editor import Author
from outrider.store.engine import Database
from outrider.store.records import Rights, SmtpUser, shown

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
    elif not sys.stdin.isatty():
        raise typer.BadParameter(
            "nobody is at a terminal to type a password; give it with --stdin, as a line"
        )
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigError("the two passwords differ; nothing was changed")
    check_password(password)
    return password


def _domains(texts: Iterable[str]) -> frozenset[str]:
    try:
        return frozenset(map(check_sender_domain, texts))
    except AddressError as error:
        raise ConfigError(f"--domain: {error.message}") from error


Name = Annotated[str, typer.Argument(help="Login name, as clients give it in AUTH.")]


@app.command("add")
@takes("rights", new_rights)
def add(
    name: Name,
    *,
    rights: Rights,
    reason: Reason = "",
    from_stdin: FromStdin = False,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a login; asks for the password twice, or reads it with --stdin.

    With --file only --tenant and --domain count, and a login without a domain may use only the null sender.

    Examples:
      outrider user add shop -t acme --domain shop.example
      echo "$PASSWORD" | outrider user add crm -t acme --stream crm --network 192.0.2.0/24 --stdin
    """
    domains = _domains(rights.domains)
    if file is not None:
        _refuse_finer(rights)
    password = _password(from_stdin=from_stdin)
    if file is None:

        async def issue(database: Database, author: Author) -> tuple[SmtpUser, str]:
            made = await issuing.issue_user(database, author, name, password, rights)
            return made, await missing_domains(database, USERS, name)

        user, missing = with_store(config, issue, reason)
        print_done(
            f"Added {name}; it works within two seconds.", {"user": name, **shown(user)}, as_json=as_json
        )
        print_missing(missing)
    else:
        credentials.add_user(file, credentials.User(name, hash_password(password), rights.tenant, domains))
        print_done(f"Added {name}; it works at once.", {"user": name, "file": str(file)}, as_json=as_json)


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
    print_done(f"Changed the password of {name}.", {"user": name}, as_json=as_json)


@app.command("remove")
def remove_(
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
        remove(config, USERS, name, reason)
    else:
        credentials.remove_user(file, name)
    print_done(f"Removed {name}.", {"user": name}, as_json=as_json)


@app.command("set")
@takes("changes", changed_rights)
def set_(
    name: Name,
    *,
    changes: Changes,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change what a login may do; what is left out stays as it is. Its open sessions end within seconds.

    Examples:
      outrider user set shop --domain shop.example --domain .shop.example --reason "ticket 4711"
      outrider user set crm --network '' --never-expires
    """
    change(config, USERS, name, reason, "Changed", changes, as_json=as_json)


common_commands(app, USERS, "shop")


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
    found = credentials.read_credentials(file)
    taken = with_store(config, lambda db, author: importing.import_credentials(db, author, found), reason)
    print_done(
        f"Took {taken.users} logins, {taken.keys} keys and {taken.tenants} new tenants; "
        "server.users_file can go.",
        taken._asdict(),
        as_json=as_json,
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
    now = SystemClock().wall()
    columns = ("name", *RIGHTS_COLUMNS)
    rows = [(user.name, *rights_row(user.rights, now)) for user in found]
    print_list("Logins", columns, rows, {"users": [shown(user) for user in found]}, as_json=as_json)


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
        (kind, each[named], each["tenant"], ", ".join(each["sender_domains"]))
        for kind, named, those in (("user", "name", users), ("key", "id", keys))
        for each in those
    ]
    print_table("Who may send", ("kind", "name", "tenant", "sender domains"), rows)


@key_app.command("create")
def key_create(
    key_id: Annotated[str, typer.Argument(help="Id of the key: letters, digits, hyphens.")],
    *,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            "--domain",
            "-d",
            help="Domain allowed in MAIL FROM; repeat it. `.example.com` allows subdomains, `*` any; without "
            "one, only the null sender.",
        ),
    ] = None,
    tenant: TenantName = "default",
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
    text = credentials.make_key(path, key_id, tenant, _domains(domain or ()))
    print_done(text, {"id": key_id, "key": text, "file": str(path)}, as_json=as_json)


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
    print_done(f"Revoked {key_id}.", {"id": key_id, "file": str(path)}, as_json=as_json)
