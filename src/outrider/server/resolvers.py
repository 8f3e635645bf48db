"""Resolvers for whoever asks DNS in a process.

Each remembers answers for itself alone. So whoever must not hear what was so before, as after a record was
made, takes a new one; and so does a configuration whose nameservers may be others.
"""

import secrets

from outrider.base.clock import Clock
from outrider.base.log import Log, NullLog
from outrider.net.options import NetOptions
from outrider.net.resolver import DnsResolver


def new_resolver(
    options: NetOptions, clock: Clock, log: Log | None = None, *, tells_names: bool = True
) -> DnsResolver:
    """A resolver that knows nothing yet; its questions have ids that nobody can guess.

    Args:
        options: Nameservers, bounds and times.
        clock: For its cache.
        log: For servers that fail.
        tells_names: See `DnsResolver`; False where messages and scripts say what is asked for.

    Raises:
        ConfigError: There are no nameservers.
    """
    return DnsResolver(
        options,
        clock=clock,
        log=log or NullLog(),
        random_bits=secrets.randbits,
        tells_names=tells_names,
    )
