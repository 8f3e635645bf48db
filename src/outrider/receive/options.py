"""Options of one listener; `server` nests them as `[[listener]]`.

Invariant: what is left out is the safe choice: loopback, nobody may relay, AUTH only inside TLS.
"""

import ipaddress
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain
from outrider.net.options import BareAddress
from outrider.receive.inbound_options import InboundMailbox
from outrider.wire.smtp.content_limits import LINE_LIMIT_OCTETS, MESSAGE_OCTETS

DEFAULT_TENANT: Final = "default"
"""Whose a listener's mail is when neither a credential nor the listener says so."""


class TlsMode(StrEnum):
    """How a listener uses TLS."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class StrayLineEndings(StrEnum):
    """What happens to a bare CR or LF, or a NUL, in a message."""

    REFUSE = "refuse"
    NORMALISE = "normalise"


class Role(StrEnum):
    """What a listener is for."""

    SUBMISSION = "submission"
    RELAY = "relay"
    INBOUND = "inbound"


def about(unit: str, source: str) -> dict[str, Any]:
    """What an option says of itself besides its description: the unit and where its value is from."""
    return {"unit": unit, "source": source}


def _network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=True)
    if network.prefixlen == 0:
        raise ValueError("a network of all addresses would make an open relay; name those that may send")
    return str(network)


def _sender_domain(text: str) -> str:
    if text == "*":
        return text
    dot, domain = (".", text[1:]) if text.startswith(".") else ("", text)
    try:
        return dot + parse_domain(domain)
    except AddressError as error:
        raise ValueError(error.message) from error


Network = Annotated[str, AfterValidator(_network)]
SenderDomain = Annotated[str, AfterValidator(_sender_domain)]


NoteName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]
NoteText = Annotated[str, Field(max_length=512)]
Notes = Annotated[dict[NoteName, NoteText], Field(max_length=32)]
"""What a listener notes about its connections; bounds as for metadata by HTTP."""

NOTES_ABOUT: Final = (
    "Notes about each connection for policy scripts, as a table of names and texts; names that begin with "
    '`secret_` are never written anywhere. For what differs between listeners: `customer = "acme"`.'
)


class ReceiveLimits(BaseModel):
    """What one session, message and client may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message_octets: int = Field(
        default=MESSAGE_OCTETS,
        ge=65_536,
        le=1 << 30,
        description="Largest message. Larger ones are read to their end, thrown away and answered with 552.",
        json_schema_extra=about(
            "octets", "chosen, because 25 MiB is what large providers take; RFC 5321 §4.5.3.1.7"
        ),
    )
    recipients: int = Field(
        default=1000,
        ge=100,
        le=100_000,
        description="Most recipients in a transaction; the rest is answered with 452.",
        json_schema_extra=about("recipients", "RFC 5321 §4.5.3.1.8 (at least 100); Postfix's default"),
    )
    header_octets: int = Field(
        default=102_400,
        ge=4_096,
        description="Largest header section.",
        json_schema_extra=about("octets", "Postfix's header_size_limit"),
    )
    header_fields: int = Field(
        default=1000,
        ge=50,
        description="Most header fields.",
        json_schema_extra=about("fields", "chosen, because real messages have under 100"),
    )
    line_octets: int = Field(
        default=LINE_LIMIT_OCTETS,
        ge=998,
        description="Longest line of a message.",
        json_schema_extra=about("octets", "chosen, because programs write HTML in one line"),
    )
    mime_depth: int = Field(
        default=100,
        ge=1,
        description="How deeply parts of a message may be nested.",
        json_schema_extra=about("levels", "Postfix's mime_nesting_limit"),
    )
    hops: int = Field(
        default=50,
        ge=10,
        description="Most Received fields; more is taken for a loop.",
        json_schema_extra=about("hops", "RFC 5321 §6.3; Postfix's hopcount_limit"),
    )
    errors: int = Field(
        default=20,
        ge=1,
        description="Refused commands since the last accepted message that end the session.",
        json_schema_extra=about("errors", "Postfix's smtpd_hard_error_limit"),
    )
    idle_commands: int = Field(
        default=100,
        ge=5,
        description="Commands other than MAIL and RCPT since the last accepted message that end the session.",
        json_schema_extra=about("commands", "Postfix's smtpd_junk_command_limit"),
    )
    auth_failures: int = Field(
        default=3,
        ge=1,
        description="Failed authentications that end the session.",
        json_schema_extra=about("failures", "RFC 4954 §9 leaves the number to us; chosen as chasquid does"),
    )
    connections: int = Field(
        default=2000,
        ge=1,
        description="Most connections of the listener in one process.",
        json_schema_extra=about("connections", "chosen, because one costs about 20 KiB"),
    )
    connections_per_minute_per_client: int = Field(
        default=0,
        ge=0,
        description="Most new connections a minute from one address (IPv6: one /64) to all "
        "processes; 0 is no limit. Trusted networks have none.",
        json_schema_extra=about(
            "connections", "Postfix's smtpd_client_connection_rate_limit, which is off too"
        ),
    )
    messages_per_minute_per_client: int = Field(
        default=0,
        ge=0,
        description="Most MAIL commands a minute from one address (IPv6: one /64) to all "
        "processes; 0 is no limit. Trusted networks have none.",
        json_schema_extra=about("messages", "Postfix's smtpd_client_message_rate_limit, which is off too"),
    )
    connections_per_client: int = Field(
        default=50,
        ge=1,
        description="Most connections from one address (IPv6: one /64) to all processes; "
        "trusted networks have no such limit.",
        json_schema_extra=about("connections", "Postfix's smtpd_client_connection_count_limit"),
    )


