"""From change sets to events.

`events_of` turns one frame's change set into its events. `refused` and `noticed` make the events that no
frame holds.

Theory: an event's id names the place in the log that it follows from, `<log>.<segment>.<offset>.<n>`, *n*
counting from 0 within the frame. `events_of` is a pure function of place and changes, so a replay after a
crash gives the same events with the same ids: what is missing is written, and nothing twice. Events outside
the log have ids of the form `<log>.x<start>.<n>`, *start* being the writer's start in hexadecimal
milliseconds; they have no place in the log and are not repeated.

Invariant: the same place and changes give the same events, octet for octet, under one redaction profile.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from outrider.model.address import Address
from outrider.model.changes import Altered, Attempted, Change, ContentRef, Finished, Retried, Stored
from outrider.model.flow import SECRET_PREFIX, Origin, Phase
from outrider.model.reply import Reply
from outrider.model.route import INBOUND, INBOUND_PREFIX
from outrider.record.events import (
    Administered,
    Alteration,
    Attempt,
    Bounced,
    Deferred,
    Delivered,
    Discarded,
    Event,
    Expired,
    Hastened,
    Held,
    Noticed,
    Purged,
    Received,
    Refused,
    Released,
    Rerouted,
    Simulated,
)
from outrider.record.redact import Redactor

_PHASES: Final = {int(phase): phase.name.lower() for phase in Phase}
_FINISHED: Final[dict[str, type[Attempt]]] = {
    "delivered": Delivered,
    "bounced": Bounced,
    "expired": Expired,
    "simulated": Simulated,
}
_ALTERED: Final[dict[str, type[Alteration]]] = {
    "hold": Held,
    "release": Released,
    "retry": Hastened,
    "move": Rerouted,
}
_REMOVED: Final[dict[str, type[Purged | Discarded]]] = {"purged": Purged, "discarded": Discarded}


def when(unix_seconds: float) -> datetime:
    """Unix seconds as an event's time."""
    return datetime.fromtimestamp(unix_seconds, UTC)


class Act(NamedTuple):
    """One order of an administrator; see `Administered`."""

    actor: str
    action: str
    target: str
    reason: str
    result: str
    matched: int = 0
    changed: int = 0
    audit: int = 0


class Place(NamedTuple):
    """Where in a log an event comes from; places of one log sort as they were written."""

    segment: int
    offset: int
    number: int


def parse_id(event_id: str) -> Place | None:
    """The place that an event id names, or None for an event outside the log."""
    parts = event_id.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return Place(int(parts[1]), int(parts[2]), int(parts[3]))


def events_of(ref: ContentRef, changes: Sequence[Change], redactor: Redactor) -> list[Event]:
    """The events of the frame at `ref`, which holds `changes`."""
    place = f"{ref.log}.{ref.segment}.{ref.offset}."
    events: list[Event] = []
    for change in changes:
        kind = type(change)
        if kind is Stored:
            _received(place, change, redactor, events)  # type: ignore[arg-type]  # kind says so, and is quicker
        elif kind is Finished:
            events.append(_finished(f"{place}{len(events)}", change, redactor))  # type: ignore[arg-type]
        elif kind is Retried:
            events.append(_retried(f"{place}{len(events)}", change, redactor))  # type: ignore[arg-type]
        elif kind is Altered:
            events.append(_altered(f"{place}{len(events)}", change, redactor))  # type: ignore[arg-type]
    return events


def _received(place: str, stored: Stored, redactor: Redactor, events: list[Event]) -> None:
    origin = stored.origin
    mail_from = redactor.sender(stored.mail_from)
    client = redactor.client(origin.client)
    helo = redactor.text(origin.helo)
    principal = redactor.text(origin.principal or "")
    time = when(stored.received_time)
    entry = stored.first_entry
    for delivery in stored.deliveries:
        address = delivery.recipient.address
        events.append(
            Received(
                id=f"{place}{len(events)}",
                time=time,
                message_id=stored.message_id,
                entry=entry,
                mail_from=mail_from,
                recipient=redactor.address(address, delivery.customer_id),
                domain=redactor.domain(address.domain),
                size=stored.size,
                tenant=origin.tenant,
                stream=origin.stream,
                channel=delivery.channel,
                binding=delivery.binding,
                listener=origin.listener,
                protocol=origin.protocol,
                client=client,
                helo=helo,
                principal=principal,
                tls=origin.tls or "",
                purpose=delivery.routing_domain.removeprefix(INBOUND_PREFIX)
                if delivery.channel == INBOUND
                else "",
                metadata=_metadata(delivery.recipient.metadata, redactor, address, stored.mail_from),
            )
        )
        entry += 1


