"""Routes of the keys that sign mail: what there is, what DNS has for it, make one, sign with another.

A private key never comes out here: it is in its file, for those who may read that.
"""

import asyncio
import os
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain
from outrider.net.resolver import DnsResolver
from outrider.privacy.signing_ring import SigningRing
from outrider.server.control_api.hub import Actor, Hub, WithHub, act
from outrider.server.control_api.models import ChangeAsked
from outrider.server.control_api.problems import InvalidPartError
from outrider.server.resolvers import new_resolver
from outrider.server.signing import KEEP_SECONDS, Rotation, open_signing_ring
from outrider.server.signing import rotate as rotated
from outrider.server.signing_shown import (
    checked_keys,
    noted_rotation,
    shown_keys,
    shown_record,
    shown_rotation,
)
from outrider.wire.dkim.keys import RSA_BITS_MAX, RSA_SIGN_BITS
from outrider.wire.dkim.record import format_record, record_name

DAY_SECONDS = 86_400.0

router = APIRouter(prefix="/v1/dkim", tags=["signing keys"])

Domain = Annotated[str, Path(description="The signing domain.")]
Selector = Annotated[str, Path(description="The selector, such as `2026a`.")]


class Record(BaseModel):
    """A record to publish."""

    name: str
    type: str
    value: str = Field(description="Empty: the key cannot be read.")
    zone_line: str = Field(description="As it stands in a zone file, in strings of at most 255 octets.")


class RecordFound(Record):
    """A record, and what DNS has in its place."""

    state: str = Field(description="`published`, `absent`, `different`, `revoked`, `broken` or `unanswered`.")
    what: str = Field(description="The same in words.")
    flags: list[str] = Field(description="Of the record that was found, `y` and `s`.")


class SelectorShown(BaseModel):
    """A key, without the key."""

    selector: str
    type: str
    bits: int
    state: str = Field(description="`pending`, `active` or `kept`.")
    created: str
    activated: str
    keep_until: str = Field(description="Until when its record has to stay; empty while none took its place.")


class SigningKeyShown(SelectorShown):
    """A key of a domain and its record."""

    domain: str
    trouble: str = Field(description="Why it cannot be used; empty: it can.")
    record: Record


class SigningKeys(BaseModel):
    """The keys that were made here, by domain, oldest first."""

    items: list[SigningKeyShown]


class KeyChecked(BaseModel):
    """A key that is of use for a domain, and its record."""

    domain: str
    selector: str
    state: str = Field(
        description="`configured`, its state in the directory of keys, `unknown` where only mail shows "
        "it, or `absent` where a domain that was asked for has none."
    )
    key: str = Field(description="Name of the place where it is.")
    trouble: str
    record: RecordFound | None = Field(description="Null: there is no key to compare.")


class KeysChecked(BaseModel):
    """All keys beside DNS."""

    ok: bool = Field(description="All that sign are published, and each domain that was asked for has a key.")
    keys: list[KeyChecked]


class KeyAsked(ChangeAsked):
    """A key to make."""

    type: Literal["rsa", "ed25519"] = "rsa"
    bits: int = Field(RSA_SIGN_BITS, ge=RSA_SIGN_BITS, le=RSA_BITS_MAX, description="Of an RSA key.")


class SigningKeyMade(BaseModel):
    """A new key; nothing signs with it before its activation."""

    domain: str
    selector: str
    file: str
    record: Record
    audit: int


class ActivationAsked(KeyAsked):
    """How to sign with a key from now on; it is made where there is none."""

    keep_days: int = Field(
        int(KEEP_SECONDS / DAY_SECONDS),
        ge=1,
        le=365,
        description="Days for which the key before must stay published.",
    )
    trust: bool = Field(False, description="Take the record for published on your word, without a look-up.")


class Activation(BaseModel):
    """What came of it."""

    activated: bool = Field(description="False: the record is not in DNS yet, and nothing changed.")
    made: bool = Field(description="The key was made just now.")
    record: RecordFound
    kept: SelectorShown | None = Field(description="The key whose place it took.")
    removed: list[SelectorShown] = Field(
        description="Keys whose date has passed; their records may be taken out of DNS."
    )
    audit: int


def _ring(hub: Hub) -> SigningRing:
    return open_signing_ring(hub.settings, hub.clock)


def _resolver(hub: Hub) -> DnsResolver:
    """A new one, because an answer that was kept may be from before the record was made."""
    return new_resolver(hub.settings.net, hub.clock, hub.log)


def _domain_name(text: str, place: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise InvalidPartError(place, f"{text[:80]} is no domain name: {error.message}") from error


@router.get("", summary="The keys that were made here, with their records, never a key")
async def list_keys(hub: WithHub, domain: str | None = None) -> SigningKeys:
    """Of all domains or of one."""
    ring = _ring(hub)
    domains = ring.domains() if domain is None else [_domain_name(domain, "/query/domain")]
    items = await asyncio.to_thread(shown_keys, ring, domains)
    return SigningKeys(items=[SigningKeyShown(**each) for each in items])


@router.get("/checks", summary="Compare the keys with their records in DNS")
async def check_keys(hub: WithHub, domain: Annotated[list[str] | None, Query()] = None) -> KeysChecked:
    """Those that the configuration names and those that were made here; all, or of the domains given."""
    wanted = [_domain_name(each, "/query/domain") for each in domain or ()]
    return KeysChecked(**await checked_keys(hub.settings, os.environ, hub.clock, _resolver(hub), wanted))


@router.post("/{domain}/{selector}", status_code=201, summary="Make a key")
async def make_key(
    hub: WithHub, actor: Actor, domain: Domain, selector: Selector, asked: KeyAsked
) -> SigningKeyMade:
    """Its record is to be published, then it is activated. 409 where the selector has a key."""
    ring, name = _ring(hub), _domain_name(domain, "/path/domain")
    record = record_name(selector.lower(), name)

    async def do() -> dict[str, Any]:
        made = await asyncio.to_thread(ring.make, name, selector, asked.type, asked.bits)
        return {"changed": 1, "facts": {"type": made.key_type, "bits": made.bits}}

    _, audit = await hub.change(act(actor, "dkim.keygen", record, asked.reason), do, matched=1)
    text = await asyncio.to_thread(lambda: format_record(ring.key(name, selector)))
    return SigningKeyMade(
        domain=name,
        selector=selector.lower(),
        file=str(ring.path(name, selector)),
        record=Record(**shown_record(record, text)),
        audit=audit,
    )


@router.post("/{domain}/{selector}/activation", summary="Sign with a key, once its record is in DNS")
async def activate_key(
    hub: WithHub, actor: Actor, domain: Domain, selector: Selector, asked: ActivationAsked
) -> Activation:
    """The one before is kept until its date, and can be taken back by activating it."""
    ring, name = _ring(hub), _domain_name(domain, "/path/domain")

    async def do() -> dict[str, Any]:
        done = await rotated(
            ring,
            None if asked.trust else _resolver(hub),
            name,
            selector,
            key_type=asked.type,
            bits=asked.bits,
            keep_seconds=asked.keep_days * DAY_SECONDS,
        )
        return {"changed": int(done.active is not None), "facts": noted_rotation(done), "done": done}

    asked_for = act(actor, "dkim.rotate", record_name(selector.lower(), name), asked.reason)
    result, audit = await hub.change(asked_for, do, matched=1)
    done: Rotation = result["done"]
    return Activation(**shown_rotation(done), audit=audit)
