r"""Seals a small secret under a passphrase, for copies that leave the machine.

In: octets and a passphrase. Out: octets that only the same passphrase opens.

Theory: scrypt makes each guess of a passphrase cost 128 MiB of memory and a good part of a second; its cost
stands in the header, so it may be raised without losing old copies. AES-256-GCM covers header and content;
a changed octet anywhere is a refusal, never other content.

    "OUTSEALED\n"   magic
    1, 1, 1         log2 of the cost N; block size r; parallelism p
    16, 12          salt; nonce
    ...             ciphertext with its tag of 16 octets

Standards: RFC 7914 §2 (scrypt), NIST SP 800-38D (GCM), RFC 5116 §5.3 (AES-256-GCM).
"""

import os
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from outrider.base.errors import OutriderError

MAGIC: Final = b"OUTSEALED\n"
COST_LOG2: Final = 17
BLOCK: Final = 8
PARALLEL: Final = 1
# 128 · N · r octets are 128 MiB (RFC 7914 §2 gives the meaning; the value is chosen for a person who waits
# once)
COST_LOG2_MAX: Final = 20
# chosen: 1 GiB; a header that asks for more was made to hurt
PASSPHRASE_MIN: Final = 12
# NIST SP 800-63B asks for 8 at least where guesses are limited; here nothing limits them
_HEADER: Final = struct.Struct("<10sBBB16s12s")
_KEY_OCTETS: Final = 32


class PassphraseError(OutriderError):
    """The passphrase is not the one that sealed it, or the octets were changed."""


def check_passphrase(passphrase: str) -> None:
    """Refuse a passphrase that is guessed in no time.

    Raises:
        PassphraseError: It is too short.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise PassphraseError(f"the passphrase has fewer than {PASSPHRASE_MIN} characters; take a longer one")


def seal(content: bytes, passphrase: str) -> bytes:
    """`content` under `passphrase`.

    Raises:
        PassphraseError: The passphrase is too short.
    """
    check_passphrase(passphrase)
    salt, nonce = os.urandom(16), os.urandom(12)
    header = _HEADER.pack(MAGIC, COST_LOG2, BLOCK, PARALLEL, salt, nonce)
    return header + AESGCM(_key(passphrase, salt, COST_LOG2, BLOCK, PARALLEL)).encrypt(nonce, content, header)


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """What `seal` was given.

    Raises:
        PassphraseError: The passphrase is wrong, or this is not what was sealed.
    """
    if len(sealed) < _HEADER.size or not sealed.startswith(MAGIC):
        raise PassphraseError("this is no sealed content")
    header = sealed[: _HEADER.size]
    _, cost, block, parallel, salt, nonce = _HEADER.unpack(header)
    if not 1 <= cost <= COST_LOG2_MAX or (block, parallel) != (BLOCK, PARALLEL):
        raise PassphraseError("the header asks for a cost that this program does not pay; it was changed")
    try:
        key = _key(passphrase, salt, cost, block, parallel)
        return AESGCM(key).decrypt(nonce, sealed[_HEADER.size :], header)
    except InvalidTag as error:
        raise PassphraseError("the passphrase is wrong, or the sealed file was changed") from error


def _key(passphrase: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return Scrypt(salt, _KEY_OCTETS, 1 << cost, block, parallel).derive(passphrase.encode())
