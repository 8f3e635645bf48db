"""What a credential of the control database may do: worked out once, let go when it changes.

In: `store.lookup.Known`. Out: a `StorePrincipal`, which is `model.ports.Principal`.

Theory: what a credential may do follows from its own rights, its tenant, and the tenant's domains and
streams. All of it is worked out into `Facts` when the credential is looked up, so that a message costs a look
at one attribute. When the database changes, the facts are worked out again and compared; where they differ,
the old principal becomes invalid, and sessions that hold it end.

Invariant: a domain that its tenant has not verified is among `sender_domains` only where the tenant does not
verify domains.
"""

import ipaddress

import msgspec

from outrider.store.lookup import Known
from outrider.store.records import INJECT, ApiKey, SmtpUser

_USER_SCOPES = frozenset({INJECT})
# who signs in by SMTP hands in messages and cannot ask anything


class Facts(msgspec.Struct, frozen=True):
    """All that the answer to a credential depends on.

    Attributes:
        id: Name of the user or id of the key.
        is_key: It is a key.
        tenant: Its tenant.
        secret_hash: Argon2id of the password, or SHA-256 of the key.
        is_enabled: It and its tenant are.
        expires_time: Unix seconds, or None.
        networks: CIDR; none are any.
        sender_domains: See `Principal`.
        pending_domains: See `Principal`.
        streams: See `Principal`.
        stream: See `Principal`.
        scopes: See `Principal`.
        is_sandbox: See `Principal`.
    """

    id: str
    is_key: bool
    tenant: str
    secret_hash: str
    is_enabled: bool
    expires_time: float | None
    networks: tuple[str, ...]
    sender_domains: frozenset[str]
    pending_domains: frozenset[str]
    streams: frozenset[str]
    stream: str
    scopes: frozenset[str]
    is_sandbox: bool


class StorePrincipal:
    """A principal that may be told that it is none any more."""

    __slots__ = ("__weakref__", "_networks", "facts", "is_valid")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.is_valid = True
        self._networks = [ipaddress.ip_network(network) for network in facts.networks]

    @property
    def name(self) -> str:
        facts = self.facts
        return f"key:{facts.id}" if facts.is_key else facts.id  # as in the users file

    @property
    def tenant(self) -> str:
        return self.facts.tenant

    @property
    def sender_domains(self) -> frozenset[str]:
        return self.facts.sender_domains

    @property
    def pending_domains(self) -> frozenset[str]:
        return self.facts.pending_domains

    @property
    def streams(self) -> frozenset[str]:
        return self.facts.streams

    @property
    def stream(self) -> str:
        return self.facts.stream

    @property
    def scopes(self) -> frozenset[str]:
        return self.facts.scopes

    @property
    def is_sandbox(self) -> bool:
        return self.facts.is_sandbox

    def is_expired(self, wall: float) -> bool:
        """True when its time is over at `wall`, Unix seconds."""
        return self.facts.expires_time is not None and self.facts.expires_time <= wall

    def refusal(self, client: str, wall: float) -> str:
        """Why it does not work for a client at this time: a word for the log; empty when it works."""
        if not self.facts.is_enabled:
            return "disabled"
        if self.is_expired(wall):
            return "expired"
        return "" if self._is_from(client) else "network"

    def _is_from(self, client: str) -> bool:
        if not self._networks:
            return True
        try:
            address = ipaddress.ip_address(client)
        except ValueError:  # an unknown client is in no network
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def facts_of(known: Known[SmtpUser] | Known[ApiKey]) -> Facts:
    """What the credential may do, with all that its tenant has and lacks."""
    record, tenant = known.record, known.tenant
    rights = record.rights
    if isinstance(record, ApiKey):
        key, secret, scopes = record.id, record.hash, frozenset(record.scopes)
    else:
        key, secret, scopes = record.name, record.password_hash, _USER_SCOPES
    allowed, pending = sender_domains(
        rights.domains, known.verified, known.unverified, verifies=tenant.verifies_domains
    )
    return Facts(
        key,
        isinstance(record, ApiKey),
        tenant.name,
        secret,
        rights.is_enabled and tenant.is_enabled,
        rights.expires_time,
        rights.networks,
        allowed,
        pending,
        frozenset(rights.streams) & known.streams if rights.streams else known.streams,
        rights.stream,
        scopes,
        rights.is_sandbox,
    )


def sender_domains(
    listed: tuple[str, ...], verified: frozenset[str], unverified: frozenset[str], *, verifies: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """The domains that a credential may use, and those that it could use once they are verified.

    Args:
        listed: Its own list; empty is all of its tenant's.
        verified: The tenant's verified domains; each covers what is below it, where a list names that.
        unverified: The tenant's other domains.
        verifies: False: the tenant's domains need no verification, and `*` is really any.
    """
    if not verifies:
        return frozenset(listed) or verified | unverified, frozenset()
    allowed: set[str] = set()
    pending: set[str] = set()
    for entry in listed or ("*",):
        if entry == "*":
            allowed |= verified
            pending |= unverified
        elif _is_below(entry.removeprefix("."), verified):
            allowed.add(entry)
        else:
            pending.add(entry)
    return frozenset(allowed), frozenset(pending - allowed)


def _is_below(domain: str, verified: frozenset[str]) -> bool:
    labels = domain.split(".")
    return any(".".join(labels[start:]) in verified for start in range(len(labels)))
