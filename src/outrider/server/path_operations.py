"""What an administrator can ask about paths; answered in the dispatcher's process.

In: patterns, as the control API passes them on. Out: plain values.

Theory: a path object exists only while there is something to do, so what waits on disk is counted by
queue key (channel, binding, domain) and added to the path that the domain is known to go to. With very
many keys that would hold the loop too long; then only what is in memory is counted, and the answer says
so.
"""

from collections.abc import Callable
from typing import Any, Final

from outrider.base.clock import Clock, format_utc
from outrider.model.flow import Path
from outrider.model.scopes import matches
from outrider.schedule.stats import PathStats
from outrider.server.dispatcher import Dispatcher
from outrider.server.requests import Operation
from outrider.server.suspensions import Kept, Suspensions
from outrider.spool.index import Index
from outrider.spool.missing import MissingSegments

KEYS_MAX: Final = 10_000
# chosen: counting so many keys takes some 10 ms
DOMAINS_SHOWN: Final = 50
# chosen: what fits on a screen
BUSIEST: Final = 20
# chosen: as above

Rows = list[dict[str, Any]]


class PathOperations:
    """See the module."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        index: Index,
        suspensions: Suspensions,
        missing: MissingSegments,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._index = index
        self._suspensions = suspensions
        self._missing = missing
        self._clock = clock
        self._wake = wake

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {
            "status": self.status,
            "paths.list": self.paths,
            "paths.show": self.show,
            "paths.site": self.site,
            "paths.suspensions": self.suspensions,
            "paths.suspend": self.suspend,
            "paths.resume": self.resume,
        }

    async def status(self) -> dict[str, Any]:
        """Sizes, workers and the busiest paths."""
        counts = self._index.counts()
        rows = self._rows()
        rows.sort(key=_load, reverse=True)
        return {
            "queue": {
                "alive": counts.alive,
                "held": counts.held,
                "resident": counts.resident,
                "granted": sum(row["granted"] for row in rows),
                "keys": counts.keys,
                "unreadable": self._missing.gone.entries,
            },
            "granting": self._dispatcher.is_granting,
            "connections": self._dispatcher.scheduler.connections(),
            "suspensions": len(self._suspensions.active()),
            "workers": [
                {"number": worker.number, "pid": worker.pid, "spool_log": worker.log}
                for worker in self._dispatcher.workers.values()
            ],
            "paths": rows[:BUSIEST],
        }

    async def paths(self, channel: str = "*", binding: str = "*", site: str = "*") -> dict[str, Any]:
        """Paths that match, with what waits for them on disk where that can be counted."""
        rows = {(row["channel"], row["binding"], row["site"]): row for row in self._rows()}
        counted = self._index.counts().keys <= KEYS_MAX
        unresolved = 0
        if counted:
            for (key_channel, key_binding, domain), alive in self._index.key_counts().items():
                found = self._dispatcher.sites.last_site(domain)
                if not found:
                    unresolved += alive
                    continue
                name = key_channel, key_binding, found
                row = rows.get(name)
                if row is None:
                    row = rows[name] = self._idle(Path(*name))
                row["queued"] += alive
                row["domains"] += 1
            for row in rows.values():
                row["on_disk"] = max(row["queued"] - _load(row), 0)
        chosen = [
            row
            for row in rows.values()
            if matches(channel, row["channel"])
            and matches(binding, row["binding"])
            and matches(site, row["site"])
        ]
        return {"paths": chosen, "counted": counted, "unresolved": unresolved}

    async def show(self, channel: str, binding: str, site: str) -> dict[str, Any]:
        """One path: its figures, its domains, the suspensions that hold it."""
        path = Path(channel, binding, site)
        listed = await self.paths(channel, binding, site)
        # a name may look like a pattern
        found = [row for row in listed["paths"] if Path(row["channel"], row["binding"], row["site"]) == path]
        domains: Rows = []
        if listed["counted"]:
            domains = [
                {"domain": domain, "queued": alive}
                for (*key, domain), alive in self._index.key_counts().items()
                if key == [channel, binding] and self._dispatcher.sites.last_site(domain) == site
            ]
            domains.sort(key=lambda row: -row["queued"])
        return {
            **(found[0] if found else self._idle(path)),
            "known": bool(found),
            "top_domains": domains[:DOMAINS_SHOWN],
            "suspensions": [_kept(kept) for kept in self._suspensions.active() if _holds(kept, path)],
        }

    async def site(self, domain: str) -> str:
        """The site of a domain; empty where it is not known now."""
        return self._dispatcher.sites.site(domain, self._clock.now()) or ""

    async def suspensions(self) -> Rows:
        """Those that hold now."""
        return [_kept(kept) for kept in self._suspensions.active()]

    async def suspend(
        self, actor: str, reason: str, channel: str, binding: str, site: str, seconds: float | None
    ) -> dict[str, Any]:
        """Stop sending on paths that match."""
        return _kept(self._suspensions.suspend(channel, binding, site, seconds, reason, actor))

    async def resume(self, number: int) -> dict[str, Any]:
        """Lift a suspension."""
        kept = self._suspensions.resume(number)
        self._wake()
        return _kept(kept)

    def _rows(self) -> Rows:
        stats = self._dispatcher.scheduler.stats(self._clock.now())
        return [self._row(each) for each in stats]

    def _row(self, each: PathStats) -> dict[str, Any]:
        wait = None if each.next_at is None else max(each.next_at - self._clock.now(), 0.0)
        return {
            "site": each.path.site,
            "binding": each.path.binding,
            "channel": each.path.channel,
            "queued": 0,
            "domains": 0,
            "waiting": each.waiting,
            "deferred": each.deferred,
            "granted": each.granted,
            "on_disk": None,
            "connections": each.connections,
            "connecting": each.connecting,
            "idle": each.idle,
            "failures": each.failures,
            "state": str(each.state),
            "more_on_disk": each.more_on_disk,
            "next_seconds": wait,
        }

    def _idle(self, path: Path) -> dict[str, Any]:
        """A path that has no object now: nothing of it is in memory."""
        is_suspended = self._dispatcher.scheduler.is_suspended(path)
        return {
            "site": path.site,
            "binding": path.binding,
            "channel": path.channel,
            "queued": 0,
            "domains": 0,
            "waiting": 0,
            "deferred": 0,
            "granted": 0,
            "on_disk": None,
            "connections": 0,
            "connecting": 0,
            "idle": 0,
            "failures": 0,
            "state": "suspended" if is_suspended else "on disk",
            "more_on_disk": False,
            "next_seconds": None,
        }


def _load(row: dict[str, Any]) -> int:
    return int(row["waiting"] + row["deferred"] + row["granted"])


def _holds(kept: Kept, path: Path) -> bool:
    return (
        matches(kept.channel, path.channel)
        and matches(kept.binding, path.binding)
        and matches(kept.site, path.site)
    )


def _kept(kept: Kept) -> dict[str, Any]:
    return {
        "number": kept.number,
        "channel": kept.channel,
        "binding": kept.binding,
        "site": kept.site,
        "since_time": format_utc(kept.since_time),
        "until_time": None if kept.until_time is None else format_utc(kept.until_time),
        "reason": kept.reason,
        "actor": kept.actor,
    }
