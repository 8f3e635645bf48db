"""DKIM and DMARC of a sending domain: are the keys published, and do the checks speak for the author.

Standards: RFC 6376 §3.6.1 (records), RFC 8301 §3.2 (sizes), RFC 9989 §4 (DMARC and alignment).
"""

from collections.abc import Mapping, Sequence

from outrider.net.answers import Lookup
from outrider.privacy.sender_checks import find_dmarc, find_organizations
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.preflight.report import Part, Publish
from outrider.server.signing import RecordCheck, RecordState, SigningUse, check_uses
from outrider.server.signing_queried import UNKNOWN
from outrider.wire.dkim.keys import RSA_SIGN_BITS
from outrider.wire.dmarc import Discovered, is_aligned

SIGNING_STATES = frozenset({"active", "configured"})


async def check_dkim(lookup: Lookup, domain: str, uses: Sequence[SigningUse]) -> Part:
    """The records of all keys for a domain."""
    findings: list[Finding] = []
    publish = []
    for use, check in zip(uses, await check_uses(lookup, uses), strict=True):
        findings += _key(use, check)
        if check is not None and check.is_missing and use.state != "kept":
            publish.append(
                Publish(check.name, check.expected, f"key of the signatures with s={use.selector}")
            )
    if not any(use.state in SIGNING_STATES or use.state == UNKNOWN for use in uses):
        findings.append(
            fault(
                "dkim.key",
                f"nothing signs the mail of {domain}; large receivers refuse it unsigned",
                f"outrider dkim keygen {domain} SELECTOR, publish the record, outrider dkim rotate {domain} "
                f'SELECTOR, and a [[dkim]] table with domain = "{domain}"',
            )
        )
    return Part(tuple(findings), tuple(publish))


def _key(use: SigningUse, check: RecordCheck | None) -> list[Finding]:
    name = "dkim.key"
    where = f"{use.selector}._domainkey.{use.domain} ({use.state})"
    if use.state == UNKNOWN:
        return [note(name, f"{use.domain}: {use.trouble}", "look at the signatures of mail that went out")]
    if use.key is None or check is None:
        return [fault(name, f"{where}: {use.trouble}", "put the key back, or correct the [[dkim]] table")]
    if check.state is RecordState.UNANSWERED:
        return [fault(name, f"{where}: {check.what}", "try again; look at net.nameservers")]
    if not check.is_published:
        what = f"{where}: {check.what}"
        if use.state in SIGNING_STATES:
            return [fault(name, f"{what}; every signature with it fails", "publish the record below")]
        if use.state == "kept":
            return [warning(name, what, "publish it again until its date: mail that it signed is on its way")]
        return [note(name, what, f"publish it, then: outrider dkim rotate {use.domain} {use.selector}")]
    findings = [good(name, f"{where}: {check.what}")]
    if "y" in check.flags:
        findings.append(warning(name, f"{where}: t=y tells receivers to ignore failures", "take t=y out"))
    if use.key.record_type == "rsa" and use.key.bits < RSA_SIGN_BITS:
        mend = f"outrider dkim rotate {use.domain} NEW-SELECTOR"
        findings.append(warning(name, f"{where}: the key has only {use.key.bits} bits", mend))
    return findings


async def check_dmarc(lookup: Lookup, domain: str, uses: Sequence[SigningUse], mail_from_domain: str) -> Part:
    """The DMARC record that counts for a domain, and what of our mail is aligned."""
    found = await find_dmarc(lookup, domain)
    name = "dmarc.record"
    if found.has_failed:
        return Part((fault(name, f"the DMARC record of {domain} could not be looked up", "try again"),))
    findings = [fault(name, f"{each}; receivers do not use it", "correct it") for each in found.faults]
    if found.record is None:
        findings.append(
            fault(
                name, f"{domain} has no DMARC record; large receivers ask for one", "publish the record below"
            )
        )
        proposed = f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}"
        return Part(tuple(findings), (Publish(f"_dmarc.{domain}", proposed, "says what failed checks mean"),))
    signed = sorted({use.domain for use in uses if use.state in SIGNING_STATES and use.key is not None})
    walked = await find_organizations(lookup, found, [*signed, mail_from_domain])
    return Part((*findings, *_record(found), *_alignment(found, signed, mail_from_domain, walked)))


def _record(found: Discovered) -> list[Finding]:
    name = "dmarc.record"
    record = found.record
    assert record is not None  # noqa: S101 - the caller's case
    findings = [
        good(name, f"_dmarc.{found.record_domain}: {record.text} (policy here: {found.applied_policy})")
    ]
    if found.applied_policy == "none":
        findings.append(
            note(
                name,
                "p=none asks for nothing but reports",
                "once reports show all mail aligned, take quarantine",
            )
        )
    if record.is_testing:
        findings.append(
            note(name, "t=y asks receivers not to act on the policy", "take it out when all is well")
        )
    if not record.aggregate:
        findings.append(note(name, "no rua=, so nobody reports failures to you", "add rua=mailto:…"))
    findings += [
        warning(name, f"{part!r} is no tag; receivers pass over it", "correct it") for part in record.broken
    ]
    findings += [
        fault(name, f"{tag} is no policy; receivers take the record for p=none", "correct it")
        for tag in record.void
    ]
    if record.old_tags:
        words = ", ".join(f"{tag}=" for tag in record.old_tags)
        findings.append(
            note(name, f"{words} means nothing since RFC 9989", "take it out; t=y is what pct=0 was")
        )
    return findings


def _alignment(
    found: Discovered, signed: Sequence[str], mail_from_domain: str, walked: Mapping[str, str]
) -> list[Finding]:
    name = "dmarc.alignment"
    record = found.record
    assert record is not None  # noqa: S101 - the caller's case
    by_dkim = [
        domain for domain in signed if is_aligned(domain, found, strict=record.is_strict_dkim, walked=walked)
    ]
    by_spf = is_aligned(mail_from_domain, found, strict=record.is_strict_spf, walked=walked)
    ways = [*(f"DKIM ({domain})" for domain in by_dkim), *(["SPF"] if by_spf else [])]
    if by_dkim:
        return [good(name, f"aligned by {' and '.join(ways)}")]
    if by_spf:
        mend = f"sign with {found.domain}: forwarded mail keeps its signature, and no SPF"
        return [warning(name, "aligned by SPF alone", mend)]
    return [
        fault(
            name,
            "neither signatures nor MAIL FROM speak for the author's domain",
            f"sign with {found.domain}",
        )
    ]
