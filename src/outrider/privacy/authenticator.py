"""Answers `Authenticator` from the credentials file.

Theory: a password costs 40 ms once; a pair that was right is remembered for a short time as a keyed digest
(the key lives in this process only), so that a client that connects for each message pays it rarely. Only
successes are remembered: a wrong password always costs its full price. A changed file forgets everything.

Invariant: the answer and the work for an unknown user are those for a wrong password; nothing kept in memory
contains a password.

Standards: RFC 4954 §6 (one answer for all failures), RFC 2104 §2 (HMAC).
"""

import hmac
from collections import OrderedDict
from pathlib import Path

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.model.ports import Principal
from outrider.privacy.credentials import Credentials, hash_key, key_id_of, read_credentials
from outrider.privacy.passwords import Passwords

REMEMBER_SECONDS = 60.0
"""Chosen, because a changed file forgets at once and a stolen memory image gains nothing from a digest."""

REMEMBERED = 1024
"""Chosen, because more users than that within a minute are better served by the slow path than by memory."""

LOOK_SECONDS = 1.0
"""Chosen, because a look at the file costs a system call and revoking a key must act within seconds."""

_NO_HASH = "0" * 64


class FileAuthenticator:
    """See the module.

    Args:
        path: The credentials file; it may appear later.
        passwords: Does the slow work.
        clock: Time.
        log: Server log.
        secret: Key of the remembered digests, random per process.

    Raises:
        ConfigError: The file has faults now. A fault that appears later keeps what was read before.
    """

    __slots__ = (
        "_clock",
        "_credentials",
        "_log",
        "_looked_at",
        "_passwords",
        "_path",
        "_remembered",
        "_secret",
        "_stamp",
    )

    def __init__(self, path: Path, *, passwords: Passwords, clock: Clock, log: Log, secret: bytes) -> None:
        self._path = path
        self._passwords = passwords
        self._clock = clock
        self._log = log
        self._secret = secret
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._stamp = self._look()
        self._looked_at = clock.now()
        self._credentials = read_credentials(path)

    async def password(self, user: str, password: str, client: str = "") -> Principal | None:  # noqa: ARG002 - a port
        """The user, when the password is right."""
        known = self._current().users.get(user)
        digest = self._digest(user, password)
        if known is not None and self._remembered.get(digest, -1.0) > self._clock.now():
            return known
        stamp = self._stamp
        stored = None if known is None else known.password_hash
        if not await self._passwords.verify_soon(stored, password) or known is None:
            return None
        if stamp == self._stamp:
            self._remember(digest)
        return known

    async def api_key(self, key: str, client: str = "") -> Principal | None:  # noqa: ARG002 - a port
        """The key's record, when the key is right."""
        credentials = self._current()
        known = credentials.keys.get(key_id_of(key) or "")
        expected = _NO_HASH if known is None else known.hash
        return known if hmac.compare_digest(hash_key(key), expected) else None

    def is_shut(self, tenant: str) -> bool:  # noqa: ARG002 - a port
        """A file disables nobody."""
        return False

    def _digest(self, user: str, password: str) -> bytes:
        return hmac.digest(self._secret, f"{len(user)}:{user}{password}".encode(), "sha256")

    def _remember(self, digest: bytes) -> None:
        self._remembered[digest] = self._clock.now() + REMEMBER_SECONDS
        self._remembered.move_to_end(digest)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _current(self) -> Credentials:
        now = self._clock.now()
        if now - self._looked_at < LOOK_SECONDS:
            return self._credentials
        self._looked_at = now
        stamp = self._look()
        if stamp == self._stamp:
            return self._credentials
        self._stamp = stamp
        try:
            self._credentials = read_credentials(self._path)
        except ConfigError as error:
            self._log.warning("privacy.credentials_faulty", path=str(self._path), faults=len(error.faults))
            return self._credentials
        self._remembered.clear()
        self._log.info("privacy.credentials_read", users=len(self._credentials.users))
        return self._credentials
