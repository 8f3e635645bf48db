"""What is known of one message, or of all mail to one recipient, for commands and for the control API.

In: settings, and a message id or an address. Out: plain values. A message is told from all event files that
are kept, and from the queue where somebody could ask it; a recipient from the event files alone, where a
keyed token stands for the address.

Invariant: an address that is asked for is in no answer, error or log that it was not in before.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from outrider.model.mailbox import parse_mailbox
from outrider.record.timeline import steps_of
from outrider.record.trace import events_about, life_of, reports_of, states_of
from outrider.server.keys import forms_of
from outrider.server.settings import Settings


class Written(NamedTuple):
    """What event files say of a message: its events, and our reports to its sender."""

    message_id: str
    events: list[dict[str, Any]]
    reports: list[dict[str, Any]]

    def with_queue(self, queued: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
        """The whole life.

        Args:
            queued: Its entries in the queue, asked for after the files were read; None where nobody answered.
        """
        states = states_of(self.events)
        has_ended = all(state["state"] not in ("queued", "held") for state in states)
        return {
            "message_id": self.message_id,
            "is_final": bool(states) and has_ended and not queued,
            "recipients": states,
            "steps": msgspec.to_builtins(steps_of(self.events, self.reports, queued or ())),
            "events": self.events,
            "reports": self.reports,
            "queued": queued,
        }


def written_about(events_directory: Path, message_id: str) -> Written:
    """Read the event files; all lists may be empty."""
    events = life_of(events_directory, message_id)
    return Written(message_id, events, reports_of(events_directory, events))


def mail_to(settings: Settings, environment: Mapping[str, str], recipient: str) -> dict[str, Any]:
    """All that was accepted for one exact address, the latest change last, and what was refused.

    Args:
        settings: Whose event files and key ring.
        environment: Where the ring's credentials are named.
        recipient: The address; tokens are made from it for every version of the `log` key.

    Raises:
        AddressError: It is no address.
        ConfigError: The key ring has faults.
    """
    address = parse_mailbox(recipient.strip(), smtputf8=True)
    events = events_about(settings.server.events_directory, forms_of(settings, environment, address))
    return {
        "messages": sorted(states_of(events), key=lambda state: str(state["updated_time"])),
        "refusals": [event for event in events if event.get("type") == "refusal"],
    }
