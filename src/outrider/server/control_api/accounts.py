"""Routes of tenants and their streams."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from outrider.server.control_api.hub import Actor, WithHub, act, with_reason
from outrider.server.control_api.models import Reason, StreamAsked, TenantAsked, TenantChange
from outrider.store import tenants
from outrider.store.records import shown

router = APIRouter(prefix="/v1", tags=["accounts"])


class StreamShown(BaseModel):
    """A kind of mail of one tenant."""

    tenant: str
    name: str
    kind: str = Field(description="`transactional` or `marketing`.")
    created_time: str | None


class TenantShown(BaseModel):
    """Who sends."""

    name: str
    description: str
    is_enabled: bool = Field(description="False: nothing of it is accepted, and its queue is held.")
    verifies_domains: bool = Field(description="Its domains count only once they are verified.")
    created_time: str | None = Field(description="Null: it was there from the start.")


class TenantDetail(TenantShown):
    """A tenant with its streams."""

    streams: list[StreamShown]


class Tenants(BaseModel):
    """Tenants, by name."""

    items: list[TenantShown]


class Streams(BaseModel):
    """Streams, by tenant and name."""

    items: list[StreamShown]


@router.get("/tenants", summary="All tenants")
async def list_tenants(hub: WithHub) -> Tenants:
    """By name."""
    return Tenants(items=[TenantShown(**shown(each)) for each in await tenants.list_tenants(hub.engine)])


@router.post("/tenants", status_code=201, summary="Add a tenant with its stream `default`")
async def add_tenant(hub: WithHub, actor: Actor, asked: TenantAsked) -> TenantShown:
    """409 when there is one of that name."""
    made = await hub.store(
        act(actor, "tenant.add", asked.name, asked.reason),
        lambda author: tenants.add_tenant(
            hub.engine,
            author,
            asked.name,
            description=asked.description,
            verifies_domains=asked.verifies_domains,
        ),
    )
    return TenantShown(**shown(made))


@router.get("/tenants/{name}", summary="A tenant with its streams")
async def show_tenant(hub: WithHub, name: str) -> TenantDetail:
    """404 when there is none."""
    return TenantDetail(**await tenants.describe_tenant(hub.engine, name))


@router.patch("/tenants/{name}", summary="Change a tenant: describe, disable, enable")
async def set_tenant(hub: WithHub, actor: Actor, name: str, asked: TenantChange) -> TenantShown:
    """Nothing of a disabled tenant is accepted and its queue is held; disabling needs a reason."""
    if asked.is_enabled is False:
        with_reason(asked.reason, "disabling a tenant")
    changed = await hub.store(
        act(actor, "tenant.change", name, asked.reason),
        lambda author: tenants.set_tenant(
            hub.engine,
            author,
            name,
            description=asked.description,
            is_enabled=asked.is_enabled,
            verifies_domains=asked.verifies_domains,
        ),
    )
    return TenantShown(**shown(changed))


@router.delete("/tenants/{name}", status_code=204, summary="Remove a tenant that has no credentials")
async def remove_tenant(hub: WithHub, actor: Actor, name: str, reason: Reason = "") -> None:
    """Its mail in the queue goes on."""
    with_reason(reason, "removing a tenant")
    await hub.store(
        act(actor, "tenant.remove", name, reason),
        lambda author: tenants.remove_tenant(hub.engine, author, name),
    )


@router.get("/streams", summary="Streams of all tenants, or of one")
async def list_all_streams(hub: WithHub, tenant: str | None = None) -> Streams:
    """By tenant and name."""
    found = await tenants.list_streams(hub.engine, tenant)
    return Streams(items=[StreamShown(**shown(each)) for each in found])


@router.get("/tenants/{name}/streams", summary="Streams of a tenant")
async def list_streams(hub: WithHub, name: str) -> Streams:
    """By name."""
    return await list_all_streams(hub, name)


@router.post("/tenants/{name}/streams", status_code=201, summary="Add a stream")
async def add_stream(hub: WithHub, actor: Actor, name: str, asked: StreamAsked) -> StreamShown:
    """Its kind is `transactional` or `marketing`."""
    made = await hub.store(
        act(actor, "stream.add", f"{name}/{asked.name}", asked.reason),
        lambda author: tenants.add_stream(hub.engine, author, name, asked.name, asked.kind),
    )
    return StreamShown(**shown(made))


@router.delete("/tenants/{name}/streams/{stream}", status_code=204, summary="Remove a stream")
async def remove_stream(hub: WithHub, actor: Actor, name: str, stream: str, reason: Reason = "") -> None:
    """409 while a credential names it."""
    with_reason(reason, "removing a stream")
    await hub.store(
        act(actor, "stream.remove", f"{name}/{stream}", reason),
        lambda author: tenants.remove_stream(hub.engine, author, name, stream),
    )
