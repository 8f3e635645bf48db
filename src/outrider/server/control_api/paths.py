"""Routes of paths: their figures, suspending and resuming them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from outrider.server.control_api.hub import Actor, Hub, WithHub, act, with_reason
from outrider.server.control_api.models import (
    ITEMS_MAX,
    Number,
    PathDetail,
    Paths,
    Reason,
    Resumed,
    Suspended,
    SuspensionAsked,
    Suspensions,
)

router = APIRouter(prefix="/v1", tags=["paths"])

Sort = Literal["queued", "waiting", "deferred", "granted", "connections", "failures", "delivered", "site"]
MESSAGES_SHOWN = 50
# chosen: what a person looks through


def _with_counts(hub: Hub, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    attempts = hub.summed.attempts()
    for row in rows:
        results = attempts.get(row["site"], {})
        row.update({name: results.get(name, 0) for name in ("delivered", "transient", "bounced")})
    return rows


@router.get("/paths", summary="Paths that match, with their figures")
async def paths(
    hub: WithHub,
    channel: str = "*",
    binding: str = "*",
    site: str = "*",
    sort: Sort = "queued",
    limit: Annotated[int, Query(ge=1, le=ITEMS_MAX)] = 50,
    cursor: Number = 0,
) -> Paths:
    """The largest first. The cursor counts rows, because a path's place changes with its figures."""
    listed = await hub.ask("paths.list", channel=channel, binding=binding, site=site)
    rows = _with_counts(hub, listed["paths"])
    if sort == "site":
        rows.sort(key=lambda row: (row["site"], row["binding"], row["channel"]))
    else:
        rows.sort(key=lambda row: (-row[sort], -row["waiting"] - row["granted"], row["site"]))
    page = rows[cursor : cursor + limit]
    following = cursor + limit if cursor + limit < len(rows) else None
    return Paths(
        items=page,
        next_cursor=following,
        total=len(rows),
        counted=listed["counted"],
        unresolved=listed["unresolved"],
    )


@router.get("/paths/{channel}/{binding}/{site:path}", summary="One path: domains, messages, last replies")
async def show(hub: WithHub, channel: str, binding: str, site: str) -> PathDetail:
    """Its oldest entries and what receivers said last."""
    [row] = _with_counts(hub, [await hub.ask("paths.show", channel=channel, binding=binding, site=site)])
    # no pattern: a site's own name may not be read as one
    path = f"{channel}/{binding}/{site}"
    messages = await hub.ask("queue.select", limit=MESSAGES_SHOWN, path=path)
    replies = await hub.ask("queue.summary", by="reply", path=path)
    return PathDetail(**row, messages=messages, replies=replies[:MESSAGES_SHOWN])


@router.get("/suspensions", summary="Suspensions that hold now")
async def suspensions(hub: WithHub) -> Suspensions:
    """Each with its reason and its end."""
    return Suspensions(items=await hub.ask("paths.suspensions"))


@router.post("/suspensions", status_code=201, summary="Stop sending on some paths, with a reason")
async def suspend(hub: WithHub, actor: Actor, asked: SuspensionAsked) -> Suspended:
    """Mail is accepted and waits. Connections end when what they were given is done."""
    patterns = {"channel": asked.channel, "binding": asked.binding, "site": asked.site}
    listed = await hub.ask("paths.list", **patterns)
    concerned = sorted(f"{row['channel']}/{row['binding']}/{row['site']}" for row in listed["paths"])
    if asked.dry_run:
        return Suspended(suspension=None, paths=concerned[:ITEMS_MAX], dry_run=True)
    with_reason(asked.reason, "suspending a path")
    target = f"{asked.channel}/{asked.binding}/{asked.site}"
    what = act(actor, "path.suspend", target, asked.reason, seconds=asked.seconds)

    async def work() -> dict[str, Any]:
        kept: dict[str, Any] = await hub.ask(
            "paths.suspend", actor=actor.name, reason=asked.reason, seconds=asked.seconds, **patterns
        )
        return {"changed": len(concerned), "suspension": kept}

    result, audit = await hub.change(what, work, matched=len(concerned))
    return Suspended(suspension=result["suspension"], paths=concerned[:ITEMS_MAX], dry_run=False, audit=audit)


@router.delete("/suspensions/{number}", summary="Resume: lift a suspension")
async def resume(hub: WithHub, actor: Actor, number: Number, reason: Reason = "") -> Resumed:
    """Sending goes on at once, within the limits of the paths."""

    async def work() -> dict[str, Any]:
        return {"changed": 1, "suspension": await hub.ask("paths.resume", number=number)}

    result, audit = await hub.change(act(actor, "path.resume", str(number), reason), work, matched=1)
    return Resumed(suspension=result["suspension"], audit=audit)
