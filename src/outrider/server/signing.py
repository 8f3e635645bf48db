"""Signing keys of a server, and whether DNS says the same: what `outrider dkim` and preflight ask.

In: settings, and who answers questions to DNS. Out: the keys that sign for a domain, by configuration and by
the commands, the record that each needs, and what was found in its place.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError, StoreError
from outrider.base.files import OsFiles
from outrider.net.answers import Lookup
from outrider.privacy.keyring import credentials_directory
from outrider.privacy.signature_checks import key_records
from outrider.privacy.signing_keys import SigningKeys
from outrider.privacy.signing_ring import ActiveSelectors, Selector, SigningRing
from outrider.privacy.signing_table import SigningTable
from outrider.server.settings import Settings
from outrider.wire.dkim.keys import RSA_SIGN_BITS, SigningKey
from outrider.wire.dkim.record import RecordError, format_record, parse_record, record_name, zone_line
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records
from outrider.wire.dkim.signer import short_key_fault

KEEP_SECONDS = 14 * 86_400
"""Chosen: mail waits for five days in most queues and is read later; a record costs nothing meanwhile."""


class RecordState(StrEnum):
    """What DNS has for a key."""

    PUBLISHED = "published"
    ABSENT = "absent"
    DIFFERENT = "different"
    REVOKED = "revoked"
    BROKEN = "broken"
    UNANSWERED = "unanswered"


class RecordCheck(msgspec.Struct, frozen=True):
    """A key and what DNS has for it.

    Attributes:
        name: Where its record is.
        expected: The record to publish.
        state: What was found.
        what: The same in words.
        flags: Of the record that was found, `y` and `s`.
    """

    name: str
    expected: str
    state: RecordState
    what: str
    flags: tuple[str, ...] = ()

    @property
    def is_published(self) -> bool:
        return self.state is RecordState.PUBLISHED

    @property
    def is_missing(self) -> bool:
        """DNS answered, and the record is not there as it should be."""
        return self.state not in {RecordState.PUBLISHED, RecordState.UNANSWERED}

    def told(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "type": "TXT",
            "value": self.expected,
            "zone_line": zone_line(self.name, self.expected),
            "state": str(self.state),
            "what": self.what,
            "flags": list(self.flags),
        }


def open_signing_ring(settings: Settings, clock: Clock) -> SigningRing:
    """The keys that the commands make."""
    return SigningRing(OsFiles(), settings.signing_directory, clock)


def signing_keys(settings: Settings, environment: Mapping[str, str], clock: Clock) -> SigningKeys:
    """What gives a process its keys by name."""
    return SigningKeys(OsFiles(), settings.signing_directory, credentials_directory(environment), clock)


def signing_table(settings: Settings, clock: Clock) -> SigningTable:
    """Which signatures a message gets by configuration."""
    return SigningTable(settings.dkim, ActiveSelectors(open_signing_ring(settings, clock), clock))


def compare(key: SigningKey, name: str, records: Records) -> RecordCheck:
    """What the records at a key's name say of it."""
    expected = format_record(key)
    if records.trouble:
        return RecordCheck(name, expected, RecordState.UNANSWERED, records.trouble)
    if not records.texts:
        return RecordCheck(name, expected, RecordState.ABSENT, "there is no TXT record")
    faults = []
    for text in records.texts:
        try:
            found = parse_record(text)
        except RecordError as error:
            if error.is_revoked:
                return RecordCheck(
                    name, expected, RecordState.REVOKED, "the record revokes the key (p= is empty)"
                )
            faults.append(error.message)
            continue
        if not found.key.matches(key):
            return RecordCheck(
                name,
                expected,
                RecordState.DIFFERENT,
                f"the record holds another key ({found.key.record_type}, {found.key.bits} bits)",
                found.flags,
            )
        if not found.is_for_mail or (found.hashes and "sha256" not in found.hashes):
            return RecordCheck(
                name, expected, RecordState.BROKEN, "the record forbids mail or SHA-256", found.flags
            )
        several = (
            f"; {len(records.texts)} texts stand there, and only one may" if len(records.texts) > 1 else ""
        )
        testing = "; t=y tells receivers to ignore failures" if found.is_testing else ""
        return RecordCheck(
            name, expected, RecordState.PUBLISHED, f"the record holds this key{testing}{several}", found.flags
        )
    return RecordCheck(
        name, expected, RecordState.BROKEN, f"the record cannot be read: {'; '.join(faults[:3])}"
    )


