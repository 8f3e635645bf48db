"""Routes of the control database: tenants, streams, users, keys, domains.

Passwords and keys are made by `outrider user` and `outrider key`, which show them once on a terminal; here
credentials can be listed, blocked, let in again and removed.
"""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel

from outrider.server.control_api.hub import Actor, WithHub, act, with_reason
from outrider.server.control_api.models import DomainAsked, Reason, StreamAsked, TenantAsked, TenantChange
from outrider.store import credentials, domains, tenants
from outrider.store.credentials import KEYS, USERS
from outrider.store.records import shown

router = APIRouter(prefix="/v1", tags=["accounts"])


class Records(BaseModel):
    """Records of the control database, by name."""

    items: list[dict[str, Any]]


def _plain(records: Any) -> Records:
    return Records(items=[msgspec.to_builtins(record) for record in records])


@router.get("/tenants", summary="All tenants")
async def list_tenants(hub: WithHub) -> Records:
    """By name."""
    return _plain(await tenants.list_tenants(hub.engine))


@router.post("/tenants", status_code=201, summary="Add a tenant with its stream `default`")
async def add_tenant(hub: WithHub, actor: Actor, asked: TenantAsked) -> dict[str, Any]:
    """409 when there is one of that name."""
    tenant = await tenants.add_tenant(
        hub.engine,
        hub.author(actor, asked.reason),
        asked.name,
        description=asked.description,
        verifies_domains=asked.verifies_domains,
    )
    await hub.tell(act(actor, "tenant.add", asked.name, asked.reason), "done", changed=1)
    made: dict[str, Any] = msgspec.to_builtins(tenant)
    return made


@router.patch("/tenants/{name}", summary="Change a tenant: describe, disable, enable")
async def set_tenant(hub: WithHub, actor: Actor, name: str, asked: TenantChange) -> dict[str, Any]:
    """Nothing of a disabled tenant is accepted; disabling needs a reason."""
    if asked.is_enabled is False:
        with_reason(asked.reason, "disabling a tenant")
    tenant = await tenants.set_tenant(
        hub.engine,
        hub.author(actor, asked.reason),
        name,
        description=asked.description,
        is_enabled=asked.is_enabled,
        verifies_domains=asked.verifies_domains,
    )
    await hub.tell(act(actor, "tenant.change", name, asked.reason), "done", changed=1)
    changed: dict[str, Any] = msgspec.to_builtins(tenant)
    return changed


@router.delete("/tenants/{name}", status_code=204, summary="Remove a tenant that has no credentials")
async def remove_tenant(hub: WithHub, actor: Actor, name: str, reason: Reason = "") -> None:
    """Its mail in the queue goes on."""
    with_reason(reason, "removing a tenant")
    await tenants.remove_tenant(hub.engine, hub.author(actor, reason), name)
    await hub.tell(act(actor, "tenant.remove", name, reason), "done", changed=1)


@router.get("/tenants/{name}/streams", summary="Streams of a tenant")
async def list_streams(hub: WithHub, name: str) -> Records:
    """By name."""
    return _plain(await tenants.list_streams(hub.engine, name))


@router.post("/tenants/{name}/streams", status_code=201, summary="Add a stream")
async def add_stream(hub: WithHub, actor: Actor, name: str, asked: StreamAsked) -> dict[str, Any]:
    """Its kind is `transactional` or `marketing`."""
    author = hub.author(actor, asked.reason)
    stream = await tenants.add_stream(hub.engine, author, name, asked.name, asked.kind)
    await hub.tell(act(actor, "stream.add", f"{name}/{asked.name}", asked.reason), "done", changed=1)
    made: dict[str, Any] = msgspec.to_builtins(stream)
    return made


