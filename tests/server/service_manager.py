"""A service manager for tests: a notify socket that hears, and sockets passed by descriptor."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

PASS = (
    "import os, sys\n"
    "count = int(sys.argv[1])\n"
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=sys.argv[2])\n"
    "for place in range(count):\n"
    "    os.dup2(int(sys.argv[3 + place]), 3 + place)\n"
    "    os.set_inheritable(3 + place, True)\n"
    "os.execv(sys.argv[3 + count], sys.argv[3 + count:])\n"
)
"""Run as a program: what a manager does between fork and exec."""


class Hearing:
    """The manager's notify socket, a datagram socket at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(PATIENCE_SECONDS)
        self.heard: list[list[str]] = []

    def next(self) -> list[str]:
        """The assignments of the next datagram."""
        self.heard.append(self._socket.recv(65_536).decode().splitlines())
        return self.heard[-1]

    def until(self, assignment: str) -> list[str]:
        """The next datagram that holds `assignment`."""
        while assignment not in (found := self.next()):
            pass
        return found

    def waiting(self) -> list[list[str]]:
        """What lies there already."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.next()
        self._socket.settimeout(PATIENCE_SECONDS)
        return self.heard

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def hearing(address: str | Path) -> Iterator[Hearing]:
    """A notify socket until the end of the block."""
    one = Hearing(str(address))
    try:
        yield one
    finally:
        one.close()


def passing(sockets: Sequence[tuple[str, socket.socket]], program: Sequence[str]) -> list[str]:
    """The command that starts `program` with these named sockets; they must be inherited by it."""
    for _, each in sockets:
        os.set_inheritable(each.fileno(), True)
    names = ":".join(name for name, _ in sockets)
    numbers = [str(each.fileno()) for _, each in sockets]
    return [sys.executable, "-c", PASS, str(len(sockets)), names, *numbers, *program]
