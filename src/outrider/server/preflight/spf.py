"""SPF of a sending domain: does it allow our addresses, and what does it cost receivers.

Standards: RFC 7208 §4.6.4 (ten look-ups), RFC 7208 §5.5 (ptr), RFC 7208 §3.2 (one record).
"""

from ipaddress import ip_address

from outrider.net.answers import Kind, Lookup, Status
from outrider.privacy.sender_checks import check_sender, spf_cost
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.doctor.names import is_public_name
from outrider.server.preflight.report import Part, Publish, SendingAs
from outrider.wire.spf.evaluate import LOOKUPS_MAX, Sender, SpfWord
from outrider.wire.spf.record import SpfError, SpfRecord, Term, parse_spf, select

LOOKUPS_NEAR: int = LOOKUPS_MAX - 2
"""Chosen: a provider that is included may add one or two without asking."""

_TXT_WHY = "allows the addresses that mail leaves from"
_UNKNOWN = "set server.hostname, or net.own_addresses to what receivers see, and run this again"


async def check_spf(lookup: Lookup, domain: str, sender: SendingAs) -> Part:
    """Everything about the SPF record of a domain."""
    answer = await lookup.lookup(domain, Kind.TXT)
    if answer.status is Status.FAILED:
        what = f"the nameservers gave no answer for {domain}: {answer.trouble}"
        return Part((fault("spf.record", what, "try again; look at net.nameservers"),))
    terms = _terms(sender)
    whole = (_proposal(domain, None, terms),) if terms else ()
    mend = "publish one" if terms else _UNKNOWN
    try:
        text = select(answer.texts)
        record = parse_spf(text) if text is not None else None
    except SpfError as error:
        what = f"{domain}: {error.message}; receivers take all of it for void"
        return Part(
            (fault("spf.record", what, "correct the record"),),
            whole,
        )
    if record is None:
        what = f"{domain} has no SPF record"
        return Part((fault("spf.record", what, mend),), whole)
    findings = [good("spf.record", f"{domain}: {record.text}"), *_style(domain, record)]
    findings += await _cost(lookup, domain, record)
    refused = []
    for address, option in sender.addresses:
        finding = await _address(lookup, domain, sender.ehlo_name, address, option)
        findings.append(finding)
        if finding.level == "fault":
            refused.append(address)
    is_open = any(map(_is_open, record.mechanisms))
    publish = (_proposal(domain, record, list(map(_term, refused))),) if refused or is_open else ()
    return Part(tuple(findings), publish)


async def _address(lookup: Lookup, domain: str, ehlo_name: str, address: str, option: str) -> Finding:
    check = "spf.address"
    if not _is_seen(address, option):
        return note(
            check,
            f"this machine sends from {address}, which is no public address; receivers see another one",
            "list the address that receivers see in net.own_addresses, and run this again",
        )
    result = await check_sender(lookup, Sender(address, f"postmaster@{domain}", ehlo_name), domain)
    what = f"{address}: {result.word} ({result.reason})"
    match result.word:
        case SpfWord.PASS:
            return good(check, what)
        case SpfWord.TEMPERROR:
            return fault(check, what, "try again; a nameserver on the way does not answer")
        case SpfWord.PERMERROR:
            return fault(check, what, "correct the record; until then receivers take it for void")
        case _:
            return fault(check, what, "add the address to the record")


async def _cost(lookup: Lookup, domain: str, record: SpfRecord) -> list[Finding]:
    check = "spf.lookups"
    count, faults = await spf_cost(lookup, domain, record.text)
    findings = [
        warning(check, f"an included record is broken: {each}", "correct or leave it out") for each in faults
    ]
    what = f"the record takes {count} of {LOOKUPS_MAX} look-ups"
    if count > LOOKUPS_MAX:
        mend = "replace includes by the networks they stand for, or send some mail from a subdomain"
        findings.append(fault(check, f"{what}; receivers give up (permerror)", mend))
    elif count > LOOKUPS_NEAR:
        findings.append(warning(check, what, "leave out what is not used, before somebody adds another"))
    else:
        findings.append(good(check, what))
    return findings


def _style(domain: str, record: SpfRecord) -> list[Finding]:
    check = "spf.record"
    findings = []
    last = record.mechanisms[-1] if record.mechanisms else None
    ends = [term for term in record.mechanisms if term.name == "all"]
    if ends and _is_open(ends[0]):
        findings.append(
            fault(
                check, f"{ends[0].text} lets everybody send as {domain}", "end the record with ~all or -all"
            )
        )
    elif not ends and record.redirect is None:
        findings.append(
            warning(check, "the record has no end, so strangers are neutral", "end it with ~all or -all")
        )
    elif ends and last is not ends[0]:
        findings.append(warning(check, f"nothing behind {ends[0].text} is ever read", "put it last"))
    if any(term.name == "ptr" for term in record.mechanisms):
        findings.append(
            warning(check, "ptr is slow and not to be used (RFC 7208 §5.5)", "name the networks instead")
        )
    return findings


def _is_open(term: Term) -> bool:
    """The end of a record that refuses nobody."""
    return term.name == "all" and term.qualifier in {"+", "?"}


def _is_seen(address: str, option: str) -> bool:
    """Receivers see mail come from this address: it is public, or an operator says so."""
    return bool(option) or ip_address(address).is_global


def _term(address: str) -> str:
    return f"ip{ip_address(address).version}:{address}"


def _terms(sender: SendingAs) -> list[str]:
    """What a record has to allow; behind NAT, whatever address the EHLO name has, if it can have one."""
    seen = [address for address, option in sender.addresses if _is_seen(address, option)]
    named = [f"a:{sender.ehlo_name}"] if is_public_name(sender.ehlo_name) else []
    return [_term(address) for address in seen] or named


def _proposal(domain: str, record: SpfRecord | None, added: list[str]) -> Publish:
    """The record with an end that refuses, and terms added before all that asks DNS or refuses.

    Behind those they would count for nothing where receivers give up on an include, and ours cost no look-up.
    """
    if record is None:
        return Publish(domain, " ".join(["v=spf1", *added, "~all"]), _TXT_WHY)
    terms = record.mechanisms
    own = [term.name in {"ip4", "ip6"} and term.qualifier == "+" for term in terms]
    first = own.index(False) if False in own else len(own)
    texts = ["~all" if _is_open(term) else term.text for term in terms]
    rest = [each.text for each in (record.redirect, record.explanation) if each is not None]
    return Publish(domain, " ".join(["v=spf1", *texts[:first], *added, *texts[first:], *rest]), _TXT_WHY)
