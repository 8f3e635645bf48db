"""Locks by name that stand between all sessions of all workers of a node.

In: names, and who asks. Out: the lock at once, or something to await.

Theory: a name is a place in a file, by its hash, and who holds the name holds that octet by a record lock.
The kernel keeps such locks for a process and opens them when it dies, however it dies. Within a process it
knows no holders, so the sessions of one wait in a queue of their own, and only its first asks the kernel. The
kernel tells nobody that a lock is free: the first asks again, after pauses that grow.

Invariant: a name has one holder on the node at a time; what a session held is free when it has ended, and
what a worker held when it is dead.

Not here: `thread.mutex`, which is between sessions of one worker.
Source of record locks: POSIX fcntl(2); they end with *any* descriptor of the file that the process closes, so
it has one, for as long as it lives.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Awaitable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from outrider.base.errors import StoreError

LOCKS_MAX: Final = 1_000
# chosen: names in use at once in one process; scripts have a handful
_PLACE_MASK: Final = (1 << 62) - 1
# a place fits off_t
_PAUSE_SECONDS: Final = 0.001
_PAUSE_MAX_SECONDS: Final = 0.02
# chosen: what a holder that does not wait needs, and what nobody notices who waits for one that does


class _Name:
    """A name in use: who has or awaits the process's turn at it, and who comes next."""

    __slots__ = ("is_held", "owner", "waiting")

    def __init__(self, owner: object, *, is_held: bool = True) -> None:
        self.owner = owner
        self.is_held = is_held
        self.waiting: deque[tuple[object, asyncio.Future[None]]] = deque()


class NameLocks:
    """See the module.

    Args:
        path: The file, the same for all processes; made where there is none. None is for sessions of this
            process alone.

    Raises:
        StoreError: The file cannot be used.
    """

    __slots__ = ("_fd", "_names")

    def __init__(self, path: Path | None = None) -> None:
        self._names: dict[int, _Name] = {}
        self._fd = -1
        if path is not None:
            try:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise StoreError(f"the file of scripts' locks cannot be used: {error.strerror}") from error

    def lock(self, name: bytes, owner: object) -> bool | Awaitable[bool]:
        """Hold a name: True at once, or an awaitable of it while somebody else does.

        Args:
            name: Any.
            owner: The session; it is told apart by identity.

        Raises:
            ValueError: It holds the name already, or too many names are in use.
            StoreError: The file cannot be used.
        """
        place = _place_of(name)
        found = self._names.get(place)
        if found is not None and found.owner is owner:
            raise ValueError("this name is held already by the session that asks for it")
        if found is None:
            if len(self._names) >= LOCKS_MAX:
                raise ValueError(f"scripts lock at most {LOCKS_MAX} names at once")
            if self._grab(place):
                self._names[place] = _Name(owner)
                return True
        return self._wait(place, owner)

    def unlock(self, name: bytes, owner: object) -> bool:
        """Let a name go. Raises ValueError: the session does not hold it."""
        place = _place_of(name)
        found = self._names.get(place)
        if found is None or found.owner is not owner or not found.is_held:
            raise ValueError("this name is not held by the session that unlocks it")
        self._let_go(place, found)
        return True

    def release(self, owner: object) -> None:
        """A session has ended: what it holds is free."""
        if self._names:  # hardly ever
            own = [(at, each) for at, each in self._names.items() if each.is_held and each.owner is owner]
            for place, found in own:
                self._let_go(place, found)

    def close(self) -> None:
        """Nothing is held any more."""
        self._names.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _wait(self, place: int, owner: object) -> bool:
        """Wait for the turn within the process, then until no other process holds the name."""
        found = self._names.get(place)
        if found is None:
            found = self._names[place] = _Name(owner, is_held=False)
        else:
            await self._turn(place, found, owner)
        pause = _PAUSE_SECONDS
        try:
            while not self._grab(place):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_MAX_SECONDS)
        except BaseException:
            self._let_go(place, found)
            raise
        found.is_held = True
        return True

    async def _turn(self, place: int, found: _Name, owner: object) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        found.waiting.append((owner, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                self._let_go(place, found)
            else:
                found.waiting.remove((owner, turn))
            raise

    def _let_go(self, place: int, found: _Name) -> None:
        """The turn is over: other processes may have the name, and the next session may ask for it."""
        if found.is_held:
            found.is_held = False
            if self._fd >= 0:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, place)
        while found.waiting:
            owner, turn = found.waiting.popleft()
            if not turn.done():
                found.owner = owner
                turn.set_result(None)
                return
        del self._names[place]

    def _grab(self, place: int) -> bool:
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as POSIX leaves it
            return False
        except OSError as error:
            raise StoreError(f"scripts' locks cannot be had: {error.strerror}") from error
        return True


def _place_of(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little") & _PLACE_MASK
