"""Routes of policy: the shadow run, other scripts beside the live ones that change nothing."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints

from outrider.base.errors import UnavailableError
from outrider.policy.script import NAME_CHARACTERS, NAME_PATTERN
from outrider.server.control_api.hub import Actor, Hub, WithHub, act
from outrider.server.control_api.models import Asked, ChangeAsked, Reason
from outrider.server.shadows import Shadows

router = APIRouter(prefix="/v1/policy", tags=["policy"])

SCRIPTS_MAX = 100
# chosen: more than anybody asks one after the other


class ShadowScript(Asked):
    """One script."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_CHARACTERS)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=4_096)] = Field(
        description="Its file, from the root; the server's user must be able to read it."
    )


class ShadowAsked(ChangeAsked):
    """A run to be begun."""

    scripts: list[ShadowScript] = Field(min_length=1, max_length=SCRIPTS_MAX)


class Times(BaseModel):
    """How often something happened."""

    what: str
    times: int


class Difference(BaseModel):
    """A kind of decision that differs."""

    phase: str = Field(description="The phase, or `decision` for what was decided of a whole message.")
    live: str
    shadow: str
    times: int


class ShadowReport(BaseModel):
    """What the run has seen."""

    running: bool
    scripts: list[ShadowScript]
    actor: str
    ended: str = Field(description="Why the last run is over; empty where somebody ended it.")
    since_time: str = ""
    sessions: int = Field(0, description="That go on.")
    asked: int = Field(0, description="Questions and messages that both sets were asked.")
    differing: int = Field(0, description="Those with another answer.")
    dropped: int = Field(0, description="Sightings that there was no room for, in a worker or in the shadow.")
    waiting: int = 0
    failures: list[Times] = []
    differences: list[Difference] = []
    examples: list[dict[str, Any]] = Field(
        [], description="The newest ones; with addresses only where all is shown."
    )
    audit: int | None = None


def _shadows(hub: Hub) -> Shadows:
    if hub.shadows is None:
        raise UnavailableError("this process runs no shadow")
    return hub.shadows


@router.get("/shadow", summary="What the shadow run has seen")
async def report(hub: WithHub) -> ShadowReport:
    """Differences with their counts, the most frequent first, and the newest examples."""
    return ShadowReport(**await _shadows(hub).report())


@router.post("/shadow", status_code=201, summary="Ask other scripts what the live ones are asked")
async def start(hub: WithHub, actor: Actor, asked: ShadowAsked) -> ShadowReport:
    """They change nothing. The run ends when it is ended, and when the server restarts."""
    scripts = [(each.name, each.source) for each in asked.scripts]
    names = " ".join(name for name, _ in scripts)

    async def work() -> dict[str, Any]:
        return {"changed": len(scripts), "report": await _shadows(hub).start(scripts, actor.name)}

    result, audit = await hub.change(act(actor, "policy.shadow-start", names, asked.reason), work)
    return ShadowReport(**result["report"], audit=audit)


@router.delete("/shadow", summary="End the shadow run")
async def stop(hub: WithHub, actor: Actor, reason: Reason = "") -> ShadowReport:
    """Its last report; `ended` says so where its process gave none."""

    async def work() -> dict[str, Any]:
        last = await _shadows(hub).stop()
        return {
            "changed": 1,
            "report": last,
            "facts": {name: last[name] for name in ("asked", "differing") if name in last},
        }

    result, audit = await hub.change(act(actor, "policy.shadow-stop", "shadow", reason), work)
    return ShadowReport(**result["report"], audit=audit)
