"""The header by which a proxy says, or is told, who the client is: PROXY protocol, versions 1 and 2.

Octets in by `feed`, which says how many of them belong to the header, so that who reads the socket takes not
one octet of what follows (it may be a TLS handshake). `header` is there when it is complete.

Theory: both versions are told apart by their first octets, and each is bounded: version 1 by its line,
version 2 by its own length field, which is refused before the rest is awaited when it is over `BODY_MAX`.
Extensions (TLVs) are walked over, so that a header whose parts do not add up is refused; of them only the
checksum is used, because all others are claims about TLS that ended elsewhere. `format_header` writes the
header for a proxy that is to connect from an address of its own.

Invariant: whatever the octets and however they are split, `feed` returns or raises RemoteProtocolError, and
no octet behind the header is ever counted to it.

Standards: "The PROXY protocol, versions 1 & 2" (HAProxy's doc/proxy-protocol.txt, revision of 2020/03/05),
its sections 2.1 (version 1), 2.2 (version 2)
and 2.2.3 (checksum). Not here: who may send one (receive.proxied).
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack, unpack_from

import msgspec

from outrider.base.errors import RemoteProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
# version 2 begins with these twelve octets

LINE_MAX = 107
# version 1, CRLF included: the longest line that a correct sender writes

BODY_MAX = 4_096
# chosen: addresses take 36 octets and the TLVs of the usual senders some hundred; 65,535 are possible

_FIXED = 16
# version 2: signature, version and command, family, length; octets
_PREFIX_1 = b"PROXY "
_LOCAL, _PROXY = 0, 1
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_STREAM, _DATAGRAM = 1, 2
_ADDRESS_OCTETS = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}
_TLV_CHECKSUM = 3
_POLYNOMIAL = 0x82F63B78
# CRC-32C (Castagnoli), bits reversed: section 2.2.3 names the variant


class ProxyHeader(msgspec.Struct, frozen=True, gc=False):
    """Who a connection is for.

    Attributes:
        version: 1 or 2.
        client: The client's address, or None: the sender speaks for itself (LOCAL) or does not know (UNKNOWN,
            an address family that is not IP).
        client_port: Its port.
        server: Where the client connected to, or None.
        server_port: Its port.
    """

    version: int
    client: str | None = None
    client_port: int = 0
    server: str | None = None
    server_port: int = 0


class ProxyReader:
    """See the module.

    Attributes:
        header: The header once it is complete, else None.
    """

    __slots__ = ("_octets", "header")

    def __init__(self) -> None:
        self._octets = b""
        self.header: ProxyHeader | None = None

    def feed(self, octets: bytes) -> int:
        """Take octets from the beginning of a connection.

        Returns:
            How many of them belong to the header: all, until it is complete.

        Raises:
            RemoteProtocolError: This is no header, or one that must not be believed.
        """
        if self.header is not None:
            return 0
        before = len(self._octets)
        known = self._octets + octets
        end = self._end(known)
        self._octets = known[:end] if end else known
        if not end:
            return len(octets)
        header = self._octets
        self.header = _parse_line(header) if header[:1] == b"P" else _parse_binary(header)
        return end - before

    @staticmethod
    def _end(known: bytes) -> int:
        """Where the header ends, or 0 when that is not here yet."""
        if known[:1] == b"P":
            return _end_of_line(known)
        if not SIGNATURE.startswith(known[: len(SIGNATURE)]):
            raise RemoteProtocolError("the connection does not begin with a PROXY header")
        if len(known) < _FIXED:
            return 0
        length: int = unpack_from("!H", known, 14)[0]
        if length > BODY_MAX:
            raise RemoteProtocolError(f"the PROXY header announces {length} octets, over {BODY_MAX}")
        return _FIXED + length if len(known) >= _FIXED + length else 0


def format_header(source: str, address: str, port: int) -> bytes:
    """A header of version 2: a connection from `source`, at any port, to `address` and `port`.

    Raises:
        ValueError: The addresses are not of one family.
    """
    client, server = ip_address(source), ip_address(address)
    if client.version != server.version:
        raise ValueError(f"{source} and {address} are not of one family")
    family = _INET if client.version == 4 else _INET6
    body = client.packed + server.packed + pack("!HH", 0, port)
    return SIGNATURE + pack("!BBH", 2 << 4 | _PROXY, family << 4 | _STREAM, len(body)) + body


def _end_of_line(known: bytes) -> int:
    if not _PREFIX_1.startswith(known[: len(_PREFIX_1)]):
        raise RemoteProtocolError("the connection does not begin with a PROXY header")
    end = known.find(b"\r\n", 0, LINE_MAX)
    if end >= 0:
        return end + 2
    if len(known) >= LINE_MAX:
        raise RemoteProtocolError(f"the PROXY line is over {LINE_MAX} octets")
    return 0


def _parse_line(header: bytes) -> ProxyHeader:
    words = header[len(_PREFIX_1) : -2].split(b" ")
    if words[0] == b"UNKNOWN":  # whatever follows is to be ignored
        return ProxyHeader(1)
    kinds: dict[bytes, type[IPv4Address | IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
    kind = kinds.get(words[0])
    if kind is None or len(words) != 5:
        raise RemoteProtocolError("the PROXY line is malformed")
    try:
        client, server = (ip_address(word.decode("ascii")) for word in words[1:3])
    except ValueError as error:
        raise RemoteProtocolError("the PROXY line holds no address") from error
    if not (isinstance(client, kind) and isinstance(server, kind)) or "%" in f"{client}{server}":
        raise RemoteProtocolError("the PROXY line's addresses are not of its family")
    return ProxyHeader(1, str(client), _port(words[3]), str(server), _port(words[4]))


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65_535:
        raise RemoteProtocolError("the PROXY line's port is malformed")
    return int(word)


def _parse_binary(header: bytes) -> ProxyHeader:
    version, command = divmod(header[12], 16)
    if version != 2 or command not in {_LOCAL, _PROXY}:
        raise RemoteProtocolError("the PROXY header is of a version or a command that is not known")
    if command == _LOCAL:  # section 2.2: "must accept this connection as valid", and ignores all that follows
        return ProxyHeader(2)
    family, transport = divmod(header[13], 16)
    octets = _ADDRESS_OCTETS.get(family)
    if octets is None or len(header) < _FIXED + octets:
        raise RemoteProtocolError("the PROXY header's addresses are malformed")
    if transport not in ({_UNSPEC, _STREAM, _DATAGRAM} if family == _UNSPEC else {_STREAM}):
        raise RemoteProtocolError("the PROXY header is not about a TCP connection")
    _walk(header, _FIXED + octets)
    if family not in {_INET, _INET6}:
        return ProxyHeader(2)
    size = 4 if family == _INET else 16
    client, server = header[_FIXED : _FIXED + size], header[_FIXED + size : _FIXED + 2 * size]
    ports = unpack_from("!HH", header, _FIXED + 2 * size)
    return ProxyHeader(2, str(ip_address(client)), ports[0], str(ip_address(server)), ports[1])


def _walk(header: bytes, at: int) -> None:
    """Go over the TLVs and verify the checksum where there is one."""
    while at < len(header):
        if at + 3 > len(header):
            raise RemoteProtocolError("the PROXY header's extensions are malformed")
        kind, length = unpack_from("!BH", header, at)
        value = at + 3
        at = value + length
        if at > len(header):
            raise RemoteProtocolError("the PROXY header's extensions are malformed")
        if kind == _TLV_CHECKSUM:
            if length != 4:
                raise RemoteProtocolError("the PROXY header's checksum is malformed")
            blank = header[:value] + bytes(4) + header[at:]
            if crc32c(blank) != unpack_from("!I", header, value)[0]:
                raise RemoteProtocolError("the PROXY header's checksum does not match")


def crc32c(octets: bytes) -> int:
    """CRC-32C bit by bit: a header is small and comes once a connection, so no table and no library."""
    value = 0xFFFFFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF
