"""`msys.http.client` and what `curl` is made of: requests to HTTP servers.

In: method, URL, fields, content. Out: status, fields, content; a failure is a value, as it is in Momentum.

Theory: each request has a connection of its own; proxies and cookies there are none. Certificates are always
checked.

Standards: RFC 9110 §9 (methods), RFC 9110 §15.4 (redirects), RFC 3986 §3 (URLs).
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from outrider.base.errors import OutriderError, RemoteProtocolError
from outrider.net.http_client import HttpAnswer, connect_http
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import (
    Host,
    guarded,
    install,
    lua_text,
    needs,
    number_of,
    octets_of,
    text_of,
)
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
REDIRECTS_MAX: Final = 10
"""Chosen: honest chains have one or two."""
SECONDS_MAX: Final = 300.0
"""As the longest wait of a hook."""
_CHANGES_METHOD: Final = frozenset({301, 302, 303})
_REDIRECTS: Final = frozenset({*_CHANGES_METHOD, 307, 308})
_FIELDS_MAX: Final = 100
# chosen


async def ask(
    host: Host,
    method: str,
    url: str,
    fields: Sequence[tuple[str, str]],
    body: bytes,
    *,
    seconds: float,
    redirects: int = 0,
) -> HttpAnswer:
    """The answer to a request.

    Raises:
        OutriderError: There is none.
    """
    try:
        async with asyncio.timeout(seconds):
            for _ in range(redirects + 1):
                answer = await _ask_once(host, method, url, fields, body)
                target = dict(answer.fields).get("location", "")
                if not redirects or answer.status not in _REDIRECTS or not target:
                    return answer
                fields = _for_another(fields, url, urljoin(url, target))
                url = urljoin(url, target)
                if answer.status in _CHANGES_METHOD and method not in {"GET", "HEAD"}:
                    method, body = "GET", b""
    except TimeoutError:
        raise RemoteProtocolError(f"no answer within {seconds:g} s") from None
    raise RemoteProtocolError(f"more than {redirects} redirects")


def _for_another(fields: Sequence[tuple[str, str]], old: str, new: str) -> Sequence[tuple[str, str]]:
    """Credentials stay with the server that they are for."""
    if urlsplit(old)[:2] == urlsplit(new)[:2]:
        return fields
    return [(name, value) for name, value in fields if name.lower() not in {"authorization", "cookie"}]


async def _ask_once(
    host: Host, method: str, url: str, fields: Sequence[tuple[str, str]], body: bytes
) -> HttpAnswer:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RemoteProtocolError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RemoteProtocolError(f"{url!r} is no URL of http or https")
    tls = needs(host.client_tls, "TLS to other servers")() if parts.scheme == "https" else None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = quote(target, safe="/?#[]@!$&'()*+,;=:%~-._")
    if parts.username:
        pair = unquote_to_bytes(f"{parts.username}:{parts.password or ''}")
        fields = [*fields, ("Authorization", "Basic " + base64.b64encode(pair).decode())]
    connection = await connect_http(parts.hostname, port or (443 if tls else 80), tls)
    try:
        octets_max = host.limits.http_octets
        return await connection.ask(
            method, target, [*fields, ("Connection", "close")], body, octets_max=octets_max
        )
    finally:
        connection.drop()


def _lines_of(answer: HttpAnswer) -> list[str]:
    """Its fields, their names as they came."""
    return [f"{name}: {value}" for name, (_, value) in zip(answer.names, answer.fields, strict=True)]


def field_of(line: Any) -> tuple[str, str]:
    """`Name: value`. Raises ValueError."""
    name, colon, value = text_of(line, "a header line").partition(":")
    if not colon or not name.strip() or any(sign in name + value for sign in "\r\n\0"):
        raise ValueError("a header line is `Name: value`, without a line break")
    return name.strip(), value.strip()


def phrase(status: int) -> str:
    """What a status is called."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


