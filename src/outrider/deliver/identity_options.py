"""Who we are towards receivers: addresses, name, and the proxy behind which an address lives.

A binding (`binding_options`) says it for its mail, and so may the options of any scope (`options`).

Standards: RFC 5321 §4.1.1.1 (EHLO), RFC 1928 §3 (SOCKS), RFC 1929 §2 (its passwords).
"""

from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Self
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PROXY_KINDS = ("socks5", "haproxy")


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that connects for us.

    Attributes:
        kind: `socks5` or `haproxy`.
        host: Address or name.
        port: Port.
    """

    kind: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """`socks5://host:port` or `haproxy://host:port`; an IPv6 address stands in brackets.

    Raises:
        ValueError: It is neither.
    """
    wanted = "write socks5://host:port or haproxy://host:port"
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} has no valid port; {wanted}") from error
    if parts.scheme not in PROXY_KINDS or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{text!r} is no proxy; {wanted}")
    if not parts.hostname or not port:
        raise ValueError(f"{text!r} lacks host or port; {wanted}")
    return Proxy(parts.scheme, parts.hostname, port)


class IdentityOptions(BaseModel):
    """See the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_addresses: tuple[str, ...] = Field(
        default=(),
        description="Our addresses for connections, at most one IPv4 and one IPv6; where set, only hosts of "
        "their families are tried. Empty leaves it to the system.",
        max_length=2,
    )
    ehlo_name: str = Field(
        default="",
        description="What we call ourselves in EHLO; empty is the server's host name.",
        pattern=r"^[!-~]*$",
        max_length=255,
        json_schema_extra={"source": "RFC 5321 §4.1.1.1"},
    )
    proxy: str = Field(
        default="",
        description="Proxy that makes the connections, so that an address may live on another host: "
        "`socks5://host:port`, which sends from its own address, or `haproxy://host:port`, which is told "
        "the address of `source_addresses` by a PROXY header (version 2) and sends from that. Empty is none.",
        json_schema_extra={"source": "RFC 1928 §4, HAProxy's PROXY protocol"},
    )
    proxy_user: str = Field(
        default="",
        description="User for a SOCKS proxy; empty is no authentication.",
        max_length=255,
        json_schema_extra={"source": "RFC 1929 §2"},
    )
    proxy_password_file: str = Field(
        default="",
        description="File with the password of `proxy_user`, read at each connection without its line end.",
    )

    @field_validator("source_addresses")
    @classmethod
    def _one_each(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        versions = [ip_address(address).version for address in addresses]
        if len(set(versions)) != len(versions):
            raise ValueError("at most one IPv4 and one IPv6 address")
        return addresses

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, proxy: str) -> str:
        if proxy:
            parse_proxy(proxy)
        return proxy

    @model_validator(mode="after")
    def _proxy_whole(self) -> Self:
        kind = self.proxy.partition("://")[0]
        if bool(self.proxy_user) != bool(self.proxy_password_file):
            raise ValueError("proxy_user and proxy_password_file go together; set both or neither")
        if self.proxy_user and kind != "socks5":
            raise ValueError("proxy_user is for a SOCKS proxy; set proxy to socks5://host:port")
        if kind == "haproxy" and not self.source_addresses:
            raise ValueError("a haproxy:// proxy is told what to send from: set source_addresses")
        return self

    def resolved(self, base: FilePath) -> Self:
        """The same with its files made absolute below `base`."""
        files = {name: getattr(self, name, "") for name in ("password_file", "proxy_password_file")}
        return self.model_copy(update={name: str(base / file) for name, file in files.items() if file})
