"""Keeps the keys that policy brings as texts, without making the loop wait for a disk.

In: the text of a key. Out: its name, at once; the writing goes on in a thread, and whoever stores a message
that names the key asks `unwritten` first.

Theory: a key's name follows from its text, so nobody has to wait for it; only what is promised with it, a
message that can be signed after a restart, has to.

Invariant: a message that was let through names no key that is not durable.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.privacy.signing_keys import SigningKeys


class KeyKeeper:
    """See the module. Serves one event loop; in a thread that has none, `keep` itself writes.

    Args:
        keys: Reads, checks and writes.
        log: Told what could not be written.
    """

    __slots__ = ("_keys", "_log", "_writing")

    def __init__(self, keys: SigningKeys, log: Log) -> None:
        self._keys = keys
        self._log = log
        self._writing: dict[str, asyncio.Future[None]] = {}

    def keep(self, text: str) -> str:
        """A name for a key; it is being written, if it was not within the hour.

        Raises:
            ConfigError: It is no key that can sign, or, where there is no loop, it cannot be written.
        """
        name, is_fresh = self._keys.admit(text)
        if is_fresh or name in self._writing:
            return name
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._keys.write(name, text)
            return name
        writing = loop.run_in_executor(None, self._keys.write, name, text)
        self._writing[name] = writing
        writing.add_done_callback(lambda done: self._wrote(name, done))
        return name

    def _wrote(self, name: str, writing: asyncio.Future[None]) -> None:
        del self._writing[name]
        if not writing.cancelled() and (error := writing.exception()) is not None:
            self._log.error("policy.key_not_kept", error=str(error))

    def unwritten(self, names: Iterable[str]) -> Awaitable[None] | None:
        """What to wait for until all of these are written; None where nothing has to be.

        Awaiting raises ConfigError: One of them cannot be written.
        """
        if not self._writing:
            return None
        waiting = {self._writing[name] for name in names if name in self._writing}
        return _all_of(waiting) if waiting else None


async def _all_of(waiting: set[asyncio.Future[None]]) -> None:
    for each in waiting:
        try:
            await asyncio.shield(each)  # others wait for it too
        except asyncio.CancelledError:
            if each.cancelled():  # the process ends
                raise ConfigError("a signing key was not written: the server stops") from None
            raise
