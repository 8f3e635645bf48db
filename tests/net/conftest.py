"""A scripted DNS server on loopback, UDP and TCP on one port: it says exactly what a test tells it to."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

SOA = "ns.example. hostmaster.example. 1 3600 600 86400 {minimum}"

Raw = Callable[[dns.message.Message, bool], list[bytes]]


class ScriptedDns:
    """Answers by script; `asked` lists (name, type, `udp` or `tcp`) of every question that came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0
        self._raw: dict[tuple[str, str], Raw] = {}
        self._default: Raw | None = None

    @property
    def server(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def count(self, name: str, kind: str) -> int:
        return sum(asked[:2] == (name, kind) for asked in self.asked)

    def raw(self, name: str, kind: str, script: Raw) -> None:
        """`script(query, tcp)` gives the datagrams, or the TCP answers, to send."""
        self._raw[name, kind] = script

    def records(self, name: str, kind: str, *texts: str, ttl: int = 300) -> None:
        self.sections(name, kind, [(name, kind, ttl, texts)])

    def sections(
        self,
        name: str,
        kind: str,
        rows: Iterable[tuple[str, str, int, Iterable[str]]],
        *,
        rcode: str = "NOERROR",
    ) -> None:
        """An answer section of `rows`: (owner, type, ttl, texts)."""
        rrsets = [
            dns.rrset.from_text_list(f"{owner}.", ttl, "IN", typ, list(t)) for owner, typ, ttl, t in rows
        ]

        def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
            response = dns.message.make_response(query, recursion_available=True)
            response.set_rcode(dns.rcode.from_text(rcode))
            response.answer.extend(rrsets)
            return [response.to_wire(max_size=65_535) if tcp else _fitted(response)]

        self.raw(name, kind, script)

    def negative(self, name: str, kind: str, rcode: str, *, minimum: int = 900, soa: bool = True) -> None:
        def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
            response = dns.message.make_response(query, recursion_available=True)
            response.set_rcode(dns.rcode.from_text(rcode))
            if soa:
                text = SOA.format(minimum=minimum)
                response.authority.append(dns.rrset.from_text("example.", 86_400, "IN", "SOA", text))
            return [response.to_wire()]

        self.raw(name, kind, script)

    def fails(self, rcode: str = "SERVFAIL") -> None:
        """Every question without a script of its own gets this code."""

        def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.from_text(rcode))
            return [response.to_wire()]

        self._default = script

    def respond(self, wire: bytes, *, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        script = self._raw.get((name, kind)) or self._default
        return [] if script is None else script(query, tcp)


def _fitted(response: dns.message.Message) -> bytes:
    whole = response.to_wire(max_size=65_535)
    if len(whole) <= 1_232:
        return whole
    response.answer.clear()
    response.flags |= dns.flags.TC
    return response.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, dns_server: ScriptedDns) -> None:
        self._dns = dns_server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        for wire in self._dns.respond(data, tcp=False):
            self._transport.sendto(wire, addr)


@pytest.fixture
async def make_dns() -> AsyncIterator[Callable[[], "asyncio.Future[ScriptedDns]"]]:
    """Makes scripted servers; all are closed at the end of the test."""
    closers: list[Callable[[], None]] = []

    async def start() -> ScriptedDns:
        scripted = ScriptedDns()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            for wire in scripted.respond(await reader.readexactly(length), tcp=True):
                writer.write(struct.pack("!H", len(wire)) + wire)
            writer.close()

        loop = asyncio.get_running_loop()
        for attempt in range(20):
            tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
            scripted.port = tcp.sockets[0].getsockname()[1]
            try:
                udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(scripted), local_addr=("127.0.0.1", scripted.port)
                )
            except OSError:
                tcp.close()
                assert attempt < 19
                continue
            closers.extend((tcp.close, udp.close))
            break
        return scripted

    yield lambda: asyncio.ensure_future(start())
    for close in closers:
        close()


@pytest.fixture
async def dns_server(make_dns: Callable[[], "asyncio.Future[ScriptedDns]"]) -> ScriptedDns:
    return await make_dns()
