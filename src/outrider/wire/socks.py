"""The client's end of a SOCKS 5 CONNECT, without I/O.

`take_output` gives what is to be sent; `wanted` says how many octets the machine needs next, and exactly so
many are given to `receive`. What follows the server's last octet belongs to the connection behind it, so not
one octet more may be read before `is_done`.

Theory: four steps, each of a known length: the method that the server chose, its verdict on the password
where it wants one, the head of its reply, and the address in it.

Invariant: whatever the octets, `receive` returns or raises RemoteProtocolError, and the whole takes at most
`ANSWER_OCTETS_MAX` octets.

Standards: RFC 1928 §3 (methods), RFC 1928 §4 (requests), RFC 1928 §6 (replies), RFC 1929 §2 (user and
password). Not here: BIND and UDP ASSOCIATE, GSSAPI.
"""

from collections.abc import Callable
from ipaddress import ip_address

from outrider.base.errors import LocalProtocolError, RemoteProtocolError

VERSION = 5
# RFC 1928 §3
NO_AUTHENTICATION, USER_PASSWORD, NO_METHOD = 0, 2, 0xFF
# RFC 1928 §3
CONNECT = 1
# RFC 1928 §4
IPV4, NAME, IPV6 = 1, 3, 4
# RFC 1928 §5
FIELD_OCTETS_MAX = 255
# RFC 1929 §2: a length is one octet
ANSWER_OCTETS_MAX = 2 + 2 + 4 + 1 + 255 + 2
# the longest of each step

REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
# RFC 1928 §6

_ADDRESS_OCTETS = {IPV4: 4, IPV6: 16}


class SocksClient:
    """See the module.

    Args:
        address: Where to, an IP address.
        port: Where to.
        credentials: User and password, or None.

    Attributes:
        wanted: How many octets are needed next; 0 once nothing is.
        is_done: The connection behind the proxy is there.
        refusal: Why there will be none, in the server's words; empty until it says so.
        code: The server's code of that, 0 where it gave none.
        source: From where the server connects, as it says; empty until then, or where it says nothing.
    """

    __slots__ = (
        "_address",
        "_credentials",
        "_out",
        "_port",
        "_step",
        "code",
        "is_done",
        "refusal",
        "source",
        "wanted",
    )

    def __init__(self, address: str, port: int, credentials: tuple[str, str] | None = None) -> None:
        self._address = ip_address(address)
        self._port = port
        self._credentials = None
        if credentials is not None:
            user, password = (part.encode() for part in credentials)
            if not (0 < len(user) <= FIELD_OCTETS_MAX and 0 < len(password) <= FIELD_OCTETS_MAX):
                raise LocalProtocolError(f"user and password have 1 to {FIELD_OCTETS_MAX} octets each")
            self._credentials = user, password
        methods = bytes([NO_AUTHENTICATION] if credentials is None else [NO_AUTHENTICATION, USER_PASSWORD])
        self._out = bytes([VERSION, len(methods)]) + methods
        self._step: Callable[[bytes], None] = self._method
        self.wanted = 2
        self.is_done = False
        self.refusal = ""
        self.code = 0
        self.source = ""

    def take_output(self) -> bytes:
        """What is to be sent now; perhaps nothing."""
        out, self._out = self._out, b""
        return out

    def receive(self, octets: bytes) -> None:
        """Take the next octets, exactly as many as were wanted.

        Raises:
            RemoteProtocolError: The server does not speak SOCKS 5.
        """
        if len(octets) != self.wanted:
            raise LocalProtocolError(f"{self.wanted} octets are wanted, not {len(octets)}")
        self._step(octets)

    def _next(self, step: Callable[[bytes], None], wanted: int) -> None:
        self._step, self.wanted = step, wanted

    def _refused(self, why: str, code: int = 0) -> None:
        self.refusal, self.code, self.wanted = why, code, 0

    def _method(self, octets: bytes) -> None:
        version, method = octets
        if version != VERSION:
            raise RemoteProtocolError("the proxy does not speak SOCKS 5")
        if method == NO_AUTHENTICATION:
            self._ask()
        elif method == USER_PASSWORD and self._credentials is not None:
            user, password = self._credentials
            self._out = bytes([1, len(user)]) + user + bytes([len(password)]) + password
            self._next(self._verdict, 2)
        elif method == NO_METHOD:
            self._refused("it wants another kind of authentication")
        else:
            raise RemoteProtocolError(f"the proxy chose the method {method}, which was not offered")

    def _verdict(self, octets: bytes) -> None:
        if octets[1]:
            self._refused("it does not take user and password")
        else:
            self._ask()

    def _ask(self) -> None:
        kind = IPV4 if self._address.version == 4 else IPV6
        self._out = bytes([VERSION, CONNECT, 0, kind]) + self._address.packed + self._port.to_bytes(2, "big")
        self._next(self._head, 4)

    def _head(self, octets: bytes) -> None:
        version, code, _, kind = octets
        if version != VERSION:
            raise RemoteProtocolError("the proxy's reply is not of SOCKS 5")
        if code:
            self._refused(REFUSALS.get(code, f"code {code}"), code)
        elif kind == NAME:
            self._next(self._name_length, 1)
        elif kind in _ADDRESS_OCTETS:
            self._next(self._bound, _ADDRESS_OCTETS[kind] + 2)
        else:
            raise RemoteProtocolError(f"the proxy's reply has an address of type {kind}")

    def _name_length(self, octets: bytes) -> None:
        self._next(self._named, octets[0] + 2)

    def _named(self, _octets: bytes) -> None:
        self._end()

    def _bound(self, octets: bytes) -> None:
        address = ip_address(octets[:-2])
        self.source = "" if address.is_unspecified else str(address)
        self._end()

    def _end(self) -> None:
        self.wanted = 0
        self.is_done = True
