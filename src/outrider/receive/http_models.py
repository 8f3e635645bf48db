"""What HTTP clients send and get, as JSON: the request of an injection and the answers.

The models are what is decoded and what the OpenAPI document is made of, so neither says more than the other.
Turning a request into messages is `http_parse`'s.

Standards: RFC 8259 §8.1 (UTF-8), RFC 3339 §5.6 (times), RFC 4648 §4 (base64).
"""

from datetime import datetime
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

INT_MAX: Final = 2**63 - 1
NAME_CHARACTERS: Final = 64
"""Chosen: of names of variables, metadata and streams."""
VALUE_CHARACTERS: Final = 65_536
"""Chosen, as for header values."""
METADATA_PAIRS: Final = 32
"""Chosen: bounds what is repeated in every event of a recipient."""
METADATA_CHARACTERS: Final = 512
"""Chosen: an identifier or two; not a place for content."""
KEY_CHARACTERS: Final = 255
"""Chosen: what other services take too."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=NAME_CHARACTERS)]
Value = Annotated[str, Meta(max_length=VALUE_CHARACTERS)] | Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
Variables = dict[Name, Value]
Metadata = Annotated[
    dict[Name, Annotated[str, Meta(max_length=METADATA_CHARACTERS)]], Meta(max_length=METADATA_PAIRS)
]


class NamedAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address with the name to show beside it."""

    address: str
    name: str = ""


class PersonalRecipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient that gets a message of its own."""

    address: str
    name: str = ""
    variables: Annotated[
        Variables, Meta(description="For this recipient; goes before `variables` of the request.")
    ] = {}
    metadata: Annotated[
        Metadata, Meta(description="For this recipient; goes before `metadata` of the request.")
    ] = {}


class AttachmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that goes with the message, or a picture that its HTML shows."""

    content: Annotated[
        str,
        Meta(
            description="Base64 of its octets (RFC 4648 §4), without line ends.",
            extra_json_schema={"contentEncoding": "base64"},
        ),
    ]
    content_type: Annotated[
        str, Meta(description="Media type, such as application/pdf; no multipart/ or message/.")
    ] = "application/octet-stream"
    filename: Annotated[
        str, Meta(description="Name to save it under: no path, no control character.", max_length=255)
    ] = ""
    content_id: Annotated[
        str,
        Meta(description="Makes it an inline part, which the HTML shows as `cid:` and this.", max_length=193),
    ] = ""


_ADDRESSES = "Each is a recipient, and all see it."


class MessageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message: body of `POST /v1/messages` as application/json, and a line of `POST /v1/batches`.

    It goes to all of `to`, `cc` and `bcc` as one message, or to each of `recipients` as a message of its own.
    With `variables` or `recipients`, `{{name}}` in subject, text, html and header texts is replaced.
    """

    author: Annotated[
        str | NamedAddress, Meta(description="From, and the envelope's sender: a domain of the key.")
    ] = msgspec.field(name="from")
    to: Annotated[list[str | NamedAddress], Meta(description=f"To. {_ADDRESSES}")] = []
    cc: Annotated[list[str | NamedAddress], Meta(description=f"Cc. {_ADDRESSES}")] = []
    bcc: Annotated[
        list[str | NamedAddress], Meta(description="Recipients that the message does not show.")
    ] = []
    recipients: Annotated[
        list[PersonalRecipient],
        Meta(description="Each gets a message of its own and sees no other; instead of to, cc and bcc."),
    ] = []
    reply_to: Annotated[list[str | NamedAddress], Meta(description="Reply-To.")] = []
    subject: Annotated[str | None, Meta(description="Subject.")] = None
    text: Annotated[str | None, Meta(description="Plain text.")] = None
    html: Annotated[
        str | None, Meta(description="HTML. With `text` too, readers choose (multipart/alternative).")
    ] = None
    headers: Annotated[
        dict[str, str | list[str]],
        Meta(description="Further header fields: name and text, or several texts."),
    ] = {}
    attachments: Annotated[
        list[AttachmentRequest], Meta(description="Attachments and inline parts, in their order.")
    ] = []
    variables: Annotated[
        Variables | None,
        Meta(description="What `{{name}}` stands for, for all recipients; in html it is escaped."),
    ] = None
    metadata: Annotated[
        Metadata,
        Meta(
            description="Comes back in the events of each recipient, redacted; names with `secret_` do not. "
            "`customer_id` stands for the recipient where a profile says so."
        ),
    ] = {}
    stream: Annotated[
        Annotated[str, Meta(max_length=NAME_CHARACTERS)] | None,
        Meta(description="Stream that it belongs to: one of the key's; without it the key's own."),
    ] = None
    send_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="First attempt not before this time (RFC 3339); a past time is at once."),
    ] = None
    idempotency_key: Annotated[
        Annotated[str, Meta(max_length=KEY_CHARACTERS)] | None,
        Meta(description="As the field Idempotency-Key, for lines of a batch."),
    ] = None


class RefusedRecipients(msgspec.Struct, frozen=True):
    """Recipients whom policy refuses with one reply, while it takes the message for others."""

    smtp: Annotated[str, Meta(description="The reply, without addresses.")]
    recipients: Annotated[
        list[int],
        Meta(
            description="Their numbers, from 0, in the order of the request: `to`, `cc`, `bcc`, where an "
            "address counts once, or `recipients`. One that policy added has none."
        ),
    ]


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer 202: the message is ours now."""

    id: Annotated[str, Meta(description="Its id; the first one's, if there are several messages.")]
    recipients: Annotated[int, Meta(description="How many recipients it has.")]
    durability: Annotated[str, Meta(description="How surely it is stored.")]
    ids: Annotated[
        list[str], Meta(description="With `recipients`: the id of each one's message, in their order.")
    ] = []
    refused: Annotated[
        list[RefusedRecipients],
        Meta(
            description="Whom policy refuses: nothing is sent to them, and events and the sender's report "
            "say so."
        ),
    ] = []


