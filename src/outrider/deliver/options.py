"""Options of delivery, per path.

A `DeliveryTable` has a default and overrides; an override names a group, a binding and a site by patterns and
sets only what differs. What holds for a path is said by `resolve`.

Standards: RFC 5321 §4.5.3.2 (time-outs), RFC 5321 §4.5.3.1.8 (recipients), RFC 3207 §4, RFC 4954 §4.
"""

import errno
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from outrider.deliver.identity_options import IdentityOptions
from outrider.model.flow import Phase
from outrider.model.scopes import Layer, Scope

_SECONDS = {"unit": "seconds"}


def _seconds(default: float, description: str, source: str) -> Any:
    return Field(
        default=default,
        description=description,
        gt=0,
        le=3600,
        json_schema_extra={**_SECONDS, "source": source},
    )


class DeliveryOptions(IdentityOptions):
    """How one path is delivered."""

    protocol: Literal["smtp", "lmtp"] = Field(
        default="smtp",
        description="`lmtp` for the door of a mail store: each recipient has its own answer to the content.",
        json_schema_extra={"source": "RFC 2033 §4"},
    )
    tls: Literal["opportunistic", "required", "implicit", "off"] = Field(
        default="opportunistic",
        description="STARTTLS: use it where offered and go on in clear text where it fails (a host that then "
        "insists on TLS is tried again later); require it with a valid certificate; TLS from the first octet "
        "with a valid certificate (port 465 of a smart host); or never use it. Over a Unix socket there is "
        "none.",
        json_schema_extra={"source": "RFC 7435 §3, RFC 8314 §3.3"},
    )
    connect_seconds: float = _seconds(
        30.0, "Wait for the TCP connection.", "chosen, because TCP gives up later"
    )
    greeting_seconds: float = _seconds(300.0, "Wait for the greeting.", "RFC 5321 §4.5.3.2.1")
    ehlo_seconds: float = _seconds(300.0, "Wait for the reply to EHLO.", "chosen, because it is that of MAIL")
    starttls_seconds: float = _seconds(
        60.0,
        "Wait for the reply to STARTTLS, and for the handshake.",
        "chosen, because it takes two round trips",
    )
    auth_seconds: float = _seconds(
        60.0, "Wait for each reply to AUTH.", "chosen, because smart hosts are near"
    )
    mail_seconds: float = _seconds(300.0, "Wait for the reply to MAIL.", "RFC 5321 §4.5.3.2.2")
    rcpt_seconds: float = _seconds(300.0, "Wait for the reply to each RCPT.", "RFC 5321 §4.5.3.2.3")
    data_seconds: float = _seconds(120.0, "Wait for the reply to DATA.", "RFC 5321 §4.5.3.2.4")
    block_seconds: float = _seconds(
        180.0, "Wait until the peer takes more of the content.", "RFC 5321 §4.5.3.2.5"
    )
    body_seconds: float = _seconds(600.0, "Wait for the reply to the content.", "RFC 5321 §4.5.3.2.6")
    quit_seconds: float = _seconds(
        5.0,
        "Wait until the peer ends the connection after QUIT.",
        "chosen, because mail is safe by then and the slot is counted until the end",
    )
    idle_seconds: float = _seconds(
        10.0,
        "Keep a connection without work.",
        "chosen, because the next message often follows soon and hosts dislike idle connections",
    )
    max_deliveries_per_connection: int = Field(
        default=1000,
        description="Transactions before a connection is ended.",
        ge=1,
        le=1_000_000,
        json_schema_extra={"source": "chosen, because load is then spread over a site's hosts anew"},
    )
    max_recipients_per_transaction: int = Field(
        default=100,
        description="Recipients of one message in one transaction.",
        ge=1,
        le=1000,
        json_schema_extra={"source": "RFC 5321 §4.5.3.1.8"},
    )
    max_hosts_per_attempt: int = Field(
        default=5,
        description="Addresses tried before an attempt fails.",
        ge=1,
        le=100,
        json_schema_extra={"source": "RFC 5321 §5.1 asks for two; chosen, because a slot is held meanwhile"},
    )
    pipelining: bool = Field(
        default=True,
        description="Use PIPELINING where offered.",
        json_schema_extra={"source": "RFC 2920 §3.1"},
    )
    overlap: bool = Field(
        default=True,
        description="With PIPELINING, let the next envelope follow a content in the same write.",
        json_schema_extra={"source": "RFC 2920 §3.1"},
    )
    chunking: bool = Field(
        default=True, description="Use CHUNKING where offered.", json_schema_extra={"source": "RFC 3030 §2"}
    )
    ip_families: tuple[Literal["ipv4", "ipv6"], ...] = Field(
        default=("ipv4", "ipv6"),
        description="Families of host addresses that may be tried.",
        min_length=1,
        max_length=2,
    )
    auth_user: str = Field(
        default="",
        description="User for a smart host; empty is no authentication. Needs tls = required or implicit.",
        json_schema_extra={"source": "RFC 4954 §4"},
    )
    password_file: str = Field(
        default="",
        description="File with the password of `auth_user`, read at each connection without its line end.",
    )

    @model_validator(mode="after")
    def _auth_whole(self) -> Self:
        if bool(self.auth_user) != bool(self.password_file):
            raise ValueError("auth_user and password_file go together; set both or neither")
        if self.auth_user and self.tls not in {"required", "implicit"}:
            raise ValueError(
                'a password goes only to a host that proved its name: set tls to "required" or "implicit"'
            )
        return self

    def source_for(self, address: str) -> str | None:
        """Our address for a connection to `address`, None when the system chooses.

        Raises:
            LookupError: A host of this family may not be tried.
        """
        version = 6 if ":" in address else 4
        if f"ipv{version}" not in self.ip_families:
            raise LookupError(f"IPv{version} is not used here")
        if not self.source_addresses:
            return None
        for source in self.source_addresses:
            if (6 if ":" in source else 4) == version:
                return source
        raise LookupError(f"there is no IPv{version} source address here")

    def read_password(self) -> str:
        """The password for `auth_user`. Raises OSError."""
        return _password_in(self.password_file)

    def read_proxy_password(self) -> str:
        """The password for `proxy_user`. Raises OSError."""
        return _password_in(self.proxy_password_file)

    def phase_seconds(self) -> dict[Phase, float]:
        """The time-out of each phase that waits for a reply."""
        return {
            Phase.CONNECT: self.connect_seconds,
            Phase.GREETING: self.greeting_seconds,
            Phase.EHLO: self.ehlo_seconds,
            Phase.STARTTLS: self.starttls_seconds,
            Phase.AUTH: self.auth_seconds,
            Phase.MAIL: self.mail_seconds,
            Phase.RCPT: self.rcpt_seconds,
            Phase.DATA: self.data_seconds,
            Phase.BODY: self.body_seconds,
        }


