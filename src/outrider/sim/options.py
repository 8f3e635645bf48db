"""What one TOML file says about a practice internet.

In: the tables of the file, already parsed. Out: frozen values that the simulator is built from.

Theory: a provider is a set of domains, the exchangers that serve them, and a *temper*: how slow it is, what
it limits, which rules answer instead of a plain 250, and what TLS it shows.
Standards: RFC 5321 §4.2 (replies), RFC 5321 §4.5.3 (limits). Not here: reading the file (`sim.world`).
"""

from ipaddress import IPv4Address, ip_address
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from outrider.base.errors import AddressError
from outrider.sim.spite import Spite

Phase = Literal["connect", "ehlo", "starttls", "mail", "rcpt", "data", "body", "rset", "quit"]
Action = Literal["reply", "disconnect", "drop", "stall", "deaf", "spite", "lose-reply"]
Extension = Literal["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE", "DSN", "ENHANCEDSTATUSCODES"]

Lie = Literal["none", "wrong-id", "wrong-question", "garbage", "cut", "flood"]

ALL_EXTENSIONS: tuple[Extension, ...] = (
    "PIPELINING",
    "CHUNKING",
    "8BITMIME",
    "SMTPUTF8",
    "SIZE",
    "DSN",
    "ENHANCEDSTATUSCODES",
)


def _reply(text: str) -> str:
    code, _, rest = text.partition(" ")
    if not (len(code) == 3 and code.isdigit() and code[0] in "2345" and rest):
        raise ValueError("a reply is a code from 200 to 599, a space and a text, like '451 4.7.1 Try later'")
    if not text.isprintable():
        raise ValueError("a reply is one line without control characters")
    return text


def _loopback(text: str) -> str:
    address = ip_address(text)
    if not address.is_loopback:
        raise ValueError("the practice internet lives on loopback: use an address in 127.0.0.0/8 or ::1")
    return str(address)


def _domain(text: str) -> str:
    name = text.rstrip(".").lower()
    if not name.isascii():
        from outrider.model.mailbox import parse_domain  # it brings the tables of IDNA, which few worlds need

        try:
            name = parse_domain(name)  # what DNS is asked for
        except AddressError as error:
            raise ValueError(f"not a domain name: {error.message}") from error
    if not name or not all(0 < len(label) <= 63 for label in name.split(".")):
        raise ValueError("not a domain name")
    return name


