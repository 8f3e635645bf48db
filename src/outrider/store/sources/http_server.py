"""An HTTP server that answers in JSON.

In: requests as `http_template` reads them. Out: rows. 404, 410 and 204 are no rows. Another answer below
500 refuses the query (a redirect too: it would lead to another place than the one that was configured), 429
and those from 500 on mean that the server is down.

Standards: RFC 9110 §15 (status codes), RFC 7617 §2 (Basic), RFC 6750 §2.1 (Bearer).
"""

from base64 import b64encode
from typing import Final

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError, ProtocolError, UnavailableError
from outrider.net.http_client import HttpAnswer, HttpConnection, connect_http
from outrider.store.sources.backend import COMPILED_MAX
from outrider.store.sources.failures import SourceDownError, SourceQueryError, before_asking
from outrider.store.sources.http_template import (
    Request,
    body_of,
    compile_request,
    rows_of_answer,
    target_of,
)
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.placeholders import arguments
from outrider.store.sources.pool import Pool
from outrider.store.sources.rows import Parameters, Rows
from outrider.store.sources.verified import verified_context

_NO_ROWS: Final = frozenset({204, 404, 410})
_TOO_MANY: Final = 429
# RFC 6585 §4
_FIRST_SERVER_ERROR: Final = 500
# RFC 9110 §15.6


class HttpConnector:
    """Makes connections."""

    def __init__(self, options: DataSourceOptions) -> None:
        self._address = options.address
        self._tls = verified_context(options)

    async def connect(self) -> HttpConnection:
        try:
            return await connect_http(self._address.host, self._address.port, self._tls)
        except UnavailableError as error:
            raise SourceDownError(error.message) from error

    def is_usable(self, connection: HttpConnection) -> bool:
        return connection.is_usable

    def drop(self, connection: HttpConnection) -> None:
        connection.drop()

    async def close(self, connection: HttpConnection) -> None:
        await connection.close()


class HttpBackend:
    """An HTTP server.

    Args:
        options: Of the source.
        secret: Its password, or a bearer token.
        clock: Time.

    Raises:
        ConfigError: The secret cannot stand in a header field.
    """

    def __init__(self, options: DataSourceOptions, secret: str, clock: Clock) -> None:
        self._prefix = options.address.path
        self._octets_max = options.octets_max
        self._rows_max = options.rows_max
        self._fields = [("Accept", "application/json"), ("User-Agent", "outrider"), *_access(options, secret)]
        self._pool = Pool(HttpConnector(options), options.pool, options.connect_seconds, clock)
        self._compiled: dict[tuple[str, bool], Request] = {}

    @property
    def connections(self) -> int:
        return self._pool.open

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        with before_asking():
            request = self._compile(query, by_name=not isinstance(parameters, tuple))
            values = arguments(request.order, request.needed, parameters)
            target, body = self._prefix + target_of(request, values), body_of(request, values)
        answer = await self._send(request.method, target, body)
        if answer.status in _NO_ROWS:
            return ()
        if answer.status == _TOO_MANY or answer.status >= _FIRST_SERVER_ERROR:
            raise SourceDownError(f"the server answers {answer.status}")
        if answer.status != 200:
            raise SourceQueryError(f"the server answers {answer.status}")
        rows = rows_of_answer(answer.body, request.pointer)
        if len(rows) > self._rows_max:
            raise SourceQueryError(f"the answer has more than {self._rows_max} rows (rows_max)")
        return rows

    async def execute(self, query: str, parameters: Parameters) -> int:  # noqa: ARG002 - same shape as Backend
        with before_asking():
            raise SourceQueryError("an HTTP source is only read")

    def placeholders(self, query: str) -> int:
        return self._compile(query, by_name=False).needed

    async def probe(self) -> None:
        async def work(_connection: HttpConnection) -> None: ...

        await self._pool.run(work, may_repeat=True)

    async def close(self) -> None:
        await self._pool.close()

    def _compile(self, query: str, *, by_name: bool) -> Request:
        found = self._compiled.get((query, by_name))
        if found is None:
            found = compile_request(query, by_name=by_name)
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            self._compiled[query, by_name] = found
        return found

    async def _send(self, method: str, target: str, body: bytes) -> HttpAnswer:
        fields = [*self._fields, ("Content-Type", "application/json")] if body else self._fields

        async def work(connection: HttpConnection) -> HttpAnswer:
            try:
                return await connection.ask(method, target, fields, body, octets_max=self._octets_max)
            except UnavailableError as error:
                raise SourceDownError(error.message) from error
            except ProtocolError as error:  # the connection may hold the rest of it
                raise SourceDownError(error.message) from error

        return await self._pool.run(work, may_repeat=method == "GET")


def _access(options: DataSourceOptions, secret: str) -> list[tuple[str, str]]:
    if not secret:
        return []
    if options.address.user:
        pair = b64encode(f"{options.address.user}:{secret}".encode()).decode()
        return [("Authorization", f"Basic {pair}")]
    if not secret.isascii() or not secret.isprintable():
        raise ConfigError(f"data_source.{options.name}: the token holds signs that no header field may have")
    return [("Authorization", f"Bearer {secret}")]


def open_http(options: DataSourceOptions, secret: str, clock: Clock) -> HttpBackend:
    """The backend of an HTTP server."""
    return HttpBackend(options, secret, clock)
