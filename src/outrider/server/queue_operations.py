"""What an administrator can ask of the queue; answered in the dispatcher's process.

In: the options of a filter by name, as the control API passes them on. Out: plain values.

Theory: entries know their routing domain, not their site, so a filter by site becomes one by the queued
domains that went there when they last had a route; that is known over starts (site_keeper.py). Domains that
never had one cannot match; `unresolved` counts them, so that nobody takes the answer for more than it is.
While logs of living workers are still to be read, as after the death of a dispatcher, it is not known what
they are sending: changes wait for it.

Not here: paths and suspensions (path_operations.py), who asked and why it is allowed (control_api).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import UnavailableError
from outrider.base.ids import created_time
from outrider.model.changes import Entry
from outrider.model.domain_patterns import parse_site_pattern
from outrider.model.scopes import matches
from outrider.record.derive import Act
from outrider.record.writer import EventWriter
from outrider.server.dispatcher import Dispatcher
from outrider.server.requests import Operation
from outrider.spool.admin import QueueAdmin
from outrider.spool.checkpoint import Group
from outrider.spool.filters import QueueFilter
from outrider.spool.index import Index

NOWHERE: Final = frozenset(("",))
# the routing domain that no entry has: a filter whose site has no queued domain matches nothing
GROUPS_MAX: Final = 1_000
# chosen: what a person reads; the rest is summed as one
BY: Final[dict[str, tuple[str, ...]]] = {
    "domain": ("routing_domain",),
    "site": ("channel", "binding", "routing_domain"),
    "path": ("channel", "binding", "routing_domain"),
    "tenant": ("tenant",),
    "stream": ("tenant", "stream"),
    "binding": ("binding",),
    "reply": ("last_reply",),
    "hold": ("held",),
}
UNRESOLVED: Final = "(not resolved)"
BEGIN_SECONDS: Final = 10.0
# chosen: a start takes about a second, and whoever asks waits 60 s for an answer


class QueueOperations:
    """See the module."""

    def __init__(
        self, dispatcher: Dispatcher, index: Index, admin: QueueAdmin, clock: Clock, events: EventWriter
    ) -> None:
        self._dispatcher = dispatcher
        self._index = index
        self._admin = admin
        self._clock = clock
        self._events = events

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {
            "queue.select": self.select,
            "queue.count": self.count,
            "queue.summary": self.summary,
            "queue.oldest": self.oldest,
            "queue.hold": self.hold,
            "queue.release": self.release,
            "queue.retry": self.retry,
            "queue.purge": self.purge,
            "queue.move": self.move,
            "record.admin": self.record,
        }

    async def select(self, limit: int = 50, after: int = -1, **criteria: Any) -> list[dict[str, Any]]:
        """Entries that match, by number, behind `after`; fewer than `limit` are the last."""
        chosen = self._filter(criteria)
        found: list[Entry] = []
        while len(found) < limit:  # one answer of the index may be short where rows have changed since
            more = await self._index.select(chosen, limit - len(found), after)
            if not more:
                break
            found += more
            after = more[-1].entry
        return [self._shown(entry) for entry in found]

    async def count(self, **criteria: Any) -> dict[str, int]:
        """How many match, and how many queued domains could not be judged by a filter for a site."""
        chosen = self._filter(criteria)
        return {"count": await self._index.count(chosen), "unresolved": self._unresolved(criteria)}

    async def summary(self, by: str, **criteria: Any) -> list[dict[str, Any]]:
        """What matches, counted by `by`, the largest first.

        Raises:
            ValueError: The queue is not counted by that.
        """
        if by not in BY:
            raise ValueError(f"count by one of {', '.join(BY)}")
        groups = await self._index.summary(self._filter(criteria), BY[by])
        folded: dict[str, dict[str, Any]] = {}
        for group in groups:
            name = self._name(by, group)
            _fold(folded, name if name in folded or len(folded) < GROUPS_MAX else "(others)", group)
        return sorted(folded.values(), key=lambda row: (-row["entries"], row["name"]))

    async def oldest(self) -> dict[str, Any]:
        """When the oldest message was received; `is_known` is false while logs are still being read.

        Its id tells: entries count their age from when they were to be sent, which may be weeks later.
        """
        if not self._dispatcher.is_granting:
            return {"is_known": False, "received_time": None}
        first = await self._index.first_message()
        return {"is_known": True, "received_time": None if first is None else created_time(first)}

    def _name(self, by: str, group: Group) -> str:
        if by in ("site", "path"):
            channel, binding, domain = group.names
            site = self._site(domain) or UNRESOLVED
            return site if by == "site" else f"{channel}/{binding}/{site}"
        if by == "reply":
            return group.names[0] or "(no attempt)"
        if by == "hold":
            return group.names[0] or "(free)"
        return "/".join(group.names)

    async def hold(self, actor: str, reason: str = "", **criteria: Any) -> dict[str, int]:
        """Put on hold."""
        await self._know_what_is_sent()
        return (await self._admin.hold(self._filter(criteria), actor, reason))._asdict()

    async def release(self, actor: str, reason: str = "", **criteria: Any) -> dict[str, int]:
        """Release from hold."""
        await self._know_what_is_sent()
        return (await self._admin.release(self._filter(criteria), actor, reason))._asdict()

    async def retry(self, actor: str, reason: str = "", **criteria: Any) -> dict[str, int]:
        """Make due now."""
        await self._know_what_is_sent()
        return (await self._admin.retry(self._filter(criteria), actor, reason))._asdict()

    async def purge(self, actor: str, reason: str = "", **criteria: Any) -> dict[str, int]:
        """Remove for good."""
        await self._know_what_is_sent()
        return (await self._admin.purge(self._filter(criteria), actor, reason))._asdict()

    async def move(
        self,
        actor: str,
        reason: str = "",
        to_domain: str | None = None,
        to_binding: str | None = None,
        **criteria: Any,
    ) -> dict[str, int]:
        """Give another routing domain or binding."""
        await self._know_what_is_sent()
        chosen = self._filter(criteria)
        moved = await self._admin.move(chosen, actor, reason, binding=to_binding, routing_domain=to_domain)
        return moved._asdict()

    async def record(self, **act: Any) -> None:
        """Write the event of what an administrator did, whatever it concerned."""
        self._events.administered(Act(**act))

    async def _know_what_is_sent(self) -> None:
        """Return once all workers that live have said what they hold.

        Raises:
            UnavailableError: They have not, for long.
        """
        try:
            if not self._dispatcher.is_granting:
                async with asyncio.timeout(BEGIN_SECONDS):
                    await self._dispatcher.begun.wait()
        except TimeoutError as error:
            raise UnavailableError(
                "the queue is still being read after a start, so nothing was changed; try again, and see the "
                "server's log if it lasts"
            ) from error

    # filters

    def _filter(self, criteria: dict[str, Any]) -> QueueFilter:
        """The filter that a command's options describe.

        Raises:
            ValueError: An option that does not exist, or two that contradict each other.
        """
        now = self._clock.wall()
        known: dict[str, Callable[[Any], dict[str, Any]]] = {
            "routing_domain": lambda value: {"routing_domains": self._domains(value)},
            "site": lambda value: {"routing_domains": self._domains_of(value)},
            "path": self._of_path,
            "channel": lambda value: {"channel": value},
            "tenant": lambda value: {"tenant": value},
            "stream": lambda value: {"stream": value},
            "binding": lambda value: {"binding": value},
            "message_ids": lambda value: {"message_ids": frozenset(value)},
            "entries": lambda value: {"entries": frozenset(value)},
            "older_than_seconds": lambda value: {"received_before_time": now - value},
            "newer_than_seconds": lambda value: {"received_after_time": now - value},
            "min_attempts": lambda value: {"attempts_min": value},
            "max_attempts": lambda value: {"attempts_max": value},
            "held": lambda value: {"held": value},
            "state": lambda value: _of_state(value, now),
            "reply": lambda value: {"reply": value},
        }
        chosen: dict[str, Any] = {}
        for name, value in criteria.items():
            if name not in known:
                raise ValueError(f"{name} is nothing to choose entries by")
            for field, meant in known[name](value).items():
                if field == "routing_domains" and field in chosen:
                    chosen[field] = chosen[field] & meant or NOWHERE
                elif chosen.setdefault(field, meant) != meant:
                    raise ValueError(f"{name} contradicts another option about {field}")
        return QueueFilter(**chosen)

    def _domains(self, pattern: str) -> frozenset[str]:
        """The queued domains that `pattern` names; itself when none is, so that nothing else matches."""
        if not pattern.startswith("*"):
            return frozenset((pattern.lower(),))
        suffix = pattern[1:].lower()
        return frozenset(domain for domain in self._index.domains() if domain.endswith(suffix)) or NOWHERE

    def _domains_of(self, site: str) -> frozenset[str]:
        """The queued domains that go to a site, which may be a pattern with `*`."""
        found = (domain for domain in self._index.domains() if matches(site, self._site(domain) or ""))
        return frozenset(found) or NOWHERE

    def _of_path(self, path: str) -> dict[str, Any]:
        parts = path.split("/", 2)
        if len(parts) != 3:
            raise ValueError("a path is CHANNEL/BINDING/SITE, as `outrider path list` shows it")
        channel, binding, site = (*parts[:2], parse_site_pattern(parts[2]))
        given = {"channel": channel, "binding": binding}
        chosen: dict[str, Any] = {name: text for name, text in given.items() if text != "*"}
        return chosen if site == "*" else chosen | {"routing_domains": self._domains_of(site)}

    def _unresolved(self, criteria: dict[str, Any]) -> int:
        if not {"site", "path"} & criteria.keys():
            return 0
        return sum(self._site(domain) is None for domain in self._index.domains())

    def _site(self, domain: str) -> str | None:
        """Of the last look-up, however old: mail is deferred for longer than an answer of the DNS lives."""
        return self._dispatcher.sites.last_site(domain) or None

    # what is shown

    def _shown(self, entry: Entry) -> dict[str, Any]:
        last = entry.last
        return {
            "message_id": entry.message_id,
            "entry": entry.entry,
            "channel": entry.channel,
            "binding": entry.binding,
            "routing_domain": entry.routing_domain,
            "site": self._site(entry.routing_domain) or "",
            "tenant": entry.tenant,
            "stream": entry.stream,
            "priority": entry.priority,
            "size": entry.size,
            "attempts": entry.attempts,
            "received_time": format_utc(entry.received_time),
            "due_time": format_utc(entry.due_time),
            "state": self._state(entry),
            "held": entry.held,
            "last_reply": last.text if last else "",
            "last_host": last.host if last else "",
            "last_attempt_time": format_utc(last.attempted_time) if last else "",
        }

    def _state(self, entry: Entry) -> str:
        if entry.held:
            return "held"
        if self._dispatcher.scheduler.is_granted(entry.entry):
            return "sending"
        return "due" if entry.due_time <= self._clock.wall() else "deferred"


def _of_state(state: str, now: float) -> dict[str, Any]:
    match state:
        case "held":
            return {"held": True}
        case "due":
            return {"held": False, "due_before_time": now}
        case "deferred":
            return {"held": False, "due_after_time": now}
        case _:
            raise ValueError("a state is held, due or deferred")


def _fold(folded: dict[str, dict[str, Any]], name: str, group: Group) -> None:
    row = folded.get(name)
    oldest = format_utc(group.oldest_time)
    if row is None:
        folded[name] = {
            "name": name,
            "entries": group.entries,
            "held": group.held,
            "octets": group.octets,
            "oldest_time": oldest,
            "attempts": group.attempts,
        }
        return
    row["entries"] += group.entries
    row["held"] += group.held
    row["octets"] += group.octets
    row["oldest_time"] = min(row["oldest_time"], oldest)
    row["attempts"] = max(row["attempts"], group.attempts)