class StressOptions(BaseModel):
    """When limits tighten by themselves, and to what, for clients neither trusted nor authenticated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="Tighten limits under stress.")
    connections_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Stress begins when this share of `limits.connections` is open; it also begins with "
        "`lag_seconds`, and when memory or disk are nearly short. It ends below three quarters of that, "
        "after `calm_seconds`.",
        json_schema_extra=about("share", "chosen: before the listener has to turn away everybody"),
    )
    lag_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Stress begins when the event loop was so late.",
        json_schema_extra=about("seconds", "chosen: fifty times what a callback may take"),
    )
    calm_seconds: float = Field(
        default=30.0,
        ge=0,
        description="How long it must be calm before stress ends.",
        json_schema_extra=about("seconds", "chosen, so that it does not flap"),
    )
    command_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Wait for a command; who is idle for longer hears 421.",
        json_schema_extra=about("seconds", "Postfix's smtpd_timeout under stress"),
    )
    errors: int = Field(
        default=1,
        ge=1,
        description="Refused commands that end the session.",
        json_schema_extra=about("errors", "Postfix's smtpd_hard_error_limit under stress"),
    )
    idle_commands: int = Field(
        default=10,
        ge=5,
        description="Commands other than MAIL and RCPT since the last accepted message that end the session.",
        json_schema_extra=about("commands", "chosen: EHLO, STARTTLS, EHLO, AUTH, DATA and some more"),
    )
    connections_per_client: int = Field(
        default=10,
        ge=1,
        description="Most connections from one address.",
        json_schema_extra=about("connections", "chosen: a fifth of the usual limit"),
    )
    refuse_strangers: bool = Field(
        default=True,
        description="Answer new clients with 421 unless they authenticated within the last hour. A listener "
        "of role `inbound` goes on serving them, because it has no others.",
    )


class ReceiveDeadlines(BaseModel):
    """How long a session waits for its client; all are looked at once a second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command_seconds: float = Field(
        default=300.0,
        gt=0,
        description="Wait for a command.",
        json_schema_extra=about("seconds", "RFC 5321 §4.5.3.2.7"),
    )
    data_seconds: float = Field(
        default=180.0,
        gt=0,
        description="Wait for the next octets of a message.",
        json_schema_extra=about("seconds", "RFC 5321 §4.5.3.2.5"),
    )
    message_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="From DATA to the end of the message, however steadily it drips.",
        json_schema_extra=about("seconds", "chosen, because 25 MiB over 64 kbit/s take 55 minutes"),
    )
    handshake_seconds: float = Field(
        default=30.0,
        gt=0,
        description="TLS handshake.",
        json_schema_extra=about("seconds", "chosen, because a handshake is two round trips"),
    )
    proxy_seconds: float = Field(
        default=5.0,
        ge=3,
        le=60,
        description="PROXY header, where the listener asks for one.",
        json_schema_extra=about("seconds", "HAProxy's doc/proxy-protocol.txt, section 2: at least 3 s"),
    )
    answer_seconds: float = Field(
        default=300.0,
        gt=0,
        description="Our own decision (AUTH, storing); after it the client hears 421.",
        json_schema_extra=about("seconds", "RFC 5321 §4.5.3.2.6 gives the client 10 minutes"),
    )