class ProblemFault(msgspec.Struct, frozen=True):
    """One of several things that are wrong."""

    pointer: Annotated[str, Meta(description="JSON pointer into the body, or the name of a parameter.")]
    detail: Annotated[str, Meta(description="What is wrong with it.")]


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why something was not done (RFC 9457)."""

    type: Annotated[str, Meta(description="Where this kind of problem is explained.")]
    title: str
    status: Annotated[int, Meta(description="The HTTP status, for a line of a batch too.")]
    code: Annotated[str, Meta(description="Its kind; never changes its meaning.")]
    detail: Annotated[str, Meta(description="What happened this time.")] = ""
    errors: list[ProblemFault] = []
    smtp: Annotated[str, Meta(description="The SMTP reply it comes from.")] = ""
    retry_after: Annotated[int, Meta(description="Seconds after which to try again; as Retry-After.")] = 0


class LineResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one line of a batch: `answer` or `problem`."""

    line: Annotated[int, Meta(description="Number of the line, from 1; results come in this order.")]
    status: Annotated[int, Meta(description="Status that the line alone would have got.")]
    answer: Accepted | None = None
    problem: ProblemDocument | None = None


class RecipientState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one recipient of a message stands.

    Attributes:
        recipient: Its address, as far as the redaction profile shows it.
        state: `queued`, `held`, `delivered`, `bounced`, `expired`, `purged` or `discarded`.
        tenant: Whose message it is; not shown.
        domain: Recipient's domain.
        attempts: Attempts made.
        updated_time: Of the last event, RFC 3339.
        due_time: Of the next attempt, RFC 3339.
        reply: Last reply of the receiver, or our own.
        bounce_class: Class of the last failure.
    """

    recipient: str
    state: str
    tenant: str
    domain: str = ""
    attempts: int = 0
    updated_time: str = ""
    due_time: str = ""
    reply: str = ""
    bounce_class: str = ""


class RecipientStatus(msgspec.Struct, frozen=True):
    """Where one recipient of a message stands, as it is shown."""

    recipient: Annotated[str, Meta(description="As far as the redaction profile shows it.")]
    state: Annotated[str, Meta(description="queued, held, delivered, bounced, expired, purged or discarded.")]
    domain: str = ""
    attempts: int = 0
    updated_time: str = ""
    due_time: Annotated[str, Meta(description="Of the next attempt; of `send_at`, before the first.")] = ""
    reply: str = ""
    bounce_class: str = ""


class MessageStatus(msgspec.Struct, frozen=True):
    """What became of a message."""

    id: str
    recipients: list[RecipientStatus]


class StateLookup(Protocol):
    """Knows what became of messages."""

    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        """The state of each recipient of a message, None when nothing is known of it."""
        ...
