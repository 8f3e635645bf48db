"""Looks up the keys of signatures: what joins the verifier and the resolver, which do not know each other.

In: names of key records and who answers questions to DNS. Out: the records, also where there was no answer.
"""

import asyncio
from collections.abc import Iterable

from outrider.net.answers import Kind, Lookup, Status
from outrider.wire.dkim.results import Records


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
