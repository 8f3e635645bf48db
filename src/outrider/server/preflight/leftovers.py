"""Records of retired methods: they do no good any more, and some say what nobody means today.

Standards: RFC 6376 §1 (it succeeds RFC 4870), RFC 4870 §3.6 (policy records), RFC 4406 §3 (spf2.0),
RFC 9989 §4 (what took ADSP's place).
"""

from outrider.net.answers import Kind, Lookup
from outrider.server.doctor.finding import Finding, warning
from outrider.server.preflight.report import Part


async def check_leftovers(lookup: Lookup, domain: str) -> Part:
    """Each retired record that a domain still has, with the reason why it should go."""
    findings: list[Finding] = []
    policy = await lookup.lookup(f"_domainkey.{domain}", Kind.TXT)
    findings += [
        warning(
            "retired.domainkeys",
            f"_domainkey.{domain} holds a DomainKeys policy: {text}",
            "remove it: RFC 6376 took the place of DomainKeys (RFC 4870, historic), which had such records; "
            "o=- still makes some old filters refuse mail without DomainKeys signatures",
        )
        for text in policy.texts
        if _is_domainkeys_policy(text)
    ]
    own = await lookup.lookup(domain, Kind.TXT)
    findings += [
        warning(
            "retired.sender-id",
            f"{domain} holds a Sender ID record: {text}",
            "remove it: Sender ID (RFC 4406, historic) is evaluated by nobody; SPF and DMARC say what counts",
        )
        for text in own.texts
        if text.lower().startswith("spf2.0/")
    ]
    practice = await lookup.lookup(f"_adsp._domainkey.{domain}", Kind.TXT)
    findings += [
        warning(
            "retired.adsp",
            f"_adsp._domainkey.{domain} holds author domain signing practices: {text}",
            "remove it: they are historic, DMARC took their place",
        )
        for text in practice.texts
        if text.lower().replace(" ", "").startswith("dkim=")
    ]
    return Part(tuple(findings))


def _is_domainkeys_policy(text: str) -> bool:
    tags = {part.partition("=")[0].strip().lower() for part in text.split(";")}
    return "o" in tags and "p" not in tags