@router.delete("/tenants/{name}/streams/{stream}", status_code=204, summary="Remove a stream")
async def remove_stream(hub: WithHub, actor: Actor, name: str, stream: str, reason: Reason = "") -> None:
    """409 while a credential names it."""
    with_reason(reason, "removing a stream")
    await tenants.remove_stream(hub.engine, hub.author(actor, reason), name, stream)
    await hub.tell(act(actor, "stream.remove", f"{name}/{stream}", reason), "done", changed=1)


@router.get("/domains", summary="Sender domains, of all tenants or of one")
async def list_domains(hub: WithHub, tenant: str | None = None) -> Records:
    """With the record that proves each."""
    found = await domains.list_domains(hub.engine, tenant)
    return Records(
        items=[
            {**msgspec.to_builtins(domain), "record": str(domains.expected_record(domain))}
            for domain in found
        ]
    )


@router.post("/tenants/{name}/domains", status_code=201, summary="Add a sender domain, not verified yet")
async def add_domain(hub: WithHub, actor: Actor, name: str, asked: DomainAsked) -> dict[str, Any]:
    """The answer holds the DNS record to make; `outrider domain verify` looks for it."""
    domain = await domains.add_domain(hub.engine, hub.author(actor, asked.reason), name, asked.name)
    await hub.tell(act(actor, "domain.add", f"{name}/{asked.name}", asked.reason), "done", changed=1)
    return {**msgspec.to_builtins(domain), "record": str(domains.expected_record(domain))}


@router.delete("/tenants/{name}/domains/{domain}", status_code=204, summary="Remove a sender domain")
async def remove_domain(hub: WithHub, actor: Actor, name: str, domain: str, reason: Reason = "") -> None:
    """Nobody can send as it any more."""
    with_reason(reason, "removing a domain")
    await domains.remove_domain(hub.engine, hub.author(actor, reason), name, domain)
    await hub.tell(act(actor, "domain.remove", f"{name}/{domain}", reason), "done", changed=1)


class CredentialChange(BaseModel):
    """Let a credential in, or keep it out."""

    is_enabled: bool
    reason: Reason = ""


@router.get("/users", summary="SMTP users, of all tenants or of one")
async def list_users(hub: WithHub, tenant: str | None = None) -> Records:
    """Without anything of their passwords."""
    return Records(items=[shown(user) for user in await credentials.list_all(hub.engine, USERS, tenant)])


@router.get("/keys", summary="API keys, of all tenants or of one")
async def list_keys(hub: WithHub, tenant: str | None = None) -> Records:
    """Without anything of their texts."""
    return Records(items=[shown(key) for key in await credentials.list_all(hub.engine, KEYS, tenant)])


Of = Literal["users", "keys"]


@router.patch("/{of}/{name}", summary="Block a credential, or let it in again")
async def set_credential(
    hub: WithHub, actor: Actor, of: Of, name: str, asked: CredentialChange
) -> dict[str, Any]:
    """Blocking needs a reason; it holds from the next session on."""
    if not asked.is_enabled:
        with_reason(asked.reason, "blocking a credential")
    author = hub.author(actor, asked.reason)
    record: Any
    if of == "users":
        record = await credentials.set_rights(hub.engine, author, USERS, name, is_enabled=asked.is_enabled)
    else:
        record = await credentials.set_rights(hub.engine, author, KEYS, name, is_enabled=asked.is_enabled)
    verb = "enable" if asked.is_enabled else "disable"
    await hub.tell(act(actor, f"{of[:-1]}.{verb}", name, asked.reason), "done", changed=1)
    return shown(record)


@router.delete("/{of}/{name}", status_code=204, summary="Remove a credential")
async def remove_credential(hub: WithHub, actor: Actor, of: Of, name: str, reason: Reason = "") -> None:
    """It cannot be had back; a new one can be made."""
    with_reason(reason, "removing a credential")
    author = hub.author(actor, reason)
    if of == "users":
        await credentials.remove(hub.engine, author, USERS, name)
    else:
        await credentials.remove(hub.engine, author, KEYS, name)
    await hub.tell(act(actor, f"{of[:-1]}.remove", name, reason), "done", changed=1)
