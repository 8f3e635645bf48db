"""What the control database holds, as values.

Rows come out of the queries as these; times are Unix seconds. No value holds a secret: a password and a key
are there as hashes, and a record that is shown leaves even those out (`shown`).
"""

from typing import Any, Final

import msgspec

from outrider.base.clock import format_utc

DEFAULT: Final = "default"
"""Tenant and stream of whoever names none; both are there from the start."""

KINDS: Final = ("transactional", "marketing")
"""Kinds of streams: what a recipient caused by an action of his own, and everything else."""

INJECT: Final = "inject"
STATUS: Final = "status"
SCOPES: Final = (INJECT, STATUS)
"""What a key can be for: hand in messages, ask what became of them."""


class Tenant(msgspec.Struct, frozen=True):
    """Who sends, for fairness, limits and responsibility.

    Attributes:
        name: In the configuration, in events and in the queue.
        description: For people.
        is_enabled: False: nothing of it is accepted, by credentials or from trusted networks.
        verifies_domains: Its domains count only once they are verified.
        created_time: When it was made.
    """

    name: str
    description: str
    is_enabled: bool
    verifies_domains: bool
    created_time: float


class Stream(msgspec.Struct, frozen=True):
    """A kind of mail of one tenant.

    Attributes:
        tenant: Whose.
        name: As in `X-Outrider-Stream`.
        kind: One of `KINDS`.
        created_time: When it was made.
    """

    tenant: str
    name: str
    kind: str
    created_time: float


class Rights(msgspec.Struct, frozen=True):
    """What users and keys have in common.

    Attributes:
        tenant: Whose messages they are.
        description: For people.
        domains: Sender domains; `.example.com` is all below it, `*` any. None at all are those of the tenant.
        streams: Streams that a message may name; none at all are those of the tenant.
        stream: Stream of a message that names none; empty is the listener's.
        networks: Networks that it may be used from; none at all are any.
        is_sandbox: Messages are accepted and recorded, never sent.
        is_enabled: False: it does not work.
        expires_time: It does not work from then on; None is never.
        created_time: When it was made.
    """

    tenant: str
    description: str = ""
    domains: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    stream: str = ""
    networks: tuple[str, ...] = ()
    is_sandbox: bool = False
    is_enabled: bool = True
    expires_time: float | None = None
    created_time: float = 0.0


class SmtpUser(msgspec.Struct, frozen=True):
    """A login for AUTH: its name, Argon2id of its password, what it may do."""

    name: str
    password_hash: str
    rights: Rights


class ApiKey(msgspec.Struct, frozen=True):
    """A key for HTTP: its id, SHA-256 of its text in hexadecimal, its scopes, what it may do."""

    id: str
    hash: str
    scopes: tuple[str, ...]
    rights: Rights


class Domain(msgspec.Struct, frozen=True):
    """A sender domain of a tenant.

    Attributes:
        tenant: Whose.
        name: A-labels.
        token: What the DNS record must hold.
        verified_time: When it was found there, or taken on the operator's word; None is not yet.
        verified_by: `dns`, `operator`, or empty.
        checked_time: When it was last looked for.
        created_time: When it was added.
    """

    tenant: str
    name: str
    token: str
    verified_time: float | None
    verified_by: str
    checked_time: float | None
    created_time: float


class AuditRow(msgspec.Struct, frozen=True):
    """One change; see `store.audit` for the chain.

    Attributes:
        number: 1 and on, without gaps.
        time: RFC 3339.
        actor: Who: `cli:NAME`, `api:NAME`, `server`.
        action: What, as words joined by dots.
        subject: On what.
        tenant: Whose, where it is somebody's.
        reason: Why, as the actor said.
        details: What was changed, as a JSON object, and `user_id` of who asked; no secrets.
        previous: Hash of the row before.
        hash: Of this row.
    """

    number: int
    time: str
    actor: str
    action: str
    subject: str
    tenant: str
    reason: str
    details: str
    previous: str
    hash: str


def shown(record: Tenant | Stream | SmtpUser | ApiKey | Domain) -> dict[str, Any]:
    """A record as it may be shown: everything but hashes, times as in RFC 3339 (null: never)."""
    facts: dict[str, Any]
    match record:
        case SmtpUser():
            facts = {"name": record.name, **msgspec.to_builtins(record.rights)}
        case ApiKey():
            facts = {"id": record.id, "scopes": list(record.scopes), **msgspec.to_builtins(record.rights)}
        case _:
            facts = msgspec.to_builtins(record)
    for name, value in facts.items():
        if name.endswith("_time"):
            facts[name] = format_utc(value) if value else None  # 0: it was there from the start
    return facts
