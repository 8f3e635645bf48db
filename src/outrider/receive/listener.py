"""An SMTP listener: the factory of its sessions, their deadlines, and the end of them all.

The owner makes the socket, gives it to `serve` and runs `run()` as a task for as long as the listener lives:
it owns the tasks of AUTH, handshakes and PROXY headers and looks at the deadlines once a second.

Invariant: no session and no task outlives `run`.

Standards: RFC 5321 §4.5.4.2 (receiving), RFC 8314 §3.3 (implicit TLS).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.ids import IdSource
from outrider.base.log import Log
from outrider.model.ports import Authenticator, Intake, PolicyDoor
from outrider.receive.accepting import AcceptingServer
from outrider.receive.client_history import ClientHistory
from outrider.receive.clients import ClientCounts
from outrider.receive.handshakes import TlsServer
from outrider.receive.options import ListenerOptions, Role, StrayLineEndings, TlsMode
from outrider.receive.proxied import ProxiedServer
from outrider.receive.session import SmtpSession
from outrider.receive.session_context import SessionContext
from outrider.receive.stress import Load, Stress
from outrider.wire.smtp.content_limits import ContentLimits
from outrider.wire.smtp.server_limits import ServerLimits

SWEEP_SECONDS = 1.0
"""Chosen, because deadlines are minutes: one look a second over all sessions costs less than their timers."""


def server_limits(options: ListenerOptions, hostname: str) -> ServerLimits:
    """The machine's limits from the listener's options."""
    limits = options.limits
    return ServerLimits(
        hostname=hostname,
        content=ContentLimits(
            message_octets=limits.message_octets,
            line_octets=limits.line_octets,
            normalise=options.stray_line_endings is StrayLineEndings.NORMALISE,
        ),
        recipients=limits.recipients,
        errors=limits.errors,
        idle_commands=limits.idle_commands,
        starttls=options.tls is TlsMode.STARTTLS,
        auth=options.offer_auth
        and options.role is not Role.INBOUND
        and (options.tls is not TlsMode.NONE or options.auth_without_tls),
        auth_without_tls=options.auth_without_tls,
        banner=options.banner,
    )


class SmtpListener:
    """See the module.

    Args:
        options: What the configuration says.
        hostname: Our name in the greeting, EHLO and Received.
        intake: Takes the submissions.
        authenticator: Checks AUTH.
        ids: Makes message ids.
        clock: Time.
        log: Server log.
        tls: Server context; needed unless `options.tls` is `none`.
        clients: Counts connections by client; needed where several processes serve the listener.
        history: Knows what clients did lately; needed as `clients` is.
        shortage: What the process is nearly short of: `memory`, `disk` or nothing.
        notice: Hears when stress begins and ends: a name and facts for an event.
        scripts: What decides in sessions beside our own rules.

    Raises:
        ConfigError: TLS is asked for and there is no context.
    """

    def __init__(
        self,
        options: ListenerOptions,
        *,
        hostname: str,
        intake: Intake,
        authenticator: Authenticator,
        ids: IdSource,
        clock: Clock,
        log: Log,
        tls: ssl.SSLContext | None,
        clients: ClientCounts | None = None,
        history: ClientHistory | None = None,
        shortage: Callable[[], str] = str,
        notice: Callable[..., None] = lambda _name, **_facts: None,
        scripts: PolicyDoor | None = None,
    ) -> None:
        if options.tls is not TlsMode.NONE and tls is None:
            raise ConfigError(f"listener {options.name}: tls = {options.tls.value} needs a certificate")
        self.options = options
        self._clock = clock
        self._shortage = shortage
        self._notice = notice
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._context = SessionContext(
            options,
            hostname=hostname,
            intake=intake,
            authenticator=authenticator,
            ids=ids,
            clock=clock,
            log=log.bind(listener=options.name),
            tls=tls if options.tls is TlsMode.STARTTLS else None,
            server_limits=server_limits(options, hostname),
            spawn=self._spawn,
            clients=ClientCounts() if clients is None else clients,
            history=ClientHistory() if history is None else history,
            stress=Stress(options.stress),
            scripts=scripts,
        )
        self.implicit_tls = tls if options.tls is TlsMode.IMPLICIT else None

    def reconfigure(
        self,
        options: ListenerOptions,
        *,
        intake: Intake,
        tls: ssl.SSLContext | None,
        scripts: PolicyDoor | None = None,
    ) -> None:
        """Other options for the sessions that begin from now on; those that are open keep theirs.

        All of them count against the new limits. Where `implicit_tls` or PROXY is new, `serve` again.
        """
        old = self._context
        new = SessionContext(
            options,
            hostname=old.hostname,
            intake=intake,
            authenticator=old.authenticator,
            ids=old.ids,
            clock=old.clock,
            log=old.log,
            tls=tls if options.tls is TlsMode.STARTTLS else None,
            server_limits=server_limits(options, old.hostname),
            spawn=old.spawn,
            clients=old.clients,
            history=old.history,
            stress=old.stress,
            scripts=scripts,
        )
        new.sessions, new.emptied, new.draining = old.sessions, old.emptied, old.draining
        new.stress.reshape(options.stress)
        self.options = options
        self.implicit_tls = tls if options.tls is TlsMode.IMPLICIT else None
        self._context = new

    @property
    def sessions(self) -> int:
        """Connections that are open."""
        return len(self._context.sessions)

    def protocol(self) -> asyncio.Protocol:
        """A protocol for one connection whose peer is the client."""
        return SmtpSession(self._context)

    def proxied(self, client: str | None) -> asyncio.Protocol:
        """A protocol for one connection that a load balancer passes on; None is an unknown client."""
        session = SmtpSession(self._context)
        session.set_client(client)
        return session

    async def serve(self, listening: socket.socket, *, backlog: int) -> "asyncio.Server | AcceptingServer":
        """Take connections from a listening socket until the answer is closed; `run` must be running."""
        if self.options.proxy_protocol:
            return ProxiedServer(
                self.options,
                listening,
                protocol=self.proxied,
                spawn=self._spawn,
                tls=self.implicit_tls,
                log=self._context.log,
            )
        if self.implicit_tls is not None:
            return TlsServer(
                self.options,
                listening,
                protocol=self.protocol,
                spawn=self._spawn,
                tls=self.implicit_tls,
                log=self._context.log,
            )
        return await asyncio.get_running_loop().create_server(self.protocol, sock=listening, backlog=backlog)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> bool:
        if self._group is None:
            work.close()
            return False
        self._group.create_task(self._guarded(work))
        return True

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A failure in one session's task must not end the others' with it."""
        try:
            await work
        except Exception as error:
            self._context.log.error("receive.task_failed", error=type(error).__name__)

    async def run(self) -> None:
        """Own the listener's tasks and deadlines until `stop` or cancellation; then close every session."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while not self._stopping.is_set():
                    before = self._clock.now()
                    try:
                        async with asyncio.timeout(SWEEP_SECONDS):
                            await self._stopping.wait()
                    except TimeoutError:
                        self.look(self._clock.now() - before - SWEEP_SECONDS)
                        self.sweep()
        finally:
            self._group = None
            for session in tuple(self._context.sessions):
                session.abort()

    @property
    def is_stressed(self) -> bool:
        """Limits are tight."""
        return self._context.stress.is_on

    def look(self, lag_seconds: float) -> None:
        """Decide whether the listener is under stress, and tighten or loosen its sessions' limits."""
        context = self._context
        share = len(context.sessions) / self.options.limits.connections
        change = context.stress.look(self._clock.now(), Load(share, lag_seconds, self._shortage()))
        if change is None:
            return
        for session in context.sessions:
            session.tighten()
        name = "listener.stressed" if change.is_on else "listener.calm"
        facts = {
            "reason": change.reason,
            "sessions": len(context.sessions),
            "seconds": round(change.seconds, 1),
        }
        context.log.warning(name, **facts)
        self._notice(name, listener=self.options.name, **facts)

    def sweep(self) -> None:
        """End the sessions whose deadline has passed."""
        now = self._clock.now()
        for session in tuple(self._context.sessions):
            if session.deadline_at <= now:
                session.expire()

    async def drain(self, deadline_at: float) -> None:
        """Take nothing new, let open transactions end until `deadline_at` (monotonic), then `stop`."""
        context = self._context
        context.draining = True
        for session in tuple(context.sessions):
            session.drain()
        if context.sessions:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_at - self._clock.now()):
                    await context.emptied.wait()
        self.stop()

    def stop(self) -> None:
        """Close every session at once and let `run` return."""
        self._context.draining = True
        self._stopping.set()
        for session in tuple(self._context.sessions):
            session.abort()
