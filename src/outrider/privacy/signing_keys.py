"""Private keys for signatures: read, checked, parsed once, and kept for as long as they are used.

In: the text of a key as people keep it (PEM of either kind, the same without its armour in one line, as a
database column holds it, or the 32 octets of an Ed25519 key in Base64), or the name of a place where one is.
Out: a `SigningKey`, or a `ConfigError` or `KeyAbsentError` that names the place and never what is in it.

Names are what a stored request for a signature holds instead of a key (`wire.dkim.signer.Keys`):

    file:/etc/outrider/keys/shop.pem      a file
    credential:shop.pem                   a credential of systemd
    ring:shop.example/2026a               a key that `outrider dkim` made
    text:8f14e45f…                        a text that policy handed in, see `keep`

Theory: proving that the primes of an RSA key are primes takes 70 ms (measured), which a loop has not. So a
key is tried instead: it signs a text, and its public half must find that good, which costs a millisecond at
most and fails for whatever a damaged key is. Commands that make or check keys prove them whole.

Invariant: a key whose file others can read or change is refused. Of many keys the least recently used go.

Standards: RFC 8017 §A.1 (PKCS #1), RFC 5958 §2 (PKCS #8), RFC 7468 §10 (PEM), RFC 8410 §7 (Ed25519).
"""

import base64
import binascii
import contextlib
import hashlib
import math
import os
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError, KeyAbsentError
from outrider.base.files import Files, write_atomic
from outrider.base.private_files import GROUP_AND_OTHERS, OTHERS, read_private
from outrider.wire.dkim.keys import (
    ED25519_OCTETS,
    RSA_BITS_MAX,
    RSA_BITS_MIN,
    PublicKey,
    PublicKeyError,
    SigningKey,
)

Known = TypeVar("Known")
Value = TypeVar("Value")

TEXT_OCTETS_MAX: Final = 16_384
"""Chosen: an RSA key of 8192 bits takes 6,400 in PEM."""

KEYS_MAX: Final = 4_096
"""Chosen: some 4 KiB each, so 16 MiB when all of them are in use."""

LOOK_SECONDS: Final = 10.0
"""Chosen: a file that was replaced is taken up within this time, and a look costs nothing a message."""

TOUCH_SECONDS: Final = 3_600.0
"""Chosen: far below the days after which a text is removed, and nothing a message."""

PRUNE_SECONDS: Final = 7 * 86_400.0
"""Chosen: a key that a table still holds is not written anew each week."""

PRUNE_SLACK_SECONDS: Final = 86_400.0
"""Chosen: far above `TOUCH_SECONDS`, and what a clock may be set back."""

GRAVE: Final = ".pruned"
# ends the name of a text that is being removed

TEXTS: Final = ".texts"
# no domain begins with a dot

_ARMOUR: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_DOMAIN: Final = re.compile(r"(?!.*\.\.)[a-z0-9_][a-z0-9_.-]{0,252}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TRIAL: Final = b"outrider tries a key"


def parse_private_key(text: str | bytes, where: str, *, thorough: bool = False) -> SigningKey:
    """The key that a text holds.

    Args:
        text: See the module.
        where: What to call it in errors.
        thorough: Prove an RSA key whole; takes some 70 ms.

    Raises:
        ConfigError: It is no key that can sign.
    """
    octets = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(octets) > TEXT_OCTETS_MAX:
        raise ConfigError(f"{where} is no private key: it is longer than {TEXT_OCTETS_MAX} octets")
    der = _der(octets.replace(b"\\n", b"\n"), where)
    if len(der) == ED25519_OCTETS:
        return SigningKey(Ed25519PrivateKey.from_private_bytes(der))
    try:
        private = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=not thorough)
    except TypeError:
        raise ConfigError(f"{where} is encrypted: store the key without a passphrase") from None
    except (
        ValueError,
        UnsupportedAlgorithm,
        InternalError,
    ):  # the last for lengths that OpenSSL did not foresee
        raise ConfigError(f"{where} is no private key, or damaged") from None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigError(f"{where} is a key of a kind that does not sign mail: use RSA or Ed25519")
    if isinstance(private, RSAPrivateKey) and not RSA_BITS_MIN <= private.key_size <= RSA_BITS_MAX:
        raise ConfigError(
            f"{where} is an RSA key of {private.key_size} bits: receivers take {RSA_BITS_MIN} and more"
        )
    key = SigningKey(private)
    if not _is_whole(key):
        raise ConfigError(f"{where} is damaged: what it signs does not fit its public half")
    return key