async def check_key(lookup: Lookup, domain: str, selector: str, key: SigningKey) -> RecordCheck:
    """Look a key's record up and compare."""
    name = record_name(selector, domain)
    return compare(key, name, (await key_records([name], lookup))[name])


class SigningUse(msgspec.Struct, frozen=True):
    """A key that is of use for a domain.

    Attributes:
        domain: `d=`.
        selector: `s=`.
        source: Where the key is.
        state: Its state, or `configured`.
        key: The key; None where it cannot be used.
        trouble: Why not.
    """

    domain: str
    selector: str
    source: str
    state: str
    key: SigningKey | None
    trouble: str = ""


def uses_of(
    settings: Settings, environment: Mapping[str, str], clock: Clock, domain: str, tenant: str = ""
) -> list[SigningUse]:
    """Every key for a domain: those that the configuration names, then those that the commands made."""
    ring = open_signing_ring(settings, clock)
    keys = signing_keys(settings, environment, clock)
    uses = [
        _use(keys, request, "configured")
        for request in signing_table(settings, clock).requests_for(domain, tenant)
        if not request.key.startswith("ring:")
    ]
    uses += [
        _use(keys, SignRequest(domain, each.name, f"ring:{domain}/{each.name}"), str(each.state))
        for each in ring.selectors(domain)
    ]
    return uses


def _use(keys: SigningKeys, request: SignRequest, state: str) -> SigningUse:
    try:
        key = keys.get(request.key)
    except OutriderError as error:
        return SigningUse(request.domain, request.selector, request.key, state, None, error.message)
    return use_of_key(
        request.domain, request.selector, request.key, state, key, is_short_allowed=request.allow_short_key
    )


def use_of_key(
    domain: str, selector: str, source: str, state: str, key: SigningKey, *, is_short_allowed: bool
) -> SigningUse:
    """The use of a key that is there; one that the signer refuses for its size cannot be used."""
    why = short_key_fault(key, is_allowed=is_short_allowed)
    return SigningUse(domain, selector, source, state, None if why else key, f"it {why}" if why else "")


async def check_uses(lookup: Lookup, uses: Sequence[SigningUse]) -> list[RecordCheck | None]:
    """For each use what DNS has; None where there is no key to compare."""

    async def one(use: SigningUse) -> RecordCheck | None:
        return None if use.key is None else await check_key(lookup, use.domain, use.selector, use.key)

    return list(await asyncio.gather(*map(one, uses)))


class Rotation(msgspec.Struct, frozen=True):
    """What came of a rotation.

    Attributes:
        check: What DNS has for the new key.
        was_made: The key was made just now.
        active: The new selector, once it signs.
        kept: The one whose place it took.
        removed: Keys whose date has passed; their records may go.
    """

    check: RecordCheck
    was_made: bool
    active: Selector | None = None
    kept: Selector | None = None
    removed: tuple[Selector, ...] = ()


async def rotate(
    ring: SigningRing,
    lookup: Lookup | None,
    domain: str,
    selector: str,
    *,
    key_type: str = "rsa",
    bits: int = RSA_SIGN_BITS,
    keep_seconds: float = KEEP_SECONDS,
) -> Rotation:
    """Sign with a selector's key from now on, if its record is in DNS; made first where there is none.

    Args:
        ring: The keys.
        lookup: Who answers; None takes the record for published on the caller's word.
        domain: Whose key.
        selector: The new one.
        key_type: Of a key that is made.
        bits: Of an RSA key that is made.
        keep_seconds: How long the key before has to stay published.

    Raises:
        StoreError: A name or size is none.
        ConfigError: The directory cannot be written.
    """
    removed = tuple(await asyncio.to_thread(ring.remove_outdated, domain))
    was_made = False
    try:
        ring.find(domain, selector)
    except StoreError:
        await asyncio.to_thread(ring.make, domain, selector, key_type, bits)
        was_made = True
    key = await asyncio.to_thread(ring.key, domain, selector)
    name = record_name(selector.lower(), domain.lower())
    if lookup is None:
        check = RecordCheck(
            name, format_record(key), RecordState.PUBLISHED, "taken for published on your word"
        )
    else:
        check = await check_key(lookup, domain.lower(), selector.lower(), key)
    if not check.is_published:
        return Rotation(check, was_made, removed=removed)
    active, kept = await asyncio.to_thread(ring.activate, domain, selector, keep_seconds)
    return Rotation(check, was_made, active, kept, removed)
