"""Making and destroying keys on disk.

Theory: a version is drawn under a lock and written whole (write, sync, rename, sync of the directory), so no
version ever names two keys. Destroying writes the tombstone first: from then on the key is dead, whatever is
interrupted; then its octets are overwritten and its file removed. Overwriting reaches the old place only on
media that write in place; on flash and copying file systems the sectors may live on until they are reused,
and copies elsewhere are nobody's business but yours. What the keys sealed is as dead as the last copy of
them.

Invariant: a key that this module returned is durable; a key that it destroyed is read by no ring again.

Standards: NIST SP 800-88 (cryptographic erase).
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import ConfigError, StoreError
from outrider.base.files import Files, write_all, write_atomic
from outrider.base.log import Log
from outrider.privacy.keyfile import (
    KEY_OCTETS,
    MEANING,
    Key,
    Purpose,
    Tombstone,
    format_key,
    format_tombstone,
    new_key,
)
from outrider.privacy.keyring import read_ring

DIRECTORY_MODE: Final = 0o700
KEY_MODE: Final = 0o600
REASON_LIMIT: Final = 200
# chosen: a line of text


class KeyStore:
    """Changes a key directory.

    Args:
        files: The file primitive.
        directory: The key directory; made when the first key is.
        credentials: systemd's credentials, whose versions are taken too.
        clock: For times of making and destroying.
        log: Told about both, by id and fingerprint.
    """

    def __init__(
        self, files: Files, directory: Path, credentials: Path | None, clock: Clock, log: Log
    ) -> None:
        self._files = files
        self._directory = directory
        self._credentials = credentials
        self._clock = clock
        self._log = log

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            lock = self._files.open(self._path("lock"), os.O_RDWR | os.O_CREAT, KEY_MODE)
        except OSError as error:
            raise ConfigError(
                f"key directory {self._directory} cannot be written: {error.strerror}"
            ) from error
        try:
            if not self._files.lock(lock):
                raise ConfigError(f"key directory {self._directory} is being changed by another: try again")
            yield
        except OSError as error:
            raise ConfigError(f"key directory {self._directory} cannot be changed: {error}") from error
        finally:
            self._files.close(lock)

    def add(self, purpose: Purpose) -> Key:
        """Make the next version of a purpose, durably. Older versions stay.

        Raises:
            ConfigError: The directory cannot be written, or the ring has faults.
        """
        with self._locked():
            ring = read_ring(self._directory, self._credentials)
            secret = secrets.token_bytes(KEY_OCTETS)
            key = new_key(purpose, ring.next_version(purpose), secret, self._clock.wall())
            path = self._path(f"{key.name}.key")
            write_atomic(self._files, path, format_key(key).encode(), KEY_MODE)
            key = replace(key, source=path)
        self._log.info(
            "privacy.key_made", key=key.name, fingerprint=key.fingerprint, directory=str(self._directory)
        )
        return key

    def ensure(self, purpose: Purpose) -> Key | None:
        """Make the first key of a purpose where there is none; the key, or None when there was one.

        Raises:
            ConfigError: As for `add`.
        """
        if read_ring(self._directory, self._credentials).maybe_newest(purpose) is not None:
            return None
        return self.add(purpose)

    def check_destroyable(self, purpose: Purpose, version: int) -> Key:
        """The key that `destroy` would destroy.

        Raises:
            KeyAbsentError: There is none.
            StoreError: It is the newest version, or it is a credential.
        """
        ring = read_ring(self._directory, self._credentials)
        key = ring.get(purpose, version)
        if key == ring.maybe_newest(purpose):
            raise StoreError(
                f"{key.name} is the newest {purpose} key, and new {MEANING[purpose]} are made with it: "
                f"`outrider keys rotate {purpose}` first",
                "conflict",
            )
        if not key.source.startswith(f"{self._directory}/"):
            raise StoreError(
                f"{key.name} is a credential of systemd: remove it from the unit and its source", "conflict"
            )
        return key

    def destroy(self, purpose: Purpose, version: int, reason: str) -> Tombstone:
        """Destroy a key for good; what it sealed can never be read again.

        Raises:
            KeyAbsentError: There is no such key.
            StoreError: It is the newest version or a credential, or no reason is given.
            ConfigError: The directory cannot be written.
        """
        reason = " ".join(reason.split())
        if not reason or len(reason) > REASON_LIMIT or not reason.isprintable():
            raise StoreError(f"give a reason of 1 to {REASON_LIMIT} characters; nothing was changed")
        with self._locked():
            key = self.check_destroyable(purpose, version)
            tombstone = Tombstone(
                purpose, version, key.fingerprint, key.created, format_utc(self._clock.wall()), reason
            )
            path = self._path(f"{key.name}.destroyed")
            write_atomic(self._files, path, format_tombstone(tombstone).encode(), KEY_MODE)
            self._erase(self._path(f"{key.name}.key"))
        self._log.warning(
            "privacy.key_destroyed", key=key.name, fingerprint=tombstone.fingerprint, reason=reason
        )
        return tombstone

    def finish_destructions(self) -> None:
        """Remove what interrupted destructions left; to be called before anything else is done to the ring.

        Raises:
            ConfigError: It cannot be removed.
        """
        if not self._directory.is_dir():
            return
        left = [
            gone.name
            for gone in read_ring(self._directory, self._credentials).tombstones()
            if (self._directory / f"{gone.name}.key").exists()
        ]
        if left:
            with self._locked():
                for name in left:
                    self._erase(self._path(f"{name}.key"))
                    self._log.warning("privacy.key_erased", key=name)

    def _erase(self, path: str) -> None:
        fd = self._files.open(path, os.O_RDWR)
        try:
            write_all(self._files, fd, [b"\0" * self._files.size(fd)], 0)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._files.unlink(path)
        self._files.sync_directory(str(self._directory))