def _der(text: bytes, where: str) -> bytes:
    armoured = _ARMOUR.search(text)
    body = text
    if armoured is not None:
        label, body = armoured[1], armoured[2]
        if label.endswith(b"PUBLIC KEY") or label == b"CERTIFICATE":
            raise ConfigError(f"{where} is a public key: the private one signs")
        if b"ENCRYPTED" in label or b"ENCRYPTED" in body:
            raise ConfigError(f"{where} is encrypted: store the key without a passphrase")
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where} is no private key: neither PEM nor Base64") from None


def _is_whole(key: SigningKey) -> bool:
    try:
        return PublicKey(key.record_type, key.public).is_good(key.sign(_TRIAL), _TRIAL)
    except (
        ValueError,
        PublicKeyError,
        InternalError,
    ):  # OpenSSL found the parts of the key not to fit, or not to be any
        return False


def file_name(path: Path) -> str:
    """The name of the key in a file.

    Raises:
        ConfigError: The path is not absolute.
    """
    if not path.is_absolute():
        raise ConfigError(f"{path}: a key file is named by its whole path")
    return f"file:{path}"


def credential_name(credential: str) -> str:
    """The name of a key that systemd passes as a credential."""
    return f"credential:{credential}"


def ring_name(domain: str, selector: str) -> str:
    """The name of a key that `outrider dkim` made."""
    return f"ring:{domain.lower()}/{selector.lower()}"


class _Recent(Generic[Known, Value]):
    """What was used lately, at most so many; safe from any thread, as long messages are signed in one."""

    __slots__ = ("_entries", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._entries: OrderedDict[Known, Value] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Known) -> Value | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: Known, value: Value) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def drop(self, key: Known) -> None:
        with self._lock:
            self._entries.pop(key, None)


class _Text(NamedTuple):
    name: str
    touched_at: float


class _Kept(NamedTuple):
    key: SigningKey
    stamp: tuple[int, int, int]
    looked_at: float


