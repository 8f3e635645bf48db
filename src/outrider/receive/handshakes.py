"""A listener whose TLS is implicit: who is in a handshake is bounded as who is in a session.

In: the listening socket. Out: sessions that begin when their handshake is done. Where a load balancer is in
front (`proxied`) the handshakes that begin behind its header are bounded alike.

Theory: a session counts its client when it begins, and where TLS is implicit that is after the handshake. So
the handshakes have counts of their own, with the limits of the sessions: of all together, and of one client
that is not trusted. What is too much is closed without a word, since nothing can be said before TLS.

Invariant: no more handshakes are under way in one process than sessions may be, and none is longer than
`handshake_seconds`.

Standards: RFC 8314 §3.3 (implicit TLS).
"""

import socket
import ssl
from asyncio import Protocol
from collections.abc import Callable, Coroutine
from typing import Any

from outrider.base.log import Log
from outrider.receive.accepting import AcceptingServer
from outrider.receive.access import Access
from outrider.receive.clients import client_key
from outrider.receive.options import ListenerOptions


class Handshakes:
    """Those that are under way at one listener, in this process.

    Args:
        options: The listener's.
        log: Server log, for those that are refused.
    """

    __slots__ = ("_access", "_by_client", "_limits", "_log", "_under_way")

    def __init__(self, options: ListenerOptions, log: Log) -> None:
        self._limits = options.limits
        self._access = Access(options)
        self._log = log
        self._under_way = 0
        self._by_client: dict[str, int] = {}

    def begin(self, client: str, *, is_known: bool = True) -> bool:
        """Count one more of the client at that address; False, and nothing counted, when that is too many.

        Args:
            client: Its address.
            is_known: False where that is a load balancer's address, which is never trusted.
        """
        key = client_key(client)
        own = self._by_client.get(key, 0)
        if self._under_way >= self._limits.connections or (
            own >= self._limits.connections_per_client and not (is_known and self._access.is_trusted(client))
        ):
            self._log.info("receive.handshake_refused", client=client, under_way=self._under_way)
            return False
        self._under_way += 1
        self._by_client[key] = own + 1
        return True

    def done(self, client: str) -> None:
        """One that `begin` counted is over."""
        key = client_key(client)
        self._under_way -= 1
        left = self._by_client[key] - 1
        if left:
            self._by_client[key] = left
        else:
            del self._by_client[key]


class TlsServer(AcceptingServer):
    """See the module.

    Args:
        options: The listener's.
        listening: Its socket, bound and listening.
        protocol: Makes a session.
        spawn: Runs a handshake as a task of the listener.
        tls: Server context.
        log: Server log.
    """

    def __init__(
        self,
        options: ListenerOptions,
        listening: socket.socket,
        *,
        protocol: Callable[[], Protocol],
        spawn: Callable[[Coroutine[Any, Any, None]], bool],
        tls: ssl.SSLContext,
        log: Log,
    ) -> None:
        self._seconds = options.deadlines.handshake_seconds
        self._handshakes = Handshakes(options, log)
        self._protocol = protocol
        self._spawn = spawn
        self._tls = tls
        super().__init__(listening, log)

    def _taken(self, connection: socket.socket, peer: str) -> None:
        if not self._handshakes.begin(peer):
            connection.close()
        elif not self._spawn(self._hand_over(connection, peer)):
            self._handshakes.done(peer)
            connection.close()

    async def _hand_over(self, connection: socket.socket, client: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=self._seconds
            )
        except OSError as error:  # TLS errors are a kind of it
            self._log.info("receive.tls_failed", error=type(error).__name__)
            connection.close()
        finally:
            self._handshakes.done(client)
