"""Checks signatures with look-ups: what joins the verifier and the resolver, which do not know each other.

In: a message and who answers questions to DNS. Out: the results of its signatures, or of its ARC chain.
"""

import asyncio
from collections.abc import Iterable

from outrider.model.flow import Content
from outrider.net.answers import Kind, Lookup, Status
from outrider.wire.dkim.arc import Chain, ChainResult
from outrider.wire.dkim.results import Records, SignatureResult
from outrider.wire.dkim.verifier import DEFAULT_LIMITS, Limits, Verification


async def verify(
    content: Content, lookup: Lookup, now: float, limits: Limits = DEFAULT_LIMITS
) -> tuple[SignatureResult, ...]:
    """The results of a message's signatures, in their order; empty where there are none.

    Args:
        content: The message.
        lookup: Who answers.
        now: Unix seconds.
        limits: How much is looked at.
    """
    verification = Verification(content, now, limits)
    return verification.results(await key_records(verification.names, lookup))


async def verify_chain(content: Content, lookup: Lookup, now: float) -> ChainResult:
    """Whether a message's ARC chain holds."""
    chain = Chain(content, now)
    return chain.result(await key_records(chain.names, lookup))


async def key_records(names: Iterable[str], lookup: Lookup) -> dict[str, Records]:
    """Key records by name, asked for at once."""
    asked = tuple(names)
    answers = await asyncio.gather(*(_records(name, lookup) for name in asked))
    return dict(zip(asked, answers, strict=True))


async def _records(name: str, lookup: Lookup) -> Records:
    answer = await lookup.lookup(name, Kind.TXT)
    if answer.status is Status.FAILED:
        return Records(trouble=answer.trouble or "the nameservers gave no answer")
    return Records(answer.texts)
