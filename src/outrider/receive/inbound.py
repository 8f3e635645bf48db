"""Addresses that a listener of role `inbound` accepts: bounces, feedback, abuse and unsubscribe mail.

In: what the configuration lists. Out: the purpose of an address, or None, which is a 550.

Theory: a listener that faces the world takes only what our own mail gave cause for. An address is either
whole or has one star in its local part (VERP: `bounce-*@b.example.com`), so that matching is a comparison of
beginning and end and costs the same whatever the address. A whole address goes before a pattern, a longer
pattern before a shorter one.

Standards: RFC 5321 §3.6.2 (relaying), RFC 5321 §4.5.1 (postmaster).
"""

from collections.abc import Iterable

from outrider.model.address import Address
from outrider.receive.inbound_options import InboundMailbox


class InboundAddresses:
    """See the module."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, mailboxes: Iterable[InboundMailbox]) -> None:
        self._exact: dict[tuple[str, str], str] = {}
        self._patterns: dict[str, list[tuple[str, str, str]]] = {}
        for mailbox in mailboxes:
            local_part, _, domain = mailbox.address.rpartition("@")
            prefix, star, suffix = local_part.partition("*")
            if star:
                self._patterns.setdefault(domain, []).append((prefix, suffix, mailbox.purpose.value))
            else:
                self._exact.setdefault((local_part, domain), mailbox.purpose.value)
        for patterns in self._patterns.values():
            patterns.sort(key=lambda pattern: -len(pattern[0]) - len(pattern[1]))

    def purpose_of(self, address: Address) -> str | None:
        """What mail to `address` is for, or None when it is not accepted."""
        local_part = address.local_part.lower()
        exact = self._exact.get((local_part, address.domain))
        if exact is not None:
            return exact
        for prefix, suffix, purpose in self._patterns.get(address.domain, ()):
            if len(local_part) < len(prefix) + len(suffix):
                continue
            if local_part.startswith(prefix) and local_part.endswith(suffix):
                return purpose
        return None
