"""The deliverer's contract, against hosts that do anything.

Each granted entry is reported exactly once and each slot is closed once, whatever the hosts do; what is
reported as delivered was taken by a host, and by none twice unless a reply was lost.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.model.dispatch import Batch, Close, Granted
from outrider.model.flow import Host, Phase
from tests.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.deliver.conftest import Peer, World

STRANGE = (
    "421 4.3.2 Later",
    "450 4.2.0 Later",
    "452 4.5.3 Too many recipients",
    "550 5.1.1 No",
    "250 2.0.0 Ok",
    "354 Go ahead",
    "334 ",
    "220 Hello",
    "250-never\r\n250-ending",
    "rubbish",
    "250 Ok\r\n250 Ok",
    "DROP",
    "HANG",
)
FEATURES = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 100000", "DSN", "STARTTLS")


def _rule(random: Random, strangeness: float) -> "Callable[[Peer, str, str], str | None]":
    def rule(peer: "Peer", verb: str, line: str) -> str | None:
        return random.choice(STRANGE) if random.random() < strangeness else None

    return rule


async def _play(world: "World", random: Random) -> None:
    peers: list[Peer] = []
    for _ in range(random.randint(1, 3)):
        features = tuple(word for word in FEATURES if random.random() < 0.5)
        rule = _rule(random, random.choice((0.0, 0.02, 0.1, 0.4)))
        peers.append(await world.peer(rule, features=features))
    hosts: list[Peer | Host] = [*peers]
    if random.random() < 0.3:
        hosts.insert(0, await world.refusing())
    names = (f"r{number}" for number in range(10_000))
    granted: list[Granted] = []

    def batch() -> tuple[Granted, ...]:
        entries: list[Granted] = []
        for _ in range(random.randint(0, 3)):
            message = [next(names) for _ in range(random.choice((1, 1, 3)))]
            entries.extend(world.message(*message, missing=random.random() < 0.05))
        granted.extend(entries)
        return tuple(entries)

    tiny = dict.fromkeys(
        ("connect", "greeting", "ehlo", "starttls", "mail", "rcpt", "data", "body", "quit", "idle"), 0.03
    )
    options: dict[str, Any] = {f"{name}_seconds": seconds for name, seconds in tiny.items()}
    async with world.running(
        guard=None,
        max_deliveries_per_connection=random.choice((1, 2, 1000)),
        max_recipients_per_transaction=random.choice((1, 2, 100)),
        overlap=random.random() < 0.7,
        **options,
    ) as deliverer:
        loop = asyncio.get_running_loop()

        def on_want(slot: int, count: int) -> None:
            if random.random() < 0.3:
                loop.call_soon(deliverer.close, Close(slot))
            elif random.random() < 0.9:
                loop.call_soon(deliverer.batch, Batch(slot, batch()))

        world.report.on_want = on_want
        slots = [world.open_slot(deliverer, hosts, *batch()) for _ in range(random.randint(1, 4))]
        if random.random() < 0.5:
            await world.report.until(lambda: len(world.report.ends) == len(slots))
        else:
            await world.report.until(lambda: world.report.ends or world.report.reported())
            await deliverer.shutdown(random.choice((0.0, 0.01)))
    assert set(world.report.ends) == set(slots)
    world.assert_once(granted)
    _check_deliveries(world, peers, granted)
    assert {event for _, event, _ in world.log.lines} <= {
        "deliver.unreadable",
        "deliver.tls_failed",
        "deliver.host_failed",
    }


def _check_deliveries(world: "World", peers: "list[Peer]", granted: list[Granted]) -> None:
    taken: dict[str, int] = {}
    for peer in peers:
        for _, recipients, _ in peer.contents:
            for recipient in recipients:
                taken[recipient] = taken.get(recipient, 0) + 1
    for entry in granted:
        if entry.ref not in world.messages:
            continue
        name = world.messages[entry.ref][0].deliveries[entry.index].recipient.address.local_part
        codes = [
            (outcome.reply.code, outcome.phase) for outcome in world.report.outcomes.get(entry.entry, ())
        ]
        if (250, Phase.BODY) not in codes and entry.entry in world.report.back:
            assert taken.get(name, 0) == 0, "given back although a host took it"
        assert taken.get(name, 0) <= 1, "sent twice"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_entry_is_reported_once_whatever_the_hosts_do(make_world: "type[World]", loop: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        async def main() -> None:
            world = make_world()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await _play(world, Random(seed))
            finally:
                await world.aclose()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
            runner.run(main())

    check()
