"""Keyed tokens that stand for addresses in events and logs.

In: an address. Out: `t1.<24 characters>`, the same for the same address under the same version of the `log`
key. So events about one person can be joined, and whoever has the address and the key finds them. Without the
key a token tells nothing, not even to somebody who can guess addresses.

Theory: HMAC-SHA-256 of the canonical address; of each of its first 24 octets five bits are a character, 120
bits in all. Taking five bits of an octet rather than packing all eight costs nothing, because 24 of 32 octets
are there, and one `translate` makes the text. The key is derived from the ring's, one for each version.

Invariant: equal addresses (in any case) have equal tokens under one version; without the key a token
says nothing about its address.

Standards: RFC 2104 §2 (HMAC), RFC 5869 §2 (HKDF), RFC 4648 §6 (the alphabet of Base32, in lower case).
"""

import hmac
from typing import Final

from outrider.model.address import Address
from outrider.privacy.aead import derive
from outrider.privacy.keyfile import Purpose
from outrider.privacy.keyring import KeyRing, LiveRing

CHARACTERS: Final = 24
"""Chosen: 120 bits. Two of a thousand million addresses share a token with a probability of 1 in 10^18."""

_ALPHABET: Final = b"abcdefghijklmnopqrstuvwxyz234567"
_TABLE: Final = bytes(_ALPHABET[octet & 31] for octet in range(256))
_CONTEXT: Final = b"outrider address token"


def canonical(address: Address) -> bytes:
    """What is hashed: the address in lower case, its quotes as they are."""
    return f"{address.local_part.lower()}@{address.domain}".encode()


class Tokens:
    """Tokens under each version of the `log` key.

    Args:
        ring: With at least one `log` key.

    Raises:
        KeyAbsentError: There is none.
    """

    __slots__ = ("_key", "_keys", "_prefix")

    def __init__(self, ring: KeyRing) -> None:
        newest = ring.newest(Purpose.LOG)
        self._keys = {key.version: derive(key.secret, b"", _CONTEXT) for key in ring.of(Purpose.LOG)}
        self._key = self._keys[newest.version]
        self._prefix = f"t{newest.version}."

    def token(self, address: Address) -> str:
        """The token under the newest version."""
        return self._prefix + _characters(self._key, address)

    def all_tokens(self, address: Address) -> list[str]:
        """The tokens under every version that the ring still has, newest first: to look for the address."""
        return [
            f"t{version}.{_characters(self._keys[version], address)}"
            for version in sorted(self._keys, reverse=True)
        ]


def _characters(key: bytes, address: Address) -> str:
    return hmac.digest(key, canonical(address), "sha256")[:CHARACTERS].translate(_TABLE).decode()


class LiveTokens:
    """Tokens that follow the ring: after a rotation new events get tokens of the new version.

    Args:
        live: The ring.

    Raises:
        KeyAbsentError: It has no `log` key now.
    """

    __slots__ = ("_live", "_ring", "_tokens")

    def __init__(self, live: LiveRing) -> None:
        self._live = live
        self._ring = live.ring
        self._tokens = Tokens(self._ring)

    def token(self, address: Address) -> str:
        """The token under the newest version."""
        return self._tokens.token(address)

    def refresh(self) -> bool:
        """Look for a new version; True when tokens may differ from now on. Costs one look at a directory."""
        self._live.refresh()
        ring = self._live.ring
        if ring is self._ring or ring.maybe_newest(Purpose.LOG) is None:
            return False
        self._ring, self._tokens = ring, Tokens(ring)
        return True
