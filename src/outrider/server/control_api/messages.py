"""Routes of messages: what became of one, and of all mail to one recipient."""

import asyncio
import os
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from outrider.base.errors import AddressError, UnavailableError
from outrider.base.ids import is_message_id
from outrider.server.control_api.hub import Hub, WithHub
from outrider.server.control_api.models import ITEMS_MAX, Asked
from outrider.server.control_api.problems import InvalidPartError
from outrider.server.requests import RefusedError
from outrider.server.tracing import mail_to, written_about

router = APIRouter(prefix="/v1", tags=["messages"])

PATHS_ASKED = 10
# chosen: a message waits on a few paths, and each costs the dispatcher what one page of paths does
ADDRESS_CHARACTERS = 1_000
# chosen: far beyond the 254 octets of RFC 5321 §4.5.3.1.3, so that the grammar says what is wrong


class Life(BaseModel):
    """The whole life of a message, as far as it is known."""

    message_id: str
    is_final: bool = Field(description="True when nothing more will happen to it.")
    recipients: list[dict[str, Any]] = Field(description="Each with its state, last reply and attempts.")
    steps: list[dict[str, Any]] = Field(description="What happened, in the order of time.")
    events: list[dict[str, Any]] = Field(description="The events themselves.")
    reports: list[dict[str, Any]] = Field(description="Our reports to its sender.")
    queued: list[dict[str, Any]] | None = Field(description="Entries in the queue; null: it did not answer.")


@router.get("/messages/{message_id}", summary="The life of a message")
async def life(hub: WithHub, message_id: str) -> Life:
    """From all event files that are kept, and from the queue."""
    if not is_message_id(message_id):
        raise RefusedError(f"{message_id!r} is not a message id: 18 lower-case letters and digits")
    written = await asyncio.to_thread(written_about, hub.events_directory, message_id)
    try:
        queued = await hub.ask("queue.select", message_ids=[message_id], limit=ITEMS_MAX)
        await _say_what_stops(hub, queued)
    except UnavailableError:
        queued = None  # the dispatcher starts again; the events alone tell nearly everything
    if not written.events and not queued:
        raise RefusedError(
            f"nothing is known of {message_id} (events are kept as long as record.keep_seconds says)",
            "absent",
        )
    return Life(**written.with_queue(queued))


async def _say_what_stops(hub: Hub, queued: list[dict[str, Any]]) -> None:
    """Add to each entry that is due what its path does, and the suspension that holds it."""
    paths: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in queued:
        if row["state"] != "due" or not row["site"]:
            continue
        path = row["channel"], row["binding"], row["site"]
        if path not in paths and len(paths) < PATHS_ASKED:
            paths[path] = await hub.ask("paths.show", channel=path[0], binding=path[1], site=path[2])
        if (found := paths.get(path)) is not None:
            row["path_state"] = found["state"]
            row["suspended"] = next(iter(found["suspensions"]), None)


class RecipientAsked(Asked):
    """Whose mail; in the body, because addresses of requests are written down where bodies are not."""

    recipient: str = Field(max_length=ADDRESS_CHARACTERS, description="One exact address.")


class MailTo(BaseModel):
    """All mail to one recipient that events tell of; both lists may be empty."""

    messages: list[dict[str, Any]] = Field(
        description="Each message to the recipient with its state and last reply, the latest change last."
    )
    refusals: list[dict[str, Any]] = Field(description="Commands for the recipient that were refused.")


@router.post("/trace", summary="All mail to one exact recipient; nothing is changed")
async def trace(hub: WithHub, asked: RecipientAsked) -> MailTo:
    """Events hold a keyed token in place of an address: it is made for every version of the key."""
    try:
        found = await asyncio.to_thread(mail_to, hub.settings, os.environ, asked.recipient)
    except AddressError as error:
        raise InvalidPartError("/body/recipient", error.message) from error
    return MailTo(**found)
