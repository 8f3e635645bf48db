"""Change sets: what a spool frame holds, and therefore what survives.

One frame is one atomic list of changes. Workers write them, the dispatcher applies them, `record` derives
events from them, replay reads them: these types are the contract of all four.

Theory: an *entry* is one recipient of one message. Its `EntryId` names the log that first held it and its
number there: `log << 43 | sequence`, so it fits SQLite's integers and never repeats. The dispatcher grants
an entry with its current `version`; whoever changes it writes `version + 1`; replay keeps the highest
version whatever the order of the logs.

Invariant: decoding what an older version of this file encoded never fails and never guesses: fields are
only added at the end, with defaults, and a new kind of change raises the format version.
"""

from typing import NewType

import msgspec

from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.flow import Content, Delivery, Message, Origin, Outcome, Traits, Verdict

EntryId = NewType("EntryId", int)
SEQUENCE_BITS = 43
LOG_NUMBER_MAX = (1 << 63 - SEQUENCE_BITS) - 1

_TRAITS = tuple(Traits(bits) for bits in range(16))
# all that there are: looking one up costs a third of making it


def entry_id(log: int, sequence: int) -> EntryId:
    """Entry number `sequence` of log `log`."""
    return EntryId(log << SEQUENCE_BITS | sequence)


def log_of(entry: int) -> int:
    """The log that first held the entry."""
    return entry >> SEQUENCE_BITS


class ContentRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a message's frame is: log, segment, offset of the frame and its whole length in octets."""

    log: int
    segment: int
    offset: int
    length: int


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A message was accepted; its content follows the change list in the same frame.

    Attributes:
        message_id: Its id.
        first_entry: Entry of `deliveries[0]`; delivery *i* is entry `first_entry + i`.
        received_time: When it was accepted.
        origin: Where it came from.
        mail_from: None is the null reverse-path.
        deliveries: One for each recipient.
        ret: See `Envelope`.
        envid: See `Envelope`.
        smtputf8: See `Envelope`.
        traits: Bits of `Traits`.
        header_octets: See `Content`.
        size: Octets of the content in wire form.
        idempotency: Not used; see `Keyed`.
        signing: Which signatures are asked for, as `wire.dkim.stored` packs it; empty for none.
        notes: What policy noted about the message and may be written: pairs of name and text.
    """

    message_id: MessageId
    first_entry: int
    received_time: float
    origin: Origin
    mail_from: Address | None
    deliveries: tuple[Delivery, ...]
    ret: str | None
    envid: str | None
    smtputf8: bool
    traits: int
    header_octets: int
    size: int
    idempotency: tuple[str, str] | None = None
    signing: bytes = b""
    notes: tuple[tuple[str, str], ...] = ()

    def content(self, wire: bytes) -> Content:
        """The content whose octets these are."""
        bits = self.traits
        return Content(wire, _TRAITS[bits] if bits < len(_TRAITS) else Traits(bits), self.header_octets)


class Attempted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The facts of one attempt on one entry, enough to derive its event without looking anything up."""

    message_id: MessageId
    recipient: Address
    mail_from: Address | None
    binding: str
    site: str
    tenant: str
    stream: str
    received_time: float
    attempted_time: float
    attempts: int
    size: int
    outcome: Outcome
    verdict: Verdict
    channel: str = "smtp"
    customer_id: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


