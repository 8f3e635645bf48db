"""A listener that takes its connections itself, because something comes before the session begins.

In: the listening socket. Out: accepted sockets with their peers, to whoever is built on this (`proxied`,
`handshakes`).

Invariant: a connection that cannot be accepted for want of descriptors stays in the backlog, and is asked for
again after a pause.

Standards: accept(2).
"""

import asyncio
import socket
from abc import ABC, abstractmethod

from outrider.base.log import Log

ACCEPT_PAUSE_SECONDS = 1.0
# chosen, as asyncio does when the system has no more descriptors


class AcceptingServer(ABC):
    """See the module.

    Args:
        listening: Bound and listening.
        log: Server log.
    """

    def __init__(self, listening: socket.socket, log: Log) -> None:
        self._socket = listening
        self._log = log
        self._loop = asyncio.get_running_loop()
        listening.setblocking(False)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Take no more connections; those that were handed over go on."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    @abstractmethod
    def _taken(self, connection: socket.socket, peer: str) -> None:
        """A connection from `peer` is ours, to be handed over or closed."""

    def _accept(self) -> None:
        try:
            connection, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._log.error("receive.accept_failed", error=str(error))
            self._loop.remove_reader(self._socket)
            self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume)
            return
        connection.setblocking(False)
        self._taken(connection, str(address[0]).partition("%")[0])

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)
