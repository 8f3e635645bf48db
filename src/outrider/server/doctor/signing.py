"""The keys that the configuration signs with are there and can be used; mail that asks for others waits."""

from collections.abc import Mapping

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.server.doctor.finding import Finding, fault, good
from outrider.server.settings import Settings
from outrider.server.signing import SigningUse, open_signing_ring, uses_of
from outrider.server.signing_shown import checked_domains


def check_signing(settings: Settings, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Each key of a `[[dkim]]` table that names its domain, and each that `outrider dkim` made active.

    Keys of patterns are known only by the mail that comes; whether DNS has the records is for
    `outrider dkim check`.
    """
    check = "signing.keys"
    try:
        domains = checked_domains(settings, open_signing_ring(settings, clock))
        tenants = dict.fromkeys(["", *(each.tenant for each in settings.dkim)])
        uses = {
            use.source: use
            for domain in domains
            for tenant in tenants
            for use in uses_of(settings, environment, clock, domain, tenant)
        }
    except OutriderError as error:
        return [fault(check, error.message, "restore the key directory from your copy")]
    used = [use for use in uses.values() if use.state in {"configured", "active"}]
    findings = [_missing(use) for use in used if use.key is None]
    if used and not findings:
        findings.append(good(check, f"{len(used)} signing keys can be used"))
    return findings


def _missing(use: SigningUse) -> Finding:
    return fault(
        "signing.keys",
        f"the key of {use.selector}._domainkey.{use.domain}: {use.trouble}",
        "put it back, or correct the [[dkim]] table: mail that is to be signed with it waits in the queue",
    )
