"""Routes for the dispatcher: some look-ups at once, the other domains in turn.

In: domains that something waits for. Out: the route of each, or why there is none. Asking for a domain again
before it was answered does nothing.

Invariant: whatever was asked for before or while `run` goes on is answered once; after it, nothing is under
way.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from outrider.base.log import Log
from outrider.model.ports import MailResolver
from outrider.model.route import Route, RouteFailure

LOOK_UPS_MAX = 256
# chosen: look-ups at once; each costs about 0.5 ms of CPU and a socket's worth of memory


class RouteFinder:
    """See the module.

    Args:
        resolver: Who knows routes; may be exchanged at any time.
        routed: Hears the answers.
        log: Server log.
    """

    def __init__(
        self, resolver: MailResolver, routed: Callable[[Route | RouteFailure], None], log: Log
    ) -> None:
        self.resolver = resolver
        self._routed = routed
        self._log = log
        self._asked: set[str] = set()
        self._waiting: deque[str] = deque()
        self._running = 0
        self._tasks: asyncio.TaskGroup | None = None

    def ask(self, domain: str) -> None:
        """Find the route of a domain."""
        if domain not in self._asked:
            self._asked.add(domain)
            self._waiting.append(domain)
            self._begin()

    async def run(self) -> None:
        """Look domains up until cancelled; then nothing is answered any more."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._begin()
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def _begin(self) -> None:
        while self._tasks is not None and self._waiting and self._running < LOOK_UPS_MAX:
            self._running += 1
            self._tasks.create_task(self._look_up(self._waiting.popleft()))

    async def _look_up(self, domain: str) -> None:
        while True:
            answer = await self.resolver.route(domain)
            self._asked.discard(domain)
            if isinstance(answer, RouteFailure):
                self._log.info("route.failed", domain=domain, reply=str(answer.reply))
            self._routed(answer)
            if not self._waiting:
                break
            domain = self._waiting.popleft()
        self._running -= 1
