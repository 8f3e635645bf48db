"""What a DNS look-up gives: one value for every ending, so that only bugs raise.

Standards: RFC 2308 §2 (the two negative answers), RFC 1035 §3.2.2 (types).
"""

from enum import IntEnum
from typing import Protocol

import msgspec


class Kind(IntEnum):
    """Types of records that mail needs; the values are those of the protocol."""

    A = 1
    NS = 2
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28


class Status(IntEnum):
    """How a look-up ended."""

    FOUND = 1
    NO_NAME = 2  # NXDOMAIN: the name does not exist
    NO_DATA = 3  # the name exists, without records of this type
    FAILED = 4  # no nameserver gave an answer that makes sense


class Answer(msgspec.Struct, frozen=True):
    """The result of one question.

    Attributes:
        status: How it ended.
        ttl_seconds: How long it may be used from now on.
        addresses: For A and AAAA, in the order of the answer.
        exchangers: For MX: (preference, host name without final dot, lower case); the root is `""`.
        names: For PTR and NS: host names as for MX.
        texts: For TXT: each record's strings as one text, octets over 127 as Latin-1.
        trouble: For FAILED: what went wrong, for the log.
        is_cut: There were more records than are read.
        stale: True for an expired answer served while the nameservers do not answer (RFC 8767 §4).
    """

    status: Status
    ttl_seconds: float
    addresses: tuple[str, ...] = ()
    exchangers: tuple[tuple[int, str], ...] = ()
    trouble: str = ""
    stale: bool = False
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    is_cut: bool = False


class Lookup(Protocol):
    """Who answers questions; a failure is an `Answer`, never an exception."""

    async def lookup(self, name: str, kind: Kind) -> Answer: ...
