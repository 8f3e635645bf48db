"""The types that flow from stage to stage: one arrow, one type.

    receive → Submission → policy → Decided → spool → Arrived → schedule → Open, Batch → guard → deliver
    → Outcome → classify → Verdict → (server settles it) → spool and record

Those between spool and guard go from process to process and are in `model.dispatch`.

Theory: content is kept in *wire form* (what DATA carries: CRLF line ends, lines that begin with a dot
stuffed) from the moment it is received, with flags that say what is in it, so that the common path never
scans it again.

All are values: frozen, compared by content, and therefore never in a cycle (`gc=False`). Times named `*_time`
are Unix seconds.
Standards: RFC 5321 §2.3.1 (envelope and content), RFC 3461 §4 (DSN parameters).
"""

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.reply import Reply


class Notify(IntFlag):
    """NOTIFY of one recipient; UNSPECIFIED means failure, and delay at our choice (RFC 3461 §4.1)."""

    UNSPECIFIED = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


class Traits(IntFlag):
    """What is known about a content since it was received."""

    NONE = 0
    EIGHT_BIT = 1  # holds octets over 127
    DOTTED = 2  # at least one line begins with a (stuffed) dot
    LONG_LINES = 4  # a line over 998 octets, RFC 5322 §2.1.1
    HEADER_UTF8 = 8  # octets over 127 in the header section, RFC 6532 §3


class Content(msgspec.Struct, frozen=True, gc=False):
    """A message's content.

    Attributes:
        wire: Wire form, ending in CRLF, without the end-of-data line. Never empty.
        traits: What is in it.
        header_octets: Length of the header section in `wire`, the empty line excluded.
    """

    wire: bytes
    traits: Traits
    header_octets: int


SECRET_PREFIX = "secret_"  # noqa: S105 - the beginning of a name
"""Metadata and notes with such names go with the message and into no sink; chosen, as it says what it is."""