def _password_in(file: str) -> str:
    try:
        text = FilePath(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:  # its message would hold what is in the file
        raise OSError(errno.EILSEQ, "it is not UTF-8", file) from None
    return text.removesuffix("\n").removesuffix("\r")


def options_of(values: Mapping[str, object]) -> DeliveryOptions:
    """Options that hold together. Raises ValueError, which says why they do not."""
    try:
        return DeliveryOptions.model_validate(values)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


class DeliveryOverride(DeliveryOptions):
    """What differs for some paths; fields that are not set are inherited."""

    site: str = Field(
        default="*",
        description="Site (or domain, where a domain is its own site): exact, `*.suffix`, or `*`.",
    )
    binding: str = Field(default="*", description="Binding: exact, `*.suffix`, or `*` for all.")
    group: str = Field(
        default="*",
        description="Group of bindings (`[[binding_group]]`) that the path's binding is a member of: exact, "
        "`*.suffix`, or `*` for any or none.",
    )

    @field_validator("site")
    @classmethod
    def _pattern(cls, site: str) -> str:
        if "*" in site.removeprefix("*.") and site != "*":
            raise ValueError("a star stands alone or begins the pattern, as in *.example.test")
        return site.lower()

    @model_validator(mode="after")
    def _auth_whole(self) -> Self:
        return self  # checked when merged with what is inherited

    @model_validator(mode="after")
    def _proxy_whole(self) -> Self:
        return self  # as above

    def layer(self, number: int) -> Layer:
        """What it says, as the `number`th override."""
        said = self.model_fields_set - {"site", "binding", "group"}
        return Layer(
            Scope(self.group, self.binding, self.site),
            {name: getattr(self, name) for name in said},
            f"delivery.override.{number}",
        )


class DeliveryTable(BaseModel):
    """Default and overrides; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: DeliveryOptions = Field(default=DeliveryOptions(), description="For every path.")
    override: tuple[DeliveryOverride, ...] = Field(default=(), description="What differs for some paths.")

    def resolved(self, base: FilePath) -> "DeliveryTable":
        """The same with its files made absolute below `base`."""
        return self.model_copy(
            update={
                "default": self.default.resolved(base),
                "override": tuple(each.resolved(base) for each in self.override),
            }
        )
