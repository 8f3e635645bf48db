"""Redis by redis-py, of which only the connection is used: the pool and the deadlines are ours.

In: commands as `redis_command` reads them. Out: rows. RESP 2 is spoken, which every Redis speaks.
"""

from collections.abc import Sequence
from typing import Any

import redis.exceptions as replies
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from outrider.base.clock import Clock
from outrider.store.sources.backend import COMPILED_MAX
from outrider.store.sources.failures import SourceDownError, SourceQueryError, before_asking
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.placeholders import arguments
from outrider.store.sources.pool import Pool
from outrider.store.sources.redis_command import Command, compile_command, rows_of_reply, words_of
from outrider.store.sources.rows import Parameters, Rows
from outrider.store.sources.verified import verified_context

_LOST = (replies.ConnectionError, replies.TimeoutError, OSError)
_DENIED = (replies.AuthenticationError, replies.AuthorizationError)
_DOWN_WORDS = frozenset(
    {
        *("MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "OOM", "NOAUTH"),
        *("READONLY", "NOREPLICAS", "MISCONF"),
    }
)
# First words of error replies that speak of the server's state. One that became a replica (READONLY) keeps
# its connections; the next one may go to the master that has its address now.


class RedisConnector:
    """Makes connections."""

    def __init__(self, options: DataSourceOptions, secret: str) -> None:
        self._options = options
        self._secret = secret
        self._tls = verified_context(options)

    async def connect(self) -> AbstractConnection:
        connection = self._make()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except replies.RedisError as error:
            reason = "it refuses user or password" if isinstance(error, _DENIED) else str(error)
            raise SourceDownError(f"no connection to Redis: {reason}") from error
        except OSError as error:
            raise SourceDownError(f"no connection to Redis: {error.strerror or error}") from error
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def _make(self) -> AbstractConnection:
        address, options = self._options.address, self._options
        usual: dict[str, Any] = {
            "db": int(address.path or "0"),
            "username": address.user or None,
            "password": self._secret or None,
            "socket_timeout": None,  # the source's deadline holds for all of it
            "socket_connect_timeout": options.connect_seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,
        }
        if address.socket:
            return UnixDomainSocketConnection(path=address.socket, **usual)
        if self._tls is None:
            return Connection(host=address.host, port=address.port, **usual)
        connection = SSLConnection(host=address.host, port=address.port, **usual)
        connection.ssl_context.context = self._tls
        return connection

    def is_usable(self, connection: AbstractConnection) -> bool:
        reader = connection._reader
        return connection.is_connected and reader is not None and not reader.at_eof()

    def drop(self, connection: AbstractConnection) -> None:
        writer = connection._writer
        if writer is not None:
            writer.transport.abort()
        connection._close()  # type: ignore[no-untyped-call] # its own disconnect would wait

    async def close(self, connection: AbstractConnection) -> None:
        await connection.disconnect()


class RedisBackend:
    """A Redis server.

    Args:
        options: Of the source.
        secret: Its password.
        clock: Time.
    """

    def __init__(self, options: DataSourceOptions, secret: str, clock: Clock) -> None:
        self._writable = options.writable
        self._rows_max = options.rows_max
        self._pool = Pool(RedisConnector(options, secret), options.pool, options.connect_seconds, clock)
        self._compiled: dict[tuple[str, bool], Command] = {}

    @property
    def connections(self) -> int:
        return self._pool.open

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        command, words, reply = await self._ask(query, parameters, may_repeat=not self._writable)
        rows = rows_of_reply(command.name, words, reply)
        if len(rows) > self._rows_max:
            raise SourceQueryError(f"the command gives more than {self._rows_max} rows (rows_max)")
        return rows

    async def execute(self, query: str, parameters: Parameters) -> int:
        if not self._writable:
            with before_asking():
                raise SourceQueryError("the source is read only; set writable for it")
        _, _, reply = await self._ask(query, parameters, may_repeat=False)
        return reply if isinstance(reply, int) else int(reply is not None)

    def placeholders(self, query: str) -> int:
        return self._compile(query, by_name=False).needed

    async def probe(self) -> None:
        await self._ask("PING", (), may_repeat=True)

    async def close(self) -> None:
        await self._pool.close()

    def _compile(self, query: str, *, by_name: bool) -> Command:
        found = self._compiled.get((query, by_name))
        if found is None:
            found = compile_command(query, by_name=by_name, writable=self._writable)
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            self._compiled[query, by_name] = found
        return found

    async def _ask(
        self, query: str, parameters: Parameters, *, may_repeat: bool
    ) -> tuple[Command, Sequence[bytes], Any]:
        with before_asking():
            command = self._compile(query, by_name=not isinstance(parameters, tuple))
            words = words_of(command, arguments(command.order, command.needed, parameters))

        async def work(connection: AbstractConnection) -> Any:
            try:
                await connection.send_command(*words)
                return await connection.read_response(disable_decoding=True)
            except replies.ResponseError as error:
                word = _code(error)
                if word in _DOWN_WORDS:
                    raise SourceDownError(f"Redis: {word}") from error
                raise SourceQueryError(f"Redis refuses {command.name}: {word}") from error
            except replies.BusyLoadingError as error:
                raise SourceDownError("Redis is still loading its data") from error
            except _LOST as error:
                raise SourceDownError(f"the connection to Redis was lost: {type(error).__name__}") from error
            except replies.RedisError as error:
                raise SourceDownError(f"Redis: {type(error).__name__}") from error

        return command, words, await self._pool.run(work, may_repeat=may_repeat)


def _code(error: replies.ResponseError) -> str:
    """The code of an error reply: what follows may repeat the arguments.

    Where redis-py knows the code, it stands apart and no longer in the text.
    """
    word = error.status_code or str(error).partition(" ")[0]
    return word[:32] if word.isalpha() and word.isupper() else "ERR"


def open_redis(options: DataSourceOptions, secret: str, clock: Clock) -> RedisBackend:
    """The backend of a Redis server."""
    return RedisBackend(options, secret, clock)
