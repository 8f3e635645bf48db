"""Finds a host that answers: connect, greeting, EHLO, TLS, AUTH, one host after the other.

Hosts and options in; a connection that is ready, or the outcome of the most telling failure, out.

Theory: any failure before the session is ready moves on to the next host (RFC 5321 §5.1), also a refusal by
reply: another exchanger may know better. What is reported when all failed is the failure that came
furthest, a transient one before a permanent one, because mail is kept where there is doubt.

Invariant: what was opened here and is not returned is closed, also when the attempt is cancelled.

Standards: RFC 5321 §5.1 (several hosts), RFC 3207 §4 (STARTTLS), RFC 7435 §3 (opportunistic security),
RFC 8314 §3.3 (implicit TLS).
Not here: how a proxy is told where to connect (`through`).
"""

import asyncio
import errno
import ssl
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import Log
from outrider.deliver.identity_options import parse_proxy
from outrider.deliver.options import DeliveryOptions
from outrider.deliver.ports import TlsContexts
from outrider.deliver.smtp import failures
from outrider.deliver.smtp.connection import Connection
from outrider.deliver.smtp.hosts import HostMemory
from outrider.deliver.smtp.limit import TimeLimit
from outrider.deliver.smtp.through import ProxyError, Through
from outrider.model.flow import Host, Outcome, Path, Phase
from outrider.model.reply import Reply
from outrider.net.options import UNIX_PREFIX
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import Answer, Credentials, Ready, TlsPolicy, TlsWanted
from outrider.wire.smtp.client_replies import ReplyMemo


class Wanted(Protocol):
    """What a connection is for: a slot, or a look at how a host answers."""

    @property
    def path(self) -> Path: ...

    @property
    def options(self) -> DeliveryOptions: ...

    @property
    def hosts(self) -> Sequence[Host]: ...


class _HostFailed(Exception):  # noqa: N818 - not an error: the next host is tried
    """One host did not come to a session."""

    def __init__(
        self,
        answer: Answer,
        connection: Connection | None = None,
        *,
        in_tls: bool = False,
        blames_host: bool = True,
        ends_attempt: bool = False,
    ) -> None:
        super().__init__(answer.reply.text)
        self.answer = answer
        self.connection = connection
        self.in_tls = in_tls
        self.blames_host = blames_host
        self.ends_attempt = ends_attempt  # the next host would fail alike


def _ours(phase: Phase, reply: Reply) -> Answer:
    return Answer(reply, phase, ours=True)


def _tls_name(host: Host) -> str:
    """Whose certificate is wanted: of an address literal that of the address, which SNI never names."""
    if not host.name or host.name[0] == "[":
        return host.address
    return host.name.rstrip(".")


