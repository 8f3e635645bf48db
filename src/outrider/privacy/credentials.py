"""The credentials file: who may send, proved by a password or a key.

In: a TOML file with `[[user]]` and `[[key]]` tables. Out: `Credentials`, and from them a `FileAuthenticator`
(`privacy.authenticator`). It holds Argon2id hashes of passwords and SHA-256 of keys, never a secret.

Theory: a key is 32 random octets, so a fast hash of it is safe; its text `ork_<id>_<secret>_<check>` has a
prefix and a checksum by which scanners find a leaked one. The file is replaced whole (write, sync, rename,
sync of the folder), under a lock, so readers never see half of it and two writers never lose a change.

Invariant: a file that was written here parses; a file with a fault is refused whole, with every fault named.

Standards: RFC 9106 §4 (Argon2id), FIPS 180-4 §6.2 (SHA-256).
"""

import fcntl
import hashlib
import json
import os
import secrets
import stat
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from outrider.base.errors import AddressError, ConfigError, StoreError
from outrider.base.files import OsFiles, write_atomic
from outrider.privacy.passwords import is_argon2id
from outrider.store.checks import check_sender_domain

KEY_PREFIX = "ork"
"""Chosen: OutRider Key; a fixed prefix is what leak scanners look for."""

KEY_OCTETS = 32
"""Chosen, because 256 bits need no slow hash."""

ANY = frozenset("*")

SCOPES = frozenset({"inject", "status"})
"""All that a credential can be for: hand in messages, ask what became of them."""

_KEY_ID_RULE = "a key's id is letters, digits and hyphens"
_NAME_OCTETS = 255
# RFC 4616 §2: servers take names up to this length in PLAIN
_FILE_MODE = 0o600
_OTHERS = 0o007
# the bits of a mode that are for everybody else
_FIELDS = {
    "user": {"name", "password_hash", "tenant", "sender_domains"},
    "key": {"id", "hash", "tenant", "sender_domains"},
}


class Grant(msgspec.Struct, frozen=True):
    """What every entry of the file may do, for `model.ports.Principal`: a file knows of no finer rules."""

    @property
    def pending_domains(self) -> frozenset[str]:
        """The operator who wrote the file answers for the domains: none has to be verified."""
        return frozenset()

    @property
    def streams(self) -> frozenset[str]:
        return ANY

    @property
    def stream(self) -> str:
        return ""

    @property
    def scopes(self) -> frozenset[str]:
        return SCOPES

    @property
    def is_sandbox(self) -> bool:
        return False

    @property
    def is_valid(self) -> bool:
        return True


class User(Grant, frozen=True):
    """One `[[user]]`: a login for AUTH PLAIN and LOGIN."""

    name: str
    password_hash: str
    tenant: str = "default"
    sender_domains: frozenset[str] = frozenset()


class Key(Grant, frozen=True):
    """One `[[key]]`: a bearer key for HTTP; `hash` is SHA-256 of its whole text in hexadecimal."""

    id: str
    hash: str
    tenant: str = "default"
    sender_domains: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """For `Principal`: keys and users share one space of names in logs."""
        return f"key:{self.id}"


class Credentials(msgspec.Struct, frozen=True):
    """All users and keys, by name and id."""

    users: dict[str, User]
    keys: dict[str, Key]


EMPTY = Credentials({}, {})