class Finished(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """An entry is done: delivered, bounced, expired, or discarded by name.

    Attributes:
        entry: Which.
        kind: `delivered`, `bounced`, `expired`, `purged` or `discarded`.
        attempted: The last attempt, or what the queue decided (phase QUEUE).
        reason: For `purged` and `discarded`: who asked and why.
    """

    entry: int
    kind: str
    attempted: Attempted
    reason: str = ""


class LastReply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the queue remembers of an entry's last attempt that failed; no address is in it.

    Attributes:
        text: The reply with its codes; addresses in it are replaced, see `model.last_reply`.
        host: Name of the exchanger; empty when none was reached.
        ours: True when we failed and the reply is our own.
        attempted_time: When, Unix seconds.
    """

    text: str
    host: str
    ours: bool
    attempted_time: float


class Retried(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """An entry stays in the queue after an attempt.

    Attributes:
        entry: Which.
        version: New version of the entry.
        attempts: Attempts made so far.
        due_time: When it is due again.
        attempted: The attempt.
        delay_notified: A delay notice for it is in the same frame or an earlier one.
    """

    entry: int
    version: int
    attempts: int
    due_time: float
    attempted: Attempted
    delay_notified: bool = False


class Altered(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """An administrator or the dispatcher changed an entry: hold, release, retry at once, move.

    Attributes:
        entry: Which.
        version: New version.
        due_time: New due time.
        held: On hold, with the reason; empty is not held.
        binding: New binding, or None.
        routing_domain: New routing domain, or None.
        actor: Who did it.
        altered_time: When.
        kind: `hold`, `release`, `retry` or `move`; empty where an older program wrote it.
        reason: Why, as the actor said.
    """

    entry: int
    version: int
    due_time: float
    held: str
    binding: str | None
    routing_domain: str | None
    actor: str
    altered_time: float = 0.0
    kind: str = ""
    reason: str = ""


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Copied forward from a dropped segment: these entries were finished, each already has its event."""

    entries: tuple[int, ...]


class Moved(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Compaction: this frame repeats a live message (its content follows) with the state of its live entries.

    Attributes:
        stored: The message as first written.
        states: For each live entry: (entry, version, attempts, due_time, held, binding, routing_domain,
            delay_notified). Entries not named are finished.
        lasts: For each of `states` what is remembered of its last attempt.
    """

    stored: Stored
    states: tuple[tuple[int, int, int, float, str, str, str, bool], ...]
    lasts: tuple[LastReply | None, ...] = ()


class Carried(msgspec.Struct, frozen=True, array_like=True, tag=7, gc=False):
    """Copied forward from a dropped segment: the state of live entries whose content is elsewhere.

    Attributes:
        states: As in `Moved`, for entries of any messages.
        lasts: As in `Moved`.
    """

    states: tuple[tuple[int, int, int, float, str, str, str, bool], ...]
    lasts: tuple[LastReply | None, ...] = ()


class Keyed(msgspec.Struct, frozen=True, array_like=True, tag=8, gc=False):
    """An idempotency key was used, by the message in the same frame; or copied forward.

    Attributes:
        key: Digest of tenant and key; the key itself is not kept.
        body: Digest of the request.
        answer: What the client was told, to be told again; no address is in it.
        expires_time: When the key may be forgotten, Unix seconds.
    """

    key: bytes
    body: bytes
    answer: bytes
    expires_time: float


Change = Stored | Finished | Retried | Altered | Forgotten | Moved | Carried | Keyed


class Entry(msgspec.Struct, array_like=True, gc=False):
    """An entry as the dispatcher and the checkpoint know it; no address in it.

    Attributes:
        entry: Its id.
        ref: Where the message's frame is now.
        index: Number of the delivery in the message.
        channel: Channel.
        binding: Binding.
        routing_domain: What is resolved to a site.
        tenant: For fairness.
        stream: For fairness.
        priority: 1 before 0.
        size: Octets of content.
        received_time: Unix seconds; of what was to be sent later, the time that it was first due. Its age
            is counted from here.
        due_time: Unix seconds.
        version: See the module.
        attempts: Attempts made.
        held: Reason of the hold, empty when free.
        delay_notified: A delay notice went out.
        message_id: The message's id, for whoever asks what became of it.
        last: What is remembered of the last attempt that failed.
    """

    entry: int
    ref: ContentRef
    index: int
    channel: str
    binding: str
    routing_domain: str
    tenant: str
    stream: str
    priority: int
    size: int
    received_time: float
    due_time: float
    version: int = 0
    attempts: int = 0
    held: str = ""
    delay_notified: bool = False
    message_id: str = ""
    last: LastReply | None = None


def stored_of(message: Message, first_entry: int) -> Stored:
    """The change that stores `message`; its deliveries are entries from `first_entry` on."""
    submission = message.submission
    envelope = submission.envelope
    content = submission.content
    return Stored(
        submission.message_id,
        first_entry,
        submission.received_time,
        submission.origin,
        envelope.mail_from,
        message.deliveries,
        envelope.ret,
        envelope.envid,
        envelope.smtputf8,
        int(content.traits),
        content.header_octets,
        len(content.wire),
        None,
        message.signing,
        message.notes,
    )
