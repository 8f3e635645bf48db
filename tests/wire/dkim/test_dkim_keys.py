"""Public keys as records hold them: which sizes and forms are read, and that none can do more than fail."""

from collections.abc import Callable

import pytest

from outrider.wire.dkim.keys import RSA_BITS_MAX, PublicKey, PublicKeyError

RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d0101010500")  # rsaEncryption without parameters
Form = Callable[[int, int], bytes]
SIGNATURES = (b"", b"x", b"\0" * 256, b"\xff" * 256, b"\x01" * 64, b"\0" * 64)


def der(tag: int, value: bytes) -> bytes:
    length = len(value)
    octets = length.to_bytes((length.bit_length() + 7) // 8 or 1, "big")
    return bytes((tag, length) if length < 128 else (tag, 0x80 | len(octets), *octets)) + value


def integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def bare(modulus: int, exponent: int) -> bytes:
    """RSAPublicKey, as RFC 6376 §3.6.1 names it."""
    return der(0x30, integer(modulus) + integer(exponent))


def info(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo, as everybody publishes it."""
    return der(0x30, der(0x30, RSA_ENCRYPTION) + der(3, b"\0" + bare(modulus, exponent)))


def odd(bits: int) -> int:
    return 1 << (bits - 1) | 1


@pytest.mark.parametrize("form", [bare, info])
@pytest.mark.parametrize("bits", [512, 1023, 1024, 2048, 4096, RSA_BITS_MAX, RSA_BITS_MAX + 1])
def test_sizes_are_told_and_left_to_who_checks(bits: int, form: Form) -> None:
    key = PublicKey("rsa", form(odd(bits), 65_537))
    assert key.bits == bits
    assert not any(key.is_good(signature, b"data") for signature in SIGNATURES)


@pytest.mark.parametrize("form", [bare, info])
@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [
        pytest.param(odd(2_048), 0, id="exponent 0"),
        pytest.param(odd(2_048), 1, id="exponent 1"),
        pytest.param(odd(2_048), 2, id="even exponent"),
        pytest.param(odd(1_024), odd(2_048), id="exponent beyond modulus"),
        pytest.param(0, 3, id="modulus 0"),
        pytest.param(1, 3, id="modulus 1"),
        pytest.param(odd(2 * RSA_BITS_MAX), 65_537, id="too long"),
    ],
)
def test_numbers_that_are_no_key_are_refused(modulus: int, exponent: int, form: Form) -> None:
    with pytest.raises(PublicKeyError):
        PublicKey("rsa", form(modulus, exponent))


@pytest.mark.parametrize(
    "octets", [b"", b"\0", info(odd(2_048), 3) + b"\0", info(odd(2_048), 3)[:-1], b"\x30"]
)
def test_octets_that_are_no_key_are_refused(octets: bytes) -> None:
    with pytest.raises(PublicKeyError):
        PublicKey("rsa", octets)


def test_an_even_modulus_only_fails() -> None:
    key = PublicKey("rsa", info(1 << 2_047, 65_537))
    assert not any(key.is_good(signature, b"data") for signature in SIGNATURES)


@pytest.mark.parametrize("octets", [b"", b"\1" * 31, b"\1" * 33, info(odd(512), 3), b"\1" * 44])
def test_an_ed25519_key_has_32_octets(octets: bytes) -> None:
    with pytest.raises(PublicKeyError, match="32 octets"):
        PublicKey("ed25519", octets)


@pytest.mark.parametrize("octets", [b"\0" * 32, b"\xff" * 32])
def test_ed25519_points_of_no_use_only_fail(octets: bytes) -> None:
    key = PublicKey("ed25519", octets)
    assert not any(key.is_good(signature, b"data") for signature in SIGNATURES)
