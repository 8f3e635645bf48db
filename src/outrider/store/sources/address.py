"""The address of a data source, taken apart.

In: a URL such as `postgresql://USER@HOST:PORT/DATABASE`. Out: an `Address`. It holds no password: a URL is
shown, logged and backed up, so one with a password in it is refused.

Standards: RFC 3986 §3 (URI).
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

KINDS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "redis": "redis",
    "http": "http",
    "https": "http",
    "csv": "csv",
}
"""Kind of source by the scheme of its URL."""

_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "http": 80, "https": 443}
# IANA's registry of service names
_SOCKET_KEYS: Final = {"postgresql": "host", "mysql": "socket", "redis": "socket"}
# libpq's name for it, and MySQL's


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source is.

    Attributes:
        kind: One of the values of `KINDS`.
        host: Name or address of the server; empty for files and Unix sockets.
        port: Its port.
        user: Who we are there; empty when nobody.
        path: The file, the database's name or number, or what every HTTP target begins with.
        socket: Unix socket (MySQL, Redis) or its directory (PostgreSQL); empty without.
        is_https: HTTP over TLS.
    """

    kind: str
    host: str = ""
    port: int = 0
    user: str = ""
    path: str = ""
    socket: str = ""
    is_https: bool = False

    @property
    def is_local(self) -> bool:
        """What is said to it does not leave this machine."""
        return not self.host or self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_address(url: str) -> Address:
    """The address in a URL.

    Raises:
        ValueError: It is none; says what to write.
    """
    parts = urlsplit(url)
    kind = KINDS.get(parts.scheme)
    if kind is None or "://" not in url:
        raise ValueError(f"write {', '.join(f'{scheme}://…' for scheme in KINDS)}")
    if parts.password is not None:
        raise ValueError("no password belongs here; put it into a file and name that in password_file")
    if kind in {"sqlite", "csv"}:
        path = unquote(parts.path)[1:]
        if parts.netloc or parts.query or not path:
            raise ValueError(f"write {kind}:///FILE, with a fourth slash when the file's path is absolute")
        return Address(kind, path=path)
    query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    socket = query.pop(_SOCKET_KEYS.get(kind, ""), [""])[-1]
    if query or parts.fragment:
        raise ValueError("nothing but the Unix socket may follow the ?, and no fragment")
    host = parts.hostname or ""
    if bool(host) == bool(socket):
        raise ValueError(
            "name a host, or a Unix socket: postgresql://USER@/DATABASE?host=DIRECTORY, "
            "mysql://USER@/DATABASE?socket=FILE, redis:///0?socket=FILE"
        )
    path = unquote(parts.path)
    if kind == "redis" and not (path.strip("/") or "0").isdigit():
        raise ValueError("the database of Redis is a number: redis://HOST/0")
    if kind in {"postgresql", "mysql"} and not (path.strip("/") and parts.username):
        raise ValueError(f"name the user and the database: {kind}://USER@HOST/DATABASE")
    return Address(
        kind,
        host=host,
        port=parts.port or _PORTS[parts.scheme if kind == "http" else kind],
        user=unquote(parts.username or ""),
        path=path.rstrip("/") if kind == "http" else path.strip("/"),
        socket=socket,
        is_https=parts.scheme == "https",
    )
