"""A resolver that asks the practice internet's DNS of one zone."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.net.options import NetOptions
from outrider.net.resolver import DnsResolver
from outrider.sim.dns import DnsServer
from outrider.sim.options import WorldOptions
from outrider.sim.zones import Zones


@asynccontextmanager
async def resolving(**zone: object) -> AsyncIterator[DnsResolver]:
    """A resolver in a world in which `sender.test` is this zone."""
    provider = {
        "name": "any",
        "domains": ["any.test"],
        "mx": [{"name": "mx.any.test", "address": "127.0.0.1"}],
    }
    world = WorldOptions.model_validate({"provider": [provider], "zone": [{"name": "sender.test", **zone}]})
    server = DnsServer(Zones(world), "127.0.0.1")
    await server.start()
    numbers = itertools.count(1)
    seconds = 0.2 if "lie" in zone else 30  # nobody waits for the truth from a liar
    try:
        yield DnsResolver(
            NetOptions(
                nameservers=(f"127.0.0.1:{server.port}",), query_timeout_seconds=seconds, query_rounds=1
            ),
            clock=FakeClock(),
            log=ListLog(),
            random_bits=lambda bits: next(numbers) % (1 << bits),
        )
    finally:
        await server.stop()
