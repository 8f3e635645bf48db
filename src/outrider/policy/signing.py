"""Signatures by configuration alone: the tables for the author's domain, asked for each message.

In: a content and its tenant. Out: requests for the signer.

Theory: the author is the first address of From (RFC 5322 §3.6.2), and a message's author is mostly that of
the one before, so what a field says is read once. A From that cannot be read names no domain, and gets the
signatures of none.

Standards: RFC 6376 §5.1 (who signs).
"""

from typing import Final, Protocol

from outrider.model.flow import Content
from outrider.wire.dkim.request import SignRequest
from outrider.wire.message.addresses import parse_addresses

REMEMBERED: Final = 4_096
# chosen: authors that send lately; it is emptied when it is full


class Table(Protocol):
    """Knows which signatures a domain's mail gets."""

    @property
    def has_seals(self) -> bool:
        """True where some mail gets one."""
        ...

    def requests_for(self, domain: str, tenant: str) -> tuple[SignRequest, ...]:
        """The signatures for a message.

        Raises:
            ConfigError: The active keys cannot be read.
        """
        ...

    def seal_for(self, domain: str, tenant: str) -> SignRequest | None:
        """With what the message is sealed, if it is. Raises ConfigError."""
        ...


class ConfiguredSigning:
    """See the module.

    Args:
        table: The configuration.
    """

    __slots__ = ("_domains", "_table")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._domains: dict[bytes, str] = {}

    def requests_for(self, content: Content, tenant: str) -> tuple[SignRequest, ...]:
        """The signatures of a message. Raises ConfigError."""
        return self._table.requests_for(self._domain(content), tenant)

    @property
    def has_seals(self) -> bool:
        """True where some mail gets a seal."""
        return self._table.has_seals

    def seal_for(self, content: Content, tenant: str) -> SignRequest | None:
        """With what a message is sealed, if it is. Raises ConfigError."""
        return self._table.seal_for(self._domain(content), tenant)

    def _domain(self, content: Content) -> str:
        value = author_value(content)
        domain = self._domains.get(value)
        if domain is None:
            if len(self._domains) >= REMEMBERED:
                self._domains.clear()
            domain = self._domains[value] = _domain_of(value)
        return domain


def author_value(content: Content) -> bytes:
    """The value of the first From, folds included; empty without one."""
    wire, end = content.wire, content.header_octets
    start = 0 if wire[:5].lower() == b"from:" else wire.find(b"\nFrom:", 0, end) + 1
    if not start and wire[:5].lower() != b"from:":
        start = wire[:end].lower().find(b"\nfrom:") + 1
        if not start:
            return b""
    start += 5
    at = wire.find(b"\r\n", start, end)
    while at >= 0 and wire[at + 2 : at + 3] in {b" ", b"\t"}:
        at = wire.find(b"\r\n", at + 2, end)
    return wire[start : end if at < 0 else at]


def _domain_of(value: bytes) -> str:
    addresses = parse_addresses(value.decode("utf-8", "replace").replace("\r\n", "")).addresses
    return addresses[0].domain if addresses else ""
