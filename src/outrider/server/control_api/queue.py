"""Routes of the queue: look at it, count it, and act on a part of it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain
from outrider.server.control_api.hub import Actor, Caller, Hub, WithHub, act, with_reason
from outrider.server.control_api.models import (
    Changed,
    Count,
    Entries,
    QueueChange,
    QueueFilter,
    QueueMove,
    QueuePage,
    Summary,
)
from outrider.server.requests import RefusedError

router = APIRouter(prefix="/v1/queue", tags=["queue"])

By = Literal["domain", "site", "path", "tenant", "stream", "binding", "reply", "hold"]


@router.get("", summary="Entries that match, by number")
async def select(hub: WithHub, page: Annotated[QueuePage, Query()]) -> Entries:
    """Cursors stay valid while the queue changes: an entry's number never does."""
    criteria = page.criteria()
    rows = await hub.ask("queue.select", limit=page.limit, after=page.cursor, **criteria)
    following = rows[-1]["entry"] if len(rows) == page.limit else None
    return Entries(items=rows, next_cursor=following)


@router.get("/count", summary="How many match")
async def count(hub: WithHub, chosen: Annotated[QueueFilter, Query()]) -> Count:
    """The same filter as for the list."""
    return Count(**await hub.ask("queue.count", **chosen.criteria()))


class _SummaryAsked(QueueFilter):
    """A filter and what to count by."""

    by: By = "domain"


@router.get("/summary", summary="Counted by domain, site, path, tenant, stream, binding, reply or hold")
async def summary(hub: WithHub, asked: Annotated[_SummaryAsked, Query()]) -> Summary:
    """Largest group first; totals are those of all groups."""
    groups = await hub.ask("queue.summary", by=asked.by, **asked.criteria())
    totals = {name: sum(group[name] for group in groups) for name in ("entries", "held", "octets")}
    return Summary(by=asked.by, groups=groups, **totals)


Work = Callable[[], Awaitable[dict[str, Any]]]


async def _apply(
    hub: Hub, actor: Caller, verb: str, asked: QueueChange, needs_reason: str = "", **arguments: Any
) -> Changed:
    """Count, do it unless only a count was asked for; `needs_reason` says what is not done without one."""
    if needs_reason and not asked.dry_run:
        with_reason(asked.reason, needs_reason)
    criteria = asked.filter.criteria()
    if verb == "release":
        criteria.setdefault("held", True)
    matched = int((await hub.ask("queue.count", **criteria))["count"])
    if asked.dry_run:
        return Changed(matched=matched, changed=0, busy=0, dry_run=True)
    if asked.expect is not None and asked.expect != matched:
        raise RefusedError(
            f"{matched} entries match now, not {asked.expect}: count again before you act", "conflict"
        )
    what = act(
        actor, f"queue.{verb}", asked.filter.told(), asked.reason, asked.filter.tenant or "", **arguments
    )

    async def work() -> dict[str, Any]:
        result: dict[str, Any] = await hub.ask(
            f"queue.{verb}", actor=actor.name, reason=asked.reason, **arguments, **criteria
        )
        return result

    result, audit = await hub.change(what, work, matched=matched)
    return Changed(
        matched=matched, changed=result["changed"], busy=result["busy"], dry_run=False, audit=audit
    )


@router.post("/hold", summary="Put on hold, with a reason")
async def hold(hub: WithHub, actor: Actor, asked: QueueChange) -> Changed:
    """Held entries are not sent until they are released."""
    return await _apply(hub, actor, "hold", asked, "holding mail")


@router.post("/release", summary="Release what is on hold")
async def release(hub: WithHub, actor: Actor, asked: QueueChange) -> Changed:
    """Released entries keep their due time."""
    return await _apply(hub, actor, "release", asked)


@router.post("/retry", summary="Make due at once")
async def retry(hub: WithHub, actor: Actor, asked: QueueChange) -> Changed:
    """What is on hold stays so."""
    return await _apply(hub, actor, "retry", asked)


@router.post("/purge", summary="Remove for good, with a reason")
async def purge(hub: WithHub, actor: Actor, asked: QueueChange) -> Changed:
    """Senders get no report."""
    return await _apply(hub, actor, "purge", asked, "purging mail")


@router.post("/move", summary="Give another routing domain or binding, with a reason")
async def move(hub: WithHub, actor: Actor, asked: QueueMove) -> Changed:
    """Recipients stay the same; another server is asked to take them, or another identity sends."""
    if asked.to_binding is not None and asked.to_binding not in hub.settings.binding_names:
        raise RefusedError(f"there is no binding {asked.to_binding!r}; of a group, name the member")
    to_domain = None if asked.to_domain is None else _routing_domain(asked.to_domain)
    to = {"to_domain": to_domain, "to_binding": asked.to_binding}
    return await _apply(hub, actor, "move", asked, "moving mail", **to)


def _routing_domain(text: str) -> str:
    """The form in which routes and DNS know it: what neither can know would bounce."""
    try:
        return parse_domain(text)
    except AddressError as error:
        raise RefusedError(f"mail cannot be moved to the domain {text!r}: {error.message}") from error