def parse_credentials(text: str, where: str = "credentials") -> Credentials:
    """The credentials in TOML text.

    Raises:
        ConfigError: With every fault, each with the place of its table.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error
    faults = [
        f"{key}: unknown; only [[user]] and [[key]] stand here" for key in document if key not in _FIELDS
    ]
    users: dict[str, User] = {}
    keys: dict[str, Key] = {}
    for number, table in _tables(document, "user", faults):
        user = _read_user(table, f"user[{number}]", faults)
        if user.name in users:
            faults.append(f"user[{number}].name: there are two users {user.name!r}")
        users[user.name] = user
    for number, table in _tables(document, "key", faults):
        key = _read_key(table, f"key[{number}]", faults)
        if key.id in keys:
            faults.append(f"key[{number}].id: there are two keys {key.id!r}")
        keys[key.id] = key
    if faults:
        raise ConfigError(f"{where} has {len(faults)} fault(s)", tuple(faults))
    return Credentials(users, keys)


def _tables(document: dict[str, Any], kind: str, faults: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    tables = document.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.append(f"{kind}: write [[{kind}]], once for each")
        return
    for number, table in enumerate(tables, 1):
        faults += (f"{kind}[{number}].{name}: unknown" for name in table if name not in _FIELDS[kind])
        yield number, table


def _text(table: dict[str, Any], name: str, place: str, faults: list[str], default: str | None = None) -> str:
    value = table.get(name, default)
    if isinstance(value, str) and value and value.isprintable() and len(value.encode()) <= _NAME_OCTETS:
        return value
    faults.append(f"{place}.{name}: a printable text of 1 to {_NAME_OCTETS} octets is needed")
    return ""


def _domains(table: dict[str, Any], place: str, faults: list[str]) -> frozenset[str]:
    found: set[str] = set()
    value = table.get("sender_domains", [])
    for entry in value if isinstance(value, list) else [None]:
        try:
            found.add(check_sender_domain(str(entry) if isinstance(entry, str) else ""))
        except AddressError as error:
            faults.append(f"{place}.sender_domains: {error.message}")
    return frozenset(found)


def _read_user(table: dict[str, Any], place: str, faults: list[str]) -> User:
    name = _text(table, "name", place, faults)
    stored = _text(table, "password_hash", place, faults)
    if stored and not is_argon2id(stored):
        faults.append(f"{place}.password_hash: not an Argon2id hash; make it with `outrider user passwd`")
    return User(
        name, stored, _text(table, "tenant", place, faults, "default"), _domains(table, place, faults)
    )


def _read_key(table: dict[str, Any], place: str, faults: list[str]) -> Key:
    key_id = _text(table, "id", place, faults)
    digest = _text(table, "hash", place, faults)
    if digest and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
        faults.append(f"{place}.hash: 64 lower-case hexadecimal digits are needed")
    return Key(
        key_id, digest, _text(table, "tenant", place, faults, "default"), _domains(table, place, faults)
    )


def format_credentials(credentials: Credentials) -> str:
    """TOML that `parse_credentials` reads back."""
    lines = ["# Made by `outrider user`; holds hashes, no secrets. Keep it readable by the server alone.\n"]
    for user in credentials.users.values():
        lines.append(f"[[user]]\nname = {_quoted(user.name)}\npassword_hash = {_quoted(user.password_hash)}")
        lines.append(_format_grant(user.tenant, user.sender_domains))
    for key in credentials.keys.values():
        lines.append(f"[[key]]\nid = {_quoted(key.id)}\nhash = {_quoted(key.hash)}")
        lines.append(_format_grant(key.tenant, key.sender_domains))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string of printable text is a TOML basic string


def _format_grant(tenant: str, domains: frozenset[str]) -> str:
    listed = ", ".join(_quoted(domain) for domain in sorted(domains))
    return f"tenant = {_quoted(tenant)}\nsender_domains = [{listed}]\n"


def read_credentials(path: Path) -> Credentials:
    """The credentials in the file; an absent file holds none.

    Raises:
        ConfigError: It cannot be read or has faults.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return EMPTY
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error.reason} at octet {error.start}") from error
    return parse_credentials(text, str(path))


class _As(OsFiles):
    """Files made as the one at a path is: its mode (nothing for others), and by root its owner and group."""

    __slots__ = ("_like",)

    def __init__(self, path: Path) -> None:
        try:
            self._like: os.stat_result | None = path.stat()
        except FileNotFoundError:
            self._like = None

    def open(self, path: str, flags: int, mode: int = _FILE_MODE) -> int:
        like = self._like
        if like is None or not flags & os.O_CREAT:
            return super().open(path, flags, mode)
        with suppress(FileNotFoundError):  # what is given away must be ours and new, whoever can write there
            self.unlink(path)
        fd = super().open(path, flags | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            if os.geteuid() == 0:
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, stat.S_IMODE(like.st_mode) & ~_OTHERS)
        except OSError:
            self.close(fd)
            raise
        return fd


