"""Events: flat, typed records of what happened.

The types and their schema; `record.derive` makes them out of change sets. Everything personal in an event
has gone through a `Redactor` already, so an event is fit for a sink as it is. Fields that say nothing are
left out of the JSON; the only defaults are values of which there is one object (empty text, 0, False),
because msgspec compares defaults by identity and a replay must give the same octets.

Standards: RFC 3339 §5.6 (times), RFC 3463 §2 (enhanced codes).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

SCHEMA_VERSION: Final = 1
# rises when a field changes its meaning or goes; readers must bear new fields without it


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, kw_only=True, tag_field="type"):
    """What all events have.

    Attributes:
        id: Unique and repeatable; see `record.derive`.
        time: When it happened, UTC with microseconds.
    """

    id: str
    time: datetime


class RecipientEvent(Event, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """What all events have that are about one recipient of a message.

    Attributes:
        message_id: Id of the message.
        entry: Id of this recipient's place in the queue.
        mail_from: Sender as the redaction profile shows it.
        recipient: Recipient as the redaction profile shows it.
        domain: Recipient's domain.
        size: Octets of the content.
        tenant: Who sends.
        stream: Stream of the tenant.
        channel: Channel.
        binding: Sending identity.
    """

    message_id: str
    entry: int
    mail_from: str
    recipient: str
    domain: str = ""
    size: int = 0
    tenant: str
    stream: str
    channel: str
    binding: str


class Received(RecipientEvent, tag="reception", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """A message was accepted for one recipient.

    Attributes:
        message_id: Id of the message.
        entry: Id of this recipient's place in the queue.
        mail_from: Sender as the redaction profile shows it.
        recipient: Recipient as the redaction profile shows it.
        domain: Recipient's domain.
        size: Octets of the content.
        tenant: Who sends.
        stream: Stream of the tenant.
        channel: Channel chosen by policy; `discard` and `refused` are of what is never sent.
        binding: Sending identity chosen by policy.
        listener: Where it came in.
        protocol: How it came in.
        client: IP address of the submitter.
        helo: What the submitter called itself.
        principal: Who had authenticated.
        tls: Protocol and cipher.
        metadata: What the sender said of this recipient, redacted; names that begin with `secret_` are left
            out.
        purpose: What an inbound listener took it for: `bounce`, `feedback`, `abuse` or `unsubscribe`.
    """

    purpose: str = ""
    listener: str = ""
    protocol: str = ""
    client: str = ""
    helo: str = ""
    principal: str = ""
    tls: str = ""
    metadata: dict[str, str] | None = None


class Attempt(RecipientEvent, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """One attempt on one recipient, or a decision of the queue about it.

    Attributes:
        site: Where the domain's mail goes.
        attempts: Attempts made, this one included.
        phase: Where in the attempt it ended.
        ours: True when we failed and the reply is our own.
        reply_code: Reply code.
        reply_enhanced: Enhanced status code.
        reply_text: Reply text, cleaned and redacted.
        bounce_class: Class of the failure.
        host: Name of the exchanger.
        peer: Address and port of the exchanger.
        source: Our address.
        tls: Protocol and cipher.
        seconds: Duration of the transaction.
        queued_seconds: From reception to this event.
        metadata: What the sender said of this recipient and what scripts noted of this attempt, redacted;
            names that begin with `secret_` are left out.
    """

    site: str = ""
    attempts: int = 0
    phase: str = ""
    ours: bool = False
    reply_code: int = 0
    reply_enhanced: str = ""
    reply_text: str = ""
    bounce_class: str = ""
    host: str = ""
    peer: str = ""
    source: str = ""
    tls: str = ""
    seconds: float = 0.0
    queued_seconds: float = 0.0
    metadata: dict[str, str] | None = None


class Delivered(Attempt, tag="delivery", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """The peer took it."""


class Deferred(Attempt, tag="transient", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """The attempt failed and will be repeated.

    Attributes:
        due_time: When.
        delay_notified: The sender has been told about the delay.
    """

    due_time: datetime
    delay_notified: bool = False


class Bounced(Attempt, tag="bounce", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """The peer refused for good, or nothing will ever take it."""


class Expired(Attempt, tag="expiration", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """It was not delivered in the time it had."""


class Simulated(Attempt, tag="simulated", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """A sandbox's message would have been sent now; no connection was opened for it."""


