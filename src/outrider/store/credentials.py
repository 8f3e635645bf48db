"""SMTP users and API keys.

In: an engine, an `Author` for changes, names, hashes (never secrets), `Rights`. Out: `SmtpUser` and `ApiKey`
records. `privacy.issuing` makes the hashes.

Theory: both kinds live by the same rules, so one set of functions serves both tables; `USERS` and `KEYS` say
what differs.

Invariant: a credential that is stored names a tenant that exists and streams that its tenant has.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.base.errors import StoreError
from outrider.store import schema
from outrider.store.checks import check_end, check_login, check_name, check_networks, check_sender_domains
from outrider.store.editor import Author, Change, changing
from outrider.store.engine import reading
from outrider.store.records import SCOPES, ApiKey, Rights, SmtpUser
from outrider.store.tenants import read_tenant

Record = TypeVar("Record", SmtpUser, ApiKey)


class Kind(NamedTuple, Generic[Record]):
    """A kind of credentials: its name in texts and actions, its table and key, and a row as a record."""

    what: str
    table: sa.Table
    key: sa.Column[str]
    of_row: Callable[[Sequence[Any]], Record]


def _rights(values: Sequence[Any]) -> Rights:
    tenant, description, domains, streams, stream, networks, *rest = values
    return Rights(tenant, description, tuple(domains), tuple(streams), stream, tuple(networks), *rest)


USERS: Kind[SmtpUser] = Kind(
    "user", schema.users, schema.users.c.name, lambda row: SmtpUser(row[0], row[1], _rights(row[2:]))
)
KEYS: Kind[ApiKey] = Kind(
    "key",
    schema.keys,
    schema.keys.c.id,
    lambda row: ApiKey(row[0], row[1], tuple(row[2]), _rights(row[3:])),
)


def name_of(record: SmtpUser | ApiKey) -> str:
    """What it is found by."""
    return record.name if isinstance(record, SmtpUser) else record.id


async def read_many(connection: AsyncConnection, kind: Kind[Record], names: list[str]) -> list[Record]:
    """Those of `names` that exist."""
    found = await connection.execute(sa.select(kind.table).where(kind.key.in_(names)))
    return [kind.of_row(row) for row in found]


async def read_one(connection: AsyncConnection, kind: Kind[Record], name: str) -> Record:
    """One credential.

    Raises:
        StoreError: There is none of that name.
    """
    found = await read_many(connection, kind, [name])
    if not found:
        raise StoreError(f"there is no {kind.what} {name!r}", "absent")
    return found[0]


async def find(engine: AsyncEngine, kind: Kind[Record], name: str) -> Record:
    """See `read_one`."""
    async with reading(engine) as connection:
        return await read_one(connection, kind, name)


async def list_all(engine: AsyncEngine, kind: Kind[Record], tenant: str | None = None) -> list[Record]:
    """All of a kind, or those of one tenant, by name."""
    query = sa.select(kind.table).order_by(kind.key)
    if tenant is not None:
        query = query.where(kind.table.c.tenant == tenant)
    async with reading(engine) as connection:
        return [kind.of_row(row) for row in await connection.execute(query)]


async def create(change: Change, kind: Kind[Record], record: Record, how: str = "added") -> Record:
    """Store a new credential, inside a change; `how` is the audit log's word for it.

    Raises:
        StoreError: The name is taken, or a field is wrong.
    """
    name = name_of(record)
    if isinstance(record, ApiKey):
        check_name(name, "key")
        check_scopes(record.scopes)
    else:
        check_login(name)
    check_end(record.rights.expires_time)
    if await read_many(change.connection, kind, [name]):
        raise StoreError(f"{kind.what} {name!r} exists; choose another name", "conflict")
    rights = msgspec.structs.replace(
        await _checked(change.connection, record.rights), created_time=change.now
    )
    record = msgspec.structs.replace(record, rights=rights)
    await change.connection.execute(sa.insert(kind.table).values(_values(record)))
    await change.note(f"{kind.what}.{how}", name, rights.tenant, **_details(record))
    return record


async def add(engine: AsyncEngine, author: Author, kind: Kind[Record], record: Record) -> Record:
    """See `create`; `created_time` of its rights is set here."""
    async with changing(engine, author) as change:
        return await create(change, kind, record)


def changes_of(asked: Mapping[str, Any], *, never_expires: bool = False) -> dict[str, Any]:
    """What `set_rights` shall change, where None stays as it is.

    Args:
        asked: By the names of `Rights`, and `scopes`.
        never_expires: It loses its end.

    Raises:
        StoreError: Nothing is asked, or an end together with none.
    """
    changes = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in asked.items()
        if value is not None
    }
    if never_expires:
        if "expires_time" in changes:
            raise StoreError("say when it expires or that it never does, not both")
        changes["expires_time"] = None
    if not changes:
        raise StoreError("say what to change")
    return changes


async def set_rights(
    engine: AsyncEngine, author: Author, kind: Kind[Record], name: str, **changes: Any
) -> Record:
    """Change fields of a credential's `Rights` (not its tenant), or `scopes` of a key.

    Raises:
        StoreError: There is none of that name, or a field is wrong.
    """
    if "tenant" in changes:
        raise StoreError("a credential stays with its tenant; make another one", "conflict")
    check_end(changes.get("expires_time"))
    async with changing(engine, author) as change:
        record = await read_one(change.connection, kind, name)
        noted = dict(changes)
        if "scopes" in changes and isinstance(record, ApiKey):
            record = msgspec.structs.replace(record, scopes=check_scopes(changes.pop("scopes")))
        rights = await _checked(change.connection, msgspec.structs.replace(record.rights, **changes))
        record = msgspec.structs.replace(record, rights=rights)
        await _update(change, kind, name, _values(record))
        action = {True: "enabled", False: "disabled", None: "changed"}[changes.get("is_enabled")]
        await change.note(f"{kind.what}.{action}", name, rights.tenant, **noted)
        return record


async def set_password_hash(engine: AsyncEngine, author: Author, name: str, password_hash: str) -> SmtpUser:
    """Replace a user's password.

    Raises:
        StoreError: There is no such user.
    """
    return await _set(engine, author, USERS, name, "user.password", password_hash=password_hash)


async def set_key_hash(engine: AsyncEngine, author: Author, key_id: str, key_hash: str) -> ApiKey:
    """Replace a key's secret; the old one works no more.

    Raises:
        StoreError: There is no such key.
    """
    return await _set(engine, author, KEYS, key_id, "key.rotated", hash=key_hash)


async def _set(
    engine: AsyncEngine, author: Author, kind: Kind[Record], name: str, action: str, **secret: str
) -> Record:
    """Replace a field that the audit log does not tell; `action` is its word for that."""
    async with changing(engine, author) as change:
        record = await read_one(change.connection, kind, name)
        await _update(change, kind, name, secret)
        await change.note(action, name, record.rights.tenant)
        return msgspec.structs.replace(record, **secret)


async def remove(engine: AsyncEngine, author: Author, kind: Kind[Record], name: str) -> None:
    """Remove a credential; workers refuse it within seconds.

    Raises:
        StoreError: There is none of that name.
    """
    async with changing(engine, author) as change:
        record = await read_one(change.connection, kind, name)
        await change.connection.execute(sa.delete(kind.table).where(kind.key == name))
        await change.note(f"{kind.what}.removed", name, record.rights.tenant)


def check_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, each once.

    Raises:
        StoreError: One is unknown, or there is none.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise StoreError(f"scopes are {' and '.join(SCOPES)}; at least one is needed")
    return tuple(sorted(set(scopes)))


async def _update(change: Change, kind: Kind[Record], name: str, values: dict[str, Any]) -> None:
    await change.connection.execute(sa.update(kind.table).where(kind.key == name).values(values))


async def _checked(connection: AsyncConnection, rights: Rights) -> Rights:
    await read_tenant(connection, rights.tenant)
    table = schema.streams
    found = await connection.scalars(sa.select(table.c.name).where(table.c.tenant == rights.tenant))
    known = set(found)
    for stream in {*rights.streams, rights.stream} - {""}:
        if stream not in known:
            raise StoreError(
                f"tenant {rights.tenant!r} has no stream {stream!r}; `outrider tenant stream add "
                f"{rights.tenant} {stream}` makes it",
                "absent",
            )
    if rights.streams and rights.stream and rights.stream not in rights.streams:
        raise StoreError(f"the default stream {rights.stream!r} is not among those that it may name")
    return msgspec.structs.replace(
        rights,
        domains=check_sender_domains(rights.domains),
        streams=tuple(sorted(set(rights.streams))),
        networks=check_networks(rights.networks),
    )


def _values(record: SmtpUser | ApiKey) -> dict[str, Any]:
    values = msgspec.structs.asdict(record)
    values |= msgspec.structs.asdict(values.pop("rights"))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _details(record: SmtpUser | ApiKey) -> dict[str, Any]:
    """What the audit log keeps of a new credential: all that is set, no hash."""
    values = _values(record)
    skipped = {"name", "id", "hash", "password_hash", "tenant", "created_time"}
    return {key: value for key, value in values.items() if key not in skipped and value not in ([], "", None)}
