"""Tokens under keys that the tests make."""

from outrider.privacy.keyfile import KEY_OCTETS, Purpose, new_key
from outrider.privacy.keyring import KeyRing
from outrider.privacy.token import Tokens


def ring_of(*versions: int) -> KeyRing:
    """A ring with these versions of the `log` key, each of octets of its own."""
    return KeyRing(
        tuple(new_key(Purpose.LOG, version, bytes([version]) * KEY_OCTETS, 0.0) for version in versions)
    )


class FixedTokens(Tokens):
    """Tokens of a ring that never changes."""

    def __init__(self, *versions: int) -> None:
        super().__init__(ring_of(*(versions or (1,))))

    def refresh(self) -> bool:
        """Never anything new."""
        return False
