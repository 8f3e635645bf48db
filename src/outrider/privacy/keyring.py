"""The key ring: versioned keys by purpose, from a directory and from systemd's credentials.

In: the two directories. Out: the newest key of a purpose to seal with, any version to open with, or a
`KeyAbsentError` that says whether a version was destroyed or is missing.

Theory: rotation adds a version and takes none away, so what was sealed before stays readable; destruction
takes one away and leaves its tombstone, so that its number is never used for another key and a reader can say
why it cannot read. A ring is a value; `LiveRing` reads it again when its directory has changed, so that a
rotation reaches a running server.

Invariant: a key file that somebody else could read is refused. Where tombstone and key stand side by side,
because a destruction was interrupted, the tombstone counts.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from outrider.base.errors import ConfigError, KeyAbsentError
from outrider.base.private_files import CREDENTIALS_VARIABLE, GROUP_AND_OTHERS, OTHERS, read_private
from outrider.privacy.keyfile import (
    FILE_LIMIT,
    Key,
    Purpose,
    Tombstone,
    parse_key,
    parse_name,
    parse_tombstone,
)

_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


class KeyRing:
    """A ring as it was when it was read.

    Args:
        keys: All keys, in any order.
        tombstones: Of destroyed keys.
    """

    __slots__ = ("_keys", "_tombstones")

    def __init__(self, keys: tuple[Key, ...] = (), tombstones: tuple[Tombstone, ...] = ()) -> None:
        self._tombstones = {(each.purpose, each.version): each for each in tombstones}
        self._keys = {
            (key.purpose, key.version): key
            for key in keys
            if (key.purpose, key.version) not in self._tombstones
        }

    def of(self, purpose: Purpose | None = None) -> list[Key]:
        """The keys (of a purpose), oldest version first."""
        return [self._keys[where] for where in sorted(self._keys) if purpose is None or where[0] is purpose]

    def tombstones(self) -> list[Tombstone]:
        """What is left of destroyed keys."""
        return [self._tombstones[where] for where in sorted(self._tombstones)]

    def maybe_newest(self, purpose: Purpose) -> Key | None:
        """The newest key of a purpose, None when there is none."""
        keys = self.of(purpose)
        return keys[-1] if keys else None

    def newest(self, purpose: Purpose) -> Key:
        """The key to seal with.

        Raises:
            KeyAbsentError: There is none.
        """
        key = self.maybe_newest(purpose)
        if key is None:
            raise KeyAbsentError(f"there is no {purpose} key: make one by `outrider keys generate {purpose}`")
        return key

    def get(self, purpose: Purpose, version: int) -> Key:
        """The key to open with what was sealed by `version`.

        Raises:
            KeyAbsentError: It is not there.
        """
        key = self._keys.get((purpose, version))
        if key is not None:
            return key
        gone = self._tombstones.get((purpose, version))
        if gone is not None:
            raise KeyAbsentError(
                f"key {gone.name} was destroyed at {gone.destroyed} ({gone.reason})", destroyed=True
            )
        raise KeyAbsentError(
            f"key {purpose}-{version} is not in the key ring: put {purpose}-{version}.key back where it was"
        )

    def next_version(self, purpose: Purpose) -> int:
        """A version that no key of this purpose ever had."""
        return 1 + max(
            (version for each, version in (*self._keys, *self._tombstones) if each is purpose), default=0
        )


def _read_directory(
    directory: Path, forbidden: int, keys: dict[str, Key], tombstones: list[Tombstone], faults: list[str]
) -> None:
    mode = directory.stat().st_mode
    if mode & _WRITABLE:
        faults.append(
            f"{directory} has mode {stat.S_IMODE(mode):04o}, so others can put keys there: chmod 0700 it"
        )
    for path in sorted(directory.iterdir()):
        named = parse_name(path.name)
        if named is None or (named[2] and path.with_suffix(".destroyed").exists()):
            continue  # a key beside its tombstone is what an interrupted destruction left
        purpose, version, is_key = named
        try:
            text = read_private(path, forbidden, FILE_LIMIT, f"key file {path}")
            if not is_key:
                tombstones.append(parse_tombstone(text, str(path), purpose, version))
                continue
            key = parse_key(text, str(path), purpose, version)
        except ConfigError as error:
            faults.append(error.message)
            continue
        other = keys.setdefault(key.name, key)
        if other.secret != key.secret:
            faults.append(f"{other.source} and {key.source} are different keys of one name: remove one")


def read_ring(directory: Path, credentials: Path | None = None) -> KeyRing:
    """The ring on disk; empty when there is no directory.

    Args:
        directory: The key directory.
        credentials: systemd's directory of credentials, if there is one.

    Raises:
        ConfigError: With every key file that is damaged or open to others.
    """
    keys: dict[str, Key] = {}
    tombstones: list[Tombstone] = []
    faults: list[str] = []
    for place, forbidden in ((directory, GROUP_AND_OTHERS), (credentials, OTHERS)):
        if place is not None and place.is_dir():
            _read_directory(place, forbidden, keys, tombstones, faults)
    if faults:
        raise ConfigError("the key ring has faults", tuple(faults))
    return KeyRing(tuple(keys.values()), tuple(tombstones))


def credentials_directory(environment: Mapping[str, str]) -> Path | None:
    """Where systemd put this service's credentials, if it did."""
    found = environment.get(CREDENTIALS_VARIABLE)
    return Path(found) if found else None


class LiveRing:
    """A ring that follows its directory; safe from any thread, because it swaps whole values.

    A fault that appears while the server runs keeps the ring that was read before.

    Args:
        directory: The key directory.
        credentials: systemd's directory; it never changes while a service runs.

    Raises:
        ConfigError: The ring has faults now.
    """

    __slots__ = ("_credentials", "_directory", "_ring", "_stamp")

    def __init__(self, directory: Path, credentials: Path | None = None) -> None:
        self._directory = directory
        self._credentials = credentials
        self._stamp = self._look()
        self._ring = read_ring(directory, credentials)

    def _look(self) -> tuple[int, tuple[str, ...]]:
        """What changes with every key made or destroyed, however coarse the clock of the file system is."""
        try:
            names = tuple(sorted(path.name for path in self._directory.iterdir()))
            return self._directory.stat().st_mtime_ns, names
        except OSError:
            return 0, ()

    @property
    def ring(self) -> KeyRing:
        """The ring as of the last look."""
        return self._ring

    def refresh(self) -> bool:
        """Look whether the directory has changed, and read it again if so; True when there is a new ring."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        try:
            self._ring = read_ring(self._directory, self._credentials)
        except ConfigError:
            return False
        self._stamp = stamp
        return True
