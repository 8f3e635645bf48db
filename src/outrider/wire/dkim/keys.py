"""Keys as signatures need them: a private one signs, a public one checks.

In: key objects of `cryptography`, of which this is the only home in `wire`, or a public key as a record holds
it. Out: octets of a signature, or whether one is good.

Theory: RSA is PKCS #1 v1.5 over SHA-256; Ed25519 signs the SHA-256 digest, not the text. Both are
deterministic, so this needs no randomness. Parsing a key costs more than using it, so callers keep the
objects.

Standards: RFC 6376 §3.3 (rsa-sha256), RFC 8301 §3.2 (sizes), RFC 8463 §3 (ed25519-sha256), RFC 8463 §4
(public keys).
"""

import hashlib
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from outrider.base.errors import RemoteProtocolError

RSA_SIGN_BITS: Final = 2048
"""RFC 8301 §3.2: signers should use at least so many."""

RSA_BITS_MIN: Final = 1024
"""RFC 8301 §3.2: signers must use at least so many, and verifiers take nothing below."""

RSA_BITS_MAX: Final = 8192
"""Chosen: RFC 8301 §3.2 asks verifiers for up to 4096; what is longer than this only costs time."""

ED25519_OCTETS: Final = 32
# RFC 8032 §5.1.5

_PADDING: Final = PKCS1v15()
_SHA256: Final = SHA256()


class PublicKeyError(RemoteProtocolError):
    """A record does not hold a key that can be used."""


class SigningKey:
    """A private key. Its text form names the algorithm and the size, nothing else.

    Args:
        private: RSA or Ed25519.
    """

    __slots__ = ("_private", "algorithm", "bits", "public")

    def __init__(self, private: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._private = private
        if isinstance(private, RSAPrivateKey):
            self.algorithm = "rsa-sha256"
            self.bits = private.key_size
            self.public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            self.algorithm = "ed25519-sha256"
            self.bits = 256
            self.public = private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, {self.bits} bits)"

    @property
    def record_type(self) -> str:
        """Word for `k=` of its record."""
        return self.algorithm.partition("-")[0]

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`."""
        private = self._private
        if isinstance(private, RSAPrivateKey):
            return private.sign(data, _PADDING, _SHA256)
        return private.sign(hashlib.sha256(data).digest())


class PublicKey:
    """A public key as a record holds it.

    Args:
        record_type: Word of `k=`: `rsa` or `ed25519`.
        octets: What `p=` decodes to. For RSA both forms that are in use are taken, SubjectPublicKeyInfo and
            RSAPublicKey.

    Raises:
        PublicKeyError: It is no such key.
    """

    __slots__ = ("_public", "bits", "record_type")

    def __init__(self, record_type: str, octets: bytes) -> None:
        self.record_type = record_type
        self._public: RSAPublicKey | Ed25519PublicKey
        if record_type == "ed25519":
            if len(octets) != ED25519_OCTETS:
                raise PublicKeyError(f"an ed25519 key has {ED25519_OCTETS} octets, not {len(octets)}")
            self._public = Ed25519PublicKey.from_public_bytes(octets)
            self.bits = 256
            return
        if len(octets) > RSA_BITS_MAX // 4:  # the modulus is half of it at most; a parser need not see more
            raise PublicKeyError(f"a key of {len(octets)} octets is too long")
        try:
            public = load_der_public_key(octets)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
            raise PublicKeyError("p= holds no RSA key") from error
        if not isinstance(public, RSAPublicKey):
            raise PublicKeyError("p= holds a key of another kind than k= says")
        self._public = public
        self.bits = public.key_size

    def is_good(self, signature: bytes, data: bytes) -> bool:
        """True when `signature` was made over `data` by the private key."""
        public = self._public
        try:
            if isinstance(public, RSAPublicKey):
                public.verify(signature, data, _PADDING, _SHA256)
            else:
                public.verify(signature, hashlib.sha256(data).digest())
        except InvalidSignature:
            return False
        return True

    def matches(self, key: SigningKey) -> bool:
        """True when it is the public half of `key`."""
        if self.record_type != key.record_type:
            return False
        public = self._public
        if isinstance(public, RSAPublicKey):
            return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key.public
        return public.public_bytes_raw() == key.public
