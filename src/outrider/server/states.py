"""What became of a message: its events, and what of it is still queued. For `GET /v1/messages/{id}`.

Theory: events are written after those are answered who wait for the sync, so whoever asks another worker at
once may come before them. A message of which nothing is known yet, and whose id is young, is looked for some
times more, in what was written since the first look.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.base.ids import created_time, is_message_id
from outrider.receive.http_models import RecipientState
from outrider.record.trace import ends_of, life_of, states_of
from outrider.server.requests import ask

_LOOKS: Final = 10
_PAUSE_SECONDS: Final = 0.05
# chosen: half a second, which a worker may be busy before it writes
_YOUNG_SECONDS: Final = 60.0
# chosen: an id is made when a message begins to come; who waits longer for its answer is looked for once


class States:
    """`receive.http_models.StateLookup` from event files and the dispatcher.

    Args:
        events_directory: Where event files are.
        queue_socket: The dispatcher's socket for questions.
        clock: Tells how old an id is.
    """

    def __init__(self, events_directory: Path, queue_socket: Path, clock: Clock) -> None:
        self._events = events_directory
        self._queue = queue_socket
        self._clock = clock

    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        """The state of each recipient, None when nothing is known of the message."""
        life = await self._life_of(message_id)
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

    async def _life_of(self, message_id: str) -> list[dict[str, Any]]:
        if not self._is_young(message_id):
            return await asyncio.to_thread(life_of, self._events, message_id)
        ends = await asyncio.to_thread(ends_of, self._events)
        life = await asyncio.to_thread(life_of, self._events, message_id)
        for _ in range(_LOOKS - 1):
            if life:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
            life = await asyncio.to_thread(life_of, self._events, message_id, ends)
        return life

    def _is_young(self, message_id: str) -> bool:
        return (
            is_message_id(message_id) and abs(self._clock.wall() - created_time(message_id)) < _YOUNG_SECONDS
        )
