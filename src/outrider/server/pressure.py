"""Whether this worker takes new mail: disk, memory, log, events, drain.

Checked each second, not for each message. While something is short, new mail gets a transient refusal and
mail already accepted goes on; that is how space comes back.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from outrider.base.log import Log
from outrider.model.reply import Reply
from outrider.server.memory import give_back, resident_bytes
from outrider.server.options import ServerOptions
from outrider.wire.smtp import replies

CHECK_SECONDS = 1.0
# chosen: at 10,000 messages of 2 KiB a second it is 20 MiB, a twelfth of the default reserve
RECOVERY = 0.9
# chosen, so that a worker at its limit does not flap

GIVE_BACK_SECONDS = 10.0
# chosen: at 100 ms it is a hundredth of the time while memory is short
NEARLY_FREE = 1.5
# chosen: half as much again as the reserve is a minute's warning at 2,000 large messages


class Pressure:
    """See the module.

    Args:
        options: The limits.
        directory: On the disk that must have room.
        log: Told when it begins and ends.
        memory: Gives the resident memory of this process.
        stores: Asked too: a refusal while the log or the events cannot be written as fast as mail comes.
        give_back: Gives free memory back to the system; called in a thread while memory is nearly short.

    Attributes:
        refusal: What new mail hears, or None while it is welcome.
        shortage: What is nearly short, `disk` or `memory`, or empty; a sign for listeners to tighten limits.
    """

    __slots__ = (
        *("_directory", "_give_back", "_is_draining", "_is_tight", "_log", "_memory", "_options", "_over"),
        "_stores",
        *("refusal", "shortage"),
    )

    def __init__(
        self,
        options: ServerOptions,
        directory: Path,
        log: Log,
        memory: Callable[[], int] = resident_bytes,
        stores: Callable[[], Reply | None] = lambda: None,
        give_back: Callable[[], None] = give_back,
    ) -> None:
        self._options = options
        self._directory = directory
        self._log = log
        self._memory = memory
        self._stores = stores
        self._give_back = give_back
        self._is_tight = False
        self._is_draining = False
        self._over = False
        self.refusal: Reply | None = None
        self.shortage = ""

    def drain(self) -> None:
        """From now on refuse everything."""
        self._is_draining = True
        self.check()

    def reshape(self, options: ServerOptions) -> None:
        """Other limits from the next look on."""
        self._options = options

    def check(self) -> None:
        """Look at disk and memory and set `refusal`."""
        before = self.refusal
        self.refusal = self._reason()
        if before is not self.refusal:
            self._log.warning("intake.changed", refusal=str(self.refusal) if self.refusal else "none")

    def _reason(self) -> Reply | None:
        if self._is_draining:
            return replies.SHUTTING_DOWN
        status = os.statvfs(self._directory)
        free = status.f_bavail * status.f_frsize
        limit = self._options.memory_limit_bytes
        used = self._memory()
        self._is_tight = used > limit * RECOVERY
        self.shortage = ""
        if free < self._options.min_free_bytes * NEARLY_FREE:
            self.shortage = "disk"
        elif self._is_tight:
            self.shortage = "memory"
        if free < self._options.min_free_bytes:
            return replies.DISK_LOW
        self._over = self._is_tight if self._over else used > limit
        return replies.MEMORY_HIGH if self._over else self._stores()

    async def watch(self) -> None:
        """Check each second until cancelled; while memory is nearly short, free memory is given back."""
        loop = asyncio.get_running_loop()
        next_at = loop.time()
        while True:
            self.check()
            if self._is_tight and loop.time() >= next_at:
                await asyncio.to_thread(self._give_back)
                next_at = loop.time() + GIVE_BACK_SECONDS
                self.check()
            await asyncio.sleep(CHECK_SECONDS)
