"""Where the mail of a domain goes: exchangers with their addresses, or why there are none.

Standards: RFC 5321 §5.1 (locating the target host), RFC 7505 §3 (null MX).
"""

from typing import Final

import msgspec

from outrider.model.reply import Reply

INBOUND = "inbound"
"""Channel of mail that is for the server itself."""

INBOUND_PREFIX = "inbound:"
"""Routing domain of such mail, before its purpose; no domain holds a colon (RFC 5321 §4.1.2)."""

DISCARD: Final = "discard"
"""Channel of what policy discards: it is finished where it is stored, and no deliverer has it."""

REFUSED: Final = "refused"
"""Channel of recipients whom policy refused while it took the message for others: as `DISCARD`."""

UNSENT_CHANNELS: Final = frozenset({DISCARD, REFUSED})
"""Channels of what is never sent."""


class Exchanger(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One mail exchanger; `addresses` in the order to try, IPv6 and IPv4 as configured.

    `port` is 0 for the route's; only configured routes name one for each host.
    """

    preference: int
    name: str
    addresses: tuple[str, ...]
    port: int = 0


class Route(msgspec.Struct, frozen=True, array_like=True):
    """The exchangers of a domain, best preference first; equal ones are shuffled at each grant.

    Attributes:
        domain: A-label domain asked for.
        exchangers: At least one, each with at least one address.
        implicit: True when the domain has no MX record and its own addresses serve (RFC 5321 §5.1).
        valid_seconds: How long it may be used, from the smallest TTL, bounded by configuration.
        site: Name given by configuration (smart host, provider pattern); empty means fold the exchangers'
            names.
        port: TCP port of every exchanger; 0 means the path's `smtp_port`.
    """

    domain: str
    exchangers: tuple[Exchanger, ...]
    implicit: bool
    valid_seconds: float
    site: str = ""
    port: int = 0


class RouteFailure(msgspec.Struct, frozen=True, array_like=True):
    """No route.

    Attributes:
        domain: A-label domain asked for.
        reply: Our own outcome: 4xx to try again later, 5xx to bounce (NXDOMAIN, null MX, loop).
        valid_seconds: How long the failure may be remembered.
    """

    domain: str
    reply: Reply
    valid_seconds: float
