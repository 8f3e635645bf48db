"""What tests of signatures share: keys made once, records for them, and checking without DNS."""

from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from outrider.model.flow import Content
from outrider.wire.dkim.keys import SigningKey
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records, SignatureResult
from outrider.wire.dkim.verifier import Verification

NOW = 1_764_500_000.0
DOMAIN = "sender.test"

MESSAGE = (
    b"From: Ann <ann@sender.test>\r\n"
    b"To: bob@receiver.test\r\n"
    b"Subject:  A  subject\r\n\tfolded \r\n"
    b"Date: Tue, 24 Nov 2026 16:34:24 +0000\r\n"
    b"Message-ID: <1@sender.test>\r\n"
    b"X-Other: not signed\r\n"
    b"\r\n"
    b"First line  with spaces\t\r\n"
    b".a line with a dot\r\n"
    b"\r\n"
    b"Last line\r\n"
    b"\r\n"
)


@cache
def key_of(name: str) -> SigningKey:
    """A key made once: `ed25519`, or `rsa` and its bits, such as `rsa2048`; `ed25519b` is another one."""
    if name.startswith("ed25519"):
        return SigningKey(Ed25519PrivateKey.generate())
    return SigningKey(generate_private_key(65_537, int(name.removeprefix("rsa"))))


def pem(name: str) -> bytes:
    """A key of `key_of` as PKCS #8."""
    return key_of(name)._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class KeyTable:
    """Keys by the names of `key_of`; a `signer.Keys`."""

    def get(self, name: str) -> SigningKey:
        return key_of(name)


KEYS = KeyTable()


def request(key: str = "ed25519", **options: Any) -> SignRequest:
    """A request whose selector is the key's name."""
    return SignRequest(DOMAIN, key, key, **options)


def records(*keys: str, flags: tuple[str, ...] = ()) -> dict[str, Records]:
    """The records of keys under their own names as selectors."""
    return {
        f"{key}._domainkey.{DOMAIN}": Records((format_record(key_of(key), flags),))
        for key in keys or ("ed25519", "rsa2048", "rsa1024")
    }


def check(
    content: Content,
    answers: dict[str, Records] | None = None,
    now: float = NOW,
) -> tuple[SignatureResult, ...]:
    """The results of a message's signatures."""
    return Verification(content, now).results(records() if answers is None else answers)
