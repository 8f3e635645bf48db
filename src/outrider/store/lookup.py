"""What a worker needs to know of a credential, all of it from one moment.

In: an engine, names of users or ids of keys. Out: `Known`, with the tenant, its domains and its streams, so
that what the credential may do can be worked out without asking again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.store import schema
from outrider.store.credentials import Kind, name_of, read_many
from outrider.store.engine import reading
from outrider.store.records import ApiKey, SmtpUser, Tenant

Record = TypeVar("Record", SmtpUser, ApiKey)

_NAMES_AT_ONCE = 500
# chosen, below SQLite's least limit of 999 parameters (SQLITE_MAX_VARIABLE_NUMBER before 3.32)


class Known(NamedTuple, Generic[Record]):
    """A credential and what it depends on.

    Attributes:
        record: The user or key.
        tenant: Its tenant.
        verified: The tenant's verified domains.
        unverified: Its other domains.
        streams: The tenant's streams.
    """

    record: Record
    tenant: Tenant
    verified: frozenset[str]
    unverified: frozenset[str]
    streams: frozenset[str]


class _Surroundings:
    """What the tenants of some credentials have."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.verified: dict[str, set[str]] = {}
        self.unverified: dict[str, set[str]] = {}
        self.streams: dict[str, set[str]] = {}

    async def read(self, connection: AsyncConnection, names: Sequence[str]) -> None:
        """Read what the tenants `names` have."""
        for row in await connection.execute(_of(schema.tenants, "name", names)):
            self.tenants[row.name] = Tenant(*row)
        for row in await connection.execute(_of(schema.domains, "tenant", names)):
            kept = self.unverified if row.verified_time is None else self.verified
            kept.setdefault(row.tenant, set()).add(row.name)
        for row in await connection.execute(_of(schema.streams, "tenant", names)):
            self.streams.setdefault(row.tenant, set()).add(row.name)

    def of(self, record: Record) -> Known[Record]:
        """A credential with what its tenant has."""
        tenant = record.rights.tenant
        return Known(
            record,
            self.tenants[tenant],
            frozenset(self.verified.get(tenant, ())),
            frozenset(self.unverified.get(tenant, ())),
            frozenset(self.streams.get(tenant, ())),
        )


def _of(table: sa.Table, column: str, names: Sequence[str]) -> sa.Select[Any]:
    return sa.select(table).where(table.c[column].in_(names))


async def look_up(engine: AsyncEngine, kind: Kind[Record], names: Iterable[str]) -> dict[str, Known[Record]]:
    """Those of `names` that exist.

    Raises:
        UnavailableError: The database does not answer.
    """
    wanted = list(names)
    found: dict[str, Known[Record]] = {}
    async with reading(engine) as connection:
        for start in range(0, len(wanted), _NAMES_AT_ONCE):
            records = await read_many(connection, kind, wanted[start : start + _NAMES_AT_ONCE])
            surroundings = _Surroundings()
            await surroundings.read(connection, sorted({record.rights.tenant for record in records}))
            for record in records:
                found[name_of(record)] = surroundings.of(record)
    return found
