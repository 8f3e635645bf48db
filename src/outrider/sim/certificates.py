"""Self-signed certificates for the simulated providers, made at start without a library.

In: host names, a span of validity, a source of random numbers. Out: PEM text of a certificate and its key.

Theory: an ECDSA key on P-256 is one random number, and its signature needs only arithmetic modulo two primes,
so a certificate is some 60 lines of DER. It protects nothing: it serves to show a client good, expired and
wrong names. Never use it outside the practice internet: the arithmetic takes time that depends on the key.

Standards: RFC 5280 §4.1 (certificate), RFC 5480 §2.1 (EC keys), RFC 5915 §3 (EC private key).
"""

import base64
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

# Curve P-256: SEC 2 §2.4.2, the curve that RFC 5480 §2.1.1.1 calls secp256r1.
_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_A = _PRIME - 3
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

_OID_EC_KEY = "2a8648ce3d0201"  # RFC 5480 §2.1.1, id-ecPublicKey
_OID_P256 = "2a8648ce3d030107"  # RFC 5480 §2.1.1.1, secp256r1
_OID_ECDSA_SHA256 = "2a8648ce3d040302"  # RFC 5758 §3.2, ecdsa-with-SHA256
_OID_COMMON_NAME = "550403"  # RFC 5280 §4.1.2.4
_OID_ALT_NAME = "551d11"  # RFC 5280 §4.2.1.6


def self_signed(
    names: Sequence[str], not_before_time: float, not_after_time: float, chance: random.Random
) -> tuple[str, str]:
    """PEM of a self-signed certificate for `names` and of its private key.

    Args:
        names: Host names; the first is the subject.
        not_before_time: Unix seconds from which it is valid.
        not_after_time: Unix seconds until which it is valid.
        chance: Source of the key.
    """
    secret = chance.randrange(1, _ORDER)
    public = _encode_point(_multiply(secret, _BASE))
    algorithm = _sequence(_oid(_OID_ECDSA_SHA256))
    subject = _sequence(_set(_sequence(_oid(_OID_COMMON_NAME), _tag(0x0C, names[0].encode()))))
    alternatives = _sequence(*(_tag(0x82, name.encode()) for name in names))
    extension = _sequence(_oid(_OID_ALT_NAME), _tag(0x04, alternatives))
    body = _sequence(
        _tag(0xA0, _integer(2)),
        _integer(chance.getrandbits(63) | 1),
        algorithm,
        subject,
        _sequence(_time(not_before_time), _time(not_after_time)),
        subject,
        _sequence(_sequence(_oid(_OID_EC_KEY), _oid(_OID_P256)), _bits(public)),
        _tag(0xA3, _sequence(extension)),
    )
    certificate = _sequence(body, algorithm, _bits(_sign(secret, body, chance)))
    key = _sequence(
        _integer(1),
        _tag(0x04, secret.to_bytes(32, "big")),
        _tag(0xA0, _oid(_OID_P256)),
        _tag(0xA1, _bits(public)),
    )
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key)


def _add(one: _Point, two: _Point) -> _Point:
    if one is None or two is None:
        return two if one is None else one
    if one[0] == two[0]:
        if (one[1] + two[1]) % _PRIME == 0:
            return None
        slope = (3 * one[0] * one[0] + _A) * pow(2 * one[1], -1, _PRIME)
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, _PRIME)
    x = (slope * slope - one[0] - two[0]) % _PRIME
    return x, (slope * (one[0] - x) - one[1]) % _PRIME


def _multiply(factor: int, point: _Point) -> tuple[int, int]:
    total: _Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    if total is None:
        raise ValueError("factor is a multiple of the curve's order")
    return total


def _sign(secret: int, body: bytes, chance: random.Random) -> bytes:
    digest = int.from_bytes(sha256(body).digest(), "big")
    once = chance.randrange(1, _ORDER)
    r = _multiply(once, _BASE)[0] % _ORDER
    s = pow(once, -1, _ORDER) * (digest + r * secret) % _ORDER
    return _sequence(_integer(r), _integer(s))


def _encode_point(point: tuple[int, int]) -> bytes:
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _tag(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _sequence(*items: bytes) -> bytes:
    return _tag(0x30, b"".join(items))


def _set(*items: bytes) -> bytes:
    return _tag(0x31, b"".join(items))


def _integer(number: int) -> bytes:
    return _tag(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tag(0x03, b"\x00" + content)


def _oid(encoded: str) -> bytes:
    return _tag(0x06, bytes.fromhex(encoded))


def _time(unix_seconds: float) -> bytes:
    # UTCTime until 2049, RFC 5280 §4.1.2.5
    return _tag(0x17, datetime.fromtimestamp(unix_seconds, UTC).strftime("%y%m%d%H%M%SZ").encode())


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
