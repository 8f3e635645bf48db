"""A listener whose TLS is implicit: who is in a handshake is bounded as who is in a session.

In: the listening socket. Out: sessions that begin when their handshake is done.

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
        self._limits = options.limits
        self._seconds = options.deadlines.handshake_seconds
        self._access = Access(options)
        self._protocol = protocol
        self._spawn = spawn
        self._tls = tls
        self._under_way = 0
        self._by_client: dict[str, int] = {}
        super().__init__(listening, log)

    def _taken(self, connection: socket.socket, peer: str) -> None:
        client = client_key(peer)
        own = self._by_client.get(client, 0)
        if self._under_way >= self._limits.connections or (
            own >= self._limits.connections_per_client and not self._access.is_trusted(peer)
        ):
            self._log.info("receive.handshake_refused", client=peer, under_way=self._under_way)
            connection.close()
            return
        self._under_way += 1
        self._by_client[client] = own + 1
        if not self._spawn(self._hand_over(connection, client)):
            self._done(client)
            connection.close()

    def _done(self, client: str) -> None:
        self._under_way -= 1
        left = self._by_client[client] - 1
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]

    async def _hand_over(self, connection: socket.socket, client: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=self._seconds
            )
        except OSError as error:  # TLS errors are a kind of it
            self._log.info("receive.tls_failed", error=type(error).__name__)
            connection.close()
        finally:
            self._done(client)
