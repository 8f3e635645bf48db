"""Small proxies for tests: SOCKS 5 with passwords, and one that heeds PROXY headers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from outrider.wire.proxy import ProxyReader

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def passed_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    source: str,
    address: str,
    port: int,
    reply: bytes,
) -> None:
    """Connect from `source`, say `reply`, then carry octets both ways until one side ends."""
    far_reader, far_writer = await asyncio.open_connection(
        address, port, local_addr=(source, 0) if source else None
    )
    writer.write(reply)

    async def carry(of: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while octets := await of.read(65536):
                to.write(octets)
                await to.drain()
        with suppress(OSError, RuntimeError):
            to.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(carry(reader, far_writer))
        group.create_task(carry(far_reader, writer))


@dataclass
class Socks:
    """A SOCKS 5 server.

    Attributes:
        source: What it sends from; empty leaves it to the system.
        password: What it wants, of the user `user`; empty is nothing.
        code: What it answers to every request, 0 for what comes of it.
        slow: Its octets come one at a time.
        asked: Where it was to connect.
    """

    source: str = ""
    password: str = ""
    code: int = 0
    slow: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _say(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        for at in range(len(octets)) if self.slow else ():
            writer.write(octets[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        if not self.slow:
            writer.write(octets)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        wanted = 2 if self.password else 0
        if wanted not in methods:
            await self._say(writer, b"\5\xff")
            await writer.drain()
            return
        await self._say(writer, bytes([5, wanted]))
        if self.password:
            length = (await reader.readexactly(2))[1]
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            is_right = (user, password) == (b"user", self.password.encode())
            await self._say(writer, bytes([1, not is_right]))
            if not is_right:
                await writer.drain()
                return
        kind = (await reader.readexactly(4))[3]
        address = str(ip_address(await reader.readexactly({1: 4, 4: 16}[kind])))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((address, port))
        if self.code:
            await self._say(writer, bytes([5, self.code, 0, 1]) + bytes(6))
            await writer.drain()
            return
        bound = ip_address(self.source or "0.0.0.0").packed
        reply = b"\5\0\0\1" + bound + b"\0\0"
        if self.slow:
            await self._say(writer, reply)
            reply = b""
        await passed_on(reader, writer, self.source, address, port, reply)


@dataclass
class Told:
    """A proxy that is told by a PROXY header from where to connect whereto."""

    headers: list[tuple[str | None, int, str | None, int]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = ProxyReader()
        try:
            while told.header is None:
                octets = await reader.readexactly(1)
                told.feed(octets)
            header = told.header
            self.headers.append((header.client, header.client_port, header.server, header.server_port))
            assert header.client is not None
            assert header.server is not None
            await passed_on(reader, writer, header.client, header.server, header.server_port, b"")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
