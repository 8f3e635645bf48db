"""Routes of the node itself: its state, processes, configuration and figures."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from outrider.base.clock import format_utc
from outrider.base.errors import AddressError, ConfigError, UnavailableError
from outrider.model.binding import DEFAULT
from outrider.model.flow import Path
from outrider.model.mailbox import parse_domain
from outrider.record.trace import tail
from outrider.server.catalogue import values
from outrider.server.control_api.hub import Actor, Hub, WithHub, act
from outrider.server.control_api.models import ITEMS_MAX, ReloadAsked
from outrider.server.explanation import explain_running
from outrider.server.path_explanation import explain_path, find_site
from outrider.server.requests import RefusedError

router = APIRouter(prefix="/v1", tags=["node"])

NAME_CHARACTERS = 255
# chosen: the longest name of an option has some 60


class Status(BaseModel):
    """The state of the node on one screen."""

    time: str
    up_seconds: float = Field(description="Since the server started, whatever process has died since.")
    clock_steps_seconds: float = Field(
        description="By how much the machine's calendar was set ahead since; the server keeps its own."
    )
    hostname: str
    accepted: float = Field(description="Recipients accepted by the processes that live now.")
    attempts: dict[str, dict[str, float]] = Field(description="Attempts by site and result.")
    results: dict[str, float] = Field(description="Attempts by result.")
    queue: dict[str, int]
    granting: bool = Field(description="False: the dispatcher still reads logs.")
    connections: int
    stressed: list[str] = Field(description="Listeners whose limits are tight under stress.")
    suspensions: int
    workers: list[dict[str, Any]]
    processes: list[dict[str, Any]]
    paths: list[dict[str, Any]] = Field(description="The busiest.")


@router.get("/status", summary="The node on one screen")
async def status(hub: WithHub) -> Status:
    """Sizes, workers, counters and the busiest paths."""
    dispatcher = await hub.ask("status")
    attempts = hub.summed.attempts()
    results: dict[str, float] = {}
    for by_result in attempts.values():
        for result, count in by_result.items():
            results[result] = results.get(result, 0) + count
    return Status(
        time=format_utc(hub.clock.wall()),
        up_seconds=hub.clock.now() - hub.started_at,
        clock_steps_seconds=hub.clock.stepped(),
        hostname=hub.settings.server.hostname,
        accepted=hub.summed.accepted(),
        attempts=attempts,
        results=results,
        stressed=hub.summed.stressed(),
        processes=hub.summed.processes(),
        **dispatcher,
    )


class Processes(BaseModel):
    """The processes of the node, and the workers as the dispatcher knows them."""

    items: list[dict[str, Any]]
    workers: list[dict[str, Any]]


@router.get("/workers", summary="Processes with memory, lag and restarts")
async def workers(hub: WithHub) -> Processes:
    """Figures are those that each process sent within the last second."""
    dispatcher = await hub.ask("status")
    return Processes(items=hub.summed.processes(), workers=dispatcher["workers"])


@router.get("/metrics", summary="All metrics in the text format of Prometheus", response_class=Response)
async def metrics(hub: WithHub) -> Response:
    """The same as the metrics listener serves."""
    text = await asyncio.to_thread(hub.summed.collection.render)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


class MetricsSummary(BaseModel):
    """Counters and gauges summed over the processes and their labels."""

    metrics: dict[str, float]


@router.get("/metrics/summary", summary="Each counter and gauge as one sum")
async def metrics_summary(hub: WithHub) -> MetricsSummary:
    """For scripts that want a number without a Prometheus."""
    return MetricsSummary(metrics=hub.summed.totals())


class Events(BaseModel):
    """Events, oldest first."""

    items: list[dict[str, Any]]


@router.get("/events", summary="The newest events")
async def events(hub: WithHub, limit: int = 50) -> Events:
    """At most 1,000."""
    count = max(1, min(limit, ITEMS_MAX))
    return Events(items=await asyncio.to_thread(tail, hub.events_directory, count))


class Configured(BaseModel):
    """What this process runs with."""

    values: dict[str, str] = Field(description="By option, as in TOML; secrets are not shown.")


@router.get("/config", summary="The configuration that runs")
async def config(hub: WithHub) -> Configured:
    """As TOML writes it. Reload or restart changes it."""
    return Configured(values={value.name: value.shown for value in values(hub.settings)})


class ExplainedValue(BaseModel):
    """A value that runs."""

    name: str
    value: str = Field(description="As in TOML; secrets are not shown.")
    origin: str = Field(description="File and line, variable or flag; or what has been changed there since.")


class ExplainedOption(BaseModel):
    """An option: what it is and what it is now."""

    name: str
    meaning: str
    unit: str
    bounds: str
    default: str
    default_source: str
    changes_by: str = Field(description="`reload` or `restart`.")
    values: list[ExplainedValue]


class Explained(BaseModel):
    """Options in the order of the manual."""

    items: list[ExplainedOption]


@router.get("/config/options", summary="What options mean, what they are now, and where that comes from")
async def options(hub: WithHub, name: Annotated[str, Query(max_length=NAME_CHARACTERS)] = "*") -> Explained:
    """`name` is an option, a section, or a pattern with `*`. 409 when the files have faults."""
    origins = await _origins(hub)
    try:
        found = explain_running(hub.settings, origins, name)
    except ConfigError as error:
        raise RefusedError(error.message, "absent") from error
    return Explained(items=[ExplainedOption(**each.told()) for each in found])


class PathValue(BaseModel):
    """One option of a path."""

    section: str = Field(description="`shaping` or `delivery`.")
    name: str
    value: str = Field(description="As in TOML; secrets are not shown.")
    unit: str
    level: str = Field(description="`global`, `site`, `group`, `binding`, `group::site`, and so on.")
    scope: str = Field(description="What it is written for: patterns of group, binding and site.")
    option: str = Field(description="Its name in the configuration.")
    origin: str = Field(description="File and line, variable or flag; or what has been changed there since.")
    shared_by: str = Field(description="The scope to which a limit belongs that several paths share.")


class PathExplained(BaseModel):
    """What holds for a path."""

    path: str
    channel: str
    binding: str
    site: str
    is_known: bool = Field(description="A binding of that name is configured.")
    groups: list[str] = Field(description="Of which the binding is a member.")
    age_days: int | None = Field(description="For how long the binding has been sending.")
    values: list[PathValue]


@router.get("/config/path", summary="What holds for a path, and where each value comes from")
async def config_path(
    hub: WithHub,
    site: Annotated[str, Query(max_length=NAME_CHARACTERS)] = "",
    domain: Annotated[str, Query(max_length=NAME_CHARACTERS)] = "",
    binding: Annotated[str, Query(max_length=NAME_CHARACTERS)] = DEFAULT,
    channel: Annotated[str, Query(max_length=NAME_CHARACTERS)] = "smtp",
) -> PathExplained:
    """Of a `site`, or of the one that a `domain` is found to have. 409 when the files have faults."""
    if bool(site) is bool(domain):
        raise RefusedError("name a site or a domain")
    path = Path(channel, binding, site or await _site(hub, domain))
    found = explain_path(hub.settings, await _origins(hub), path, hub.clock)
    return PathExplained.model_validate(found)


async def _site(hub: Hub, text: str) -> str:
    try:
        domain = parse_domain(text)
    except AddressError as error:
        raise RefusedError(f"{text!r} is no domain: {error.message}") from error
    known: str = await hub.ask("paths.site", domain=domain)
    return known or await find_site(hub.settings, domain, hub.clock)


async def _origins(hub: Hub) -> dict[str, str]:
    """Where each value that runs comes from, and what files say of it now."""
    read = await hub.sources()
    waiting = {
        change["name"]: f"an earlier reading; {change['origin']} says {change['new'] or 'nothing'} now"
        for change in read.changes
    }
    return {**read.origins, **waiting}


@router.get("/config/diff", summary="What a reload would change")
async def diff(hub: WithHub) -> dict[str, Any]:
    """The running configuration against the files; nothing is changed."""
    return await _compared(hub)


async def _compared(hub: Hub) -> dict[str, Any]:
    answer = await hub.reload(dry_run=True)
    shown = {name: value for name, value in answer.items() if name not in ("files", "origins")}
    return await _with_stranded(hub, shown)


async def _with_stranded(hub: Hub, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with `stranded`: what is queued for bindings that are not configured any more."""
    stranded = []
    for binding in answer.pop("gone_bindings", ()):
        with suppress(UnavailableError):  # the reload itself is done, or only looked at
            count = (await hub.ask("queue.count", binding=binding))["count"]
            if count:
                stranded.append({"binding": binding, "entries": count})
    return {**answer, "stranded": stranded}


@router.post("/reload", summary="Read the configuration again: all of it, or nothing when it has a fault")
async def reload(hub: WithHub, actor: Actor, asked: ReloadAsked) -> dict[str, Any]:
    """Says what changed, what waits for a restart, and which mail is queued for bindings that are gone."""
    if asked.dry_run:
        return await _compared(hub)

    async def work() -> dict[str, Any]:
        return await _with_stranded(hub, await hub.reload(dry_run=False))

    result, audit = await hub.change(act(actor, "config.reload", "configuration", asked.reason), work)
    return {**result, "audit": audit}