ReplyText = Annotated[str, AfterValidator(_reply)]
Loopback = Annotated[str, AfterValidator(_loopback)]
DomainName = Annotated[str, AfterValidator(_domain)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exchanger(_Options):
    """One MX host of a provider."""

    name: DomainName = Field(description="Host name, published with its address.")
    preference: int = Field(default=10, ge=0, le=65535, description="MX preference; lower is tried first.")
    address: Loopback = Field(description="Loopback address that it listens on.")


class Delays(_Options):
    """How long the provider thinks before it answers, in seconds for each phase."""

    connect: float = Field(default=0, ge=0, le=600, description="Before the greeting.")
    ehlo: float = Field(default=0, ge=0, le=600, description="Before the answer to EHLO or HELO.")
    starttls: float = Field(default=0, ge=0, le=600, description="Before the answer to STARTTLS.")
    mail: float = Field(default=0, ge=0, le=600, description="Before the answer to MAIL.")
    rcpt: float = Field(default=0, ge=0, le=600, description="Before the answer to each RCPT.")
    data: float = Field(default=0, ge=0, le=600, description="Before the answer to DATA.")
    body: float = Field(default=0, ge=0, le=600, description="Before the answer to a complete content.")
    rset: float = Field(default=0, ge=0, le=600, description="Before the answer to RSET.")
    quit: float = Field(default=0, ge=0, le=600, description="Before the answer to QUIT.")

    def by_phase(self) -> dict[Phase, float]:
        """The phases that are slow."""
        return {phase: getattr(self, phase) for phase in get_args(Phase) if getattr(self, phase)}


class Limits(_Options):
    """What the provider tolerates; 0 is no limit."""

    max_connections: int = Field(default=0, ge=0, description="Connections at once; the next one hears 421.")
    max_connection_messages: int = Field(
        default=0, ge=0, description="Messages on a connection; then MAIL hears 421."
    )
    max_recipients: int = Field(
        default=0, ge=0, description="Recipients of a message; the next RCPT hears 452."
    )
    max_messages_per_minute: int = Field(
        default=0, ge=0, description="Messages accepted in any 60 seconds; beyond that MAIL hears 451."
    )
    max_message_bytes: int = Field(default=0, ge=0, description="Octets of a message, published with SIZE.")


class Bursts(_Options):
    """Windows of time in which everything is answered with one transient reply."""

    period_seconds: float = Field(gt=0, description="From the start of a window to that of the next.")
    length_seconds: float = Field(gt=0, description="Length of a window.")
    offset_seconds: float = Field(
        default=0, ge=0, description="From the start of the simulator to the first window."
    )
    on: Phase = Field(default="mail", description="Where the reply is given.")
    reply: ReplyText = Field(default="451 4.3.2 System temporarily overloaded", description="The reply.")


class Pause(_Options):
    """A wait now and then, beside the steady `delay`."""

    on: Phase = Field(description="Where it waits before it answers.")
    seconds: float = Field(gt=0, le=600, description="How long.")
    probability: float = Field(default=1, gt=0, le=1, description="Chance of it, from the world's seed.")
    every: int = Field(default=1, ge=1, description="At every nth time only.")


class TlsOptions(_Options):
    """TLS as the provider shows it."""

    mode: Literal["none", "offer", "require"] = Field(
        default="none", description="Whether STARTTLS is offered or required."
    )
    fault: Literal[
        "none", "refused", "handshake", "stall", "stall-early", "stall-late", "expired", "wrong-name"
    ] = Field(
        default="none",
        description="What is wrong: STARTTLS answered 454, garbage or silence instead of a handshake, "
        "silence after the first octets of our part of it or before the last, a certificate that has "
        "expired or names another host.",
    )
    certificate: str = Field(
        default="", description="PEM file with a chain; empty makes a self-signed one at start."
    )
    key: str = Field(default="", description="PEM file with its private key.")

    @model_validator(mode="after")
    def _pair(self) -> "TlsOptions":
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together")
        return self


class Rule(_Options):
    """Answer something else than the usual.

    A rule applies when all its conditions hold: the phase, the pattern, `every` and `probability`.
    """

    on: Phase = Field(description="Phase whose answer is replaced.")
    match: str = Field(
        default="*",
        description="Shell pattern (`*`, `?`, `[…]`) for an address: the sender at `mail`; the recipient at "
        "`rcpt`; any recipient of the message at `data` and `body`; the EHLO name at `ehlo`.",
    )
    probability: float = Field(
        default=1, gt=0, le=1, description="Chance that it applies, from the world's seed."
    )
    every: int = Field(default=1, ge=1, description="Applies to every nth time that the pattern fits.")
    times: int = Field(default=0, ge=0, description="Applies at most so often; 0 is without end.")
    reply: ReplyText = Field(
        default="451 4.3.0 Try again later", description="Reply for the actions that give one."
    )
    action: Action = Field(
        default="reply",
        description="`reply` answers; `disconnect` answers and closes; `drop` closes without a word; "
        "`stall` never answers; `deaf` answers and never reads again; `spite` sends what is no honest reply; "
        "`lose-reply` (at `body`) takes the message and closes before saying so.",
    )
    spite: Spite = Field(default="none", description="What the action `spite` sends.")

    @model_validator(mode="after")
    def _fits(self) -> "Rule":
        if self.action == "lose-reply" and self.on != "body":
            raise ValueError("lose-reply is an action of the body phase only")
        if (self.action == "spite") != (self.spite != "none"):
            raise ValueError("the action `spite` and the kind of it go together")
        return self


class Behaviour(_Options):
    """A provider's temper."""

    delay: Delays = Field(default=Delays(), description="Slowness by phase.")
    pause: tuple[Pause, ...] = Field(default=(), description="Waits now and then.")
    limits: Limits = Field(default=Limits(), description="What it tolerates.")
    greylist_seconds: float = Field(
        default=0, ge=0, description="A new pair of sender and recipient hears 451 for so long; 0 is off."
    )
    bursts: tuple[Bursts, ...] = Field(default=(), description="Periodic outages.")
    idle_seconds: float = Field(
        default=0, ge=0, description="A client that is silent for so long hears 421; 0 is endless patience."
    )
    read_bytes_per_second: int = Field(
        default=0, ge=0, description="How fast it reads; 0 is as fast as it can."
    )
    tls: TlsOptions = Field(default=TlsOptions(), description="TLS.")
    extensions: tuple[Extension, ...] = Field(default=ALL_EXTENSIONS, description="Extensions offered.")
    helo_only: bool = Field(default=False, description="EHLO is refused with 502, as by very old servers.")
    accept_any_domain: bool = Field(
        default=False, description="Take recipients of domains that are not its own."
    )


class ProviderOptions(_Options):
    """One simulated mailbox provider."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name in reports.")
    domains: tuple[DomainName, ...] = Field(default=(), description="Domains whose mail it takes.")
    domain_count: int = Field(
        default=0, ge=0, le=1_000_000, description="Further domains made from `domain_pattern`."
    )
    domain_pattern: str = Field(
        default="", description="Pattern of those, with `{n}` for the number: `d{n}.bulk.test`."
    )
    mx: tuple[Exchanger, ...] = Field(min_length=1, description="Its exchangers.")
    port: int = Field(
        default=0, ge=0, le=65535, description="TCP port of its exchangers; 0 is the world's `smtp_port`."
    )
    behaviour: Behaviour = Field(default=Behaviour(), description="Its temper.")
    rule: tuple[Rule, ...] = Field(default=(), description="Rules, the first that applies wins.")

    @model_validator(mode="after")
    def _has_domains(self) -> "ProviderOptions":
        if self.domain_count and self.domain_pattern.count("{n}") != 1:
            raise ValueError("domain_pattern needs {n} exactly once when domain_count is set")
        if not self.domains and not self.domain_count:
            raise ValueError("a provider needs domains, or domain_count and domain_pattern")
        return self

    def all_domains(self) -> list[str]:
        """The domains named and those made from the pattern."""
        made = (self.domain_pattern.replace("{n}", str(number)) for number in range(self.domain_count))
        return [*self.domains, *made]


class Record(_Options):
    """One DNS record of a zone."""

    name: str = Field(description="Owner name; `@` is the zone, a name without final dot is relative to it.")
    type: Literal["A", "AAAA", "MX", "CNAME", "TXT", "PTR", "NS"] = Field(description="Record type.")
    value: str = Field(
        description="Data as in a zone file: `10 mx1.example.test.` for MX, quoted text for TXT."
    )
    ttl: int = Field(default=300, ge=0, le=604800, description="Seconds that it may be cached.")


class Zone(_Options):
    """A DNS zone of its own, or how the server treats names under one that a provider made."""

    name: DomainName = Field(description="The zone; the longest match decides.")
    record: tuple[Record, ...] = Field(default=(), description="Its records.")
    answer: Literal["normal", "nxdomain", "servfail", "refused", "null-mx", "silent"] = Field(
        default="normal",
        description="Answer to every question under it; `null-mx` publishes `MX 0 .` (RFC 7505 §3).",
    )
    lie: Lie = Field(
        default="none",
        description="What is wrong with the datagram: another id, another question, octets that are no "
        "message, a message cut in its midst, or a hundred forged answers before the true one.",
    )
    delay_seconds: float = Field(default=0, ge=0, le=600, description="Before each answer.")
    truncate: bool = Field(
        default=False, description="UDP answers are empty with TC set, so that TCP is needed."
    )


class DnsOptions(_Options):
    """The DNS server."""

    address: Loopback = Field(default="127.0.0.1", description="Where it listens, UDP and TCP.")
    port: int = Field(default=0, ge=0, le=65535, description="Port; 0 takes a free one.")
    ttl_seconds: int = Field(default=300, ge=0, le=604800, description="TTL of records made for providers.")


class WorldOptions(_Options):
    """A whole practice internet."""

    smtp_port: int = Field(
        default=0, ge=0, le=65535, description="Port of all exchangers; 0 takes one free on all of them."
    )
    seed: int = Field(default=1, description="Seed of every chance in the world.")
    dns: DnsOptions = Field(default=DnsOptions(), description="The DNS server.")
    zone: tuple[Zone, ...] = Field(default=(), description="Zones beside those of the providers.")
    provider: tuple[ProviderOptions, ...] = Field(min_length=1, description="The providers.")

    @model_validator(mode="after")
    def _distinct(self) -> "WorldOptions":
        names: set[str] = set()
        owners: dict[str, str] = {}
        listeners: dict[tuple[str, int], str] = {}
        hosts: dict[str, str] = {}
        for provider in self.provider:
            if provider.name in names:
                raise ValueError(f"two providers are called {provider.name}")
            names.add(provider.name)
            for domain in provider.domains:
                if domain in owners:
                    raise ValueError(f"{domain} belongs to both {owners[domain]} and {provider.name}")
                owners[domain] = provider.name
            for exchanger in provider.mx:
                place = (exchanger.address, provider.port)
                if listeners.setdefault(place, provider.name) != provider.name:
                    raise ValueError(
                        f"{exchanger.address} is an exchanger of both {listeners[place]} and {provider.name}"
                    )
                if hosts.setdefault(exchanger.name, exchanger.address) != exchanger.address:
                    raise ValueError(f"{exchanger.name} has two addresses")
        return self


def is_ipv4(address: str) -> bool:
    """True for an IPv4 address, which gets an A record rather than AAAA."""
    return isinstance(ip_address(address), IPv4Address)


class LoadOptions(_Options):
    """What the load generator sends, where, and how fast."""

    host: str = Field(default="127.0.0.1", description="Server to hand messages to.")
    port: int = Field(default=2525, ge=1, le=65535, description="Its port.")
    via: Literal["smtp", "http"] = Field(default="smtp", description="Protocol.")
    http_form: Literal["json", "rfc822"] = Field(default="json", description="Body of HTTP requests.")
    api_key: str = Field(default="", description="Bearer key for HTTP.", repr=False)
    count: int = Field(default=0, ge=0, description="Messages to send; 0 is without end.")
    seconds: float = Field(default=0, ge=0, description="Stop after so long; 0 is without end.")
    rate: float = Field(default=0, ge=0, description="Messages a second; 0 is as fast as it goes.")
    size: int = Field(default=2048, ge=256, le=67_108_864, description="Octets of a message.")
    connections: int = Field(default=10, ge=1, le=10_000, description="Connections at once.")
    connection_messages: int = Field(
        default=0, ge=0, description="Messages on a connection before it is opened anew; 0 is no limit."
    )
    recipients: int = Field(default=1, ge=1, le=1000, description="Recipients of a message.")
    domains: tuple[tuple[DomainName, float], ...] = Field(
        default=(("plain.test", 1.0),), min_length=1, description="Recipients' domains with their weights."
    )
    users: int = Field(default=10_000, ge=1, description="Recipients are user0 to user<n-1> of each domain.")
    sender: str = Field(
        default="sender@practice.test", pattern=r"^[^@\s<>]+@[^@\s<>]+$", description="MAIL FROM."
    )
    run: str = Field(default="run", pattern=r"^[A-Za-z0-9.]+$", description="First part of every number.")
    seed: int = Field(default=1, description="Seed of the choice of recipients.")
    pipelined: bool = Field(default=True, description="Send MAIL, RCPT and DATA together where offered.")
    give_up_seconds: float = Field(
        default=30, ge=0, description="Fail when the server cannot be reached for so long; 0 is never."
    )
    reply_seconds: float = Field(
        default=300, gt=0, description="Longest wait for a reply; RFC 5321 §4.5.3.2."
    )