def _give_away(lock: int, path: Path) -> None:
    """Let who owns the file at `path` open the lock that root made; what else has its name stays as it is."""
    found = os.fstat(lock)
    if stat.S_ISREG(found.st_mode) and (found.st_nlink, found.st_size) == (1, 0):
        like = (path if path.exists() else path.parent).stat()
        os.fchown(lock, like.st_uid, like.st_gid)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be opened: {error.strerror}; nothing was changed. It keeps two changes apart: "
            f"remove it where nobody changes {path.name} just now, or change the file as root"
        ) from error
    try:
        if os.geteuid() == 0:
            _give_away(lock, path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _changing(path: Path) -> Iterator[Credentials]:
    """Copies of the tables, to be changed in place; written back when nothing was raised.

    The file that is there keeps its owner, group and mode, so that whoever could read it still can; where a
    link leads to it, the link stays.
    """
    path = path.resolve()
    with _locked(path):
        current = read_credentials(path)
        draft = Credentials(dict(current.users), dict(current.keys))
        yield draft
        text = format_credentials(draft)
        parse_credentials(text, str(path))
        try:
            write_atomic(_As(path), str(path), text.encode(), _FILE_MODE)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; nothing was changed") from error


def add_user(path: Path, user: User) -> None:
    """Add a user.

    Raises:
        ConfigError: There is one of that name, or a field is wrong.
    """
    with _changing(path) as credentials:
        if user.name in credentials.users:
            raise ConfigError(f"user {user.name!r} exists; change the password with `outrider user passwd`")
        credentials.users[user.name] = user


def set_password(path: Path, name: str, password_hash: str) -> None:
    """Replace a user's password hash.

    Raises:
        ConfigError: There is no such user.
    """
    with _changing(path) as credentials:
        if name not in credentials.users:
            raise ConfigError(f"there is no user {name!r}")
        credentials.users[name] = msgspec.structs.replace(
            credentials.users[name], password_hash=password_hash
        )


def remove_user(path: Path, name: str) -> None:
    """Remove a user.

    Raises:
        ConfigError: There is no such user.
    """
    with _changing(path) as credentials:
        if credentials.users.pop(name, None) is None:
            raise ConfigError(f"there is no user {name!r}")


def _is_key_id(text: str) -> bool:
    return text.isascii() and text.replace("-", "").isalnum()


def make_key(path: Path, key_id: str, tenant: str, sender_domains: frozenset[str]) -> str:
    """Add a key and return its text, which is stored nowhere and never shown again.

    Raises:
        ConfigError: There is one of that id, or a field is wrong.
    """
    if not _is_key_id(key_id):
        raise ConfigError(_KEY_ID_RULE)
    text = make_key_text(key_id)
    with _changing(path) as credentials:
        if key_id in credentials.keys:
            raise ConfigError(f"key {key_id!r} exists; revoke it first or choose another id")
        credentials.keys[key_id] = Key(key_id, hash_key(text), tenant, sender_domains)
    return text


def revoke_key(path: Path, key_id: str) -> None:
    """Remove a key.

    Raises:
        ConfigError: There is no such key.
    """
    with _changing(path) as credentials:
        if credentials.keys.pop(key_id, None) is None:
            raise ConfigError(f"there is no key {key_id!r}")


def make_key_text(key_id: str) -> str:
    """A fresh key with this id.

    Raises:
        StoreError: It is no id that a key can have.
    """
    if not _is_key_id(key_id):
        raise StoreError(_KEY_ID_RULE)
    return _key_text(key_id, secrets.token_hex(KEY_OCTETS))


def _key_text(key_id: str, secret: str) -> str:
    body = f"{KEY_PREFIX}_{key_id}_{secret}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def key_id_of(text: str) -> str | None:
    """The id inside a well-formed key (prefix and checksum are right), else None."""
    prefix, _, rest = text.partition("_")
    key_id, _, tail = rest.partition("_")
    secret, _, _ = tail.partition("_")
    if prefix != KEY_PREFIX or not text.isascii() or text != _key_text(key_id, secret):
        return None
    return key_id


def hash_key(text: str) -> str:
    """SHA-256 of a key's text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
