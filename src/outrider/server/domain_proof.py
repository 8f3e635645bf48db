"""Proves that a sender domain is its tenant's: by its DNS record, or on the operator's word.

For commands and for the control API. The resolver is a new one each time, because an answer that was kept
may be from before the record was made.
"""

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.net.options import NetOptions
from outrider.server.resolvers import new_resolver
from outrider.store.domains import Proof, trust_domain, verify_domain
from outrider.store.editor import Author
from outrider.store.engine import Database


async def prove_domain(
    database: Database,
    author: Author,
    tenant: str,
    name: str,
    net: NetOptions,
    clock: Clock,
    log: Log,
    *,
    on_word: bool = False,
) -> Proof:
    """Look for the record and note what was found; `on_word` takes the domain for verified without a look.

    Raises:
        StoreError: The tenant has no such domain.
        UnavailableError: No nameserver gives an answer.
    """
    if on_word:
        return Proof(await trust_domain(database, author, tenant, name), "")
    return await verify_domain(database, author, new_resolver(net, clock, log), tenant, name)