class Recipient(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One recipient with its DSN parameters (RFC 3461 §4.1, RFC 3461 §4.2).

    Attributes:
        address: Where it goes.
        notify: NOTIFY, as bits of `Notify`.
        orcpt: ORCPT decoded, `rfc822;address`, or None.
        metadata: What the sender wants to find again in events: pairs of name and text; see `SECRET_PREFIX`.
    """

    address: Address
    notify: int = 0
    orcpt: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """MAIL FROM and RCPT TO.

    Attributes:
        mail_from: None is the null reverse-path.
        recipients: At least one.
        ret: RET: `FULL`, `HDRS` or None (RFC 3461 §4.3).
        envid: ENVID decoded, or None (RFC 3461 §4.4).
        smtputf8: The sender asked for SMTPUTF8 (RFC 6531 §3.4).
    """

    mail_from: Address | None
    recipients: tuple[Recipient, ...]
    ret: str | None = None
    envid: str | None = None
    smtputf8: bool = False


HTTP: Final = "HTTP"
"""The protocol of what comes by HTTP, over TLS or not."""


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a submission came from.

    Attributes:
        listener: Name of the listener in the configuration.
        protocol: `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA` (RFC 3848 §2), `HTTP`, or `internal`.
        client: IP address of the peer; empty for internal.
        helo: What it called itself.
        principal: Authenticated user or key id, or None.
        tls: Protocol and cipher such as `TLSv1.3 TLS_AES_256_GCM_SHA384`, or None.
        tenant: Who sends, for fairness and limits.
        stream: Stream name within the tenant.
        sandbox: Accepted for show: it is recorded, and no connection is opened for it.
    """

    listener: str
    protocol: str
    client: str
    helo: str
    principal: str | None
    tls: str | None
    tenant: str = "default"
    stream: str = "default"
    sandbox: bool = False


class Submission(msgspec.Struct, frozen=True, gc=False):
    """What `receive` gives: complete, checked, trace fields added, not yet decided upon.

    Attributes:
        not_before_time: Earliest first attempt that the sender asked for, Unix seconds; 0 is at once.
        notes: What the sender noted for policy; not stored.
    """

    message_id: MessageId
    received_time: float
    origin: Origin
    envelope: Envelope
    content: Content
    not_before_time: float = 0.0
    notes: tuple[tuple[str, str], ...] = ()


class Delivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What policy decided for one recipient.

    Attributes:
        recipient: Whom it is for.
        routing_domain: Domain whose mail exchangers take it; usually that of the recipient.
        channel: `smtp`, or `inbound` for mail that is for the server itself.
        binding: Sending identity.
        priority: 0 normal, 1 before all normal ones (Momentum's two values).
        not_before_time: Earliest first attempt, Unix seconds; 0 is at once.
        customer_id: The sender's own name for this recipient, from the message's metadata, for records that
            may not show addresses; empty where none was given.
    """

    recipient: Recipient
    routing_domain: str
    channel: str = "smtp"
    binding: str = "default"
    priority: int = 0
    not_before_time: float = 0.0
    customer_id: str = ""


class Message(msgspec.Struct, frozen=True, gc=False):
    """What `policy` gives: a submission and one delivery for each of its recipients.

    Attributes:
        discard: Why it is stored as done and never sent; empty for all that goes out.
        signing: Which signatures are asked for, as `wire.dkim.stored` packs it; empty for none.
        notes: What policy noted about it and may be written: pairs of name and text.
    """

    submission: Submission
    deliveries: tuple[Delivery, ...]
    discard: str = ""
    signing: bytes = b""
    notes: tuple[tuple[str, str], ...] = ()


class RefusedRecipient(msgspec.Struct, frozen=True, gc=False):
    """A recipient for whom policy takes no mail, while it takes the message for others.

    Attributes:
        recipient: As it was before its own phases.
        reply: Why; permanent, since nobody tries again.
    """

    recipient: Recipient
    reply: Reply


class Decided(msgspec.Struct, frozen=True, gc=False):
    """What scripts make of a submission: the same, or a variant for each recipient that is to get its own.

    Attributes:
        messages: Together they have every recipient that is left; at least one. They are stored in one frame.
        refused: Those that are not left; the frame holds their ends.
    """

    messages: tuple[Message, ...]
    refused: tuple[RefusedRecipient, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """Policy does not take the submission; `reply` is what the peer hears, `reason` what the log says."""

    reply: Reply
    reason: str


class Path(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Queue key: all that shares limits, pools, statistics and suspensions."""

    channel: str
    binding: str
    site: str

    def __str__(self) -> str:
        return f"{self.channel}/{self.binding}/{self.site}"


class Host(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One address to try.

    Attributes:
        name: Host name of the mail exchanger, as in the MX record or the configuration.
        address: IPv4 or IPv6 address.
        port: TCP port.
    """

    name: str
    address: str
    port: int


class Phase(IntEnum):
    """Where in an attempt something happened (RFC 5321 §4.5.3.2 has a time-out for each)."""

    RESOLVE = 1
    CONNECT = 2
    GREETING = 3
    EHLO = 4
    STARTTLS = 5
    AUTH = 6
    MAIL = 7
    RCPT = 8
    DATA = 9
    BODY = 10  # content sent, waiting for the reply to end of data
    QUEUE = 11  # never left the queue: expiry, purge, loop, policy


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of one recipient in one attempt.

    Attributes:
        reply: The peer's reply, or ours where `ours` is true.
        phase: Where it happened.
        ours: True when we failed (DNS, connect, TLS, time-out), so that rules for remote texts never match
            it.
        host: Exchanger's name, empty when none was reached.
        peer: `address:port` of the exchanger, empty when none was reached.
        source: Our address of the connection.
        tls: Protocol and cipher, or None.
        seconds: From the start of the transaction to its outcome.
        dsn: The peer offered DSN, so it was given the DSN parameters and reports on its own
            (RFC 3461 §5.2.1).
    """

    reply: Reply
    phase: int
    ours: bool = False
    host: str = ""
    peer: str = ""
    source: str = ""
    tls: str | None = None
    seconds: float = 0.0
    dsn: bool = False


class Disposition(IntEnum):
    """What a verdict says about the recipient."""

    DELIVERED = 1
    TRANSIENT = 2
    PERMANENT = 3


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`classify`'s reading of an outcome.

    Attributes:
        disposition: Delivered, try again, or give up.
        bounce_class: Name from the classification table, such as `mailbox-unknown`; empty when delivered.
        site_trouble: True when the failure concerns the whole site or host rather than this recipient.
    """

    disposition: int
    bounce_class: str = ""
    site_trouble: bool = False
