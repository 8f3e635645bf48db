"""Options of `[shaping]`: what each receiver tolerates, and how the queue retries."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from outrider.model.domain_patterns import parse_domain_pattern, parse_site_pattern
from outrider.schedule.rate import parse_rate


def _checked_rate(text: str) -> str:
    if text:
        parse_rate(text)
    return text


def _checked_domain(text: str) -> str:
    return text and parse_domain_pattern(text)


RateText = Annotated[str, AfterValidator(_checked_rate)]
SitePattern = Annotated[str, AfterValidator(parse_site_pattern)]


class ShapingOptions(BaseModel):
    """The shaping of one path: limits, retries and window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_connections: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="Connections open at once on a path, over all workers.",
        json_schema_extra={"unit": "connections", "source": "Momentum's and KumoMTA's default"},
    )
    max_connection_rate: RateText = Field(
        default="",
        description="New connections in a period, `N/period`; empty is no limit. One that fails counts once, "
        "with the other hosts that are tried for it, and without TLS, before it is given up.",
        json_schema_extra={"unit": "connections per period", "source": "chosen: no limit until asked for"},
    )
    max_message_rate: RateText = Field(
        default="",
        description="Recipients in a period, `N/second`, `N/minute`, `N/hour`, `N/day` or `N/<seconds>`, "
        "optionally `,burst=B`; evenly spaced without a burst; empty is no limit.",
        json_schema_extra={"unit": "recipients per period", "source": "chosen: no limit until asked for"},
    )
    retry_interval_seconds: float = Field(
        default=1200.0,
        gt=0,
        le=86400,
        description="Wait after the first failed attempt; doubles with each one.",
        json_schema_extra={"unit": "seconds", "source": "Momentum's and KumoMTA's default, 20 minutes"},
    )
    max_retry_interval_seconds: float = Field(
        default=43200.0,
        gt=0,
        le=604800,
        description="Longest wait between attempts.",
        json_schema_extra={"unit": "seconds", "source": "Momentum's default, 12 hours"},
    )
    retry_jitter: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share of the wait by which it is randomly longer or shorter.",
        json_schema_extra={"unit": "share", "source": "chosen: spreads what failed together"},
    )
    message_expiration_seconds: float = Field(
        default=432_000.0,
        gt=0,
        le=2_592_000,
        description="Age at which a message is given up and bounced.",
        json_schema_extra={"unit": "seconds", "source": "RFC 5321 §4.5.4.1: at least 4 to 5 days"},
    )
    delay_notice_after_seconds: float = Field(
        default=14_400.0,
        ge=0,
        le=2_592_000,
        description="Age at which the sender is told once of a delay; 0 is never.",
        json_schema_extra={"unit": "seconds", "source": "chosen: four hours, what senders expect of an MTA"},
    )
    window: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Entries of a path kept in memory; the rest waits on disk.",
        json_schema_extra={"unit": "entries", "source": "chosen: seconds of work for a fast receiver"},
    )
    suspended: bool = Field(
        default=False,
        description="Keep the mail, send none of it.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    smtp_port: int = Field(
        default=25,
        ge=1,
        le=65535,
        description="Port of the exchangers where the route names none.",
        json_schema_extra={"unit": "port", "source": "RFC 5321 §4.5.4.2"},
    )


class ShapingOverride(ShapingOptions):
    """Shaping of the paths that match; fields that are not set are inherited.

    A pattern is a name, `*.suffix`, or `*`. The more specific override wins, field by field (`model.scopes`).
    """

    site: SitePattern = Field(
        default="*",
        description="Site of the path.",
        json_schema_extra={"unit": "pattern", "source": "operator's choice"},
    )
    domain: Annotated[str, AfterValidator(_checked_domain)] = Field(
        default="",
        description="Recipient domain; domains that match leave their site and are queued for themselves.",
        json_schema_extra={"unit": "pattern", "source": "operator's choice"},
    )
    binding: str = Field(
        default="*",
        description="Binding of the path.",
        json_schema_extra={"unit": "pattern", "source": "operator's choice"},
    )
    group: str = Field(
        default="*",
        description="Group of bindings (`[[binding_group]]`) that the path's binding is a member of.",
        json_schema_extra={"unit": "pattern", "source": "operator's choice"},
    )
    shared: bool = Field(
        default=False,
        description="All paths that take a limit from here share it, instead of each having its own.",
        json_schema_extra={"unit": "", "source": "Momentum: throttles fall back by reference"},
    )


class ProviderPattern(BaseModel):
    """A provider whose domains are one site, whatever their exchangers are called.

    Only for providers where each exchanger takes the mail of every domain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Name of the site.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    mx: tuple[SitePattern, ...] = Field(
        min_length=1,
        description="Patterns of exchangers; all exchangers of a domain must match.",
        json_schema_extra={"unit": "pattern", "source": "operator's choice"},
    )


class ScheduleOptions(BaseModel):
    """Everything under `[shaping]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: ShapingOptions = Field(
        default=ShapingOptions(),
        description="Shaping of every path.",
        json_schema_extra={"unit": "", "source": "see each field"},
    )
    override: tuple[ShapingOverride, ...] = Field(
        default=(),
        description="Shaping of some paths.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    provider: tuple[ProviderPattern, ...] = Field(
        default=(),
        description="Providers that are one site.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    outbound_connections: int = Field(
        default=2000,
        ge=1,
        le=100_000,
        description="Outbound connections of the whole node at once.",
        json_schema_extra={
            "unit": "connections",
            "source": "chosen: file descriptors and memory of two workers",
        },
    )
    settle_seconds: float = Field(
        default=1.0,
        ge=0,
        le=300,
        description="How long the connections of a dead process still count, as the peer may not have seen "
        "their end.",
        json_schema_extra={"unit": "seconds", "source": "chosen: a few round trips"},
    )
    horizon_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="Entries due within this time are kept in memory.",
        json_schema_extra={"unit": "seconds", "source": "chosen: well below the first retry"},
    )
    site_cache: int = Field(
        default=100_000,
        ge=100,
        le=10_000_000,
        description="Domains whose route is remembered.",
        json_schema_extra={"unit": "domains", "source": "chosen: about 1 KiB each"},
    )
