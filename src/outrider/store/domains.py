"""Sender domains of tenants, and the proof that they are theirs.

In: an engine, an `Author` for changes, a resolver for verification. Out: `Domain` records, `Proof`s.

Theory: whoever can put a TXT record beside a domain controls it. The record holds a token of this tenant
alone, so two tenants prove the same domain each for itself, and a record seen in the DNS serves nobody else.
Until then a domain is *unverified* and no credential of the tenant may use it, unless the tenant does not
verify domains, which is the operator's word for all of them.

Standards: RFC 1035 §3.3.14 (TXT).
"""

import secrets
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.base.errors import StoreError, UnavailableError
from outrider.net.answers import Kind, Lookup, Status
from outrider.store import schema
from outrider.store.checks import check_domain
from outrider.store.editor import Author, Change, changing
from outrider.store.engine import reading
from outrider.store.records import Domain, shown
from outrider.store.tenants import read_tenant

LABEL: Final = "_outrider"
"""Chosen: the record stands below the domain, under a name that no host has."""

PREFIX: Final = "outrider-verification="
"""Chosen: whoever finds the record sees what it is for."""

_TOKEN_OCTETS: Final = 20
# chosen: 160 bits cannot be guessed

BY_DNS: Final = "dns"
BY_OPERATOR: Final = "operator"

_DOMAINS = schema.domains


class Expected(NamedTuple):
    """The DNS record that proves a domain."""

    name: str
    value: str

    def __str__(self) -> str:
        return f'{self.name}. IN TXT "{self.value}"'


class Proof(NamedTuple):
    """What a verification found: the domain as it is now, and why it is not verified, or empty."""

    domain: Domain
    trouble: str


def expected_record(domain: Domain) -> Expected:
    """The record that must be in the DNS for `domain` to be verified."""
    return Expected(f"{LABEL}.{domain.name}", PREFIX + domain.token)


def shown_domain(domain: Domain) -> dict[str, Any]:
    """A domain as it may be shown, with the record that proves it."""
    expected = expected_record(domain)
    record = {"name": expected.name, "type": "TXT", "value": expected.value, "text": str(expected)}
    return {**shown(domain), "record": record}


async def read_domain(connection: AsyncConnection, tenant: str, name: str) -> Domain:
    """One domain.

    Raises:
        StoreError: The tenant has none of that name.
    """
    query = sa.select(_DOMAINS).where(_DOMAINS.c.tenant == tenant, _DOMAINS.c.name == name)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        raise StoreError(f"tenant {tenant!r} has no domain {name!r}", "absent")
    return Domain(*found)


async def find_domain(engine: AsyncEngine, tenant: str, name: str) -> Domain:
    """See `read_domain`."""
    async with reading(engine) as connection:
        return await read_domain(connection, tenant, check_domain(name))


async def list_domains(engine: AsyncEngine, tenant: str | None = None) -> list[Domain]:
    """The domains of one tenant or of all, by tenant and name."""
    query = sa.select(_DOMAINS).order_by(_DOMAINS.c.tenant, _DOMAINS.c.name)
    if tenant is not None:
        query = query.where(_DOMAINS.c.tenant == tenant)
    async with reading(engine) as connection:
        return [Domain(*row) for row in await connection.execute(query)]


async def create_domain(change: Change, tenant: str, name: str, *, verified_by: str = "") -> Domain:
    """A domain, inside a change; `verified_by` other than empty takes it for verified."""
    name = check_domain(name)
    await read_tenant(change.connection, tenant)
    query = sa.select(_DOMAINS.c.name).where(_DOMAINS.c.tenant == tenant, _DOMAINS.c.name == name)
    if (await change.connection.execute(query)).one_or_none() is not None:
        raise StoreError(f"tenant {tenant!r} has the domain {name!r} already", "conflict")
    domain = Domain(
        tenant,
        name,
        secrets.token_hex(_TOKEN_OCTETS),
        change.now if verified_by else None,
        verified_by,
        None,
        change.now,
    )
    await change.connection.execute(sa.insert(_DOMAINS).values(msgspec.structs.asdict(domain)))
    await change.note("domain.added", name, tenant, verified_by=verified_by)
    return domain


