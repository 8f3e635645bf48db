"""Whose a message is: the domain of the first address of From (RFC 5322 §3.6.2).

In: a content. Out: a domain in A-labels, lower case; empty where From names none that can be read.

Theory: a message's author is mostly that of the one before, so what a field says is read once. What is longer
than anybody's From is not remembered, and what is longer than that of any crowd names nobody, as for checks.
"""

import re
from typing import Final

from outrider.model.flow import Content
from outrider.privacy.mail_checks import AUTHOR_OCTETS
from outrider.wire.message.addresses import parse_addresses

REMEMBERED: Final = 4_096
# chosen: authors that send lately; it is emptied when it is full
REMEMBERED_OCTETS: Final = 512
# chosen: several times what a name and an address take


_FROM: Final = re.compile(rb"(?m)^from[ \t]*:")
# RFC 5322 §4.5.8: white space may stand before the colon


class AuthorDomains:
    """See the module."""

    __slots__ = ("_domains",)

    def __init__(self) -> None:
        self._domains: dict[bytes, str] = {}

    def of(self, content: Content) -> str:
        """The author's domain."""
        value = author_value(content)
        domain = self._domains.get(value)
        if domain is None:
            if len(value) > AUTHOR_OCTETS:
                return ""
            addresses = parse_addresses(value.decode("utf-8", "replace").replace("\r\n", "")).addresses
            domain = addresses[0].domain if addresses else ""
            if len(value) <= REMEMBERED_OCTETS:
                if len(self._domains) >= REMEMBERED:
                    self._domains.clear()
                self._domains[value] = domain
        return domain


def has_one_author(content: Content) -> bool:
    """True where there is exactly one From field, without which nothing is signed (`wire.dkim.signer`)."""
    header = content.wire[: content.header_octets].lower()
    begun = header.count(b"\nfrom") + (header[:4] == b"from")
    if begun == 1 and (header[:5] == b"from:" or b"\nfrom:" in header):
        return True
    return len(_FROM.findall(header)) == 1


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
