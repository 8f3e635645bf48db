"""Keeps the keys that policy brings as texts, without making the loop wait for a disk.

In: the text of a key. Out: its name, at once; the writing goes on in a thread, and whoever stores a message
that names the key asks `unwritten` first.

Theory: a key's name follows from its text, so nobody has to wait for it; only what is promised with it, a
message that can be signed after a restart, has to. A write that failed is remembered until one succeeds,
because the message that it is for may come to be stored long after.

Invariant: a message that was let through names no key that is not durable.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final

from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.privacy.signing_keys import KEYS_MAX, SigningKeys

FAILED_MAX: Final = KEYS_MAX
"""Chosen: far more keys than messages that wait to be stored; of more, the oldest are forgotten."""


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
        if is_fresh or ((known := self._writing.get(name)) is not None and not known.done()):
            return name
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._keys.write(name, text)
            return name
        self._writing.pop(name, None)  # it becomes the youngest
        writing = self._writing[name] = loop.run_in_executor(None, self._keys.write, name, text)
        writing.add_done_callback(lambda done: self._wrote(name, done))
        return name

    def _wrote(self, name: str, writing: asyncio.Future[None]) -> None:
        if writing.cancelled():
            return
        error = writing.exception()
        if error is None:
            if self._writing.get(name) is writing:
                del self._writing[name]
            return
        self._log.error("policy.key_not_kept", error=str(error))
        if len(self._writing) > FAILED_MAX:
            failed = next((each for each, known in self._writing.items() if known.done()), name)
            self._writing.pop(failed)

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
