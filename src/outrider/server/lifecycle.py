"""How a child process of the supervisor lives and ends.

Theory: a child owes the supervisor three things: one `READY` octet when it can work, a `BEAT` each second
from its own loop (a loop that is stuck stops beating and the supervisor ends it), and its exit when told
(SIGTERM: finish and go) or when the supervisor is gone (its pipe closes: go at once, because the spool's
lock must become free).

Not here: forking and restarting (supervisor.py).
"""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.base.exits import Exit
from outrider.base.log import Log
from outrider.record.log import LogKeeper, set_level
from outrider.server.channel import Channel
from outrider.server.follow import Follower, Prepare, Snapshot, Swap
from outrider.server.settings import Settings

READY = b"r"
BEAT = b"b"
BEAT_SECONDS = 1.0
# chosen, because the supervisor's patience (server.watchdog_seconds) is a multiple of it


@dataclass(frozen=True, slots=True)
class Birth:
    """What the supervisor gives a child.

    Attributes:
        name: `worker-0`, `dispatcher` or `control`.
        number: Worker number; 0 for the others.
        settings: The validated configuration.
        sockets: Listening sockets by listener name.
        parent: Descriptor that reads end-of-file when the supervisor is gone.
        status: Descriptor for `READY` and `BEAT`.
        clock: Time.
        log: The server log, bound to the process.
        is_restart: This process succeeds one that died.
        channel: To the supervisor, for reloads; None where there are none.
        up_since_at: When the server started, whatever has died since; monotonic seconds.
    """

    name: str
    number: int
    settings: Settings
    sockets: Mapping[str, socket.socket]
    parent: int
    status: int
    clock: Clock
    log: Log
    is_restart: bool = False
    channel: Channel | None = None
    up_since_at: float = 0.0


class Lifecycle:
    """The running child's view of its own end.

    Attributes:
        draining: Set when the process was told to finish.
        is_ready: `ready` was called.
        exit_code: What the process ends with when its main returns.
        settings: What the process runs with; a reload exchanges it.
    """

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self.draining = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.is_ready = False
        self.exit_code = Exit.OK
        self.settings = birth.settings
        self._follower = Follower(birth.channel, birth.log, self._orphaned) if birth.channel else None

    def install(self) -> None:
        """Watch the supervisor's pipe and take signals."""
        self._loop.add_reader(self.birth.parent, self._orphaned)
        self._loop.add_signal_handler(signal.SIGTERM, self.drain)
        # A terminal sends Ctrl-C to every process at once; the order of the end is the supervisor's.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def drain(self) -> None:
        self.draining.set()

    def follow(self, prepare: Prepare, tasks: asyncio.TaskGroup) -> None:
        """Take part in reloads from now on; see `Follower.follow`."""
        if self._follower is not None:
            self._follower.follow(partial(self._prepared, prepare), tasks)

    def _prepared(self, prepare: Prepare, snapshot: Snapshot) -> Swap:
        swap = prepare(snapshot)

        async def swap_all() -> None:
            if self.draining.is_set():
                return  # what begins to listen now would never be told to end
            self.settings = snapshot.settings
            set_level(self.birth.log, snapshot.settings.record.log_level)
            await swap()

        return swap_all

    async def reload(self, *, dry_run: bool) -> dict[str, Any]:
        """Have the supervisor reload; see `Follower.ask`."""
        if self._follower is None:
            raise UnavailableError("this process has no supervisor to ask")
        return await self._follower.ask(dry_run=dry_run)

    async def drain_after(self, work: Awaitable[None], event: str) -> None:
        """When `work` returns, this process can only go on by starting anew: say `event`, drain, exit 74."""
        await work
        self.birth.log.error(event, name=self.birth.name)
        self.exit_code = Exit.IO
        self.drain()

    def ready(self) -> None:
        """Tell the supervisor that this process works."""
        self.is_ready = True
        os.write(self.birth.status, READY)

    async def beat(self) -> None:
        """Tell the supervisor each second that the loop turns, and follow the log; runs until cancelled."""
        keeper = LogKeeper(self.birth.log)
        while True:
            keeper.tend()
            try:
                os.write(self.birth.status, BEAT)
            except BlockingIOError:
                pass  # the supervisor is behind with reading; it will see the earlier beats
            except OSError:
                self._orphaned()
            await asyncio.sleep(BEAT_SECONDS)

    def _orphaned(self) -> None:
        self.birth.log.error("process.orphaned", name=self.birth.name)
        os._exit(Exit.TEMPORARY)  # a new supervisor will start us again


async def live(birth: Birth, main: Callable[[Lifecycle], Awaitable[None]]) -> Exit:
    """Run `main` as a child process: returns the exit code when it returns, raises what it raises."""
    life = Lifecycle(birth)
    life.install()
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(life.beat())
        try:
            await main(life)
        finally:
            beating.cancel()
    return life.exit_code
