"""The text of one key file, and of what is left of a destroyed key.

In and out: TOML of a few lines that a person can read, copy and recognise. A key's file is named
`<purpose>-<version>.key`, its tombstone `<purpose>-<version>.destroyed`; the same names serve as names of
systemd credentials.

Theory: a key that was damaged in copying would open nothing and seal what nobody can open later. So the file
carries a fingerprint, which is derived from the key by HMAC and says nothing about it; file and name must
agree.

Invariant: `parse_key` returns a key only if it is the one that `format_key` was given. No text that this
module raises holds a secret.

Standards: RFC 2104 §2 (HMAC), RFC 4648 §4 (Base64).
"""

import base64
import hmac
import re
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from outrider.base.clock import format_utc
from outrider.base.errors import ConfigError

KEY_OCTETS: Final = 32
# AES-256 takes so many (FIPS 197), and RFC 2104 §3 advises as many as the hash gives
VERSION_MAX: Final = (1 << 32) - 1
# what a frame of the spool has room for
FILE_LIMIT: Final = 4096
# chosen: a key file has some 300 octets; whatever is longer is none

_NAME: Final = re.compile(r"([a-z]+)-([1-9][0-9]{0,9})\.(key|destroyed)")
_FINGERPRINT_DIGITS: Final = 12
# chosen: enough to tell keys apart by eye; a collision only makes damage go unnoticed
_FINGERPRINT_OF: Final = b"outrider key fingerprint"


class Purpose(StrEnum):
    """What a key is for; a key serves one purpose only."""

    SEAL = "seal"
    SUPPRESS = "suppress"
    LOG = "log"
    SPOOL = "spool"


MEANING: Final = {
    Purpose.SEAL: "sealed addresses",
    Purpose.SUPPRESS: "entries of suppression lists",
    Purpose.LOG: "tokens that stand for addresses in events and logs",
    Purpose.SPOOL: "encrypted frames of the spool",
}
"""What a key of each purpose protects, in the words of messages to operators."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Its `repr` and its fingerprint may be shown; `secret` never.

    Attributes:
        purpose: What it is for.
        version: Its number; versions of a purpose are never used twice.
        created: When it was made, RFC 3339.
        secret: The key itself.
        source: File that it was read from.
    """

    purpose: Purpose
    version: int
    created: str
    secret: bytes = field(repr=False)
    source: str = ""

    @property
    def name(self) -> str:
        """`spool-2`."""
        return f"{self.purpose}-{self.version}"

    @property
    def fingerprint(self) -> str:
        """Tells this key from others and nothing about it."""
        return fingerprint_of(self.secret)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a destroyed key.

    Attributes:
        purpose: What it was for.
        version: Its number.
        fingerprint: Its fingerprint.
        created: When it was made.
        destroyed: When it was destroyed.
        reason: Why.
    """

    purpose: Purpose
    version: int
    fingerprint: str
    created: str
    destroyed: str
    reason: str

    @property
    def name(self) -> str:
        """`spool-1`."""
        return f"{self.purpose}-{self.version}"


def fingerprint_of(secret: bytes) -> str:
    """The fingerprint of a key."""
    return hmac.digest(secret, _FINGERPRINT_OF, "sha256").hex()[:_FINGERPRINT_DIGITS]


def parse_name(name: str) -> tuple[Purpose, int, bool] | None:
    """(purpose, version, is a key and no tombstone) of a file's name; None when it is no such name."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in tuple(Purpose) or int(found[2]) > VERSION_MAX:
        return None
    return Purpose(found[1]), int(found[2]), found[3] == "key"


def format_key(key: Key) -> str:
    """The text of a key file. It holds the secret."""
    return (
        f"# Outrider key for {MEANING[key.purpose]}. Whoever reads this file can read what it protects;\n"
        "# what it protects is lost without it. Keep a copy in a safe place.\n"
        f'purpose = "{key.purpose}"\n'
        f"version = {key.version}\n"
        f'created = "{key.created}"\n'
        f'fingerprint = "{key.fingerprint}"\n'
        f'key = "{base64.b64encode(key.secret).decode()}"\n'
    )


def format_tombstone(tombstone: Tombstone) -> str:
    """The text of a tombstone."""
    reason = tombstone.reason.replace("\\", "\\\\").replace('"', '\\"')
    return (
        "# An Outrider key was destroyed. This file keeps its number from being used again.\n"
        f'purpose = "{tombstone.purpose}"\n'
        f"version = {tombstone.version}\n"
        f'fingerprint = "{tombstone.fingerprint}"\n'
        f'created = "{tombstone.created}"\n'
        f'destroyed = "{tombstone.destroyed}"\n'
        f'reason = "{reason}"\n'
    )


def new_key(purpose: Purpose, version: int, secret: bytes, wall: float) -> Key:
    """A key made at `wall`, Unix seconds."""
    if version > VERSION_MAX:
        raise ConfigError(f"all versions of {purpose} keys are used up")
    return Key(purpose, version, format_utc(wall), secret)


def _read(text: bytes, path: str, purpose: Purpose, version: int) -> dict[str, Any]:
    if len(text) > FILE_LIMIT:
        raise ConfigError(f"{path} is no key file: it is too long")
    try:
        found = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        raise ConfigError(f"{path} is no key file, or damaged: restore it from your copy") from None
    if found.get("purpose") != purpose or found.get("version") != version:
        raise ConfigError(f"{path} holds another key than its name says: give it back its name")
    return found


def parse_key(text: bytes, path: str, purpose: Purpose, version: int) -> Key:
    """The key of a file whose name says `purpose` and `version`.

    Raises:
        ConfigError: It is damaged, or another key.
    """
    found = _read(text, path, purpose, version)
    try:
        secret = base64.b64decode(str(found.get("key", "")), validate=True)
    except ValueError:  # binascii.Error is one; so is text beyond ASCII
        secret = b""
    if len(secret) != KEY_OCTETS or found.get("fingerprint") != fingerprint_of(secret):
        raise ConfigError(
            f"{path} is damaged: key and fingerprint do not belong together; restore it from your copy"
        )
    return Key(purpose, version, str(found.get("created", "")), secret, path)


def parse_tombstone(text: bytes, path: str, purpose: Purpose, version: int) -> Tombstone:
    """The tombstone of a file whose name says `purpose` and `version`.

    Raises:
        ConfigError: It is damaged.
    """
    found = _read(text, path, purpose, version)
    texts = (str(found.get(name, "")) for name in ("fingerprint", "created", "destroyed", "reason"))
    return Tombstone(purpose, version, *texts)
