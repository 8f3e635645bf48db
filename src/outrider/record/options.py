"""Options of the record: event files, redaction, metrics and the server's log."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from outrider.net.options import BareAddress
from outrider.record.redact import TEXT_LIMIT, Profile
from outrider.record.rotation import Rotation


class SinkRedaction(BaseModel):
    """What one sink may show, where it differs from `record.redaction`; for all of it, or field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redaction: Profile | None = Field(None, description="Profile of this sink; unset is `record.redaction`.")
    recipient: Profile | None = Field(None, description="Profile of recipients; unset is that of the sink.")
    mail_from: Profile | None = Field(None, description="Profile of senders; unset is that of the sink.")
    client: Profile | None = Field(
        None,
        description="Profile of submitters' network addresses; unset is that of the sink. `masked` shows the "
        "network, `none` nothing, all others the address.",
    )
    text: Profile | None = Field(
        None,
        description="Profile of addresses in texts from outside, such as remote replies; unset is that of "
        "the sink.",
    )


class RecordOptions(BaseModel):
    """What is written down, where, and how much of it shows whom it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redaction: Profile = Field(
        Profile.TOKEN,
        description="What events and logs show of an address: `full`, `masked` (`a***@example.com`), "
        "`domain` (`*@example.com`), `customer-id` (the sender's own name for the recipient, else as "
        "`domain`), `token` (a keyed token beside the domain; `outrider trace --recipient` finds it) "
        "or `none`.",
        json_schema_extra={
            "source": "chosen, because it names nobody, and one recipient's mail can still be found"
        },
    )
    events: SinkRedaction = Field(SinkRedaction(), description="What event files show, where it differs.")
    server_log: SinkRedaction = Field(
        SinkRedaction(), description="What the server's log shows, where it differs."
    )
    text_limit: int = Field(
        TEXT_LIMIT,
        ge=64,
        le=8192,
        description="Longest text from outside in an event; the rest is cut.",
        json_schema_extra={"unit": "characters", "source": "RFC 5321 §4.5.3.1.5 (reply line)"},
    )
    rotate_bytes: int = Field(
        256 * 1024 * 1024,
        ge=65_536,
        description="An event file of this size is closed and the next one begun.",
        json_schema_extra={"unit": "octets", "source": "chosen, because a file of it is read in seconds"},
    )
    rotate_seconds: int = Field(
        86_400,
        ge=60,
        description="An event file of this age is closed and the next one begun.",
        json_schema_extra={"unit": "seconds", "source": "chosen, because people ask by the day"},
    )
    keep_seconds: int = Field(
        30 * 86_400,
        ge=3_600,
        description="Closed event files are removed when nothing was written to them for this long.",
        json_schema_extra={"unit": "seconds", "source": "chosen, because complaints come within a month"},
    )
    sync_seconds: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="Event files are synced to disk this often; the spool keeps what is not synced yet.",
        json_schema_extra={"unit": "seconds", "source": "chosen, because a sync costs about 0.1 ms of CPU"},
    )
    refusals_per_second: int = Field(
        100,
        ge=1,
        description="Refusals that each process writes singly in a second; more are only counted.",
        json_schema_extra={"unit": "events", "source": "chosen, because a flood must not fill the disk"},
    )
    metrics_address: BareAddress = Field(
        "127.0.0.1",
        description="Address of the metrics listener.",
        json_schema_extra={"source": "chosen, because metrics are nobody else's business"},
    )
    metrics_port: int = Field(
        9325,
        ge=0,
        le=65_535,
        description="Port of the metrics listener; 0 switches it off.",
        json_schema_extra={"source": "chosen, from the range that metrics exporters use"},
    )
    metrics_sites: int = Field(
        50,
        ge=0,
        le=1_000,
        description="Sites that have series of their own in each process; all others count as `other`.",
        json_schema_extra={"unit": "sites", "source": "chosen, because 10,000 series take 174 ms to render"},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least level that the server's log shows.",
        json_schema_extra={"source": "chosen, because debug speaks once per connection"},
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="`json` lines, `text` for people, or `auto`: text on a terminal, else JSON.",
        json_schema_extra={"source": "chosen, because each reader gets what it can read"},
    )
    log_file: str = Field(
        "",
        description="File of the server's log; empty is standard error. Relative to the configuration file.",
        json_schema_extra={"source": "chosen, because a service manager collects standard error"},
    )
    log_rotate_bytes: int = Field(
        64 * 1024 * 1024,
        ge=65_536,
        description="A file of the server's log of this size is closed and the next one begun.",
        json_schema_extra={"unit": "octets", "source": "chosen, because people open it in an editor"},
    )
    log_rotate_seconds: int = Field(
        86_400,
        ge=60,
        description="A file of the server's log of this age is closed and the next one begun.",
        json_schema_extra={"unit": "seconds", "source": "chosen, as for events"},
    )
    log_keep_seconds: int = Field(
        30 * 86_400,
        ge=3_600,
        description="Closed files of the server's log are removed when nothing was written to them for this "
        "long.",
        json_schema_extra={"unit": "seconds", "source": "chosen, as for events"},
    )
    log_keep_files: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Most closed files of the server's log; the oldest are removed.",
        json_schema_extra={
            "unit": "files",
            "source": "chosen: 2 GiB at the default size, or a month of days",
        },
    )

    def profiles(self, sink: SinkRedaction) -> tuple[Profile, Profile, Profile, Profile]:
        """Profiles of recipients, senders, clients and texts in a sink."""
        own = sink.redaction or self.redaction
        return sink.recipient or own, sink.mail_from or own, sink.client or own, sink.text or own

    @property
    def events_rotation(self) -> Rotation:
        """Of event files."""
        return Rotation(self.rotate_bytes, self.rotate_seconds, self.keep_seconds)

    @property
    def log_rotation(self) -> Rotation:
        """Of the server's log in a file."""
        return Rotation(
            self.log_rotate_bytes, self.log_rotate_seconds, self.log_keep_seconds, self.log_keep_files
        )

    @property
    def needs_tokens(self) -> bool:
        """True when a sink shows tokens, which need a `log` key."""
        return any(Profile.TOKEN in self.profiles(sink) for sink in (self.events, self.server_log))
