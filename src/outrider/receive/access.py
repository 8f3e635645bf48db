"""Who may relay: the one place that decides it.

Theory: a *grant* is what a session has: a client in a trusted network, an authenticated principal, or (with
`require_auth`) both. A grant names the sender domains it may use; without a grant nothing relays, whatever
the address looks like, because every recipient of an outbound server is a relay.

Invariant: with default options no recipient is accepted from anybody.

Standards: RFC 5321 §3.6.2 (relaying), RFC 6409 §3.3 and RFC 6409 §6.1 (who submits as whom),
RFC 4954 §6 (530).
"""

import ipaddress
from collections.abc import Iterable
from socket import AF_INET, inet_pton

from outrider.model.address import Address
from outrider.model.ports import Principal
from outrider.model.reply import Reply
from outrider.receive.options import ListenerOptions
from outrider.wire.smtp import replies

ANY = frozenset("*")


def domain_allowed(domain: str, allowed: Iterable[str]) -> bool:
    """True when `domain` (A-labels) is in `allowed`: exact, `*`, or below a name with a leading dot."""
    return any(entry in ("*", domain) or (entry[:1] == "." and domain.endswith(entry)) for entry in allowed)


def refuse_domain(domain: str, allowed: Iterable[str], pending: Iterable[str]) -> Reply | None:
    """The refusal of a sender's domain, or None; one of `pending` is allowed once it is verified."""
    if domain_allowed(domain, allowed):
        return None
    if domain_allowed(domain, pending):
        return replies.domain_unverified(domain)
    return replies.sender_denied(domain)


def refuse_tenant(principal: Principal, tenant: str | None) -> Reply | None:
    """The refusal of a credential at the listener of `tenant`, or None; a listener of nobody takes all."""
    return None if tenant is None or principal.tenant == tenant else replies.OTHER_TENANT


def _is_within(client: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = ipaddress.ip_address(client)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


class Access:
    """The rules of one listener."""

    __slots__ = ("_ipv4", "_networks", "_noting", "_require_auth", "_sender_domains")

    def __init__(self, options: ListenerOptions) -> None:
        self._networks = [ipaddress.ip_network(network) for network in options.trusted_networks]
        self._ipv4 = [
            (int(network.netmask), int(network.network_address))
            for network in self._networks
            if network.version == 4
        ]
        self._noting = [ipaddress.ip_network(network) for network in options.context_networks]
        self._sender_domains = frozenset(options.sender_domains)
        self._require_auth = options.require_auth

    def is_trusted(self, client: str) -> bool:
        """True when the address is in a trusted network; IPv4 inside IPv6 counts as IPv4."""
        if not self._networks:
            return False
        if ":" not in client:
            number = int.from_bytes(inet_pton(AF_INET, client))  # a third of what ipaddress takes for it
            return any(number & mask == network for mask, network in self._ipv4)
        return _is_within(client, self._networks)

    def may_note(self, client: str) -> bool:
        """True when the client may note things about its connection."""
        return bool(self._noting) and _is_within(client, self._noting)

    def granted_domains(self, *, trusted: bool, principal: Principal | None) -> frozenset[str] | None:
        """The sender domains of the session's grant, or None when it has no grant."""
        if self._require_auth:
            from_there = trusted or not self._networks
            return principal.sender_domains if principal is not None and from_there else None
        if principal is not None:
            return principal.sender_domains
        return self._sender_domains if trusted else None

    def refuse_sender(
        self, mail_from: Address | None, *, trusted: bool, principal: Principal | None, can_auth: bool
    ) -> Reply | None:
        """The refusal of MAIL, or None.

        Args:
            mail_from: None is the null reverse-path, which every grant may use (RFC 5321 §4.5.5).
            trusted: `is_trusted` of the client.
            principal: Who authenticated.
            can_auth: AUTH would change the answer; without it the recipients are refused instead, so that
                the record names them.
        """
        domains = self.granted_domains(trusted=trusted, principal=principal)
        if domains is None:
            return replies.AUTH_REQUIRED if can_auth and principal is None else None
        if mail_from is None:
            return None
        pending = principal.pending_domains if principal is not None else frozenset[str]()
        return refuse_domain(mail_from.domain, domains, pending)

    def refuse_recipient(self, *, trusted: bool, principal: Principal | None) -> Reply | None:
        """The refusal of RCPT, or None."""
        if self.granted_domains(trusted=trusted, principal=principal) is None:
            return replies.RELAY_DENIED
        return None