class ListenerOptions(BaseModel):
    """One SMTP listener."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        default="smtp",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name in logs, events and metrics.",
    )
    role: Role = Field(
        default=Role.SUBMISSION,
        description="`submission` completes messages (Message-ID, Date); `relay` leaves them as they "
        "are; `inbound` takes bounces, complaints and the like for `mailbox` addresses and relays nothing.",
    )
    address: BareAddress = Field(
        default="127.0.0.1", description="Address to listen on. The default is not reachable from outside."
    )
    port: int = Field(
        default=2525,
        ge=0,
        le=65_535,
        description="TCP port; 0 lets the system choose.",
        json_schema_extra=about("port", "chosen, because it needs no privilege"),
    )
    tls: TlsMode = Field(
        default=TlsMode.NONE, description="`none`, `starttls` (RFC 3207) or `implicit` (RFC 8314 §3.3)."
    )
    certificate: FilePath | None = Field(default=None, description="PEM file with the certificate chain.")
    private_key: FilePath | None = Field(default=None, description="PEM file with the private key.")
    trusted_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose clients may relay without AUTH, as sender domains allow.",
        json_schema_extra=about("CIDR", "RFC 6409 §3.3"),
    )
    context_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose clients may note things about their connection for policy scripts, with "
        "the command XSETCONTEXT; they replace what `context` says. Only your own programs and relays: "
        "scripts believe them.",
        json_schema_extra=about("CIDR", "Momentum's XSETCONTEXT"),
    )
    sender_domains: tuple[SenderDomain, ...] = Field(
        default=("*",),
        description="Domains that clients in trusted networks may use in MAIL FROM; `*` is any, "
        "`.example.com` its subdomains. Authenticated users have their own list.",
    )
    offer_auth: bool = Field(
        default=True, description="Offer AUTH PLAIN and LOGIN (RFC 4954) once TLS is active."
    )
    require_auth: bool = Field(
        default=False,
        description="Relay only for authenticated users; where trusted networks are named, only from there.",
    )
    auth_without_tls: bool = Field(
        default=False, description="Offer AUTH without TLS too. For tests on loopback only."
    )
    stray_line_endings: StrayLineEndings = Field(
        default=StrayLineEndings.REFUSE,
        description="`refuse` a message with bare CR, bare LF or NUL, or `normalise` it.",
        json_schema_extra=about("", "RFC 5321 §2.3.8"),
    )
    add_message_id: bool = Field(
        default=True, description="Add a Message-ID where there is none (RFC 6409 §8.3)."
    )
    add_date: bool = Field(default=True, description="Add a Date where there is none (RFC 6409 §8.2).")
    authentication_results: bool = Field(
        default=False,
        description="Check each message's signatures (DKIM), chain of seals (ARC), SPF and DMARC as it "
        "comes, which asks DNS, and write what was found at its top, under the server's host name; fields "
        "that claim to be ours are removed. Nothing is refused for it: that is for scripts.",
        json_schema_extra=about("", "RFC 8601 §5"),
    )
    greeting_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="Wait before the greeting; a client that speaks meanwhile is refused.",
        json_schema_extra=about("seconds", "RFC 5321 §4.3.1"),
    )
    proxy_protocol: bool = Field(
        default=False,
        description="Connections come through a load balancer that says by the PROXY protocol "
        "(version 1 or 2) who the client is; a connection without a valid header is closed.",
        json_schema_extra=about("", "HAProxy's doc/proxy-protocol.txt, 2020/03/05"),
    )
    proxy_networks: tuple[Network, ...] = Field(
        default=(),
        description="Networks of the load balancers; connections from elsewhere are closed. Needed with "
        "`proxy_protocol`.",
        json_schema_extra=about(
            "CIDR", "HAProxy's doc/proxy-protocol.txt, section 5: who sends it can be anyone"
        ),
    )
    tenant: str | None = Field(
        default=None,
        min_length=1,
        description="Whose listener it is: mail from trusted networks is this tenant's, and logins of other "
        "tenants are refused. Without it, users of every tenant may log in, and mail from trusted networks "
        f"is that of `{DEFAULT_TENANT}`.",
    )
    stream: str = Field(default="default", min_length=1, description="Stream of mail that names none.")
    streams: tuple[str, ...] = Field(
        default=("*",),
        description="Streams that clients in trusted networks may name in X-Outrider-Stream; `*` is any. "
        "Authenticated users have their own list.",
    )
    context: Notes = Field(default={}, description=NOTES_ABOUT)
    mailbox: tuple[InboundMailbox, ...] = Field(
        default=(),
        description="Addresses of a listener of role `inbound`; each is a `[[listener.mailbox]]` table. What "
        "they accept is kept in a Maildir for each purpose below `inbound` in the state directory.",
    )
    banner: str = Field(
        default="Outrider",
        pattern=r"^[ -~]{0,200}$",
        description="What the greeting says after the host name and `ESMTP`.",
        json_schema_extra=about("", "RFC 5321 §4.3.1"),
    )
    stress: StressOptions = Field(default_factory=StressOptions, description="Limits under load.")
    limits: ReceiveLimits = Field(default_factory=ReceiveLimits, description="Limits.")
    deadlines: ReceiveDeadlines = Field(default_factory=ReceiveDeadlines, description="Deadlines.")

    @property
    def own_tenant(self) -> str:
        """Tenant of what comes without a credential."""
        return self.tenant or DEFAULT_TENANT

    def resolved(self, base: FilePath) -> "ListenerOptions":
        """The same with its files made absolute below `base`."""
        files = {name: getattr(self, name) for name in ("certificate", "private_key")}
        return self.model_copy(update={name: base / file for name, file in files.items() if file})

    @model_validator(mode="after")
    def _tls_has_files(self) -> "ListenerOptions":
        if self.tls is not TlsMode.NONE and (self.certificate is None or self.private_key is None):
            raise ValueError(f"tls = {self.tls.value!r} needs `certificate` and `private_key`")
        return self

    @model_validator(mode="after")
    def _inbound_relays_nothing(self) -> "ListenerOptions":
        if self.role is not Role.INBOUND:
            if self.mailbox:
                raise ValueError("mailbox is for a listener of role 'inbound'")
            return self
        if not self.mailbox:
            raise ValueError("role = 'inbound' needs at least one [[listener.mailbox]]")
        if self.trusted_networks or self.require_auth:
            raise ValueError("role = 'inbound' relays for nobody: no trusted_networks, no require_auth")
        if self.context_networks:
            raise ValueError("context_networks is for scripts, which are not asked where role = 'inbound'")
        if self.authentication_results:
            raise ValueError("authentication_results is for mail that is passed on, not for role = 'inbound'")
        return self

    @model_validator(mode="after")
    def _proxy_has_networks(self) -> "ListenerOptions":
        if self.proxy_protocol and not self.proxy_networks:
            raise ValueError("proxy_protocol needs `proxy_networks`, or anybody could claim any address")
        if self.proxy_networks and not self.proxy_protocol:
            raise ValueError("proxy_networks says nothing without `proxy_protocol = true`")
        return self
