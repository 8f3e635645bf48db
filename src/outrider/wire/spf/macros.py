"""The letters of macros as `%{i}` and `%{d2r}`, for records and for texts of policy.

In: who sends, and what stands in the braces. Out: what stands for it.

Standards: RFC 7208 §7.2 (letters), RFC 7208 §7.3 (transformers).
Not here: `p`, which asks DNS; `d`, which is the domain under way.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

LETTER: Final = r"([A-Za-z])([0-9]*)([Rr]?)([.+,/_=-]*)"
"""What stands in the braces: letter, how many parts from the right, reversed, and what divides them."""


def letters_of(
    local_part: str, domain: str, address: IPv4Address | IPv6Address, helo: str, receiver: str, now: float
) -> dict[str, str]:
    """What each letter stands for, but `d` and `p`."""
    is_4 = isinstance(address, IPv4Address)
    return {
        "s": f"{local_part}@{domain}",
        "l": local_part,
        "o": domain,
        "i": str(address) if is_4 else ".".join(address.exploded.replace(":", "")),
        "v": "in-addr" if is_4 else "ip6",
        "h": helo.removesuffix("."),
        "c": str(address),
        "r": receiver,
        "t": str(int(now)),
    }


def transformed(value: str, letter: str, digits: str, reverse: str, delimiters: str) -> str:
    """What a letter stands for, as the rest of the braces asks; escaped for a URL for a capital."""
    pieces = re.split(f"[{re.escape(delimiters or '.')}]", value)
    if reverse:
        pieces.reverse()
    count = int(digits) if digits else 0
    found = ".".join(pieces[-count:] if count else pieces)
    return quote(found, safe="") if letter.isupper() else found
