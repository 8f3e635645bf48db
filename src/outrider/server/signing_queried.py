"""Keys that `[[dkim]]` tables have a query give, for a domain that somebody asks about.

In: settings and a domain. Out: what they are of use for, as `signing.uses_of` says it of other keys.

Theory: the query is the one that mail asks, with the domain for that of the author and of the reverse-path. A
query that asks with anything else of a message, as a field of its header, cannot be asked for a domain alone:
its keys are told as unknown, and nobody is blamed.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import NullLog
from outrider.policy.key_lookup import signature_of
from outrider.policy.query_names import find_query
from outrider.privacy.signing_keys import parse_private_key
from outrider.privacy.signing_options import DkimOptions
from outrider.server.settings import Settings
from outrider.server.signing import SigningUse, signing_table, use_of_key
from outrider.store.sources.sources import Sources

UNKNOWN: Final = "unknown"
"""State of keys that cannot be asked for."""

DEFAULT_TENANT: Final = "default"


async def queried_uses(
    settings: Settings, environment: Mapping[str, str], clock: Clock, domain: str, tenant: str = ""
) -> list[SigningUse]:
    """Every key that queries give for a domain; where a source cannot be asked, one that cannot be used."""
    tables = [each for each in signing_table(settings, clock).options_for(domain, tenant) if each.key_source]
    if not tables:
        return []
    sources = Sources(settings.data_source, clock, NullLog(), environment)
    try:
        return [use for each in tables for use in await _uses_of(settings, sources, each, domain, tenant)]
    finally:
        await sources.close()


async def _uses_of(
    settings: Settings, sources: Sources, table: DkimOptions, domain: str, tenant: str
) -> list[SigningUse]:
    text, asked = find_query(settings.data_source, table.key_source, table.key_query, table.key_parameters)
    place = f"query:{table.key_source}/{table.key_query}"
    known = {
        "from_domain": domain,
        "mail_from_domain": domain,
        "tenant": tenant or DEFAULT_TENANT,
    }
    others = [name for name in asked if name not in known]
    if others:
        more = ", ".join(others)
        trouble = f"the query {table.key_query} asks with {more} of a message: only mail shows its keys"
        return [SigningUse(domain, "", place, UNKNOWN, None, trouble)]
    try:
        rows = await sources.find(table.key_source).fetch(text, tuple(known[name] for name in asked))
        named: Sequence[tuple[str, str, str]] = [
            found for row in rows if (found := signature_of(table, domain, row)) is not None
        ]
    except OutriderError as error:
        return [SigningUse(domain, table.selector, place, "configured", None, error.message)]
    return [_use(table, place, *each) for each in named]


def _use(table: DkimOptions, place: str, domain: str, selector: str, text: str) -> SigningUse:
    try:
        key = parse_private_key(text, f"the key of {selector}._domainkey.{domain}")
    except OutriderError as error:
        return SigningUse(domain, selector, place, "configured", None, error.message)
    return use_of_key(domain, selector, place, "configured", key, is_short_allowed=table.allow_short_key)
