"""The two ends of the wire between the supervisor and one of its processes: whole messages, with descriptors.

In and out: a kind, a body of plain values, and open files (listening sockets, shared memory). Each body is a
file in memory that goes along as the first descriptor, so neither its size nor the peer's slowness blocks
anybody.

Invariant: a message arrives whole, in order and with all its descriptors, or the channel is at its end.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

FILES_MAX = 250
# linux/include/net/scm.h: SCM_MAX_FD is 253; one is the body
_KIND_OCTETS = 64


@dataclass(frozen=True, slots=True)
class Message:
    """What was said; whoever takes it owns `files`."""

    kind: str
    body: dict[str, Any]
    files: tuple[int, ...]


class Channel:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def send(self, kind: str, files: Sequence[int] = (), **body: Any) -> bool:
        """Say something; False when the peer is gone or does not listen."""
        octets = msgspec.msgpack.encode(body)
        memory = os.memfd_create(kind)
        try:
            with os.fdopen(os.dup(memory), "wb") as file:
                file.write(octets)
            socket.send_fds(self._end, [kind.encode()], [memory, *files])
        except OSError:
            return False
        finally:
            os.close(memory)
        return True

    def receive(self) -> Message | None:
        """The next message; None when there is none now.

        Raises:
            EOFError: The peer is gone.
        """
        try:
            kind, files, _, _ = socket.recv_fds(self._end, _KIND_OCTETS, FILES_MAX + 1)
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError from error
        if not kind:
            raise EOFError
        with os.fdopen(files[0], "rb") as file:
            file.seek(0)
            body = msgspec.msgpack.decode(file.read())
        return Message(kind.decode(), body, tuple(files[1:]))


def channel_pair() -> tuple[Channel, Channel]:
    """Both ends."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)
