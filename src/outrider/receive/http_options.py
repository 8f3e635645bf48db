"""Options of the HTTP injection listener; `server` nests them as `[http]`.

Invariant: what is left out is the safe choice: loopback, and nothing without a key.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from outrider.net.http import HttpLimits
from outrider.net.options import BareAddress
from outrider.receive.options import (
    DEFAULT_TENANT,
    NOTES_ABOUT,
    Notes,
    ReceiveLimits,
    StrayLineEndings,
    about,
)
from outrider.wire.smtp.content_limits import LINE_LIMIT_OCTETS, MESSAGE_OCTETS, ContentLimits


class HttpOptions(BaseModel):
    """The HTTP listener that takes messages in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        "http", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="Name in logs, events and metrics."
    )
    address: BareAddress = Field(
        "127.0.0.1", description="Address to listen on. The default is not reachable from outside."
    )
    port: int = Field(
        8025,
        ge=0,
        le=65_535,
        description="TCP port; 0 lets the system choose.",
        json_schema_extra=about("port", "chosen, because it needs no privilege"),
    )
    tenant: str | None = Field(
        None,
        min_length=1,
        description="Whose listener it is: keys of other tenants are refused. Without it, keys of every "
        "tenant are taken. What comes without a valid key is recorded as this tenant's, or as that of "
        f"`{DEFAULT_TENANT}`.",
    )
    stream: str = Field(
        "default", min_length=1, description="Stream of mail whose key and request name none."
    )
    context: Notes = Field({}, description=NOTES_ABOUT)
    message_octets: int = Field(
        MESSAGE_OCTETS,
        ge=65_536,
        le=1 << 30,
        description="Largest message, and largest request body; more is answered 413.",
        json_schema_extra=about("octets", "chosen, as for SMTP; RFC 5321 §4.5.3.1.7"),
    )
    recipients: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Most recipients of one request.",
        json_schema_extra=about("recipients", "RFC 5321 §4.5.3.1.8; Postfix's default"),
    )
    attachments: int = Field(
        100,
        ge=0,
        le=1_000,
        description="Most attachments and inline parts of one message made from JSON.",
        json_schema_extra=about("parts", "chosen, because mail programs show no more in a useful way"),
    )
    request_content_octets: int = Field(
        33_554_432,
        ge=65_536,
        le=1 << 30,
        description="Most octets of all messages that one request makes, if it makes several.",
        json_schema_extra=about("octets", "chosen: half of `spool.pending_octets`, which must take them"),
    )
    batch_lines: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Most lines of one batch; their results are kept until the client reads them.",
        json_schema_extra=about("lines", "chosen: 10,000 results are some 1.5 MiB"),
    )
    batch_octets: int = Field(
        268_435_456,
        ge=65_536,
        le=1 << 40,
        description="Largest batch.",
        json_schema_extra=about("octets", "chosen: 10,000 lines of 25 KiB"),
    )
    idempotency_seconds: int = Field(
        86_400,
        ge=60,
        le=604_800,
        description="How long an Idempotency-Key is remembered after its message was stored.",
        json_schema_extra=about("seconds", "chosen: a day, as other services do"),
    )
    send_at_seconds: int = Field(
        259_200,
        ge=0,
        le=2_592_000,
        description="How far ahead `send_at` may be.",
        json_schema_extra=about("seconds", "chosen: three days; a campaign belongs into its own planner"),
    )
    key_requests: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Requests of one key under way at once, over all workers; more are answered 429.",
        json_schema_extra=about("requests", "chosen: a tenth of `connections`"),
    )
    key_recipients_per_second: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Recipients a second that one key may hand in, over all workers; 0 is no limit.",
        json_schema_extra=about("recipients/s", "chosen: what goes out is limited where it goes out"),
    )
    header_octets: int = Field(
        102_400,
        ge=4_096,
        description="Largest header section of a message.",
        json_schema_extra=about("octets", "Postfix's header_size_limit"),
    )
    header_fields: int = Field(
        1000,
        ge=50,
        description="Most header fields of a message.",
        json_schema_extra=about("fields", "chosen, because real messages have under 100"),
    )
    line_octets: int = Field(
        LINE_LIMIT_OCTETS,
        ge=998,
        description="Longest line of a message.",
        json_schema_extra=about("octets", "chosen, because programs write HTML in one line"),
    )
    mime_depth: int = Field(
        100,
        ge=1,
        description="How deeply parts of a message may be nested.",
        json_schema_extra=about("levels", "Postfix's mime_nesting_limit"),
    )
    hops: int = Field(
        50,
        ge=10,
        description="Most Received fields; more is taken for a loop.",
        json_schema_extra=about("hops", "RFC 5321 §6.3; Postfix's hopcount_limit"),
    )
    stray_line_endings: StrayLineEndings = Field(
        StrayLineEndings.REFUSE,
        description="`refuse` a raw message with bare CR, bare LF or NUL, or `normalise` it.",
        json_schema_extra=about("", "RFC 5321 §2.3.8"),
    )
    text_encoding: Literal["7bit", "8bit"] = Field(
        "7bit",
        description="How text beyond ASCII goes into messages made from JSON: `7bit` encodes it, so that "
        "every server takes it; `8bit` sends it as it is.",
        json_schema_extra=about("", "RFC 2045 §6, RFC 6152 §2"),
    )
    add_message_id: bool = Field(
        True, description="Add a Message-ID where a raw message has none (RFC 6409 §8.3)."
    )
    add_date: bool = Field(True, description="Add a Date where a raw message has none (RFC 6409 §8.2).")
    retry_after_seconds: int = Field(
        30,
        ge=1,
        le=3_600,
        description="Retry-After of answers 429 and 503.",
        json_schema_extra=about("seconds", "chosen, because a full disk or a restart is not over sooner"),
    )
    request_header_octets: int = Field(
        65_536,
        ge=8_192,
        description="Request line and header fields of a request; more is answered 431.",
        json_schema_extra=about("octets", "chosen: 1,000 recipients as header fields go beyond, use JSON"),
    )
    request_header_fields: int = Field(
        200,
        ge=20,
        description="Header fields of a request; more is answered 431.",
        json_schema_extra=about("fields", "chosen, because clients and proxies send under 50"),
    )
    header_seconds: float = Field(
        30.0,
        gt=0,
        description="A request's header section must arrive in this time.",
        json_schema_extra=about("seconds", "chosen, because it is one segment"),
    )
    body_seconds: float = Field(
        300.0,
        gt=0,
        description="A request's body must arrive in this time, and nobody may take nothing of an answer for "
        "so long.",
        json_schema_extra=about("seconds", "chosen, because 25 MiB over 1 Mbit/s take 210 seconds"),
    )
    idle_seconds: int = Field(
        60,
        ge=1,
        description="A connection without a request is closed after this time.",
        json_schema_extra=about("seconds", "chosen, because pools of HTTP clients keep them about as long"),
    )
    answer_seconds: float = Field(
        300.0,
        gt=0,
        description="Longest wait for a message to be stored; after it the client hears 504.",
        json_schema_extra=about("seconds", "as for SMTP, RFC 5321 §4.5.3.2.6"),
    )
    connections: int = Field(
        1_000,
        ge=1,
        description="Most connections of the listener in one process; one more has the one closed that has "
        "waited longest for a request, and where none waits it is answered 503.",
        json_schema_extra=about("connections", "chosen, because one costs about 30 KiB"),
    )

    @property
    def own_tenant(self) -> str:
        """Tenant of what comes without a valid key."""
        return self.tenant or DEFAULT_TENANT

    @property
    def http_limits(self) -> HttpLimits:
        """What `net.http` enforces."""
        return HttpLimits(
            header_octets=self.request_header_octets,
            header_count=self.request_header_fields,
            header_seconds=self.header_seconds,
            body_seconds=self.body_seconds,
            idle_seconds=self.idle_seconds,
            connections=self.connections,
            retry_after_seconds=self.retry_after_seconds,
        )

    @property
    def content_limits(self) -> ContentLimits:
        """What the reader of a raw message enforces."""
        return ContentLimits(
            self.message_octets, self.line_octets, self.stray_line_endings is StrayLineEndings.NORMALISE
        )

    @property
    def receive_limits(self) -> ReceiveLimits:
        """What the checks shared with SMTP enforce."""
        return ReceiveLimits(
            header_octets=self.header_octets,
            header_fields=self.header_fields,
            mime_depth=self.mime_depth,
            hops=self.hops,
        )
