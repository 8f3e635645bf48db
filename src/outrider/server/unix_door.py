"""A socket in the run directory that has its name for as long as its process lives.

In: a path and who makes a socket listen there. Out: a socket that others find, also after somebody removed
its name, as those do who tidy up.

Theory: connections that are open go on; only new ones need the name. So another socket gets it, and the one
without a name is closed. A name that somebody else gave to a socket of his is left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from outrider.base.errors import OutriderError
from outrider.base.log import Log

LOOK_SECONDS = 1.0
# chosen: a look costs some microseconds, and nobody waits for longer
DIRECTORY_MODE = 0o700


class Closable(Protocol):
    """What listens."""

    def close(self) -> None: ...


class UnixDoor:
    """See the module.

    Args:
        path: The name; what stands there at first is of a process that died.
        listen: Makes a socket listen there.
        log: Told when the name was gone.
        listening: What listens there already.
    """

    def __init__(
        self,
        path: Path,
        listen: Callable[[], Awaitable[Closable]],
        log: Log,
        listening: Closable | None = None,
    ) -> None:
        self._path = path
        self._listen = listen
        self._log = log
        self._listening = listening

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: The socket cannot be made.
            OutriderError: As above.
        """
        self._path.unlink(missing_ok=True)
        self._listening = await self._listen()

    async def watch(self) -> None:
        """Listen again whenever the name is gone, until cancelled."""
        is_failing = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self._path.exists():
                    continue
                self._path.parent.mkdir(DIRECTORY_MODE, exist_ok=True)
                old, self._listening = self._listening, await self._listen()
            except (OSError, OutriderError) as error:
                if not is_failing:
                    self._log.error("socket.gone", path=str(self._path), error=str(error))
                is_failing = True
                continue
            is_failing = False
            if old is not None:
                old.close()
            self._log.error("socket.restored", path=str(self._path))

    def close(self) -> None:
        """Take no more connections."""
        if self._listening is not None:
            self._listening.close()
