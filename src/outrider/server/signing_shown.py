"""What is shown of signing keys, to the command line and to programs: names, states and records, never a key.

In: a ring of keys, settings, who answers questions to DNS. Out: plain values.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.net.answers import Lookup
from outrider.privacy.signing_ring import SigningRing
from outrider.server.settings import Settings
from outrider.server.signing import Rotation, SigningUse, check_uses, open_signing_ring, uses_of
from outrider.server.signing_queried import queried_uses
from outrider.wire.dkim.record import format_record, record_name, zone_line

ABSENT: Final = "absent"
"""State of the key that a domain should have and has not."""
NO_KEY: Final = "there is no key for it: neither in a [[dkim]] table nor made by `outrider dkim keygen`"


def shown_record(name: str, text: str) -> dict[str, str]:
    """A record to publish."""
    return {"name": name, "type": "TXT", "value": text, "zone_line": zone_line(name, text) if text else ""}


def shown_keys(ring: SigningRing, domains: Iterable[str]) -> list[dict[str, Any]]:
    """The keys that were made for domains, each with its record, or with why there is none.

    Raises:
        ConfigError: A file of states cannot be read.
    """
    found: list[dict[str, Any]] = []
    for domain in domains:
        for selector in ring.selectors(domain):
            trouble = value = ""
            try:
                value = format_record(ring.key(domain, selector.name))
            except OutriderError as error:
                trouble = error.message
            record = shown_record(record_name(selector.name, domain), value)
            found.append({"domain": domain, **selector.told(), "trouble": trouble, "record": record})
    return found


def checked_domains(settings: Settings, ring: SigningRing) -> list[str]:
    """Domains whose keys are compared with DNS where nobody names any."""
    exact = [each.domain for each in settings.dkim if "*" not in each.domain]
    return list(dict.fromkeys([*ring.domains(), *exact]))


async def checked_keys(
    settings: Settings,
    environment: Mapping[str, str],
    clock: Clock,
    lookup: Lookup,
    domains: Sequence[str] = (),
) -> dict[str, Any]:
    """Every key for domains beside what DNS has for it; `ok` where all that sign are published.

    Without any domain, of all that `checked_domains` gives; one that is named and has no key is not in order.
    """
    asked = domains or await asyncio.to_thread(
        lambda: checked_domains(settings, open_signing_ring(settings, clock))
    )
    uses = [use for each in asked for use in uses_of(settings, environment, clock, each)]
    having = {use.domain for use in uses}
    for each in asked:
        queried = await queried_uses(settings, environment, clock, each)
        if each in domains and each not in having and not queried:
            queried = [SigningUse(each, "", "", ABSENT, None, NO_KEY)]
        uses += queried
    checks = await check_uses(lookup, uses)
    keys = []
    is_ok = True
    for use, found in zip(uses, checks, strict=True):
        signs = use.state in {"active", "configured", ABSENT}
        is_ok = is_ok and not (signs and (found is None or not found.is_published))
        keys.append(
            {
                "domain": use.domain,
                "selector": use.selector,
                "state": use.state,
                "key": use.source,
                "trouble": use.trouble,
                "record": found.told() if found is not None else None,
            }
        )
    return {"ok": is_ok, "keys": keys}


def shown_rotation(done: Rotation) -> dict[str, Any]:
    """What came of a rotation."""
    return {
        "activated": done.active is not None,
        "made": done.was_made,
        "record": done.check.told(),
        "kept": done.kept.told() if done.kept else None,
        "removed": [each.told() for each in done.removed],
    }


def noted_rotation(done: Rotation) -> dict[str, Any]:
    """What the audit log keeps of it."""
    return {
        "activated": done.active is not None,
        "record": str(done.check.state),
        "kept": done.kept.name if done.kept else "",
        "removed": [each.name for each in done.removed],
    }
