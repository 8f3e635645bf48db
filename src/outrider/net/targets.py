"""Which addresses mail may be sent to: never our own listeners, never inner networks unless allowed.

In: an address from DNS or from an address literal. Out: may we connect to it.

Theory: DNS is written by others. Without this check anyone could make the server speak to its own loopback
or to hosts of the private network behind it, by pointing an MX record there. IPv6 forms that carry an IPv4
address (mapped, 6to4, NAT64, Teredo) are judged by what they carry as well. Of IPv6 itself only the part
counts that is given out: what lies outside (IPv4-compatible, IPv4-translated, site-local, segment routing)
is in use within networks, or not at all.

Standards: RFC 6890 §2.2 (special-purpose addresses), RFC 4291 §2.5.5.2 (mapped), RFC 6052 §2.1 (NAT64);
IANA's registries "IPv6 Address Space" and "IPv6 Special-Purpose Address Space".
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from outrider.net.options import UNIX_PREFIX, NetOptions

_NAT64 = IPv6Network("64:ff9b::/96")
# RFC 6052 §2.1, the well-known prefix.

_GLOBAL_UNICAST = IPv6Network("2000::/3")
# IANA, "IPv6 Address Space": the only block of which addresses of the Internet are given out.

_DOCUMENTATION = IPv6Network("3fff::/20")
# IANA, "IPv6 Special-Purpose Address Space"; younger than the table that `ipaddress` knows.

_WILDCARDS = frozenset(("0.0.0.0", "::"))


class Targets:
    """The checks for one configuration.

    Args:
        options: What is allowed.
        listeners: (address, port) of our own listeners; a wildcard address stands for all of this machine's.
        is_local: True for an address of this machine (`net.listen.is_local_address`).
    """

    __slots__ = ("_all", "_is_local", "_networks", "_outside", "_own", "_own_ports", "_wild_ports")

    def __init__(
        self, options: NetOptions, listeners: Iterable[tuple[str, int]], is_local: Callable[[str], bool]
    ) -> None:
        self._all = options.allow_private_targets
        self._networks = options.allowed_target_networks
        self._is_local = is_local
        own = [(_plain(address), port) for address, port in listeners]
        self._own = frozenset(own)
        self._own_ports = frozenset(port for _, port in own)
        self._wild_ports = frozenset(port for address, port in own if address in _WILDCARDS)
        self._outside = frozenset(_plain(address) for address in options.own_addresses)

    def is_own(self, address: str, port: int) -> bool:
        """True when one of our own listeners would take a connection to `address` and `port`."""
        if port not in self._own_ports or address.startswith(UNIX_PREFIX):
            return False
        plain = _plain(address)
        if (plain, port) in self._own or plain in self._outside:
            return True
        return port in self._wild_ports and (plain in _WILDCARDS or self._is_local(plain))

    def is_allowed(self, address: str) -> bool:
        """True when DNS may lead us to `address`."""
        parsed = ip_address(address)
        if self._all or all(_is_public(form) for form in _forms(parsed)):
            return True
        return any(parsed in network for network in self._networks)


def _plain(address: str) -> str:
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address that counts, and every IPv4 address that it carries."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    forms: list[IPv4Address | IPv6Address] = [address]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address.sixtofour is not None:
        forms.append(address.sixtofour)
    if address.teredo is not None:
        forms.extend(address.teredo)
    return forms


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address in _DOCUMENTATION):
        return False
    return address.is_global and not address.is_multicast
