"""The event loop by name, and the resolver on each of them."""

import asyncio
import sys
from collections.abc import Callable

import dns.message
import dns.rrset
import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.log import NullLog
from outrider.net.answers import Kind
from outrider.net.loop import LoopName, run
from outrider.net.options import NetOptions
from outrider.net.resolver import DnsResolver


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize(
    ("name", "module"), [("uvloop", "uvloop"), ("auto", "uvloop"), ("asyncio", "asyncio")]
)
def test_loop_is_the_one_asked_for(name: LoopName, module: str) -> None:
    assert run(loop_module(), loop=name) == module


def test_missing_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(loop_module(), loop="auto") == "asyncio"
    with pytest.raises(ConfigError, match=r"server\.loop: uvloop is not installed"):
        run(loop_module(), loop="uvloop")


class OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, sending: list[Callable[..., None]]) -> None:
        self._sending = sending

    def datagram_received(self, data: bytes, addr: object) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.1"))
        self._sending[0](response.to_wire(), addr)


@pytest.mark.parametrize("name", ["uvloop", "asyncio"])
def test_resolver_works_on_each_loop(name: LoopName) -> None:
    async def look_up() -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        sending: list[Callable[..., None]] = []
        transport, _ = await loop.create_datagram_endpoint(
            lambda: OneAnswer(sending), local_addr=("127.0.0.1", 0)
        )
        sending.append(transport.sendto)
        server = transport.get_extra_info("sockname")[:2]
        try:
            resolver = DnsResolver(
                NetOptions(), clock=FakeClock(), log=NullLog(), random_bits=lambda _: 4711, servers=[server]
            )
            return (await resolver.lookup("h.example", Kind.A)).addresses
        finally:
            transport.close()

    assert run(look_up(), loop=name) == ("192.0.2.1",)
