"""Routes of sender domains and of the DNS records that prove them."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from outrider.server.control_api.hub import Actor, WithHub, act, with_reason
from outrider.server.control_api.models import ChangeAsked, DomainAsked, Reason
from outrider.server.domain_proof import prove_domain
from outrider.store import domains

router = APIRouter(prefix="/v1", tags=["domains"])


class DnsRecord(BaseModel):
    """The record to publish."""

    name: str
    type: str
    value: str
    text: str = Field(description="As it stands in a zone file.")


class DomainShown(BaseModel):
    """A sender domain of a tenant."""

    tenant: str
    name: str
    token: str = Field(description="What the record must hold.")
    verified_time: str | None
    verified_by: str = Field(description="`dns`, `operator`, or empty: not yet.")
    checked_time: str | None = Field(description="When its record was last looked for.")
    created_time: str | None
    record: DnsRecord


class ProofAsked(ChangeAsked):
    """Whether to look the record up, or to take a word for it."""

    trust: bool = Field(False, description="Take it for verified on your word, without a look-up.")


class ProofFound(DomainShown):
    """The domain as it is now, and what the look-up found."""

    trouble: str = Field(description="Why the record does not prove it; empty: it does.")


class Domains(BaseModel):
    """Sender domains, by tenant and name."""

    items: list[DomainShown]


@router.get("/domains", summary="Sender domains, of all tenants or of one")
async def list_domains(hub: WithHub, tenant: str | None = None) -> Domains:
    """With the record that proves each."""
    found = await domains.list_domains(hub.engine, tenant)
    return Domains(items=[DomainShown(**domains.shown_domain(domain)) for domain in found])


@router.post("/tenants/{name}/domains", status_code=201, summary="Add a sender domain, not verified yet")
async def add_domain(hub: WithHub, actor: Actor, name: str, asked: DomainAsked) -> DomainShown:
    """The answer holds the DNS record to publish."""
    made = await hub.store(
        act(actor, "domain.add", f"{name}/{asked.name}", asked.reason),
        lambda author: domains.add_domain(hub.engine, author, name, asked.name),
    )
    return DomainShown(**domains.shown_domain(made))


@router.get("/tenants/{name}/domains/{domain}", summary="A sender domain and its record")
async def show_domain(hub: WithHub, name: str, domain: str) -> DomainShown:
    """404 when the tenant has none of that name."""
    return DomainShown(**domains.shown_domain(await domains.find_domain(hub.engine, name, domain)))


@router.post("/tenants/{name}/domains/{domain}/verification", summary="Look for the record in the DNS")
async def verify_domain(hub: WithHub, actor: Actor, name: str, domain: str, asked: ProofAsked) -> ProofFound:
    """503 when no nameserver answers. A domain that was verified stays so when its record is gone."""

    def prove(author: Any) -> Any:
        net = hub.settings.net
        return prove_domain(hub.engine, author, name, domain, net, hub.clock, hub.log, on_word=asked.trust)

    proof = await hub.store(act(actor, "domain.verify", f"{name}/{domain}", asked.reason), prove)
    return ProofFound(**domains.shown_domain(proof.domain), trouble=proof.trouble)


@router.delete("/tenants/{name}/domains/{domain}", status_code=204, summary="Remove a sender domain")
async def remove_domain(hub: WithHub, actor: Actor, name: str, domain: str, reason: Reason = "") -> None:
    """Nobody can send as it any more."""
    with_reason(reason, "removing a domain")
    await hub.store(
        act(actor, "domain.remove", f"{name}/{domain}", reason),
        lambda author: domains.remove_domain(hub.engine, author, name, domain),
    )
