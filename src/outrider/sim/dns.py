"""The DNS server of the practice internet, UDP and TCP, on one loopback port.

In: questions. Out: answers made from `sim.zones`, with dnspython as codec.

Standards: RFC 1035 §4.2.1 (UDP), RFC 1035 §4.2.2 (TCP), RFC 6891 §6.2.3 (payload size).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from outrider.sim.options import Lie
from outrider.sim.zones import Data, Found, Zones

_UDP_OCTETS = 512  # RFC 1035 §4.2.1
_TCP_IDLE_SECONDS = 10.0  # chosen, because RFC 7766 §6.2.3 asks for a few seconds
_LENGTH_OCTETS = 2  # RFC 1035 §4.2.2
_HEADER_OCTETS = 12  # RFC 1035 §4.1.1
_FLOOD = 100  # chosen, because a resolver should have lost its patience long before


class DnsServer:
    """Answers for `zones` on `address`; `port` is known after `start`."""

    def __init__(self, zones: Zones, address: str, port: int = 0) -> None:
        self.address = address
        self.port = port
        self.queries = 0
        self._zones = zones
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind UDP and TCP on the same port, a free one where none was given.

        Raises:
            OSError: The port is taken.
        """
        loop = asyncio.get_running_loop()
        tries = 1 if self.port else 20  # a port free for UDP may be taken for TCP
        for left in reversed(range(tries)):
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(self.address, self.port)
            )
            port = transport.get_extra_info("sockname")[1]
            try:
                self._tcp = await asyncio.start_server(self._serve_stream, self.address, port)
            except OSError:
                transport.close()
                if not left:
                    raise
                continue
            self._udp, self.port = transport, port
            return

    async def stop(self) -> None:
        """Close both sockets."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()
            await self._tcp.wait_closed()

    def answer(self, question: bytes, *, udp: bool, send: Callable[[bytes], None]) -> None:
        """Send the answer to the octets of a question, perhaps later, perhaps never."""
        self.queries += 1
        try:
            query = dns.message.from_wire(question)
        except (dns.exception.DNSException, ValueError):
            return  # RFC 1035 has no answer for what has no readable header
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if not query.question or query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            send(response.to_wire())
            return
        asked = query.question[0]
        found = self._zones.find(asked.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype))
        if found.silent:
            return
        lie = "none" if found.lie == "flood" and not udp else found.lie  # TCP cannot be forged blindly
        for wire in _lies(lie, _encode(query, response, found, udp=udp)):
            if found.delay_seconds:
                asyncio.get_running_loop().call_later(found.delay_seconds, send, wire)
            else:
                send(wire)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(wire: bytes) -> None:
            if not writer.is_closing():
                writer.write(len(wire).to_bytes(_LENGTH_OCTETS, "big") + wire)

        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(_TCP_IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(_LENGTH_OCTETS), "big")
                    question = await reader.readexactly(length)
                self.answer(question, udp=False, send=send)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        def send(wire: bytes) -> None:
            if not self._transport.is_closing():
                self._transport.sendto(wire, addr)

        self._server.answer(data, udp=True, send=send)


def _lies(kind: Lie, wire: bytes) -> list[bytes]:
    """The datagrams to send instead of the one honest answer."""
    other_id = bytes(octet ^ 0xFF for octet in wire[:2])
    match kind:
        case "none":
            return [wire]
        case "wrong-id":
            return [other_id + wire[2:]]
        case "wrong-question":
            at = _HEADER_OCTETS + 1  # the first letter of the question's name, RFC 1035 §4.1.2
            return [wire[:at] + bytes((wire[at] ^ 0x01,)) + wire[at + 1 :]]
        case "garbage":
            return [wire[:2] + b"\xff" * 200]
        case "cut":
            return [wire[: len(wire) - 5]]
        case "flood":
            return [other_id + wire[2:]] * _FLOOD + [wire]


def _encode(query: dns.message.Message, response: dns.message.Message, found: Found, *, udp: bool) -> bytes:
    response.set_rcode(dns.rcode.from_text(found.rcode))
    if udp and found.truncate:
        response.flags |= dns.flags.TC
        return response.to_wire()
    groups: dict[tuple[str, str], list[Data]] = {}
    for data in found.records:
        groups.setdefault((data.name, data.type), []).append(data)
    for (name, kind), records in groups.items():
        values = [record.value for record in records]
        response.answer.append(dns.rrset.from_text(f"{name}.", records[0].ttl, "IN", kind, *values))
    if not udp:
        return response.to_wire(max_size=65_535)
    limit = max(_UDP_OCTETS, query.payload if query.edns >= 0 else 0)
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()