class SigningKeys:
    """Gives keys by name; a `wire.dkim.signer.Keys`. See the module. One for a process and all its threads.

    Args:
        files: Writes texts that are kept.
        directory: Of the keys that `outrider dkim` makes.
        credentials: systemd's directory of credentials.
        clock: For the time between looks at a file.
        keys_max: Keys that are kept; the least recently used go first.
    """

    __slots__ = ("_clock", "_credentials", "_directory", "_files", "_kept", "_texts")

    def __init__(
        self,
        files: Files,
        directory: Path,
        credentials: Path | None,
        clock: Clock,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._files = files
        self._directory = directory
        self._credentials = credentials
        self._clock = clock
        self._kept: _Recent[str, _Kept] = _Recent(keys_max)
        self._texts: _Recent[bytes, _Text] = _Recent(keys_max)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> SigningKey:
        """The key of a name; from memory where its file was looked at lately.

        Raises:
            KeyAbsentError: There is no such file or credential.
            ConfigError: The name is none, or the key cannot be used.
        """
        kept = self._kept.get(name)
        now = self._clock.now()
        if kept is not None and now - kept.looked_at < LOOK_SECONDS:
            return kept.key
        path, forbidden = self._place(name)
        stamp = _stamp(path)
        if kept is not None and kept.stamp == stamp:
            key = kept.key
        else:
            text = read_private(path, forbidden, TEXT_OCTETS_MAX, f"key file {path}")
            key = parse_private_key(text, str(path))
        self._kept.put(name, _Kept(key, stamp, now))
        return key

    def keep(self, text: str) -> str:
        """A name for a key that policy has as a text, such as a column of a database.

        The text is written to a file of its own, so that every worker has the key, also after a restart, for
        as long as messages wait that name it. That takes a write with its syncs, the first time and once an
        hour, because by the time of the file `prune` knows what is in use; see `KeyKeeper` for a loop.

        Raises:
            ConfigError: It is no key that can sign, or it cannot be written.
        """
        name, is_fresh = self.admit(text)
        if not is_fresh:
            self.write(name, text)
        return name

    def admit(self, text: str) -> tuple[str, bool]:
        """A name for a key, without touching any disk; True when it was written within the hour.

        Raises:
            ConfigError: It is no key that can sign.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._texts.get(digest)
        if known is None:
            parse_private_key(text, "the text of a signing key")
            return f"text:{digest.hex()}", False
        return known.name, self._clock.now() - known.touched_at < TOUCH_SECONDS

    def write(self, name: str, text: str) -> None:
        """Write the text of a name that `admit` gave; durable on return.

        Raises:
            ConfigError: It cannot be written.
        """
        now = self._clock.now()
        path, _ = self._place(name)
        try:
            for folder in (self._directory, path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # under a name of this process first, because another worker may be writing the same text
            own = f"{path}.{os.getpid()}"
            write_atomic(self._files, own, text.encode("utf-8", "surrogatepass"))
            self._files.rename(own, str(path))
            self._files.sync_directory(str(path.parent))
        except OSError as error:
            raise ConfigError(f"signing key {path} cannot be written: {error.strerror}") from error
        self._texts.put(bytes.fromhex(name.partition(":")[2]), _Text(name, now))

    def prune(self, before_time: float) -> int:
        """Remove texts that were last written before `before_time`, Unix seconds; how many it were.

        Messages that still name one of them can no longer be signed: see `prunable_before`. A text is put
        aside before it is looked at for the last time, because a worker may be writing it anew; whatever
        interrupts that, the next call goes on with it.

        Raises:
            ConfigError: The directory cannot be read or changed.
        """
        removed = 0
        directory = self._directory / TEXTS
        try:
            for path in sorted(directory.iterdir()) if directory.is_dir() else ():
                digest, _, rest = path.name.partition(".")
                if not _DIGEST.fullmatch(digest):
                    continue
                if path.suffix == GRAVE:
                    _end(path, before_time)
                elif _mtime(path) < before_time:
                    grave = path.with_name(digest + GRAVE)
                    if rest == "pem":
                        path.replace(grave)
                        removed += _end(grave, before_time)
                    else:  # what an interrupted write left
                        path.unlink(missing_ok=True)
                    self._kept.drop(f"text:{digest}")
                    self._texts.drop(bytes.fromhex(digest))
        except OSError as error:
            raise ConfigError(f"{directory} cannot be pruned: {error}") from error
        return removed

    def _place(self, name: str) -> tuple[Path, int]:
        """The file of a name, and the bits that its mode must not have."""
        kind, _, rest = name.partition(":")
        if kind == "file" and rest.startswith("/"):
            return Path(rest), GROUP_AND_OTHERS
        if kind == "credential" and rest and "/" not in rest and not rest.startswith("."):
            if self._credentials is None:
                raise KeyAbsentError(f"there are no credentials of systemd, and signing key {name} is one")
            return self._credentials / rest, OTHERS
        if kind == "ring":
            domain, _, selector = rest.partition("/")
            if _DOMAIN.fullmatch(domain) and _DOMAIN.fullmatch(selector):
                return self._directory / domain / f"{selector}.pem", GROUP_AND_OTHERS
        if kind == "text" and _DIGEST.fullmatch(rest):
            return self._directory / TEXTS / f"{rest}.pem", GROUP_AND_OTHERS
        raise ConfigError(f"{name[:80]!r} is not the name of a signing key")


def prunable_before(now: float, oldest_time: float | None) -> float:
    """Texts that were last written before this time are named by no message that waits.

    A message's text was written less than `TOUCH_SECONDS` before the message was received, or later.

    Args:
        now: Unix seconds.
        oldest_time: When the oldest message of the queue was received; None: the queue is empty.
    """
    recent = now - PRUNE_SECONDS  # what is on its way into the queue is not counted there yet
    return (recent if oldest_time is None else min(recent, oldest_time)) - PRUNE_SLACK_SECONDS


def _mtime(path: Path) -> float:
    """When it was written; now where it has gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _end(grave: Path, before_time: float) -> bool:
    """Remove a text that was put aside, unless it was written anew just before; then it goes back."""
    is_old = _mtime(grave) < before_time
    if not is_old:
        with contextlib.suppress(FileExistsError):  # written once more meanwhile
            grave.with_suffix(".pem").hardlink_to(grave)
    grave.unlink(missing_ok=True)
    return is_old


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or its mode is changed."""
    try:
        found = path.stat()
    except OSError as error:
        raise KeyAbsentError(f"signing key {path} is not there: {error.strerror}") from error
    return found.st_mtime_ns, found.st_ino, found.st_mode
