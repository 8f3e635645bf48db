"""Checks a sender with look-ups: SPF and DMARC records, asked for where their evaluation wants them.

In: who sends, and who answers questions to DNS. Out: what SPF says, which DMARC record counts.
"""

from collections.abc import Generator, Sequence
from typing import TypeVar

from msgspec.structs import replace

from outrider.net.answers import Answer, Kind, Lookup, Status
from outrider.wire.dmarc import Discovered, discover, domains_to_walk
from outrider.wire.spf.evaluate import Found, Question, Sender, SpfResult, check, count_lookups

Result = TypeVar("Result")


async def check_sender(lookup: Lookup, sender: Sender, domain: str = "") -> SpfResult:
    """What SPF says of a sender.

    Args:
        lookup: Who answers.
        sender: Who sends; its `address` must be one.
        domain: Whose record; empty is the domain of MAIL FROM.
    """
    return await _driven(check(sender, domain), lookup)


async def spf_cost(lookup: Lookup, domain: str, text: str) -> tuple[int, list[str]]:
    """Terms with look-ups in a record and all that it includes, and what is wrong with any of them."""
    return await _driven(count_lookups(domain, text), lookup)


async def find_dmarc(lookup: Lookup, domain: str) -> Discovered:
    """The DMARC record that counts for a domain."""
    found = await _discovered(lookup, domain)
    if found.needs_existence and await _is_absent(lookup, domain):
        return replace(found, is_absent=True)
    return found


async def _is_absent(lookup: Lookup, domain: str) -> bool:
    """True for a domain without addresses and exchangers (RFC 9989 §3); what DNS does not answer is there."""
    for kind in (Kind.MX, Kind.A, Kind.AAAA):
        answer = await lookup.lookup(domain, kind)
        if answer.status is Status.NO_NAME:
            return True
        if answer.status is not Status.NO_DATA:
            return False
    return True


async def _discovered(lookup: Lookup, domain: str) -> Discovered:
    walk = discover(domain)
    try:
        name = next(walk)
        while True:
            answer = await lookup.lookup(name, Kind.TXT)
            name = walk.send((answer.texts, answer.status is Status.FAILED))
    except StopIteration as end:
        found: Discovered = end.value
        return found


async def find_organizations(lookup: Lookup, found: Discovered, domains: Sequence[str]) -> dict[str, str]:
    """Organizational domains of checked domains, where alignment asks for them; empty where DNS failed."""
    walks = [await _discovered(lookup, domain) for domain in domains_to_walk(found, domains)]
    return {walk.domain: "" if walk.has_failed else walk.organizational_domain for walk in walks}


async def _driven(checking: Generator[Question, Found, Result], lookup: Lookup) -> Result:
    try:
        question = next(checking)
        while True:
            answer = await lookup.lookup(question.name.lower(), Kind[question.kind])
            question = checking.send(_found(question, answer))
    except StopIteration as end:
        result: Result = end.value
        return result


def _found(question: Question, answer: Answer) -> Found:
    if answer.status is Status.FAILED:
        return Found(has_failed=True)
    values = {
        "MX": tuple(name for _, name in sorted(answer.exchangers)),
        "PTR": answer.names,
        "TXT": answer.texts,
    }.get(question.kind, answer.addresses)
    return Found(values)
