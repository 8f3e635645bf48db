"""What an administrator can ask of the queue; answered in the dispatcher's process."""

from collections.abc import Callable
from typing import Any

from outrider.base.clock import Clock, format_utc
from outrider.model.changes import Entry
from outrider.server.dispatcher import Dispatcher
from outrider.server.requests import Operation
from outrider.spool.admin import QueueAdmin
from outrider.spool.filters import QueueFilter
from outrider.spool.index import Index

ACTOR = "operator"
# the control socket's mode lets only the server's own user in; names come with roles
BUSIEST = 20
# chosen: what fits on a screen


class QueueOperations:
    """See the module."""

    def __init__(self, dispatcher: Dispatcher, index: Index, admin: QueueAdmin, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._index = index
        self._admin = admin
        self._clock = clock

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {
            "status": self.status,
            "queue.select": self.select,
            "queue.count": self.count,
            "queue.hold": self.hold,
            "queue.release": self.release,
            "queue.retry": self.retry,
            "queue.purge": self.purge,
            "queue.move": self.move,
        }

    async def status(self) -> dict[str, Any]:
        """Sizes, workers and the busiest paths."""
        now = self._clock.now()
        counts = self._index.counts()
        stats = self._dispatcher.scheduler.stats(now)
        stats.sort(key=lambda path: path.waiting + path.deferred + path.granted, reverse=True)
        return {
            "queue": {
                "alive": counts.alive,
                "held": counts.held,
                "resident": counts.resident,
                "granted": sum(path.granted for path in stats),
                "keys": counts.keys,
            },
            "granting": self._dispatcher.is_granting,
            "workers": [
                {"number": worker.number, "pid": worker.pid, "spool_log": worker.log}
                for worker in self._dispatcher.workers.values()
            ],
            "paths": [
                {
                    "site": path.path.site,
                    "binding": path.path.binding,
                    "channel": path.path.channel,
                    "waiting": path.waiting,
                    "deferred": path.deferred,
                    "granted": path.granted,
                    "connections": path.connections,
                    "failures": path.failures,
                    "state": str(path.state),
                }
                for path in stats[:BUSIEST]
            ],
        }

    async def select(self, limit: int = 50, **criteria: Any) -> list[dict[str, Any]]:
        """Entries that match."""
        return [_shown(entry) for entry in await self._index.select(self._filter(criteria), limit)]

    async def count(self, **criteria: Any) -> int:
        """How many match."""
        return await self._index.count(self._filter(criteria))

    async def hold(self, reason: str = "", actor: str = ACTOR, **criteria: Any) -> dict[str, int]:
        """Put on hold."""
        return (await self._admin.hold(self._filter(criteria), actor, reason))._asdict()

    async def release(self, reason: str = "", actor: str = ACTOR, **criteria: Any) -> dict[str, int]:  # noqa: ARG002 - as the others
        """Release from hold."""
        return (await self._admin.release(self._filter(criteria), actor))._asdict()

    async def retry(self, reason: str = "", actor: str = ACTOR, **criteria: Any) -> dict[str, int]:  # noqa: ARG002 - as the others
        """Make due now."""
        return (await self._admin.retry(self._filter(criteria), actor))._asdict()

    async def purge(self, reason: str = "", actor: str = ACTOR, **criteria: Any) -> dict[str, int]:
        """Remove for good."""
        return (await self._admin.purge(self._filter(criteria), actor, reason))._asdict()

    async def move(
        self,
        to_domain: str | None = None,
        to_binding: str | None = None,
        reason: str = "",  # noqa: ARG002 - as the others
        actor: str = ACTOR,
        **criteria: Any,
    ) -> dict[str, int]:
        """Give another routing domain or binding."""
        chosen = self._filter(criteria)
        result = await self._admin.move(chosen, actor, binding=to_binding, routing_domain=to_domain)
        return result._asdict()

    def _filter(self, criteria: dict[str, Any]) -> QueueFilter:
        """The filter that a command's options describe.

        Raises:
            ValueError: An option that does not exist.
        """
        known: dict[str, Callable[[Any], dict[str, Any]]] = {
            "routing_domain": lambda value: {"routing_domains": self._domains(value)},
            "tenant": lambda value: {"tenant": value},
            "stream": lambda value: {"stream": value},
            "binding": lambda value: {"binding": value},
            "message_ids": lambda value: {"message_ids": tuple(value)},
            "older_than_seconds": lambda value: {"received_before_time": self._clock.wall() - value},
            "min_attempts": lambda value: {"attempts_min": value},
            "held": lambda value: {"held": value},
        }
        chosen: dict[str, Any] = {}
        for name, value in criteria.items():
            if name not in known:
                raise ValueError(f"{name} is nothing to choose entries by")
            chosen |= known[name](value)
        return QueueFilter(**chosen)

    def _domains(self, pattern: str) -> tuple[str, ...]:
        """The queued domains that `pattern` names; itself when none is, so that nothing else matches."""
        if not pattern.startswith("*."):
            return (pattern.lower(),)
        found = {key[2] for key in self._index.key_counts() if key[2].endswith(pattern[1:].lower())}
        return tuple(sorted(found)) or (pattern,)


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "message_id": entry.message_id,
        "entry": entry.entry,
        "channel": entry.channel,
        "binding": entry.binding,
        "routing_domain": entry.routing_domain,
        "tenant": entry.tenant,
        "stream": entry.stream,
        "priority": entry.priority,
        "size": entry.size,
        "attempts": entry.attempts,
        "received_time": format_utc(entry.received_time),
        "due_time": format_utc(entry.due_time),
        "held": entry.held,
    }
