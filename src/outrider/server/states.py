"""What became of a message: its events, and what of it is still queued. For `GET /v1/messages/{id}`."""

import asyncio
from pathlib import Path
from typing import Any

from outrider.base.errors import UnavailableError
from outrider.receive.http_models import RecipientState
from outrider.record.trace import life_of, states_of
from outrider.server.requests import ask


class States:
    """`receive.http_models.StateLookup` from event files and the dispatcher.

    Args:
        events_directory: Where event files are.
        queue_socket: The dispatcher's socket for questions.
    """

    def __init__(self, events_directory: Path, queue_socket: Path) -> None:
        self._events = events_directory
        self._queue = queue_socket

    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        """The state of each recipient, None when nothing is known of the message."""
        life = await asyncio.to_thread(life_of, self._events, message_id)
        try:
            queued: list[dict[str, Any]] = await ask(
                self._queue, "queue.select", message_ids=[message_id], limit=1000
            )
        except UnavailableError:
            queued = []  # the dispatcher starts again; the events alone tell nearly everything
        due = {row["entry"]: row["due_time"] for row in queued}
        states = [
            RecipientState(
                # of an old message only an alteration may be left, which names neither recipient nor tenant
                recipient=state.get("recipient", ""),
                state=state["state"],
                tenant=state.get("tenant", ""),
                domain=state.get("domain", ""),
                attempts=state.get("attempts", 0),
                updated_time=state.get("updated_time", ""),
                due_time=due.get(state["entry"], ""),
                reply=state.get("reply", ""),
                bounce_class=state.get("bounce_class", ""),
            )
            for state in states_of(life)
        ]
        return states or None
