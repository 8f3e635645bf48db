"""AES-256-GCM under keys of the ring, one derived key for each context.

In: a ring. Out: `model.ports.SpoolKeys`, by which the spool encrypts without knowing a cryptographic library.

Theory: GCM is broken by one repeated nonce under one key. So no key of the ring is ever used itself: HKDF
derives one for each *context* (for the spool: log and segment) and random salt, and within a context the
caller's nonce is a position that is written once. Two contexts that have the same name by mistake, such as a
segment of a spool that was restored from a backup and went on from there, still differ in their salts.

Invariant: what `open` returns is what `seal` was given, under the same key, context, nonce and associated
data.

Standards: NIST SP 800-38D (nonces by position), RFC 5869 §2 (HKDF), RFC 5116 §5.2 (AES-256-GCM).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from outrider.base.errors import KeyAbsentError, NotAuthenticError
from outrider.privacy.keyfile import KEY_OCTETS, Purpose
from outrider.privacy.keyring import LiveRing

TAG_OCTETS = 16
# RFC 5116 §5.2: a ciphertext is exactly so much longer


def derive(secret: bytes, salt: bytes, context: bytes) -> bytes:
    """The key of one context."""
    return HKDF(SHA256(), KEY_OCTETS, salt, context).derive(secret)


class AesGcm:
    """A `model.ports.Cipher`."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        return self._aead.encrypt(nonce, plain, associated)

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        try:
            return self._aead.decrypt(nonce, sealed, associated)
        except InvalidTag:
            raise NotAuthenticError("it was altered, or belongs to another place or key") from None


class RingSpoolKeys:
    """`model.ports.SpoolKeys` from a ring; a version that is not known yet makes it look again.

    Args:
        live: The ring.
    """

    __slots__ = ("_live",)

    def __init__(self, live: LiveRing) -> None:
        self._live = live

    def newest(self) -> int:
        self._live.refresh()
        return self._live.ring.newest(Purpose.SPOOL).version

    def cipher(self, version: int, salt: bytes, context: bytes) -> AesGcm:
        try:
            key = self._live.ring.get(Purpose.SPOOL, version)
        except KeyAbsentError:
            self._live.refresh()
            key = self._live.ring.get(Purpose.SPOOL, version)
        return AesGcm(derive(key.secret, salt, b"outrider spool\0" + context))
