"""The signing keys that `outrider dkim` makes: one file for each selector, and one that says which are used.

In: a directory. Out: for each domain its selectors with their state. A key is *pending* until its record was
seen in DNS, then *active*, one of each kind at most; the one before it is *kept* until a date, because mail
that it signed is still on its way, and its record must stay published so long.

Theory: the file of states is replaced whole, after the key it speaks of is on disk; so what interrupts a
change leaves a key that nobody uses, or the state before.

Invariant: a key that is active was written, and its record was seen (or its maker said that it was).
"""

import contextlib
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import ConfigError, StoreError
from outrider.base.files import Files, write_atomic
from outrider.base.private_files import GROUP_AND_OTHERS, read_private
from outrider.privacy.signing_keys import LOOK_SECONDS, TEXT_OCTETS_MAX, parse_private_key
from outrider.wire.dkim.keys import RSA_BITS_MAX, RSA_SIGN_BITS, SigningKey
from outrider.wire.dkim.record import KEY_TYPES
from outrider.wire.dkim.request import RequestError, SignRequest, is_domain

STATES_FILE: Final = "selectors.json"
STATES_OCTETS_MAX: Final = 1 << 20
# chosen: some 200 octets a selector
PUBLIC_EXPONENT: Final = 65_537
# FIPS 186-5; the only one in use


