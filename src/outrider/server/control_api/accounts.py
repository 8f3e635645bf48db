"""Routes of tenants and their streams."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from outrider.server.control_api.hub import Actor, WithHub, act, with_reason
from outrider.server.control_api.models import Reason, StreamAsked, TenantAsked, TenantChange
from outrider.store import tenants
from outrider.store.records import ApiKey, SmtpUser, Stream, Tenant, shown

router = APIRouter(prefix="/v1", tags=["accounts"])


class Records(BaseModel):
    """Records of the control database, by name; nothing of passwords and keys."""

    items: list[dict[str, Any]]


def records_of(found: Iterable[Tenant | Stream | SmtpUser | ApiKey]) -> Records:
    """Records as they may be shown."""
    return Records(items=[shown(record) for record in found])


@router.get("/tenants", summary="All tenants")
async def list_tenants(hub: WithHub) -> Records:
    """By name."""
    return records_of(await tenants.list_tenants(hub.engine))


@router.post("/tenants", status_code=201, summary="Add a tenant with its stream `default`")
async def add_tenant(hub: WithHub, actor: Actor, asked: TenantAsked) -> dict[str, Any]:
    """409 when there is one of that name."""
    return shown(
        await hub.store(
            act(actor, "tenant.add", asked.name, asked.reason),
            lambda author: tenants.add_tenant(
                hub.engine,
                author,
                asked.name,
                description=asked.description,
                verifies_domains=asked.verifies_domains,
            ),
        )
    )


@router.get("/tenants/{name}", summary="A tenant with its streams")
async def show_tenant(hub: WithHub, name: str) -> dict[str, Any]:
    """404 when there is none."""
    return await tenants.describe_tenant(hub.engine, name)


@router.patch("/tenants/{name}", summary="Change a tenant: describe, disable, enable")
async def set_tenant(hub: WithHub, actor: Actor, name: str, asked: TenantChange) -> dict[str, Any]:
    """Nothing of a disabled tenant is accepted; disabling needs a reason."""
    if asked.is_enabled is False:
        with_reason(asked.reason, "disabling a tenant")
    return shown(
        await hub.store(
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
    )


@router.delete("/tenants/{name}", status_code=204, summary="Remove a tenant that has no credentials")
async def remove_tenant(hub: WithHub, actor: Actor, name: str, reason: Reason = "") -> None:
    """Its mail in the queue goes on."""
    with_reason(reason, "removing a tenant")
    await hub.store(
        act(actor, "tenant.remove", name, reason),
        lambda author: tenants.remove_tenant(hub.engine, author, name),
    )


@router.get("/streams", summary="Streams of all tenants, or of one")
async def list_all_streams(hub: WithHub, tenant: str | None = None) -> Records:
    """By tenant and name."""
    return records_of(await tenants.list_streams(hub.engine, tenant))


@router.get("/tenants/{name}/streams", summary="Streams of a tenant")
async def list_streams(hub: WithHub, name: str) -> Records:
    """By name."""
    return records_of(await tenants.list_streams(hub.engine, name))


@router.post("/tenants/{name}/streams", status_code=201, summary="Add a stream")
async def add_stream(hub: WithHub, actor: Actor, name: str, asked: StreamAsked) -> dict[str, Any]:
    """Its kind is `transactional` or `marketing`."""
    return shown(
        await hub.store(
            act(actor, "stream.add", f"{name}/{asked.name}", asked.reason),
            lambda author: tenants.add_stream(hub.engine, author, name, asked.name, asked.kind),
        )
    )


@router.delete("/tenants/{name}/streams/{stream}", status_code=204, summary="Remove a stream")
async def remove_stream(hub: WithHub, actor: Actor, name: str, stream: str, reason: Reason = "") -> None:
    """409 while a credential names it."""
    with_reason(reason, "removing a stream")
    await hub.store(
        act(actor, "stream.remove", f"{name}/{stream}", reason),
        lambda author: tenants.remove_stream(hub.engine, author, name, stream),
    )
