"""Signatures by configuration alone: the tables for the author's domain, asked for each message.

In: a content and its tenant. Out: requests for the signer.

A From that cannot be read names no domain, and gets the signatures of none.

Standards: RFC 6376 §5.1 (who signs).
"""

from typing import Protocol

from outrider.model.flow import Content
from outrider.policy.author import AuthorDomains
from outrider.wire.dkim.request import SignRequest


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

    __slots__ = ("_authors", "_table")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._authors = AuthorDomains()

    def requests_for(self, content: Content, tenant: str) -> tuple[SignRequest, ...]:
        """The signatures of a message. Raises ConfigError."""
        return self._table.requests_for(self._authors.of(content), tenant)

    @property
    def has_seals(self) -> bool:
        """True where some mail gets a seal."""
        return self._table.has_seals

    def seal_for(self, content: Content, tenant: str) -> SignRequest | None:
        """With what a message is sealed, if it is. Raises ConfigError."""
        return self._table.seal_for(self._authors.of(content), tenant)