def _metadata(
    metadata: tuple[tuple[str, str], ...], redactor: Redactor, *known: Address | None
) -> dict[str, str] | None:
    """What the sender said of a recipient, as far as a sink may have it."""
    if not metadata:
        return None
    shown = {
        name: redactor.text(text, *known) for name, text in metadata if not name.startswith(SECRET_PREFIX)
    }
    return shown or None


def _attempt(
    kind: type[Attempt], event_id: str, entry: int, facts: Attempted, redactor: Redactor, **more: object
) -> Attempt:
    outcome = facts.outcome
    reply = outcome.reply
    recipient = facts.recipient
    return kind(
        id=event_id,
        time=when(facts.attempted_time),
        message_id=facts.message_id,
        entry=entry,
        mail_from=redactor.sender(facts.mail_from),
        recipient=redactor.address(recipient, facts.customer_id),
        domain=redactor.domain(recipient.domain),
        size=facts.size,
        tenant=facts.tenant,
        stream=facts.stream,
        channel=facts.channel,
        binding=facts.binding,
        site=facts.site,
        attempts=facts.attempts,
        phase=_PHASES.get(outcome.phase, ""),
        ours=outcome.ours,
        reply_code=reply.code,
        reply_enhanced=reply.enhanced or "",
        reply_text=redactor.text(reply.text, recipient, facts.mail_from),
        bounce_class=facts.verdict.bounce_class,
        host=outcome.host,
        peer=outcome.peer,
        source=outcome.source,
        tls=outcome.tls or "",
        seconds=round(outcome.seconds, 6),
        queued_seconds=round(facts.attempted_time - facts.received_time, 6),
        metadata=_metadata(facts.metadata, redactor, recipient, facts.mail_from),
        **more,
    )


def _finished(event_id: str, finished: Finished, redactor: Redactor) -> Attempt:
    facts = finished.attempted
    kind = _FINISHED.get(finished.kind)
    if kind is not None:
        return _attempt(kind, event_id, finished.entry, facts, redactor)
    # A kind that a newer program wrote is a removal by name; what it meant stands in the reason.
    removed = _REMOVED.get(finished.kind, Discarded)
    reason = redactor.text(finished.reason, facts.recipient, facts.mail_from)
    return _attempt(removed, event_id, finished.entry, facts, redactor, reason=reason)


def _retried(event_id: str, retried: Retried, redactor: Redactor) -> Attempt:
    return _attempt(
        Deferred,
        event_id,
        retried.entry,
        retried.attempted,
        redactor,
        due_time=when(retried.due_time),
        delay_notified=retried.delay_notified,
    )


def _altered(event_id: str, altered: Altered, redactor: Redactor) -> Event:
    kind = _ALTERED.get(altered.kind)
    if kind is None:  # an older program wrote it and did not say
        if altered.held:
            kind = Held
        elif altered.binding is not None or altered.routing_domain is not None:
            kind = Rerouted
        else:
            kind = Released
    return kind(
        id=event_id,
        time=when(altered.altered_time),
        entry=altered.entry,
        due_time=when(altered.due_time),
        actor=redactor.text(altered.actor),
        reason=redactor.text(altered.reason or altered.held),
        binding=altered.binding or "",
        routing_domain=redactor.domain(altered.routing_domain or ""),
    )


def refused(
    event_id: str,
    at: float,
    origin: Origin,
    mail_from: str,
    recipient: str,
    reply: Reply,
    redactor: Redactor,
    suppressed: int = 0,
) -> Refused:
    """What a listener refused; `mail_from` and `recipient` are texts that may never have been parsed.

    `suppressed` is how many like it were only counted before.
    """
    return Refused(
        id=event_id,
        time=when(at),
        mail_from=redactor.path_text(mail_from),
        recipient=redactor.path_text(recipient),
        tenant=origin.tenant,
        listener=origin.listener,
        protocol=origin.protocol,
        client=redactor.client(origin.client),
        helo=redactor.text(origin.helo),
        principal=redactor.text(origin.principal or ""),
        tls=origin.tls or "",
        reply_code=reply.code,
        reply_enhanced=reply.enhanced or "",
        reply_text=redactor.text(reply.text),
        suppressed=suppressed,
    )


def administered(event_id: str, at: float, act: Act, redactor: Redactor) -> Administered:
    """What an administrator did."""
    return Administered(
        id=event_id,
        time=when(at),
        actor=redactor.text(act.actor),
        action=act.action,
        target=redactor.text(act.target),
        reason=redactor.text(act.reason),
        result=redactor.text(act.result),
        matched=act.matched,
        changed=act.changed,
        audit=act.audit,
    )


def noticed(
    event_id: str, at: float, name: str, fields: dict[str, str | int | float | bool], redactor: Redactor
) -> Noticed:
    """Something that the server did; texts among the fields are redacted like all others."""
    shown = {key: redactor.text(value) if isinstance(value, str) else value for key, value in fields.items()}
    return Noticed(id=event_id, time=when(at), name=name, fields=shown)
