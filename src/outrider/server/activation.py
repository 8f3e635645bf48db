"""Listening sockets that the service manager opened for us, by name.

In: the environment (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`). Out: sockets by the name of their
listener.

Theory: the manager opens ports below 1024 with its own privilege, so the server needs none, and it keeps them
while the server is replaced, so no client is refused meanwhile. Such a socket is shared by all workers; each
takes from it what it can.

Invariant: a descriptor that we were given is used by exactly one listener, or the start fails and says why.

Standards: sd_listen_fds(3), systemd.socket(5) (FileDescriptorName).
"""

import os
import socket
from collections.abc import Collection, Mapping, MutableMapping

from outrider.base.errors import ConfigError

FIRST_DESCRIPTOR = 3
# sd_listen_fds(3): SD_LISTEN_FDS_START
DESCRIPTORS_MAX = 1_024
# chosen: more listeners than any configuration has


def activated_sockets(
    environment: MutableMapping[str, str], listeners: Collection[str], first: int = FIRST_DESCRIPTOR
) -> dict[str, socket.socket]:
    """The sockets that we were started with; takes the variables out, as they are not the children's.

    Args:
        environment: Usually `os.environ`.
        listeners: Names of the configured listeners.
        first: The first descriptor.

    Raises:
        ConfigError: A socket has no listener, or two have the same, or one is no listening TCP socket.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count:
        return {}
    if not count.isdecimal() or int(count) > DESCRIPTORS_MAX:
        raise ConfigError(f"LISTEN_FDS={count!r} is not a number of sockets; start the service by its unit")
    found: dict[str, socket.socket] = {}
    try:
        for place in range(int(count)):
            name = names[place] if place < len(names) else ""
            _check_name(name, listeners, found)
            found[name] = _listening(first + place, name)
    except ConfigError:
        for opened in found.values():
            opened.close()
        raise
    return found


def _check_name(name: str, listeners: Collection[str], found: Mapping[str, socket.socket]) -> None:
    known = ", ".join(sorted(listeners)) or "none"
    if name not in listeners:
        raise ConfigError(
            f"the service manager passed a socket named {name!r}, but no listener has this name (there are: "
            f"{known}); set FileDescriptorName= in the socket unit to a listener's name"
        )
    if name in found:
        raise ConfigError(
            f"the service manager passed two sockets named {name!r}; a listener has one: let one socket take "
            "both families (BindIPv6Only=both), or make two listeners and two socket units"
        )


def _listening(descriptor: int, name: str) -> socket.socket:
    wanted = "it must be a listening TCP socket (ListenStream= with an address and a port)"
    try:
        opened = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(
            f"descriptor {descriptor}, named {name!r}, is no socket ({error.strerror}); {wanted}"
        ) from error
    is_tcp = opened.family in {socket.AF_INET, socket.AF_INET6} and opened.type == socket.SOCK_STREAM
    if not is_tcp or not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        opened.detach()
        raise ConfigError(f"the socket named {name!r} does not listen for TCP; {wanted}")
    opened.setblocking(False)
    opened.set_inheritable(False)
    return opened
