"""Passwords: hashed slowly, verified one at a time and off the loop.

In: a password, or a password and its hash. Out: an Argon2id hash in its usual text form, or yes/no.

Theory: an Argon2id check costs some 40 ms and 19 MiB by design, so a flood of AUTH must not run them side by
side: one thread does one after another, and at most `WAITING` wait for it. For an unknown user the same work
is done on a hash that nobody knows the password of, so the time tells nothing (CWE-208).

Standards: RFC 9106 §4 (Argon2id).
"""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from outrider.base.errors import StoreError, UnavailableError

TIME_COST = 2
MEMORY_KIB = 19_456
PARALLELISM = 1
"""OWASP Password Storage Cheat Sheet's first Argon2id choice; RFC 9106 §4 lets memory be chosen so."""

CHARACTERS = 8
"""NIST SP 800-63B's least length of a chosen password."""

OCTETS = 255
"""RFC 4616 §2: AUTH PLAIN holds passwords of up to 255 octets for certain, and no NUL."""

WAITING = 64
"""Chosen, because at 40 ms each the last one waits under three seconds; more answer 454 at once."""


class Passwords:
    """Hashes and verifies with one thread of its own; `close` ends it."""

    __slots__ = ("_dummy", "_hasher", "_thread", "_waiting")

    def __init__(
        self, *, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB, parallelism: int = PARALLELISM
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=Type.ID
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        self._dummy: str | None = None
        self._waiting = 0

    def hash(self, password: str) -> str:
        """The Argon2id text of `password`, with a fresh salt. Takes tens of milliseconds: for commands."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """True when `password` belongs to `stored`; None does the same work and is never true."""
        if stored is None:
            if self._dummy is None:
                self._dummy = self._hasher.hash(secrets.token_urlsafe(32))
            self._check(self._dummy, password)
            return False
        return self._check(stored, password)

    def _check(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def verify_soon(self, stored: str | None, password: str) -> bool:
        """`verify` in the thread.

        Raises:
            UnavailableError: Too many are waiting.
        """
        if self._waiting >= WAITING:
            raise UnavailableError("too many passwords wait to be checked; try again", waiting=self._waiting)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self.verify, stored, password)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread; what waits is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def check_password(password: str) -> None:
    """Refuse a password that cannot be one.

    Raises:
        StoreError: It is too short, too long, or holds what AUTH cannot carry.
    """
    if len(password) < CHARACTERS:
        raise StoreError(f"a password has at least {CHARACTERS} characters; nothing was changed")
    if len(password.encode()) > OCTETS or "\0" in password:
        raise StoreError(f"a password has at most {OCTETS} octets and no NUL; nothing was changed")


def hash_password(password: str) -> str:
    """The Argon2id text of `password`, with a fresh salt. Takes tens of milliseconds."""
    return Passwords().hash(password)  # whose thread only begins when something is verified


def is_argon2id(stored: str) -> bool:
    """True for text of the form that `Passwords.hash` makes."""
    return stored.startswith("$argon2id$")