async def add_domain(engine: AsyncEngine, author: Author, tenant: str, name: str) -> Domain:
    """A new domain, unverified.

    Raises:
        StoreError: There is no such tenant, it has the domain already, or the name is none.
    """
    async with changing(engine, author) as change:
        return await create_domain(change, tenant, name)


async def trust_domain(engine: AsyncEngine, author: Author, tenant: str, name: str) -> Domain:
    """Take a domain for verified on the operator's word.

    Raises:
        StoreError: The tenant has no such domain.
    """
    async with changing(engine, author) as change:
        return await take_on_word(change, await read_domain(change.connection, tenant, check_domain(name)))


async def take_on_word(change: Change, domain: Domain) -> Domain:
    """See `trust_domain`, inside a change."""
    return await _set(change, domain, verified_time=change.now, verified_by=BY_OPERATOR)


async def remove_domain(engine: AsyncEngine, author: Author, tenant: str, name: str) -> None:
    """Remove a domain; credentials that list it can no longer use it.

    Raises:
        StoreError: The tenant has no such domain.
    """
    async with changing(engine, author) as change:
        domain = await read_domain(change.connection, tenant, check_domain(name))
        await change.connection.execute(
            sa.delete(_DOMAINS).where(_DOMAINS.c.tenant == tenant, _DOMAINS.c.name == domain.name)
        )
        await change.note("domain.removed", domain.name, tenant)


async def verify_domain(
    engine: AsyncEngine, author: Author, resolver: Lookup, tenant: str, name: str
) -> Proof:
    """Look for the record, and note what was found.

    A domain that was verified and whose record is gone stays verified: DNS is changed by mistake more often
    than domains are lost; `remove_domain` ends it. The look-up is done outside any transaction.

    Args:
        engine: The database.
        author: Who asks.
        resolver: With an empty cache, else the answer may be one from before the record was made.
        tenant: Whose domain.
        name: The domain.

    Raises:
        StoreError: The tenant has no such domain.
        UnavailableError: No nameserver gives an answer.
    """
    domain = await find_domain(engine, tenant, name)
    expected = expected_record(domain)
    answer = await resolver.lookup(expected.name, Kind.TXT)
    if answer.status is Status.FAILED:
        raise UnavailableError(f"{expected.name}: no nameserver answers ({answer.trouble}); try again later")
    is_found = expected.value in answer.texts
    trouble = "" if is_found else _trouble(expected, answer.texts)
    async with changing(engine, author) as change:
        now = change.now
        domain = await read_domain(change.connection, tenant, domain.name)
        if expected_record(domain) != expected:
            raise StoreError(f"domain {name!r} was added anew meanwhile; verify it again", "conflict")
        if is_found:
            return Proof(
                await _set(change, domain, verified_time=now, verified_by=BY_DNS, checked_time=now), ""
            )
        return Proof(await _set(change, domain, checked_time=now), trouble)


def _trouble(expected: Expected, texts: tuple[str, ...]) -> str:
    if not texts:
        return (
            f"there is no TXT record at {expected.name}; publish it, wait until its zone is served, try again"
        )
    if any(text.startswith(PREFIX) for text in texts):
        return f"the TXT record at {expected.name} is another one's: it holds another token"
    return f"the {len(texts)} TXT record(s) at {expected.name} hold something else"


async def _set(change: Change, domain: Domain, **values: object) -> Domain:
    after = msgspec.structs.replace(domain, **values)
    await change.connection.execute(
        sa.update(_DOMAINS)
        .where(_DOMAINS.c.tenant == domain.tenant, _DOMAINS.c.name == domain.name)
        .values(values)
    )
    is_new = domain.verified_time is None and after.verified_time is not None
    action = "verified" if is_new else "checked"
    await change.note(f"domain.{action}", domain.name, domain.tenant, verified_by=after.verified_by)
    return after