class Purged(Attempt, tag="purge", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """An administrator removed it from the queue.

    Attributes:
        reason: Who and why.
    """

    reason: str = ""


class Discarded(Attempt, tag="discard", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """A rule removed it from the queue.

    Attributes:
        reason: Which rule and why.
    """

    reason: str = ""


class Alteration(Event, frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """A recipient's place in the queue was altered.

    Attributes:
        entry: Which; the reception event with the same `entry` names the message.
        due_time: When it is due now.
        actor: Who did it.
        reason: Why, where one was given.
        binding: New sending identity.
        routing_domain: New routing domain.
    """

    entry: int
    due_time: datetime
    actor: str = ""
    reason: str = ""
    binding: str = ""
    routing_domain: str = ""


class Held(Alteration, tag="hold", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """It is not sent until somebody releases it."""


class Released(Alteration, tag="release", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """It is free to go at `due_time`."""


class Hastened(Alteration, tag="retry", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """It was made due at once."""


class Rerouted(Alteration, tag="alteration", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """It was moved to another binding or routing domain."""


class Refused(Event, tag="refusal", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """A listener did not take something.

    Attributes:
        mail_from: Sender as the redaction profile shows it.
        recipient: Recipient as the redaction profile shows it.
        tenant: Who tried.
        listener: Where.
        protocol: How.
        client: IP address of the submitter.
        helo: What the submitter called itself.
        principal: Who had authenticated.
        tls: Protocol and cipher.
        reply_code: Reply code.
        reply_enhanced: Enhanced status code.
        reply_text: Reply text, cleaned and redacted.
        suppressed: Further refusals in the second before this event that were only counted.
    """

    mail_from: str = ""
    recipient: str = ""
    tenant: str
    listener: str = ""
    protocol: str = ""
    client: str = ""
    helo: str = ""
    principal: str = ""
    tls: str = ""
    reply_code: int = 0
    reply_enhanced: str = ""
    reply_text: str = ""
    suppressed: int = 0


class Noticed(Event, tag="notice", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """The server itself did something that belongs into the record.

    Attributes:
        name: Constant of words joined by dots, such as `worker.restarted`.
        fields: Facts, no personal data.
    """

    name: str
    fields: dict[str, str | int | float | bool] = {}


class Administered(Event, tag="admin", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """An administrator changed something; each entry that it concerned has an event of its own besides.

    Attributes:
        actor: User of the machine who asked.
        action: What was asked for, such as `queue.purge`.
        target: What it concerned, as a filter or a name.
        reason: Why, as the actor said.
        result: `done`, or what went wrong.
        matched: How many were meant.
        changed: How many were changed.
        audit: Number of the entry in the audit log that says what was asked for.
    """

    actor: str
    action: str
    target: str = ""
    reason: str = ""
    result: str = ""
    matched: int = 0
    changed: int = 0
    audit: int = 0


class Opened(Event, tag="opened", frozen=True, omit_defaults=True, gc=False, kw_only=True):
    """First line of every event file.

    Attributes:
        log: The log whose events follow.
        schema: Version of the schema.
        after: Id of the last event derived from the log in the files before; empty when there is none.
    """

    log: int
    schema: int
    after: str = ""


AnyEvent = (
    Received
    | Delivered
    | Deferred
    | Bounced
    | Expired
    | Purged
    | Discarded
    | Simulated
    | Held
    | Released
    | Hastened
    | Rerouted
    | Refused
    | Noticed
    | Administered
    | Opened
)

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(AnyEvent)


def encode_lines(events: Iterable[Event]) -> bytes:
    """The events as JSON lines, each ended by a line feed."""
    return _ENCODER.encode_lines(events)


def decode_line(line: bytes) -> AnyEvent:
    """The event of one line.

    Raises:
        msgspec.DecodeError: The line is no event of this schema.
    """
    event: AnyEvent = _DECODER.decode(line)
    return event


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a line in an event file, for the manual and for readers of the files."""
    found = msgspec.json.schema(AnyEvent)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outrider event",
        "version": SCHEMA_VERSION,
        **found,
    }
