"""The life of a message as steps that a person reads.

In: a message's events (`record.trace`), the reports about it, and what of it is still queued. Out: steps
in the order of time, each one line with its facts beside it, and the state of each recipient.

Theory: an event says what happened to one recipient; a person asks what happened to the message. So the
reception is one step whatever the number of recipients, and after each attempt that failed comes what the
message waits for. Nothing is guessed: what no event tells is not said, such as an attempt whose result
was never written.

Invariant: each event gives one step at least, and steps of one recipient come in the order of its events.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from outrider.model.route import REFUSED

Event = dict[str, Any]

ENDS: Final = {
    "delivery": "delivered",
    "bounce": "bounced",
    "expiration": "expired",
    "purge": "purged",
    "discard": "discarded",
    "simulated": "simulated",
}
_ALTERATIONS: Final = ("hold", "release", "retry", "alteration")


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a timeline.

    Attributes:
        time: RFC 3339; when it happened, or for `waits` when the wait begins.
        kind: `received`, `queued`, `refused`, `delivered`, `deferred`, `bounced`, `expired`, `purged`,
            `discarded`, `hold`, `release`, `retry`, `alteration`, `waits` or `report`.
        text: What happened, in words.
        id: Of the event that says so; empty for what follows from another one.
        entry: The recipient's place in the queue; 0 for the whole message.
        recipient: As events show it.
        attempt: Number of the attempt.
        seconds: How long it took.
        until: End of a wait.
        message_id: Of a report.
    """

    time: str
    kind: str
    text: str
    id: str = ""
    entry: int = 0
    recipient: str = ""
    attempt: int = 0
    seconds: float = 0.0
    until: str = ""
    message_id: str = ""


def steps_of(
    life: Sequence[Event], reports: Iterable[Event] = (), queued: Iterable[Event] = ()
) -> list[Step]:
    """The steps of a message's life; `queued` are rows of the queue as `queue list` has them."""
    steps: list[Step] = []
    names = {event["entry"]: str(event.get("recipient", "")) for event in life if "recipient" in event}
    received = False
    for event in life:
        kind = str(event.get("type"))
        if kind == "reception":
            if not received:
                steps.append(_received(event, len(names)))
                received = True
            steps.append(_queued(event))
        elif kind == "transient":
            steps += _deferred(event)
        elif kind in ENDS:
            steps.append(_ended(event, kind))
        elif kind in _ALTERATIONS:
            steps.append(_altered(event, kind, names))
        else:
            steps.append(Step(str(event.get("time", "")), kind, kind, str(event.get("id", ""))))
    steps += map(_reported, reports)
    steps.sort(key=lambda step: step.time)
    return steps + [_waits_now(row, names) for row in queued]


def _received(event: Event, recipients: int) -> Step:
    parts = [f"by listener {event.get('listener', '?')} ({event.get('protocol', '?')})"]
    if event.get("client"):
        parts.append(f"from {event['client']}")
    if event.get("helo"):
        parts.append(f"calling itself {event['helo']}")
    if event.get("principal"):
        parts.append(f"as {event['principal']}")
    parts.append(f"over {event['tls']}" if event.get("tls") else "without TLS")
    whom = "1 recipient" if recipients == 1 else f"{recipients} recipients"
    tail = (
        f"; sender {event.get('mail_from', '?')}, {whom}, {event.get('size', 0)} octets, tenant "
        f"{event.get('tenant', '?')}, stream {event.get('stream', '?')}"
    )
    return Step(str(event.get("time", "")), "received", " ".join(parts) + tail, str(event.get("id", "")))


def _queued(event: Event) -> Step:
    if event.get("channel") == REFUSED:
        return _step(event, "refused", f"for {event.get('domain') or '?'}, by policy")
    text = (
        f"for {event.get('domain') or '?'} on channel {event.get('channel')}, binding {event.get('binding')}"
    )
    return _step(event, "queued", text)


def _deferred(event: Event) -> list[Step]:
    steps = [_step(event, "deferred", _attempt(event))]
    due = str(event.get("due_time", ""))
    if due:
        wait = _seconds_between(str(event.get("time", "")), due)
        text = f"{wait:.0f} s for the next attempt" if wait >= 1 else "for the next attempt"
        steps.append(_step(event, "waits", text, until=due, id_=""))
    if event.get("delay_notified"):
        steps.append(_step(event, "waits", "the sender has been told about the delay", id_=""))
    return steps


