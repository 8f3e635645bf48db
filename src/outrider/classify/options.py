"""Options of delivery reports.

Templates are plain text with `{name}` placeholders from a fixed list; they are checked here, so that a
wrong one is found before the start and not in the first bounce.
"""

import string
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from outrider.wire.headers import FORBIDDEN

PLACEHOLDERS = frozenset(("hostname", "message_id", "arrival", "retry_until"))
# What a template may name: our host name, the message's id, when it came, until when we try (or `-`).


def _checked_template(text: str) -> str:
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{error}; write {{{{ and }}}} for braces that are text") from error
    for _, name, specification, conversion in pieces:
        if name is not None and (name not in PLACEHOLDERS or specification or conversion):
            known = ", ".join(sorted(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS))
            raise ValueError(f"unknown placeholder {{{name}}}; there are {known}, without formats")
    if FORBIDDEN.search(text.replace("\n", "").replace("\t", "")):
        raise ValueError("control characters are not allowed; lines end with a plain newline")
    return text


def _checked_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("must be one line without tabs")
    return _checked_template(text)


def _checked_address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if text and (
        not at or not local or not domain or not text.isascii() or any(c in ' <>"\\,;:()[]' for c in text)
    ):
        raise ValueError("must be a plain ASCII address such as mailer-daemon@example.com, or empty")
    return _checked_line(text)


Template = Annotated[str, AfterValidator(_checked_template)]
TemplateLine = Annotated[str, AfterValidator(_checked_line)]


class DsnTemplate(BaseModel):
    """Subject and first paragraph of one kind of report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: TemplateLine = Field(min_length=1, max_length=200, description="Subject line.")
    intro: Template = Field(
        min_length=1, max_length=4_000, description="Text before the list of recipients; newlines allowed."
    )


class DsnRateOptions(BaseModel):
    """How many reports one sender's domain may get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_hour: float = Field(
        default=1_000.0,
        gt=0,
        description="Reports to one domain of senders an hour, in the long run.",
        json_schema_extra={"unit": "1/hour", "source": "chosen: 1 % of 100,000 messages an hour"},
    )
    burst: int = Field(
        default=200,
        ge=1,
        description="Reports to one domain at once.",
        json_schema_extra={"source": "chosen: the bounces of one mailing to a few thousand"},
    )
    domains_max: int = Field(
        default=10_000,
        ge=1,
        description="Domains that are remembered.",
        json_schema_extra={"source": "chosen: about 2 MiB"},
    )


class DsnOptions(BaseModel):
    """Delivery reports (bounces, delay and relay notices)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="Send reports at all.")
    delay_notices: bool = Field(
        default=True,
        description="Send delay notices to senders that did not say what they want (no NOTIFY parameter).",
        json_schema_extra={"source": "RFC 3461 §4.1 leaves it to us"},
    )
    policy_refusals: bool = Field(
        default=True,
        description="Report recipients whom policy refuses while it takes the message for others. Who takes "
        "mail from strangers may not want to answer senders that are forged.",
        json_schema_extra={
            "source": "RFC 5321 §6.1 asks for it; Momentum's "
            "generate_bounces_for_multi_recipient_policy_rejections"
        },
    )
    from_address: Annotated[str, AfterValidator(_checked_address)] = Field(
        default="", description="From address of reports; empty: mailer-daemon at our host name."
    )
    from_name: TemplateLine = Field(
        default="Mail Delivery System", max_length=100, description="From name of reports."
    )
    return_content: bool = Field(
        default=False,
        description="Return the whole message in failure reports of senders that did not say what they want "
        "(no RET parameter), instead of its header.",
        json_schema_extra={"source": "RFC 3461 §4.3 leaves it to us; headers, because less backscatter"},
    )
    max_returned_octets: int = Field(
        default=51_200,
        ge=0,
        le=10_485_760,
        description="Largest message that is returned whole; of a larger one only the header.",
        json_schema_extra={"unit": "octets", "source": "Postfix bounce_size_limit is 50,000"},
    )
    max_returned_header_octets: int = Field(
        default=32_768,
        ge=1_024,
        le=1_048_576,
        description="Header octets returned; a longer header is cut at a field.",
        json_schema_extra={"unit": "octets", "source": "chosen: a long header with many hops has 16 KiB"},
    )
    max_recipients: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Recipients described in the text part; all are in the machine-readable part.",
        json_schema_extra={"source": "chosen, because nobody reads more"},
    )
    rate: DsnRateOptions = Field(
        default=DsnRateOptions(), description="Limit of reports for each sender's domain."
    )
    failed: DsnTemplate = Field(
        default=DsnTemplate(
            subject="Your message could not be delivered",
            intro="This is the mail server {hostname}.\n\nYour message of {arrival} could not be delivered "
            "to the following recipients. We will not try again.",
        ),
        description="Failure report.",
    )
    delayed: DsnTemplate = Field(
        default=DsnTemplate(
            subject="Your message is delayed",
            intro="This is the mail server {hostname}.\n\nYour message of {arrival} could not be delivered "
            "yet to the following recipients. We keep trying until {retry_until}; "
            "you need not send it again.",
        ),
        description="Delay notice.",
    )
    relayed: DsnTemplate = Field(
        default=DsnTemplate(
            subject="Your message was passed on",
            intro="This is the mail server {hostname}.\n\nYour message of {arrival} was passed on for the "
            "following recipients to a server that cannot confirm delivery.",
        ),
        description="Success report (NOTIFY=SUCCESS).",
    )


class ClassifyOptions(BaseModel):
    """Classification and delivery reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsn: DsnOptions = Field(default=DsnOptions(), description="Delivery reports.")
