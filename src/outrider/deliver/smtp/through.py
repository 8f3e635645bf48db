"""Connections by way of a proxy, so that the address that a host sees may live elsewhere.

In: a host, and the address to send from. Out: a connected socket on which the next octet is the host's, and
the address that the host sees; or why there is none, and whose fault it is.

Theory: a SOCKS proxy says that it is connected, or why not. A proxy that takes the PROXY protocol says
nothing: where it cannot reach the host it just closes, and the connection is lost before the greeting.

Invariant: a socket that was opened here and is not returned is closed, also when the attempt is cancelled.

Standards: RFC 1928 §6 (what a SOCKS proxy answers). The machines are `wire.socks` and `wire.proxy`.
"""

import asyncio
import os
import socket
from ipaddress import ip_address

from outrider.base.errors import LocalProtocolError, RemoteProtocolError
from outrider.deliver.identity_options import Proxy
from outrider.model.flow import Host
from outrider.wire.proxy import format_header
from outrider.wire.socks import SocksClient

HOST_CODES = frozenset({3, 4, 5, 6})
# RFC 1928 §6: network or host unreachable, refused, TTL expired
NEXT_CODES = frozenset({1, 2, 8})
# RFC 1928 §6: general failure, not allowed, address type: another host may do better


class ProxyError(Exception):
    """There is no connection through the proxy.

    Attributes:
        why: In a few words.
        blames_host: The proxy says that it is the host's fault.
        ends_attempt: The next host would fail alike.
    """

    def __init__(self, why: str, *, blames_host: bool = False, ends_attempt: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.blames_host = blames_host
        self.ends_attempt = ends_attempt


class Through:
    """See the module.

    Args:
        proxy: Which.
        credentials: User and password for a SOCKS proxy, or None.
    """

    __slots__ = ("_credentials", "_proxy")

    def __init__(self, proxy: Proxy, credentials: tuple[str, str] | None = None) -> None:
        self._proxy = proxy
        self._credentials = credentials

    async def connect(self, host: Host, source: str | None) -> tuple[socket.socket, str]:
        """A socket to `host`, and the address that it sees.

        Args:
            host: Where to.
            source: Our address there; None leaves it to the proxy.

        Raises:
            ProxyError: There is none.
        """
        sock = await self._reach()
        try:
            if self._proxy.kind == "socks5":
                sent_from = await self._ask_socks(sock, host)
                return sock, sent_from or source or ""
            await self._tell(sock, host, source)
        except (OSError, RemoteProtocolError, LocalProtocolError) as error:
            sock.close()
            raise ProxyError(str(error) or type(error).__name__) from error
        except BaseException:
            sock.close()
            raise
        return sock, source or ""

    async def _reach(self) -> socket.socket:
        """A connection to the proxy itself."""
        loop = asyncio.get_running_loop()
        proxy = self._proxy
        try:
            found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ProxyError(f"its name is not found: {error.strerror}") from error
        problem: OSError | None = None
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        if problem is None:
            raise ProxyError("it has no address")
        # of asyncio's errors the text holds the address
        raise ProxyError(f"it is not reached: {os.strerror(problem.errno) if problem.errno else problem}")

    async def _ask_socks(self, sock: socket.socket, host: Host) -> str:
        loop = asyncio.get_running_loop()
        client = SocksClient(host.address, host.port, self._credentials)
        while not client.is_done:
            if out := client.take_output():
                await loop.sock_sendall(sock, out)
            octets = b""
            while len(octets) < client.wanted:
                more = await loop.sock_recv(sock, client.wanted - len(octets))
                if not more:
                    raise ProxyError("it closed the connection")
                octets += more
            client.receive(octets)
            if client.refusal:
                code = client.code
                raise ProxyError(
                    client.refusal,
                    blames_host=code in HOST_CODES,
                    ends_attempt=code not in HOST_CODES | NEXT_CODES,
                )
        return client.source

    async def _tell(self, sock: socket.socket, host: Host, source: str | None) -> None:
        if source is None or ip_address(source).version != ip_address(host.address).version:
            raise ProxyError("there is no source address to tell it", ends_attempt=False)
        await asyncio.get_running_loop().sock_sendall(sock, format_header(source, host.address, host.port))
