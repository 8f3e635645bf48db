"""Events of reception as traces of messages, for policy to be tried on.

In: events as plain values. Out: one trace for each message.

Theory: an event is of one recipient; those of a message have its id. What redaction took away is not there:
an address may be a token or masked, which is an address all the same, and a recipient without any is left
out. There is no header in an event.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from outrider.policy.traces import Trace, TraceError, submission_of


def traces_of(events: Iterable[dict[str, Any]]) -> list[Trace]:
    """The messages that were received, oldest first; those of the server itself are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.get("type") == "reception" and event.get("protocol") != "internal":
            found.setdefault(str(event.get("message_id", "")), []).append(event)
    traces = []
    for message_id, receptions in found.items():
        recipients = [str(each["recipient"]) for each in receptions if "@" in str(each.get("recipient", ""))]
        if not recipients:
            continue
        trace = _trace(message_id, receptions[0], list(dict.fromkeys(recipients)))
        try:
            submission_of(trace)
        except TraceError:  # redaction left something that is no address
            continue
        traces.append(trace)
    return traces


def _trace(message_id: str, event: dict[str, Any], recipients: list[str]) -> Trace:
    sender = str(event.get("mail_from", ""))
    time = event.get("time")
    return Trace(
        recipients=recipients,
        mail_from=sender if "@" in sender else "",
        listener=str(event.get("listener", "")),
        protocol=str(event.get("protocol", "")) or "ESMTP",
        client=str(event.get("client", "")),
        helo=str(event.get("helo", "")),
        user=str(event.get("principal", "")),
        tls=str(event.get("tls", "")),
        tenant=str(event.get("tenant", "")) or "default",
        stream=str(event.get("stream", "")) or "default",
        notes={str(name): str(text) for name, text in (event.get("metadata") or {}).items()},
        id=message_id,
        received_time=datetime.fromisoformat(str(time)).timestamp() if time else 0.0,
    )