class Connector:
    """See the module.

    Args:
        hostname: Our name in EHLO where the options name none.
        memory: Of failed hosts.
        tls: Makes contexts.
        clock: For deadlines.
        log: For connections that fail.
        register: All open connections.
    """

    __slots__ = ("_clock", "_hostname", "_log", "_memo", "_memory", "_register", "tls")

    def __init__(
        self,
        *,
        hostname: str,
        memory: HostMemory,
        tls: TlsContexts,
        clock: Clock,
        log: Log,
        register: set[Connection],
    ) -> None:
        self._hostname = hostname
        self._memory = memory
        self.tls = tls
        self._clock = clock
        self._log = log
        self._register = register
        self._memo = ReplyMemo()

    async def connect(self, slot: Wanted) -> Connection | Outcome:
        """A connection for `slot` that is ready for transactions, or why there is none."""
        options = slot.options
        started_at = self._clock.now()
        worst = Outcome(failures.NO_HOST, Phase.CONNECT, ours=True)
        telling = (-1, False)
        try:
            credentials = self._credentials(options)
        except OSError as error:
            self._log.error("deliver.password_unreadable", file=options.password_file, error=str(error))
            return Outcome(failures.PASSWORD_UNREADABLE, Phase.AUTH, ours=True)
        for host in self._memory.order(slot.hosts)[: options.max_hosts_per_attempt]:
            try:
                connection = await self._try(host, options, credentials)
            except _HostFailed as failed:
                answer = failed.answer
                if failed.blames_host:
                    self._memory.failed(host)
                self._log.debug(
                    "deliver.host_failed", path=str(slot.path), host=host.name, reply=str(answer.reply)
                )
                rank = (answer.phase, answer.reply.is_transient)
                if rank >= telling:
                    telling = rank
                    source = failed.connection.source if failed.connection else ""
                    tls = failed.connection.tls if failed.connection else None
                    worst = Outcome(
                        answer.reply,
                        answer.phase,
                        answer.ours,
                        host.name,
                        failures.format_peer(host),
                        source,
                        tls,
                        self._clock.now() - started_at,
                    )
                if failed.ends_attempt:
                    break
            else:
                self._memory.succeeded(host)
                return connection
        return worst

    @staticmethod
    def _credentials(options: DeliveryOptions) -> Credentials | None:
        return Credentials(options.auth_user, options.read_password()) if options.auth_user else None

    async def _try(self, host: Host, options: DeliveryOptions, credentials: Credentials | None) -> Connection:
        try:
            policy: TlsPolicy = "required" if options.tls == "implicit" else options.tls
            return await self._session(host, options, credentials, policy)
        except _HostFailed as failed:
            if not failed.in_tls or options.tls != "opportunistic":
                raise
            self._log.info("deliver.tls_failed", host=host.name, reply=str(failed.answer.reply))
        return await self._session(host, options, credentials, "off", tls_failed=True)

    async def _session(
        self,
        host: Host,
        options: DeliveryOptions,
        credentials: Credentials | None,
        tls: TlsPolicy,
        *,
        tls_failed: bool = False,
    ) -> Connection:
        is_unix = host.address.startswith(UNIX_PREFIX)
        client = SmtpClient(
            ehlo_name=options.ehlo_name or self._hostname,
            tls=tls,
            credentials=credentials,
            secured=is_unix or options.tls == "implicit",
            tls_failed=tls_failed,
            lmtp=options.protocol == "lmtp",
            pipelining=options.pipelining,
            chunking=options.chunking,
            overlap=options.overlap,
            memo=self._memo,
        )
        connection = Connection(
            host, client, options=options, clock=self._clock, log=self._log, register=self._register
        )
        await self._open(connection, options)
        ready = False
        try:
            while True:
                step = await connection.next_step()
                if isinstance(step, Ready):
                    ready = True
                    return connection
                if isinstance(step, TlsWanted):
                    await self._handshake(connection, options, tls)
                    continue
                # RFC 5321 §3.1: QUIT was said where it makes sense; the host has the time to close first, so
                # that the slot is counted until its end
                await connection.closed()
                raise _HostFailed(Answer(step.reply, step.phase, step.ours), connection)
        finally:
            if not ready:
                connection.discard()

    async def _open(self, connection: Connection, options: DeliveryOptions) -> None:
        host = connection.host
        try:
            with TimeLimit(options.connect_seconds) as limit:
                await self._connect(connection, options)
        except (ssl.SSLError, OutriderError) as error:
            raise _HostFailed(_ours(Phase.STARTTLS, failures.tls_failed(host, error))) from error
        except OSError as error:
            if limit.is_over:
                reply = failures.connect_timed_out(host, options.connect_seconds)
            elif error.errno == errno.EADDRNOTAVAIL:
                raise self._not_ours(host, options) from error
            else:
                reply = failures.not_connected(host, error)
            raise _HostFailed(_ours(Phase.CONNECT, reply)) from error
        except ProxyError as error:
            self._log.info("deliver.proxy_failed", host=host.name, proxy=options.proxy, why=error.why)
            reply = failures.proxy_failed(host, error.why)
            raise _HostFailed(
                _ours(Phase.CONNECT, reply),
                blames_host=error.blames_host,
                ends_attempt=error.ends_attempt,
            ) from error

    @staticmethod
    def _not_ours(host: Host, options: DeliveryOptions) -> _HostFailed:
        source = options.source_for(host.address) or "what the system chose"
        return _HostFailed(_ours(Phase.CONNECT, failures.not_ours(host, source)), blames_host=False)

    async def _connect(self, connection: Connection, options: DeliveryOptions) -> None:
        host = connection.host
        loop = asyncio.get_running_loop()
        if host.address.startswith(UNIX_PREFIX):
            path = host.address.removeprefix(UNIX_PREFIX)
            await loop.create_unix_connection(lambda: connection, path)
            return
        try:
            source = options.source_for(host.address)
        except LookupError as error:
            raise _HostFailed(_ours(Phase.CONNECT, failures.not_usable(host, str(error)))) from error
        tls: dict[str, Any] = {}
        if options.tls == "implicit":
            tls["ssl"] = self.tls.client("required")
            tls["server_hostname"] = _tls_name(host)
            tls["ssl_handshake_timeout"] = options.starttls_seconds
        if options.proxy:
            await self._connect_through(connection, options, source, tls)
            return
        await loop.create_connection(
            lambda: connection,
            host.address,
            host.port,
            local_addr=(source, 0) if source is not None else None,
            **tls,
        )

    async def _connect_through(
        self, connection: Connection, options: DeliveryOptions, source: str | None, tls: dict[str, Any]
    ) -> None:
        """As `_connect`, by way of the proxy that the options name."""
        try:
            password = options.read_proxy_password() if options.proxy_user else ""
        except OSError as error:
            self._log.error("deliver.password_unreadable", file=options.proxy_password_file, error=str(error))
            answer = _ours(Phase.CONNECT, failures.PROXY_PASSWORD_UNREADABLE)
            raise _HostFailed(answer, blames_host=False, ends_attempt=True) from error
        credentials = (options.proxy_user, password) if options.proxy_user else None
        through = Through(parse_proxy(options.proxy), credentials)
        sock, sent_from = await through.connect(connection.host, source)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock, **tls)
        except BaseException:
            sock.close()
            raise
        connection.source = sent_from

    async def _handshake(self, connection: Connection, options: DeliveryOptions, tls: TlsPolicy) -> None:
        host = connection.host
        transport = connection.transport
        mode: Literal["opportunistic", "required"] = "required" if tls == "required" else "opportunistic"
        connection.handshaking = True
        secured: asyncio.Transport | None = None
        error: Exception | None = None
        try:
            if transport is not None:
                secured = await asyncio.get_running_loop().start_tls(
                    transport,
                    connection,
                    self.tls.client(mode),
                    server_hostname=_tls_name(host),
                    ssl_handshake_timeout=options.starttls_seconds,
                )
        except (OSError, ValueError, RuntimeError, TypeError, OutriderError) as failed:
            # besides OSError (of which TLS errors are a kind), the loops raise others when the peer closes
            # just before the handshake
            error = failed
        if secured is None:
            reply = failures.tls_failed(host, error or ConnectionResetError("the host closed the connection"))
            raise _HostFailed(_ours(Phase.STARTTLS, reply), connection, in_tls=True) from error
        connection.secured(secured)
