"""Routes of messages: what became of one."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from outrider.base.errors import UnavailableError
from outrider.base.ids import is_message_id
from outrider.record.timeline import steps_of
from outrider.record.trace import life_of, reports_of, states_of
from outrider.server.control_api.hub import Hub, WithHub
from outrider.server.control_api.models import ITEMS_MAX
from outrider.server.requests import RefusedError

router = APIRouter(prefix="/v1/messages", tags=["messages"])


class Life(BaseModel):
    """The whole life of a message, as far as it is known."""

    message_id: str
    is_final: bool = Field(description="True when nothing more will happen to it.")
    recipients: list[dict[str, Any]] = Field(description="Each with its state, last reply and attempts.")
    steps: list[dict[str, Any]] = Field(description="What happened, in the order of time.")
    events: list[dict[str, Any]] = Field(description="The events themselves.")
    reports: list[dict[str, Any]] = Field(description="Our reports to its sender.")
    queued: list[dict[str, Any]] | None = Field(description="Entries in the queue; null: it did not answer.")


@router.get("/{message_id}", summary="The life of a message")
async def life(hub: WithHub, message_id: str) -> Life:
    """From all event files that are kept, and from the queue."""
    if not is_message_id(message_id):
        raise RefusedError(f"{message_id!r} is not a message id: 18 lower-case letters and digits")
    found = await whole_life(hub, message_id)
    if not found.events and not found.queued:
        raise RefusedError(
            f"nothing is known of {message_id} (events are kept as long as record.keep_seconds says)",
            "absent",
        )
    return found


async def whole_life(hub: Hub, message_id: str) -> Life:
    """What is known; all lists may be empty."""
    events = await asyncio.to_thread(life_of, hub.events_directory, message_id)
    reports = await asyncio.to_thread(reports_of, hub.events_directory, events)
    try:
        queued = await hub.ask("queue.select", message_ids=[message_id], limit=ITEMS_MAX)
    except UnavailableError:
        queued = None  # the dispatcher starts again; the events alone tell nearly everything
    states = states_of(events)
    ended = all(state["state"] not in ("queued", "held") for state in states)
    return Life(
        message_id=message_id,
        is_final=bool(states) and ended and not queued,
        recipients=states,
        steps=[_plain(step) for step in steps_of(events, reports, queued or ())],
        events=events,
        reports=reports,
        queued=queued,
    )


def _plain(step: Any) -> dict[str, Any]:
    return {name: value for name in step.__struct_fields__ if (value := getattr(step, name))}
