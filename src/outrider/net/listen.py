"""Listening sockets, opened by the supervisor and inherited by its workers.

In: the text of an option (`127.0.0.1:2525`, `[::1]:2525`, `unix:/run/outrider/control.sock`). Out: a bound,
listening, non-blocking, inheritable socket. Each failure names the option and says what to do.

Theory: with SO_REUSEPORT each worker has a socket of its own and the kernel spreads connections over them,
so no worker wakes for a connection that another one takes.
Invariant: a Unix socket is never reachable by another user, not even between bind and chmod: before
`listen` every connect is refused.
"""

import errno
import socket
from ipaddress import ip_address
from pathlib import Path

from outrider.base.errors import ConfigError
from outrider.net.options import UNIX_PREFIX, split_host_port

BACKLOG = 1_024
# Connections that wait for accept; chosen, because a restart of a worker takes well under a second at some
# thousand new connections a second. The kernel caps it at net.core.somaxconn.

UNIX_MODE = 0o600
# Chosen: the control socket gives full power over the server, so only its own user may open it.

_ADVICE = {
    errno.EADDRINUSE: "is in use by another program; stop it or choose another address or port",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "may not be opened by this user; ports below 1024 need CAP_NET_BIND_SERVICE",
    errno.EAFNOSUPPORT: "is of an address family that this machine does not have",
    errno.ENOENT: "cannot be created: its folder does not exist",
    errno.EROFS: "cannot be created on a read-only file system",
}


def open_listener(
    address: str, *, option: str, reuse_port: bool = True, backlog: int = BACKLOG
) -> socket.socket:
    """Open the listening socket for `address`.

    Args:
        address: `address:port`, `[v6]:port` or `unix:/path`. Port 0 lets the system choose.
        option: Dotted name of the option, for errors.
        reuse_port: Let several sockets share the address (one for each worker).
        backlog: See `BACKLOG`.

    Raises:
        ConfigError: The text is wrong or the system refuses; names the option.
    """
    if address.startswith(UNIX_PREFIX):
        return _open_unix(Path(address[len(UNIX_PREFIX) :]), option, backlog)
    host, port = _parse(address, option)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener: socket.socket | None = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise _refused(address, option, error) from error
    return _ready(listener)


def open_listeners(
    address: str, count: int, *, option: str, backlog: int = BACKLOG
) -> tuple[socket.socket, ...]:
    """`count` sockets that share `address`, one for each worker; a Unix path gives one socket for all.

    SO_REUSEPORT would let us share the port with a server that runs already (an older one of ours, say) and
    each would get half of the connections; so the address is first taken once without it.

    Raises:
        ConfigError: See `open_listener`.
    """
    if address.startswith(UNIX_PREFIX):
        return (open_listener(address, option=option, backlog=backlog),)
    open_listener(address, option=option, reuse_port=False, backlog=backlog).close()
    opened = [open_listener(address, option=option, backlog=backlog)]
    host, port = local_endpoint(opened[0])
    shared = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        opened.extend(open_listener(shared, option=option, backlog=backlog) for _ in range(count - 1))
    except ConfigError:
        for listener in opened:
            listener.close()
        raise
    return tuple(opened)


def local_endpoint(listener: socket.socket) -> tuple[str, int]:
    """Address and port that a TCP listener really has."""
    name = listener.getsockname()
    return str(name[0]), int(name[1])


def is_local_address(address: str) -> bool:
    """True when `address` belongs to this machine: the kernel lets us bind to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _parse(address: str, option: str) -> tuple[str, int]:
    head, colon, port = address.rpartition(":")
    automatic = bool(colon) and port == "0"
    try:
        host, number = split_host_port(f"{head}:1" if automatic else address)
        ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"{option}: {address!r} is not an address with a port; write 127.0.0.1:2525, [::1]:2525 or "
            f"unix:/path"
        ) from error
    if not number:
        raise ConfigError(f"{option}: {address!r} has no port; write {address}:2525 or the like")
    return host, 0 if automatic else number


def _open_unix(path: Path, option: str, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(UNIX_MODE)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _refused(f"{UNIX_PREFIX}{path}", option, error) from error
    return _ready(listener)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody serves any more; a served one, or another kind of file, stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def _ready(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def _refused(address: str, option: str, error: OSError) -> ConfigError:
    advice = _ADVICE.get(error.errno or 0) or f"cannot be opened: {error.strerror or error}"
    return ConfigError(f"{option}: {address} {advice}")
