"""Tenants and their streams.

In: an engine, an `Author` for changes, names. Out: `Tenant` and `Stream` records. A tenant is removed only
when nothing is left that belongs to it: mail in the queue and events go on to bear its name.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.base.errors import StoreError
from outrider.store import schema
from outrider.store.checks import check_name
from outrider.store.editor import Author, Change, changing
from outrider.store.engine import reading
from outrider.store.records import DEFAULT, KINDS, Stream, Tenant, shown

_TENANTS, _STREAMS = schema.tenants, schema.streams


async def read_tenant(connection: AsyncConnection, name: str) -> Tenant:
    """One tenant.

    Raises:
        StoreError: There is none of that name.
    """
    found = (await connection.execute(sa.select(_TENANTS).where(_TENANTS.c.name == name))).one_or_none()
    if found is None:
        raise StoreError(f"there is no tenant {name!r}; `outrider tenant add {name}` makes it", "absent")
    return Tenant(*found)


async def describe_tenant(engine: AsyncEngine, name: str) -> dict[str, Any]:
    """A tenant as it may be shown, with its streams, both of one moment.

    Raises:
        StoreError: There is none of that name.
    """
    async with reading(engine) as connection:
        tenant = await read_tenant(connection, name)
        query = sa.select(_STREAMS).where(_STREAMS.c.tenant == name).order_by(_STREAMS.c.name)
        streams = [Stream(*row) for row in await connection.execute(query)]
    return {**shown(tenant), "streams": [shown(stream) for stream in streams]}


async def list_tenants(engine: AsyncEngine) -> list[Tenant]:
    """All, by name."""
    async with reading(engine) as connection:
        return [Tenant(*row) for row in await connection.execute(sa.select(_TENANTS).order_by("name"))]


async def disabled_tenants(engine: AsyncEngine) -> frozenset[str]:
    """Names of those of which nothing is accepted."""
    async with reading(engine) as connection:
        query = sa.select(_TENANTS.c.name).where(_TENANTS.c.is_enabled.is_(False))
        return frozenset(await connection.scalars(query))


async def create_tenant(change: Change, name: str, description: str, *, verifies_domains: bool) -> Tenant:
    """A tenant and its stream `default`, inside a change."""
    check_name(name, "tenant")
    tenant = Tenant(name, description, True, verifies_domains, change.now)
    taken = await change.connection.execute(sa.select(_TENANTS.c.name).where(_TENANTS.c.name == name))
    if taken.one_or_none() is not None:
        raise StoreError(f"tenant {name!r} exists", "conflict")
    await change.connection.execute(sa.insert(_TENANTS).values(msgspec.structs.asdict(tenant)))
    await change.note("tenant.added", name, name, description=description, verifies_domains=verifies_domains)
    await _create_stream(change, name, DEFAULT, KINDS[0])
    return tenant


async def add_tenant(
    engine: AsyncEngine, author: Author, name: str, *, description: str = "", verifies_domains: bool = True
) -> Tenant:
    """A new tenant with its stream `default`, which is transactional.

    Raises:
        StoreError: The name is taken or is none.
    """
    async with changing(engine, author) as change:
        return await create_tenant(change, name, description, verifies_domains=verifies_domains)


async def set_tenant(
    engine: AsyncEngine,
    author: Author,
    name: str,
    *,
    description: str | None = None,
    is_enabled: bool | None = None,
    verifies_domains: bool | None = None,
) -> Tenant:
    """Change what is not None.

    Raises:
        StoreError: There is no such tenant.
    """
    asked = {
        "description": description,
        "is_enabled": is_enabled,
        "verifies_domains": verifies_domains,
    }
    values: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    async with changing(engine, author) as change:
        tenant = await read_tenant(change.connection, name)
        if values:
            await change.connection.execute(sa.update(_TENANTS).where(_TENANTS.c.name == name).values(values))
        action = {True: "enabled", False: "disabled", None: "changed"}[is_enabled]
        await change.note(f"tenant.{action}", name, name, **values)
        return msgspec.structs.replace(tenant, **values)


async def remove_tenant(engine: AsyncEngine, author: Author, name: str) -> None:
    """Remove a tenant, its streams and its domains.

    Raises:
        StoreError: There is none, it is `default`, or users or keys are left.
    """
    async with changing(engine, author) as change:
        await read_tenant(change.connection, name)
        if name == DEFAULT:
            raise StoreError(
                f"tenant {DEFAULT!r} stays: it is what listeners without a tenant use", "conflict"
            )
        for table, what in ((schema.users, "users"), (schema.keys, "keys")):
            left = await change.connection.scalar(
                sa.select(sa.func.count()).select_from(table).where(table.c.tenant == name)
            )
            if left:
                raise StoreError(f"tenant {name!r} has {left} {what}; remove them first", "conflict")
        for table in (_STREAMS, schema.domains):
            await change.connection.execute(sa.delete(table).where(table.c.tenant == name))
        await change.connection.execute(sa.delete(_TENANTS).where(_TENANTS.c.name == name))
        await change.note("tenant.removed", name, name)


async def list_streams(engine: AsyncEngine, tenant: str | None = None) -> list[Stream]:
    """The streams of one tenant or of all, by tenant and name."""
    query = sa.select(_STREAMS).order_by(_STREAMS.c.tenant, _STREAMS.c.name)
    if tenant is not None:
        query = query.where(_STREAMS.c.tenant == tenant)
    async with reading(engine) as connection:
        return [Stream(*row) for row in await connection.execute(query)]


async def _create_stream(change: Change, tenant: str, name: str, kind: str) -> Stream:
    check_name(name, "stream")
    if kind not in KINDS:
        raise StoreError(f"kind {kind!r}: a stream is {' or '.join(KINDS)}")
    stream = Stream(tenant, name, kind, change.now)
    query = sa.select(_STREAMS.c.name).where(_STREAMS.c.tenant == tenant, _STREAMS.c.name == name)
    if (await change.connection.execute(query)).one_or_none() is not None:
        raise StoreError(f"stream {name!r} of tenant {tenant!r} exists", "conflict")
    await change.connection.execute(sa.insert(_STREAMS).values(msgspec.structs.asdict(stream)))
    await change.note("stream.added", name, tenant, kind=kind)
    return stream


async def add_stream(
    engine: AsyncEngine, author: Author, tenant: str, name: str, kind: str = KINDS[0]
) -> Stream:
    """A new stream.

    Raises:
        StoreError: There is no such tenant or kind, or the name is taken or is none.
    """
    async with changing(engine, author) as change:
        await read_tenant(change.connection, tenant)
        return await _create_stream(change, tenant, name, kind)


async def remove_stream(engine: AsyncEngine, author: Author, tenant: str, name: str) -> None:
    """Remove a stream that no credential names.

    Raises:
        StoreError: There is none, or a credential names it.
    """
    async with changing(engine, author) as change:
        for table, column in ((schema.users, schema.users.c.name), (schema.keys, schema.keys.c.id)):
            query = sa.select(column, table.c.stream, table.c.streams).where(table.c.tenant == tenant)
            for credential, stream, streams in await change.connection.execute(query):
                if name == stream or name in streams:
                    raise StoreError(f"{credential!r} names stream {name!r}; change that first", "conflict")
        gone = await change.connection.execute(
            sa.delete(_STREAMS).where(_STREAMS.c.tenant == tenant, _STREAMS.c.name == name)
        )
        if not gone.rowcount:
            raise StoreError(f"tenant {tenant!r} has no stream {name!r}", "absent")
        await change.note("stream.removed", name, tenant)