class HttpClient:
    """An object of `msys.http.client.new()`."""

    __slots__ = ("_host", "answer", "fault", "fields", "seconds")

    def __init__(self, host: Host) -> None:
        self._host = host
        self.fields: list[tuple[str, str]] = []
        self.seconds = host.limits.http_seconds
        self.answer: HttpAnswer | None = None
        self.fault = "no request was made"

    def set_header(self, line: Any = None) -> None:
        if line is None:
            self.fields.clear()
        elif len(self.fields) >= _FIELDS_MAX:
            raise ValueError(f"a request has at most {_FIELDS_MAX} header lines of its own")
        else:
            self.fields.append(field_of(line))

    def set_timeout(self, seconds: Any = None) -> None:
        if seconds is None:
            self.seconds = self._host.limits.http_seconds
            return
        wanted = float(number_of(seconds, "a time-out"))
        if not 0 < wanted <= SECONDS_MAX:
            raise ValueError(f"a time-out is more than 0 and at most {SECONDS_MAX:g} seconds")
        self.seconds = wanted

    async def do_request(self, method: Any, url: Any, data: Any = None) -> Any:
        """True, or `false, message` when there was no answer."""
        name = text_of(method, "a method").upper()
        if name not in METHODS:
            raise ValueError(f"there is no method {name!r}; there are {', '.join(sorted(METHODS))}")
        body = b"" if data is None else octets_of(data, "data")
        self.answer = None
        try:
            self.answer = await ask(
                self._host, name, text_of(url, "a URL"), self.fields, body, seconds=self.seconds
            )
        except OutriderError as error:
            self.fault = error.message
            return False, error.message
        return True

    def get_status(self) -> Any:
        if self.answer is None:
            return 0, self.fault
        return self.answer.status, phrase(self.answer.status)

    def get_body(self) -> bytes | None:
        return None if self.answer is None else self.answer.body

    def get_headers(self) -> list[str]:
        return [] if self.answer is None else _lines_of(self.answer)

    def parse_headers(self, raw: Any) -> dict[str, str]:
        """Names, as they came and in lower case, to values; of several the last."""
        fields = [field_of(line) for line in (raw if isinstance(raw, list) else ())]
        return {name.lower(): value for name, value in fields} | dict(fields)


class Curl:
    """What `curl.lua` calls."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def request(self, options: Any) -> Any:
        """`status, {header lines}, body`, or `nil, message`."""
        chosen = {text_of(name, "an option"): value for name, value in options.items()}
        seconds = float(number_of(chosen.get("seconds") or self._host.limits.http_seconds, "TIMEOUT"))
        fields = [field_of(line) for line in chosen.get("headers") or ()]
        body = chosen.get("body")
        try:
            answer = await ask(
                self._host,
                text_of(chosen["method"], "a method"),
                text_of(chosen["url"], "a URL"),
                fields,
                b"" if body is None else octets_of(body, "a body"),
                seconds=min(seconds, SECONDS_MAX),
                redirects=min(int(chosen.get("redirects") or 0), REDIRECTS_MAX),
            )
        except OutriderError as error:
            return None, error.message
        lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}"]
        lines += _lines_of(answer)
        return answer.status, lines, answer.body


def escape(text: Any) -> str:
    """A text for a part of a URL (RFC 3986 §2.1)."""
    return quote(octets_of(text, "a text"), safe="-._~")


def unescape(text: Any) -> bytes:
    """The text of a part of a URL."""
    return unquote_to_bytes(octets_of(text, "a text"))


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.http.client` and `curl`."""
    install(registry, host, rows, "msys.http.client", {"new": lambda: HttpClient(host)})
    methods = (
        "set_header",
        "set_timeout",
        "do_request",
        "get_status",
        "get_body",
        "get_headers",
        "parse_headers",
    )
    registry.register_class(
        HttpClient,
        ObjectClass(
            "msys.http.client",
            {name: guarded(host, rows[f"client:{name}"], getattr(HttpClient, name)) for name in methods},
        ),
    )
    registry.register("outrider.curl", {"request": Curl(host).request})
    install(registry, host, rows, "curl", {"escape": escape, "unescape": unescape}, as_module="outrider.curl")
    registry.register_source("curl", lua_text("curl"))
