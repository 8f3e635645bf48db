"""dkimpy as an independent verifier and signer.

It asks for PyNaCl where Ed25519 is concerned, which the lock does not hold. So it is given that primitive,
made of `cryptography`; canonicalisation, choice of fields, tags and records stay its own.
"""

import base64
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import dkim  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from outrider.wire.dkim.keys import SigningKey
from outrider.wire.dkim.results import Records


class _BadSignatureError(Exception):
    pass


class _VerifyKey:
    def __init__(self, encoded: bytes, encoder: object = None) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature as error:
            raise _BadSignatureError from error


class _SigningKey:
    def __init__(self, encoded: bytes, encoder: object = None) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded))

    def sign(self, digest: bytes) -> SimpleNamespace:
        return SimpleNamespace(signature=self._key.sign(digest))


if not hasattr(dkim, "nacl"):
    cast("Any", dkim).nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_VerifyKey, SigningKey=_SigningKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(BadSignatureError=_BadSignatureError, ValueError=ValueError),
    )


def _look_up(answers: Mapping[str, Records]) -> Any:
    def dnsfunc(name: bytes, timeout: int = 5) -> bytes | None:
        found = answers.get(name.decode().removesuffix("."))
        return found.texts[0].encode() if found and found.texts else None

    return dnsfunc


def verifies(message: bytes, answers: Mapping[str, Records], place: int = 0) -> bool:
    """dkimpy's verdict on the signature at `place`, its refusals included."""
    try:
        return bool(dkim.DKIM(message, minkey=1024).verify(idx=place, dnsfunc=_look_up(answers)))
    except dkim.DKIMException:
        return False


def chain_verifies(message: bytes, answers: Mapping[str, Records]) -> str:
    """dkimpy's word on the chain: `pass`, `fail` or `none`."""
    state, _, _ = dkim.ARC(message, minkey=1024).verify(dnsfunc=_look_up(answers))
    return "closed" if state is None else cast("bytes", state).decode()


def private_octets(key: SigningKey) -> bytes:
    """A key in the form that dkimpy reads."""
    private = key._private
    if isinstance(private, Ed25519PrivateKey):
        return base64.b64encode(private.private_bytes_raw())
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def signed(
    message: bytes,
    key: SigningKey,
    selector: str,
    domain: str,
    *,
    header: str,
    body: str,
    length: bool = False,
) -> bytes:
    """dkimpy's signature field for a message."""
    signer = dkim.DKIM(message)
    field = signer.sign(
        selector.encode(),
        domain.encode(),
        private_octets(key),
        signature_algorithm=key.algorithm.encode(),
        canonicalize=(header.encode(), body.encode()),
        length=length,
    )
    return cast("bytes", field)
