"""Options of names, routes and TLS towards peers.

What comes in is the operator's TOML; what goes out is validated once and frozen. The shape of a host
(`name:port`, `[2001:db8::1]:587`) is checked here, so that a spelling mistake is found before the start.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from outrider.model.domain_patterns import parse_domain_pattern

PORT_MAX = 65_535
# 16 bits, RFC 9293 §3.1.

DNS_PORT = 53
# RFC 1035 §4.2.1.


UNIX_PREFIX = "unix:"

UNIX_MAX = 5 + 107
# The prefix, and what a socket's address holds (Linux: unix(7)).


def split_host_port(text: str, default_port: int = 0) -> tuple[str, int]:
    """Host and port of `name`, `name:port`, `1.2.3.4:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.

    Raises:
        ValueError: Not of one of these forms; says what is wrong.
    """
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: write an IPv6 address with a port as [address]:port")
        port_text = rest[1:]
        if rest == ":":
            raise ValueError(f"{text!r}: the port is missing after the colon")
        ip_address(host)
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
        if not port_text:
            raise ValueError(f"{text!r}: the port is missing after the colon")
    elif ":" in text:
        ip_address(text)
    if not host or any(char.isspace() for char in host):
        raise ValueError(f"{text!r}: the host is missing or holds white space")
    if not port_text:
        return host.lower(), default_port
    if not port_text.isascii() or not port_text.isdigit() or not 0 < int(port_text) <= PORT_MAX:
        raise ValueError(f"{text!r}: the port must be a number from 1 to {PORT_MAX}")
    return host.lower(), int(port_text)


def _checked_host(text: str) -> str:
    if text.startswith(UNIX_PREFIX):
        if not text.startswith(f"{UNIX_PREFIX}/") or not text.isprintable() or len(text) > UNIX_MAX:
            raise ValueError(f"{text!r}: write unix:/path, absolute and of at most {UNIX_MAX - 5} characters")
        return text
    split_host_port(text)
    return text


def _checked_address(text: str) -> str:
    host, _ = split_host_port(text)
    ip_address(host)
    return text


def _checked_bare_address(text: str) -> str:
    return str(ip_address(text))


HostPort = Annotated[str, AfterValidator(_checked_host)]
AddressPort = Annotated[str, AfterValidator(_checked_address)]
BareAddress = Annotated[str, AfterValidator(_checked_bare_address)]
DomainPattern = Annotated[str, AfterValidator(parse_domain_pattern)]


class RouteOptions(BaseModel):
    """One `[[routes]]` table: mail for these domains goes to these hosts, whatever DNS says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: DomainPattern = Field(
        description="Domain, `*.domain` for every domain below it, or `*`. The most specific route wins."
    )
    hosts: tuple[HostPort, ...] = Field(
        min_length=1,
        description="Hosts to try in this order, each `name`, `name:port`, `address:port`, `[v6]:port` or "
        "`unix:/path` (LMTP of a mail store on this machine). Names are looked up as hosts (no MX). Private "
        "addresses are allowed here, because you wrote them.",
    )
    name: Annotated[str, AfterValidator(str.lower)] = Field(
        default="", description="Name of the site in queues, limits and events; empty: the hosts' own names."
    )


class TlsOptions(BaseModel):
    """TLS towards receivers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_version: Literal["TLSv1.2", "TLSv1.3"] = Field(
        default="TLSv1.2",
        description="Oldest protocol version spoken with a receiver.",
        json_schema_extra={"source": "RFC 8996 §2 forbids TLS 1.0 and 1.1"},
    )
    ca_file: Path | None = Field(
        default=None,
        description="Trusted authorities (PEM) where TLS is required; none: those of the system.",
    )


class NetOptions(BaseModel):
    """Names, addresses and routes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nameservers: tuple[AddressPort, ...] = Field(
        default=(),
        description="Recursive resolvers as `address` or `address:port`; none: those of /etc/resolv.conf.",
    )
    query_timeout_seconds: float = Field(
        default=3.0,
        ge=0.05,
        le=30,
        description="How long one nameserver may take to answer one question.",
        json_schema_extra={"unit": "seconds", "source": "RFC 1123 §6.1.3.3 asks for 5 in all at least"},
    )
    query_rounds: int = Field(
        default=2,
        ge=1,
        le=5,
        description="How often the list of nameservers is gone through.",
        json_schema_extra={"source": "chosen, because one lost datagram must not defer mail"},
    )
    lookup_deadline_seconds: float = Field(
        default=15.0,
        ge=0.1,
        le=120,
        description="Time for one question in all, over nameservers, TCP and CNAMEs.",
        json_schema_extra={"unit": "seconds", "source": "chosen, because mail waits in a queue meanwhile"},
    )
    concurrent_queries: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="Questions on the wire at once; further ones wait.",
        json_schema_extra={"source": "chosen: each costs one socket; a quarter of the usual limit of 1,024"},
    )
    cache_entries: int = Field(
        default=100_000,
        ge=100,
        le=10_000_000,
        description="Answers kept; the least recently used go first.",
        json_schema_extra={"source": "chosen: 50,000 domains at two questions each, some 50 MiB when full"},
    )
    ttl_min_seconds: float = Field(
        default=60.0,
        ge=0,
        le=3_600,
        description="Answers are kept at least this long, whatever their TTL.",
        json_schema_extra={"unit": "seconds", "source": "chosen, because TTL 0 would cost a query a message"},
    )
    ttl_max_seconds: float = Field(
        default=86_400.0,
        ge=1,
        le=604_800,
        description="Answers are kept at most this long, whatever their TTL.",
        json_schema_extra={"unit": "seconds", "source": "RFC 8767 §4 caps at days; one is chosen"},
    )
    negative_ttl_max_seconds: float = Field(
        default=3_600.0,
        ge=0,
        le=86_400,
        description="`No such name` and `no such record` are kept at most this long.",
        json_schema_extra={"unit": "seconds", "source": "RFC 2308 §5: one to three hours work well"},
    )
    failure_ttl_seconds: float = Field(
        default=30.0,
        ge=0,
        le=300,
        description="A failed look-up is not repeated for this long.",
        json_schema_extra={"unit": "seconds", "source": "RFC 2308 §7.1: at most five minutes"},
    )
    serve_stale_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=604_800,
        description="An expired answer is used this long while the nameservers do not answer; 0 switches "
        "it off.",
        json_schema_extra={"unit": "seconds", "source": "RFC 8767 §5: one to three days"},
    )
    ip_families: tuple[Literal["ipv4", "ipv6"], ...] = Field(
        default=("ipv4", "ipv6"),
        min_length=1,
        max_length=2,
        description="Address families to use, in the order to try.",
        json_schema_extra={"source": "chosen, because receivers ask more of IPv6 senders"},
    )
    max_exchangers: int = Field(
        default=20,
        ge=1,
        le=100,
        description="Exchangers of one domain that are looked at, best preference first.",
        json_schema_extra={"source": "chosen, because large providers list fewer than 10"},
    )
    max_addresses: int = Field(
        default=16,
        ge=1,
        le=64,
        description="Addresses of one exchanger that are used, per family.",
        json_schema_extra={"source": "chosen, because an attempt tries a handful at most"},
    )
    allow_private_targets: bool = Field(
        default=False,
        description="Let MX records and address literals lead to loopback, private, link-local and other "
        "addresses that are not global.",
    )
    allowed_target_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="Networks that MX records and address literals may lead to although not global.",
    )
    own_addresses: tuple[BareAddress, ...] = Field(
        default=(),
        description="Public addresses behind which our own listeners are reached (NAT, load balancer).",
    )
    routes: tuple[RouteOptions, ...] = Field(default=(), description="Routes and smart hosts.")
    tls: TlsOptions = Field(default=TlsOptions(), description="TLS towards receivers.")

    def resolved(self, base: Path) -> "NetOptions":
        """The same with its file made absolute below `base`."""
        if self.tls.ca_file is None:
            return self
        return self.model_copy(
            update={"tls": self.tls.model_copy(update={"ca_file": base / self.tls.ca_file})}
        )