class SelectorState(StrEnum):
    """Where a key is in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    KEPT = "kept"


class Selector(msgspec.Struct, frozen=True):
    """One key of one domain.

    Attributes:
        name: The selector.
        key_type: `rsa` or `ed25519`.
        bits: Its size.
        state: Where it is in its life.
        created_time: Unix seconds.
        activated_time: Unix seconds; 0 while it is pending.
        keep_until_time: Until when its record has to stay published once another took its place; 0 while
            none has.
    """

    name: str
    key_type: str
    bits: int
    state: SelectorState
    created_time: float
    activated_time: float = 0.0
    keep_until_time: float = 0.0

    def told(self) -> dict[str, object]:
        """For people and machines: times as text."""
        times = {
            "created": self.created_time,
            "activated": self.activated_time,
            "keep_until": self.keep_until_time,
        }
        return {
            "selector": self.name,
            "type": self.key_type,
            "bits": self.bits,
            "state": str(self.state),
        } | {name: format_utc(time) if time else "" for name, time in times.items()}


class SigningRing:
    """Reads and changes the directory; see the module.

    Args:
        files: The file primitive.
        directory: Made when the first key is.
        clock: For times.
    """

    __slots__ = ("_clock", "_directory", "_files")

    def __init__(self, files: Files, directory: Path, clock: Clock) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock

    def domains(self) -> list[str]:
        """Domains that have keys here."""
        if not self._directory.is_dir():
            return []
        return sorted(path.parent.name for path in self._directory.glob(f"*/{STATES_FILE}"))

    def selectors(self, domain: str) -> tuple[Selector, ...]:
        """Selectors of a domain, oldest first; none where it is no domain.

        Raises:
            ConfigError: The file of states is damaged or open to others.
        """
        path = self._directory / domain.lower() / STATES_FILE
        if not is_domain(domain) or not path.exists():
            return ()
        text = read_private(path, GROUP_AND_OTHERS, STATES_OCTETS_MAX, f"key file {path}")
        try:
            return msgspec.json.decode(text, type=tuple[Selector, ...])
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path} is damaged: {error}; restore it from your copy") from error

    def find(self, domain: str, selector: str) -> Selector:
        """One selector.

        Raises:
            StoreError: There is none.
        """
        for each in self.selectors(domain):
            if each.name == selector.lower():
                return each
        raise StoreError(f"{domain} has no key with the selector {selector}", "absent")

    def path(self, domain: str, selector: str) -> Path:
        """The file of a key."""
        return self._directory / domain.lower() / f"{selector.lower()}.pem"

    def key(self, domain: str, selector: str) -> SigningKey:
        """A key, proved whole.

        Raises:
            ConfigError: It cannot be used.
        """
        path = self.path(domain, selector)
        return parse_private_key(
            read_private(path, GROUP_AND_OTHERS, TEXT_OCTETS_MAX, f"key file {path}"),
            str(path),
            thorough=True,
        )

    def make(self, domain: str, selector: str, key_type: str = "rsa", bits: int = RSA_SIGN_BITS) -> Selector:
        """Make a key; nothing signs with it before `activate`.

        Raises:
            StoreError: The selector is taken, or a name or size is none.
            ConfigError: The directory cannot be written.
        """
        domain, selector = _checked(domain, selector)
        if key_type == "rsa":
            if not RSA_SIGN_BITS <= bits <= RSA_BITS_MAX:
                raise StoreError(f"an RSA key has {RSA_SIGN_BITS} to {RSA_BITS_MAX} bits (RFC 8301 §3.2)")
            private = generate_private_key(PUBLIC_EXPONENT, bits)
            text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        elif key_type == "ed25519":
            bits = 256
            text = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
        else:
            raise StoreError(f"{key_type} is no kind of key: use {' or '.join(KEY_TYPES)}")
        made = Selector(selector, key_type, bits, SelectorState.PENDING, self._clock.wall())
        with self._changing(domain):
            states = self.selectors(domain)
            if any(each.name == selector for each in states) or self.path(domain, selector).exists():
                raise StoreError(
                    f"{selector}._domainkey.{domain} has a key already: take another selector, because "
                    "receivers may still hold the old record",
                    "conflict",
                )
            write_atomic(self._files, str(self.path(domain, selector)), text)
            self._write(domain, (*states, made))
        return made

    def activate(self, domain: str, selector: str, keep_seconds: float) -> tuple[Selector, Selector | None]:
        """Sign with a key from now on; the active one of its kind is kept for `keep_seconds`.

        Returns:
            The selector, and the one whose place it took.

        Raises:
            StoreError: There is no such key.
            ConfigError: The key cannot be used, or the directory cannot be written.
        """
        domain, selector = _checked(domain, selector)
        now = self._clock.wall()
        with self._changing(domain):
            chosen = self.find(domain, selector)
            self.key(domain, selector)
            before: Selector | None = None
            states = []
            for each in self.selectors(domain):
                if each.name == selector:
                    if each.state is not SelectorState.ACTIVE:
                        each = replace(  # noqa: PLW2901 - the new state of the same
                            each, state=SelectorState.ACTIVE, activated_time=now, keep_until_time=0.0
                        )
                    chosen = each
                elif each.state is SelectorState.ACTIVE and each.key_type == chosen.key_type:
                    each = before = replace(  # noqa: PLW2901 - the new state of the same
                        each, state=SelectorState.KEPT, keep_until_time=now + keep_seconds
                    )
                states.append(each)
            self._write(domain, tuple(states))
        return chosen, before

    def remove_outdated(self, domain: str) -> list[Selector]:
        """Remove kept keys whose date has passed; they are returned, because their records may go too.

        Raises:
            ConfigError: The directory cannot be written.
        """
        now = self._clock.wall()
        outdated = [each for each in self.selectors(domain) if _is_outdated(each, now)]
        if outdated:
            with self._changing(domain):
                states = self.selectors(domain)
                self._write(domain, tuple(each for each in states if not _is_outdated(each, now)))
                for each in outdated:
                    self.path(domain, each.name).unlink(missing_ok=True)
        return outdated

    def _write(self, domain: str, states: tuple[Selector, ...]) -> None:
        text = msgspec.json.format(msgspec.json.encode(states), indent=2) + b"\n"
        write_atomic(self._files, str(self._directory / domain / STATES_FILE), text)

    @contextlib.contextmanager
    def _changing(self, domain: str) -> Iterator[None]:
        """One change at a time, over all processes."""
        folder = self._directory / domain
        try:
            for each in (self._directory, folder):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._files.open(str(folder / "lock"), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            if not self._files.lock(lock):
                raise ConfigError(f"{folder} is being changed by another: try again")
            yield
        except OSError as error:
            raise ConfigError(f"{folder} cannot be changed: {error}") from error
        finally:
            self._files.close(lock)


class ActiveSelectors:
    """Which selectors of a domain sign now, for a running server: a look at the file each `LOOK_SECONDS`.

    Args:
        ring: The directory.
        clock: For the time between looks.
    """

    __slots__ = ("_clock", "_known", "_ring")

    DOMAINS_MAX: Final = 16_384
    # chosen: some 300 octets each

    def __init__(self, ring: SigningRing, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def of(self, domain: str) -> tuple[str, ...]:
        """Names of the active selectors of a domain; RSA first, as older receivers read the first only.

        Raises:
            ConfigError: The file of states cannot be read.
        """
        known = self._known.get(domain)
        now = self._clock.now()
        if known is not None and now - known[0] < LOOK_SECONDS:
            return known[1]
        active = [each for each in self._ring.selectors(domain) if each.state is SelectorState.ACTIVE]
        names = tuple(each.name for each in sorted(active, key=lambda each: each.key_type != "rsa"))
        if len(self._known) >= self.DOMAINS_MAX:
            self._known.clear()
        self._known[domain] = (now, names)
        return names


def _is_outdated(selector: Selector, now: float) -> bool:
    return selector.state is SelectorState.KEPT and selector.keep_until_time <= now


def _checked(domain: str, selector: str) -> tuple[str, str]:
    domain, selector = domain.lower().rstrip("."), selector.lower()
    try:
        SignRequest(domain, selector, "any")
    except RequestError as error:
        raise StoreError(error.message) from error
    return domain, selector
