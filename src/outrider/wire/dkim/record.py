"""Key records: what a selector's name holds in DNS.

In: the texts of TXT records from anybody. Out: a `KeyRecord`, or a `RecordError` that says what is wrong. And
the record to publish for a key of ours, for a zone file too, where a string has at most 255 octets.

Standards: RFC 6376 §3.6.1 (format), RFC 6376 §3.6.2 (names), RFC 8463 §4 (Ed25519), RFC 1035 §3.3.14 (TXT).
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec

from outrider.base.errors import RemoteProtocolError
from outrider.wire.dkim.keys import PublicKey, PublicKeyError, SigningKey
from outrider.wire.dkim.tags import TagError, parse_tags, without_white_space

RECORD_OCTETS_MAX: Final = 16_384
"""Chosen: a key of 8192 bits takes some 1,500; what is longer is not parsed."""

STRING_OCTETS: Final = 255
# RFC 1035 §3.3: a character-string has a length of one octet

KEY_TYPES: Final = ("rsa", "ed25519")


class RecordError(RemoteProtocolError):
    """There is no usable key record.

    Args:
        message: What is wrong.
        is_revoked: The record says that the key was revoked.
    """

    def __init__(self, message: str, *, is_revoked: bool = False) -> None:
        super().__init__(message)
        self.is_revoked = is_revoked


class KeyRecord(msgspec.Struct, frozen=True):
    """A key record.

    Attributes:
        key: The public key.
        hashes: Hash algorithms of `h=`, in lower case; empty allows all.
        services: Words of `s=`, in lower case; `*` is any.
        flags: Words, in lower case, of `t=`: `y` is testing, `s` forbids subdomains in `i=`.
        notes: `n=`, for people.
    """

    key: PublicKey
    hashes: tuple[str, ...] = ()
    services: tuple[str, ...] = ("*",)
    flags: tuple[str, ...] = ()
    notes: str = ""

    @property
    def is_testing(self) -> bool:
        """The domain only tries DKIM: a bad signature is to be treated as none (RFC 6376 §3.6.1)."""
        return "y" in self.flags

    @property
    def is_strict(self) -> bool:
        """`i=` must not be of a subdomain of `d=`."""
        return "s" in self.flags

    @property
    def is_for_mail(self) -> bool:
        return "*" in self.services or "email" in self.services


def record_name(selector: str, domain: str) -> str:
    """Where the key of a selector is (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def parse_record(text: str) -> KeyRecord:
    """The record that a text is.

    Raises:
        RecordError: It is none, or its key was revoked.
    """
    if len(text) > RECORD_OCTETS_MAX:
        raise RecordError(f"a record of {len(text)} octets is too long")
    try:
        tags = parse_tags(text)
    except TagError as error:
        raise RecordError(error.message) from error
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise RecordError("v= is not DKIM1, or does not stand first")
    if "p" not in tags:
        raise RecordError("p= is missing")
    record_type = tags.get("k", "rsa").lower()
    if record_type not in KEY_TYPES:
        raise RecordError(f"k={record_type[:20]!r} is not known")
    encoded = without_white_space(tags["p"])
    if not encoded:
        raise RecordError("the key was revoked", is_revoked=True)
    try:
        key = PublicKey(record_type, base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RecordError("p= is not Base64") from error
    except PublicKeyError as error:
        raise RecordError(error.message) from error
    return KeyRecord(
        key, _words(tags, "h"), _words(tags, "s") or ("*",), _words(tags, "t"), tags.get("n", "")
    )


def parse_records(texts: Sequence[str]) -> KeyRecord:
    """The record among those of one name.

    Where there are several, the first usable one counts; RFC 6376 §3.6.2.2 leaves it open, and other texts
    stand there by mistake or by wildcards.

    Raises:
        RecordError: None is usable; what is wrong with the first is said.
    """
    fault: RecordError | None = None
    for text in texts:
        try:
            return parse_record(text)
        except RecordError as error:
            fault = fault or error
    raise fault or RecordError("there is no record")


def format_record(key: SigningKey, flags: Sequence[str] = ()) -> str:
    """The record to publish for a key."""
    set_flags = f" t={':'.join(flags)};" if flags else ""
    return f"v=DKIM1; k={key.record_type};{set_flags} p={base64.b64encode(key.public).decode('ascii')}"


def zone_line(name: str, text: str) -> str:
    """`text` as a line of a zone file: long texts as several strings, which readers join without spaces."""
    strings = [text[start : start + STRING_OCTETS] for start in range(0, len(text), STRING_OCTETS)] or [""]
    escaped = (string.replace("\\", "\\\\").replace('"', '\\"') for string in strings)
    quoted = [f'"{string}"' for string in escaped]
    return f"{name}. IN TXT {quoted[0]}" if len(quoted) == 1 else f"{name}. IN TXT ({' '.join(quoted)})"


def _words(tags: dict[str, str], name: str) -> tuple[str, ...]:
    """The words of a tag in lower case: their case means nothing (RFC 5234 §2.3)."""
    return tuple(word for word in (each.strip().lower() for each in tags.get(name, "").split(":")) if word)
