"""A listener behind load balancers: takes the PROXY header off each connection before the session begins.

In: the listening socket. Out: connections handed to the loop with the client's real address, TLS included
where it is implicit.

Theory: the header is read from the bare socket, by looking first (MSG_PEEK) and taking only what belongs to
it, because what follows may be a TLS handshake that another reader must see whole. What was looked at and
does not complete the header is taken at once, so waiting for the rest never spins.

Invariant: no session begins on this listener without a valid header from a permitted peer; a connection
whose header is missing, malformed, late or over-long is closed without a word, with a line in the log.

Standards: "The PROXY protocol, versions 1 & 2", section 2 (the receiver must not guess; a header is waited
for at least 3 s). Not here: its format (wire.proxy).
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from outrider.base.errors import RemoteProtocolError
from outrider.base.log import Log
from outrider.receive.accepting import AcceptingServer
from outrider.receive.handshakes import Handshakes
from outrider.receive.options import ListenerOptions
from outrider.wire.proxy import BODY_MAX, ProxyHeader, ProxyReader

PENDING_MAX = 256
# chosen: connections whose header is outstanding; a load balancer sends it with the first packet. Handshakes
# have limits of their own (`Handshakes`): how slow those are is up to the clients


class ProxiedServer(AcceptingServer):
    """See the module.

    Args:
        options: The listener's.
        listening: Its socket, bound and listening.
        protocol: Makes a session for the client of that address; None is a client that is not known.
        spawn: Runs a connection's beginning as a task of the listener.
        tls: Server context where TLS is implicit.
        log: Server log.
    """

    def __init__(
        self,
        options: ListenerOptions,
        listening: socket.socket,
        *,
        protocol: Callable[[str | None], asyncio.Protocol],
        spawn: Callable[[Coroutine[Any, Any, None]], bool],
        tls: ssl.SSLContext | None,
        log: Log,
    ) -> None:
        self._options = options
        self._protocol = protocol
        self._spawn = spawn
        self._tls = tls
        self._networks = [ipaddress.ip_network(network) for network in options.proxy_networks]
        self._pending = 0
        self._handshakes = Handshakes(options, log)
        super().__init__(listening, log)

    def _taken(self, connection: socket.socket, peer: str) -> None:
        if not self._is_permitted(peer):
            self._refuse(connection, peer, "is not in proxy_networks")
        elif self._pending >= PENDING_MAX:
            self._refuse(connection, peer, f"over {PENDING_MAX} connections have sent no header yet")
        elif not self._spawn(self._begin(connection, peer)):
            connection.close()

    def _is_permitted(self, peer: str) -> bool:
        address = ipaddress.ip_address(peer)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _refuse(self, connection: socket.socket, peer: str, why: str) -> None:
        self._log.warning("receive.proxy_refused", peer=peer, why=why)
        connection.close()

    async def _begin(self, connection: socket.socket, peer: str) -> None:
        header = await self._header(connection, peer)
        if header is None:
            return
        if self._tls is None:
            await self._hand_over(connection, header)
            return
        client = header.client or peer
        if not self._handshakes.begin(client, is_known=header.client is not None):
            connection.close()
            return
        try:
            await self._hand_over(connection, header)
        finally:
            self._handshakes.done(client)

    async def _header(self, connection: socket.socket, peer: str) -> ProxyHeader | None:
        """The header; None where the connection was closed for want of one."""
        seconds = self._options.deadlines.proxy_seconds
        self._pending += 1
        try:
            async with asyncio.timeout(seconds):
                header = await self._read(connection)
        except TimeoutError:
            self._refuse(connection, peer, f"no PROXY header within {seconds:g} s")
        except RemoteProtocolError as error:
            self._refuse(connection, peer, error.message)
        except OSError as error:
            self._refuse(connection, peer, str(error))
        except asyncio.CancelledError:
            connection.close()
            raise
        else:
            return header
        finally:
            self._pending -= 1
        return None

    async def _hand_over(self, connection: socket.socket, header: ProxyHeader) -> None:
        handshake = self._options.deadlines.handshake_seconds if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._protocol(header.client),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
            )
        except OSError as error:  # TLS errors are a kind of it
            self._log.info("receive.tls_failed", error=type(error).__name__)
            connection.close()

    async def _read(self, connection: socket.socket) -> ProxyHeader:
        reader = ProxyReader()
        while reader.header is None:
            await self._readable(connection)
            try:
                seen = connection.recv(BODY_MAX, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not seen:
                raise RemoteProtocolError("the connection ended before its PROXY header")
            used = reader.feed(seen)
            while used > 0:
                used -= len(connection.recv(used))
        return reader.header

    async def _readable(self, connection: socket.socket) -> None:
        ready = self._loop.create_future()

        def note() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(connection, note)
        try:
            await ready
        finally:
            self._loop.remove_reader(connection)
