"""What all sessions of a listener share."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.ids import IdSource
from outrider.base.log import Log
from outrider.model.ports import Authenticator, Intake, PolicyDoor
from outrider.receive.access import Access
from outrider.receive.client_history import ClientHistory
from outrider.receive.clients import ClientCounts
from outrider.receive.inbound import InboundAddresses
from outrider.receive.options import ListenerOptions, Role
from outrider.receive.stress import Stress
from outrider.receive.submitter import Submitter
from outrider.receive.trace import Tracer
from outrider.receive.turn import Turn
from outrider.wire.smtp.server_limits import ServerLimits


class OpenSession(Protocol):
    """A session as its listener sees it."""

    @property
    def deadline_at(self) -> float:
        """When it is to be ended, in monotonic seconds."""
        ...

    def expire(self) -> None:
        """The deadline has passed."""
        ...

    def drain(self) -> None:
        """Close as soon as no transaction is open."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def tighten(self) -> None:
        """Stress began or ended."""
        ...


class SessionContext:
    """See the module."""

    __slots__ = (
        "access",
        "anyone",
        "authenticator",
        "clients",
        "clock",
        "draining",
        "emptied",
        "history",
        "hostname",
        "ids",
        "inbound",
        "intake",
        "log",
        "now",
        "options",
        "scripts",
        "server_limits",
        "sessions",
        "spawn",
        "stress",
        "strict_limits",
        "tls",
        "tracer",
        "turn",
    )

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
        server_limits: ServerLimits,
        spawn: Callable[[Coroutine[Any, Any, None]], bool],
        clients: ClientCounts,
        history: ClientHistory,
        stress: Stress,
        scripts: PolicyDoor | None = None,
    ) -> None:
        self.options = options
        self.hostname = hostname
        self.intake = intake
        self.scripts = scripts
        self.authenticator = authenticator
        self.ids = ids
        self.clock = clock
        self.now = clock.now
        self.log = log
        self.tls = tls
        self.server_limits = server_limits
        self.spawn = spawn
        self.access = Access(options)
        self.anyone = Submitter(None, options.stream, frozenset(options.streams))
        self.inbound = InboundAddresses(options.mailbox) if options.role is Role.INBOUND else None
        self.tracer = Tracer(
            hostname,
            clock,
            add_message_id=options.add_message_id and options.role is Role.SUBMISSION,
            add_date=options.add_date and options.role is Role.SUBMISSION,
        )
        self.turn = Turn()
        self.sessions: set[OpenSession] = set()
        self.stress = stress
        self.strict_limits = replace(
            server_limits,
            errors=min(server_limits.errors, options.stress.errors),
            idle_commands=min(server_limits.idle_commands, options.stress.idle_commands),
        )
        self.clients = clients
        self.history = history
        self.draining = False
        self.emptied = asyncio.Event()
