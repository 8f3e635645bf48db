"""`outrider user`: logins and keys in the credentials file, changed atomically while the server runs."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from outrider.base.errors import AddressError, ConfigError
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table
from outrider.privacy import credentials
from outrider.privacy.passwords import Passwords

PASSWORD_CHARACTERS = 8
# NIST SP 800-63B's least length of a chosen password.

app = typer.Typer(no_args_is_help=True, help="Logins and keys of those who may send.")
key_app = typer.Typer(no_args_is_help=True, help="Bearer keys for HTTP injection.")
app.add_typer(key_app, name="key")

UsersFile = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", envvar="OUTRIDER_USERS", help="Credentials file; default: `server.users_file`."
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose mail it is, for fairness and limits.")]
Domains = Annotated[
    list[str],
    typer.Option(
        "--domain",
        "-d",
        help="Domain allowed in MAIL FROM; repeat it. `.example.com` allows subdomains, `*` any. "
        "Without one only the null sender may be used.",
    ),
]
FromStdin = Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, one line.")]


def _path(file: Path | None, config: Path) -> Path:
    if file is not None:
        return file
    from outrider.server.configuration import load

    path = load(config).server.users_file
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
    if len(password) < PASSWORD_CHARACTERS:
        raise ConfigError(f"a password has at least {PASSWORD_CHARACTERS} characters; nothing was changed")
    return password


def _hash(password: str) -> str:
    passwords = Passwords()
    try:
        return passwords.hash(password)
    finally:
        passwords.close()


def _domains(texts: list[str]) -> frozenset[str]:
    try:
        return frozenset(map(credentials.check_sender_domain, texts))
    except AddressError as error:
        raise ConfigError(f"--domain: {error.message}") from error


def _done(*, as_json: bool, text: str, **facts: object) -> None:
    if as_json:
        print_json(facts)
    else:
        typer.echo(text)  # not wrapped: a key must survive copying


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Login name, as clients give it in AUTH.")],
    *,
    domain: Domains = [],  # noqa: B006 - typer copies it
    tenant: Tenant = "default",
    from_stdin: FromStdin = False,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a login; asks for the password twice, or reads it with --stdin.

    Examples:
      outrider user add shop --domain shop.example --domain .shop.example
      echo "$PASSWORD" | outrider user add crm --domain crm.example --tenant crm --stdin
    """
    path = _path(file, config)
    domains = _domains(domain)
    password_hash = _hash(_password(from_stdin=from_stdin))
    credentials.add_user(path, credentials.User(name, password_hash, tenant, domains))
    _done(as_json=as_json, text=f"Added {name}; it works at once.", user=name, file=str(path))


@app.command("passwd")
def passwd(
    name: Annotated[str, typer.Argument(help="Login name.")],
    *,
    from_stdin: FromStdin = False,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change a password.

    Examples:
      outrider user passwd shop
    """
    path = _path(file, config)
    credentials.set_password(path, name, _hash(_password(from_stdin=from_stdin)))
    _done(as_json=as_json, text=f"Changed the password of {name}.", user=name, file=str(path))


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Login name.")],
    *,
    file: UsersFile = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a login; sessions that are open keep what they have.

    Examples:
      outrider user remove shop
    """
    path = _path(file, config)
    credentials.remove_user(path, name)
    _done(as_json=as_json, text=f"Removed {name}.", user=name, file=str(path))


@app.command("list")
def list_all(file: UsersFile = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show logins and keys; no hashes.

    Examples:
      outrider user list
      outrider user list --json | jq '.users[].name'
    """
    found = credentials.read_credentials(_path(file, config))
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
