"""A listener with everything round it faked: intake, authenticator, clock, and a transport in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.model.flow import Origin, Submission
from outrider.model.ports import PolicySession
from outrider.model.reply import Reply
from outrider.receive.listener import SmtpListener
from outrider.receive.options import ListenerOptions, TlsMode
from outrider.receive.session import SmtpSession
from outrider.wire.smtp import replies
from tests.receive.principals import FakePrincipal

QUEUED = replies.queued("test")


@dataclass
class FakeIntake:
    """Takes what comes; `reply` is its answer, `hold` keeps answers back in `waiting`."""

    submissions: list[Submission] = field(default_factory=list)
    refusals: list[tuple[str, str, Reply]] = field(default_factory=list)
    waiting: list[Callable[[Reply], None]] = field(default_factory=list)
    reply: Reply = QUEUED
    closed_for: Reply | None = None
    hold: bool = False
    fail: bool = False

    def submit(
        self, submission: Submission, done: Callable[[Reply], None], session: PolicySession | None = None
    ) -> None:
        if self.fail:
            raise RuntimeError("secret@canary.example")
        self.submissions.append(submission)
        if self.hold:
            self.waiting.append(done)
        else:
            done(self.reply)

    def refusal(self) -> Reply | None:
        return self.closed_for

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self.refusals.append((mail_from, recipient, reply))


@dataclass
class FakeAuthenticator:
    """Knows `joe` with `secret`; `broken` makes it raise."""

    broken: bool = False
    shut: frozenset[str] = frozenset()

    async def password(self, user: str, password: str, client: str = "") -> FakePrincipal | None:
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("database is away")
        return FakePrincipal(user) if (user, password) == ("joe", "secret") else None

    async def api_key(self, key: str, client: str = "") -> FakePrincipal | None:
        return None

    def is_shut(self, tenant: str) -> bool:
        return tenant in self.shut


class MemoryTransport(asyncio.Transport):
    """What a session writes ends in `sent`; closing tells the protocol in the next loop turn."""

    def __init__(self, protocol: asyncio.Protocol, client: str | None = "127.0.0.1") -> None:
        super().__init__({"peername": None if client is None else (client, 40_000)})
        self.protocol = protocol
        self.sent = b""
        self.closing = False
        self.aborted = False
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "written after close"
        self.sent += bytes(data)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@dataclass
class World:
    """One listener and its surroundings."""

    listener: SmtpListener
    intake: FakeIntake
    authenticator: FakeAuthenticator
    clock: FakeClock
    log: ListLog

    def connect(self, client: str = "127.0.0.1") -> "Client":
        protocol = self.listener.protocol()
        assert isinstance(protocol, SmtpSession)
        transport = MemoryTransport(protocol, client)
        protocol.connection_made(transport)
        return Client(protocol, transport)


@dataclass
class Client:
    """The other end of a session in memory."""

    session: SmtpSession
    transport: MemoryTransport

    def send(self, octets: bytes) -> bytes:
        """Feed octets; what the server has said since the last `take`."""
        if not self.transport.closing:
            self.session.data_received(octets)
        return self.take()

    def take(self) -> bytes:
        sent, self.transport.sent = self.transport.sent, b""
        return sent

    def lines(self, *lines: str) -> list[str]:
        """Send lines one after another; the replies' last lines."""
        said = b"".join(self.send(line.encode() + b"\r\n") for line in lines)
        return [line.decode() for line in said.split(b"\r\n") if line[3:4] == b" "]


MakeWorld = Callable[..., Any]


def build(tls: Any = None, tls_mode: str = "none", scripts: Any = None, **options: Any) -> World:
    clock = FakeClock()
    intake, authenticator, log = FakeIntake(), FakeAuthenticator(), ListLog()
    listener = SmtpListener(
        ListenerOptions(tls=TlsMode(tls_mode), **options),
        hostname="mx.outrider.test",
        intake=intake,
        authenticator=authenticator,
        ids=IdSource(clock, 7),
        clock=clock,
        log=log,
        tls=tls,
        scripts=scripts,
    )
    return World(listener, intake, authenticator, clock, log)


@pytest.fixture
def world() -> Callable[..., World]:
    """Builds a listener that trusts loopback unless told otherwise; its `run` is not started."""

    def make(**options: Any) -> World:
        options.setdefault("trusted_networks", ("127.0.0.0/8",))
        return build(**options)

    return make


@pytest.fixture
def running_world() -> Any:
    """The same as a context manager, with `run` started."""

    @asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[World]:
        options.setdefault("trusted_networks", ("127.0.0.0/8",))
        made = build(**options)
        async with asyncio.TaskGroup() as group:
            group.create_task(made.listener.run())
            await asyncio.sleep(0)
            yield made
            made.listener.stop()

    return make