def _ended(event: Event, kind: str) -> Step:
    if kind in ("purge", "discard"):
        return _step(event, ENDS[kind], str(event.get("reason", "")) or "without a reason")
    text = _attempt(event)
    if event.get("queued_seconds"):
        text += f"; {event['queued_seconds']:.1f} s after reception"
    return _step(event, ENDS[kind], text)


def _attempt(event: Event) -> str:
    """Where, how, what was said, and how long it took."""
    reply = " ".join(
        str(event[key]) for key in ("reply_code", "reply_enhanced", "reply_text") if event.get(key)
    )
    where = ""
    if event.get("host") or event.get("peer"):
        where = f"{event.get('host', '')} [{event.get('peer', '')}]"
        where += f" over {event['tls']}" if event.get("tls") else " without TLS"
        if event.get("source"):
            where += f" from {event['source']}"
    phase = str(event.get("phase", ""))
    said = "this server says" if event.get("ours") else "said"
    told = f"{said}{f' at {phase.upper()}' if phase else ''}: {reply}"
    took = f" ({event['seconds']:.3f} s)" if event.get("seconds") else ""
    judged = f", classed as {event['bounce_class']}" if event.get("bounce_class") else ""
    return f"{where} {told}{took}{judged}".strip()


def _altered(event: Event, kind: str, names: dict[int, str]) -> Step:
    parts = [f"by {event['actor']}" if event.get("actor") else ""]
    if event.get("binding"):
        parts.append(f"to binding {event['binding']}")
    if event.get("routing_domain"):
        parts.append(f"to {event['routing_domain']}")
    if event.get("reason"):
        parts.append(f"because: {event['reason']}")
    named = {**event, "recipient": names.get(event.get("entry", 0), "")}
    due = str(event.get("due_time", ""))
    # what is on hold waits for somebody, and what is due at once for nothing
    waits = kind != "hold" and _seconds_between(str(event.get("time", "")), due) >= 1
    return _step(named, kind, " ".join(filter(None, parts)), until=due if waits else "")


def _reported(event: Event) -> Step:
    message_id = str(event.get("message_id", ""))
    text = f"to {event.get('recipient', '?')}, queued as {message_id}"
    return Step(str(event.get("time", "")), "report", text, str(event.get("id", "")), message_id=message_id)


def _waits_now(row: Event, names: dict[int, str]) -> Step:
    state = str(row.get("state", ""))
    until = str(row.get("due_time", ""))
    text = {"held": f"on hold: {row.get('held')}", "sending": "with a worker now"}.get(
        state, "for the next attempt"
    )
    if state == "due":
        text, until = _stopped(row)
    elif state == "held":
        until = ""
    entry = int(row.get("entry", 0))
    return Step(
        str(row.get("due_time", "")),
        "waits",
        text,
        entry=entry,
        recipient=names.get(entry, ""),
        until=until,
    )


def _stopped(row: Event) -> tuple[str, str]:
    """Why what is due has not gone yet, in words, and until when, where that is known."""
    path = f"{row.get('channel')}/{row.get('binding')}/{row.get('site')}"
    if row.get("site") == "":
        return f"is due; no route to {row.get('routing_domain')} is known now", ""
    if (suspended := row.get("suspended")) is not None:
        who = f"suspension {suspended['number']} by {suspended['actor']}: {suspended['reason']}"
        return f"is due; the path {path} is suspended ({who})", str(suspended["until_time"] or "")
    if (state := row.get("path_state", "active")) not in ("active", "on disk"):
        return f"is due; the path {path} is {state}", ""
    return "is due; its path has not taken it yet", ""


def _step(event: Event, kind: str, text: str, *, until: str = "", id_: str | None = None) -> Step:
    return Step(
        str(event.get("time", "")),
        kind,
        text,
        str(event.get("id", "")) if id_ is None else id_,
        entry=int(event.get("entry", 0)),
        recipient=str(event.get("recipient", "")),
        attempt=int(event.get("attempts", 0)),
        seconds=float(event.get("seconds", 0.0)),
        until=until,
    )


def _seconds_between(start: str, end: str) -> float:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except ValueError:
        return 0.0
