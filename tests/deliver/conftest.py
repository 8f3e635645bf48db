"""A world for the deliverer: scripted hosts on loopback, a source of messages, a report that counts."""

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import trustme

from outrider.base.clock import Clock, SystemClock
from outrider.base.errors import SpoolError
from outrider.base.ids import MessageId
from outrider.base.log import ListLog
from outrider.base.long_octets import LONG_OCTETS
from outrider.deliver.options import DeliveryOptions, DeliveryTable
from outrider.deliver.ports import NO_DEPARTURES
from outrider.deliver.resolve import DeliveryResolver
from outrider.deliver.smtp.deliverer import SmtpDeliverer
from outrider.model.address import Address
from outrider.model.changes import ContentRef, Stored
from outrider.model.dispatch import Batch, Close, Granted, Open
from outrider.model.flow import Content, Delivery, Host, Origin, Outcome, Path, Phase, Recipient
from outrider.model.ports import Guard
from outrider.model.way_out import Stay

PATH = Path("smtp", "default", "peer.test")
DROP = "DROP"
HANG = "HANG"
Rule = Callable[["Peer", str, str], str | None]


class OpenGuard:
    """A guard that clears everything."""

    def goes_through(self, stored: Stored) -> bool:
        return False

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        return entries, content


@dataclass(eq=False)
class Peer:
    """A scripted SMTP host. `rule(peer, verb, line)` may answer for it: a reply, DROP, HANG, or None.

    Verbs are CONNECT (the greeting), the commands, and CONTENT for a content that has come whole.
    """

    rule: Rule = lambda peer, verb, line: None
    features: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 10000000")
    tls: ssl.SSLContext | None = None
    name: str = "mx.peer.test"
    host: Host = field(default_factory=lambda: Host("", "", 0))
    connections: int = 0
    open: int = 0
    most_open: int = 0
    verbs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    contents: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await _Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            self.closed.set()
            writer.transport.abort()

    async def gone(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self.closed.clear()
            await self.closed.wait()

    def count(self, verb: str) -> int:
        return self.verbs.count(verb)


class _GoneError(ConnectionError):
    """The script ends the connection."""


class _Session:
    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.reader = reader
        self.writer = writer
        self.mail_from = ""
        self.recipients: list[str] = []
        self.lmtp = False

    async def say(self, verb: str, line: str, default: str) -> str:
        self.peer.verbs.append(verb)
        self.peer.lines.append(line)
        reply = self.peer.rule(self.peer, verb, line) or default
        if reply == DROP:
            raise _GoneError
        if reply == HANG:
            await self.peer.released.wait()
            raise _GoneError
        self.writer.write(reply.encode() + b"\r\n")
        if reply.startswith("421"):
            await self.writer.drain()
            raise _GoneError
        return reply

    async def run(self) -> None:
        await self.say("CONNECT", "", "220 mx.peer.test ESMTP")
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode().removesuffix("\r\n")
            verb = line.split()[0].upper()
            await getattr(self, f"take_{verb.lower()}")(verb, line)

    async def take_ehlo(self, verb: str, line: str) -> None:
        words = ["mx.peer.test", *self.peer.features]
        if self.peer.tls is not None and self.writer.get_extra_info("ssl_object") is None:
            words.append("STARTTLS")
        lines = [f"250-{word}" for word in words[:-1]] + [f"250 {words[-1]}"]
        await self.say(verb, line, "\r\n".join(lines))

    async def take_lhlo(self, verb: str, line: str) -> None:
        self.lmtp = True
        await self.take_ehlo(verb, line)

    async def take_helo(self, verb: str, line: str) -> None:
        await self.say(verb, line, "250 mx.peer.test")

    async def take_starttls(self, verb: str, line: str) -> None:
        reply = await self.say(verb, line, "220 2.0.0 Go ahead")
        if reply.startswith("220") and self.peer.tls is not None:
            await self.writer.drain()
            await self.writer.start_tls(self.peer.tls)

    async def take_auth(self, verb: str, line: str) -> None:
        await self.say(verb, line, "235 2.7.0 Welcome")

    async def take_mail(self, verb: str, line: str) -> None:
        self.mail_from, self.recipients = line, []
        await self.say(verb, line, "250 2.1.0 Ok")

    async def take_rcpt(self, verb: str, line: str) -> None:
        if (await self.say(verb, line, "250 2.1.5 Ok")).startswith("2"):
            self.recipients.append(line.partition("<")[2].partition("@")[0])

    async def take_data(self, verb: str, line: str) -> None:
        default = "354 Go ahead" if self.recipients else "554 5.5.1 No valid recipients"
        if not (await self.say(verb, line, default)).startswith("354"):
            return
        content = b"" if await self.reader.readexactly(3) == b".\r\n" else None
        if content is None:
            content = await self.reader.readuntil(b"\r\n.\r\n")
        await self.end(content.removesuffix(b".\r\n"))

    async def take_bdat(self, verb: str, line: str) -> None:
        content = await self.reader.readexactly(int(line.split()[1]))
        if self.recipients:
            await self.end(content)
        else:
            await self.say(verb, line, "503 5.5.1 No valid recipients")

    async def end(self, content: bytes) -> None:
        if self.lmtp:  # each recipient has its own reply; the rule sees whom it is for
            stored = [
                name
                for name in tuple(self.recipients)
                if (await self.say("CONTENT", name, "250 2.0.0 Stored")).startswith("2")
            ]
            self.peer.contents.append((self.mail_from, tuple(stored), content))
            self.recipients = []
            return
        reply = await self.say("CONTENT", "", "250 2.0.0 Queued")
        if reply.startswith("2") and self.recipients:
            self.peer.contents.append((self.mail_from, tuple(self.recipients), content))
        self.recipients = []

    async def take_rset(self, verb: str, line: str) -> None:
        self.recipients = []
        await self.say(verb, line, "250 2.0.0 Ok")

    async def take_quit(self, verb: str, line: str) -> None:
        await self.say(verb, line, "221 2.0.0 Bye")
        await self.writer.drain()
        raise _GoneError


class Report:
    """Counts what a deliverer reports, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.outcomes: dict[int, list[Outcome]] = {}
        self.unread: dict[int, Outcome] = {}
        self.stayed: dict[int, tuple[Outcome, Stay]] = {}
        self.back: list[int] = []
        self.seen: list[int] = []
        self.wants: list[tuple[int, int]] = []
        self.ends: dict[int, list[tuple[Outcome | None, int]]] = {}
        self.changed = asyncio.Event()
        self.on_want: Callable[[int, int], None] = lambda slot, count: None
        self.on_outcome: Callable[[Granted], None] = lambda granted: None

    def outcome(self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        assert slot not in self.ends, "closed is the last call for a slot"
        self.outcomes.setdefault(granted.entry, []).append(outcome)
        self.changed.set()
        self.on_outcome(granted)

    def stays(
        self, path: Path, slot: int, granted: Granted, stored: Stored, outcome: Outcome, stay: Stay
    ) -> None:
        self.stayed[granted.entry] = (outcome, stay)
        self.changed.set()
        self.on_outcome(granted)

    def unreadable(self, path: Path, slot: int, granted: Granted, outcome: Outcome) -> None:
        self.unread[granted.entry] = outcome
        self.changed.set()

    def want(self, slot: int, count: int) -> None:
        self.wants.append((slot, count))
        self.changed.set()
        self.on_want(slot, count)

    def returned(self, slot: int, entries: Sequence[int], *, was_seen: bool = False) -> None:
        self.back.extend(entries)
        if was_seen:
            self.seen.extend(entries)
        self.changed.set()

    def closed(self, slot: int, failure: Outcome | None, deliveries: int) -> None:
        self.ends.setdefault(slot, []).append((failure, deliveries))
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something reported makes `condition` true."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def codes(self) -> dict[int, tuple[int, Phase, bool]]:
        """Code, phase and whose, of each entry's only outcome."""
        found = {}
        for entry, [outcome] in self.outcomes.items():
            found[entry] = (outcome.reply.code, Phase(outcome.phase), outcome.ours)
        return found

    def reported(self) -> Counter[int]:
        """How often each entry was reported."""
        counts = Counter(self.back) + Counter(list(self.unread))
        counts.update(list(self.stayed))
        for entry, outcomes in self.outcomes.items():
            counts[entry] += len(outcomes)
        return counts


@dataclass
class Contexts:
    """The port TlsContexts over a test authority."""

    authority: Callable[[], trustme.CA]

    def client(self, mode: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if mode == "opportunistic":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            self.authority().configure_trust(context)
        return context


class World:
    """Everything around one deliverer."""

    long_from = LONG_OCTETS

    def __init__(self) -> None:
        self.report = Report()
        self.log = ListLog()
        self.messages: dict[ContentRef, tuple[Stored, bytes]] = {}
        self.loading: dict[ContentRef, asyncio.Future[tuple[Stored, bytes]] | None] = {}
        self.servers: list[asyncio.Server] = []
        self.peers: list[Peer] = []
        self._numbers = itertools.count(1)
        self._slots = itertools.count(1)

    @cached_property
    def authority(self) -> trustme.CA:
        return trustme.CA(key_type=trustme.KeyType.ECDSA)

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        if ref not in self.messages:
            raise SpoolError("gone")
        return self.messages[ref]

    def load(self, ref: ContentRef, entry: int) -> asyncio.Future[tuple[Stored, bytes]] | None:
        if ref not in self.loading:
            return None
        future = self.loading[ref] = asyncio.get_running_loop().create_future()
        self.report.changed.set()
        return future

    def message(
        self, *names: str, body: bytes = b"Hello\r\n", traits: int = 0, missing: bool = False
    ) -> tuple[Granted, ...]:
        """A stored message for these recipients, granted."""
        number = next(self._numbers)
        first = number * 100
        wire = b"Subject: %d\r\n\r\n" % number + body
        deliveries = tuple(
            Delivery(Recipient(Address(name, "peer.test")), "peer.test") for name in names or ("b",)
        )
        origin = Origin("test", "ESMTP", "127.0.0.1", "me.test", None, None)
        stored = Stored(
            MessageId(f"{number:018}"),
            first,
            0.0,
            origin,
            Address("a", "me.test"),
            deliveries,
            None,
            None,
            False,
            traits,
            12,
            len(wire),
        )
        ref = ContentRef(1, 1, number, len(wire))
        if not missing:
            self.messages[ref] = (stored, wire)
        return tuple(
            Granted(first + index, ref, index, version=0, attempts=0, delay_notified=False)
            for index in range(len(deliveries))
        )

    def certificate(self, name: str = "mx.peer.test") -> ssl.SSLContext:
        """A server's TLS context with a certificate for `name`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(name).configure_cert(context)
        return context

    async def peer(
        self,
        rule: Rule | None = None,
        *,
        address: str = "127.0.0.1",
        unix: str | None = None,
        implicit: ssl.SSLContext | None = None,
        **fields: Any,
    ) -> Peer:
        """A listening host."""
        peer = Peer(**fields) if rule is None else Peer(rule, **fields)
        if unix is not None:
            server = await asyncio.start_unix_server(peer.serve, unix, limit=1 << 22)
            peer.host = Host(f"unix:{unix}", f"unix:{unix}", 0)
        else:
            server = await asyncio.start_server(peer.serve, address, 0, limit=1 << 22, ssl=implicit)
            address, port = server.sockets[0].getsockname()[:2]
            peer.host = Host(peer.name, address, port)
        self.servers.append(server)
        self.peers.append(peer)
        return peer

    async def listening(
        self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> Host:
        """A host with a session of the test's own."""
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        return Host("own.peer.test", *server.sockets[0].getsockname()[:2])

    async def refusing(self) -> Host:
        """A host that nobody listens at."""
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        address, port = server.sockets[0].getsockname()[:2]
        server.close()
        await server.wait_closed()
        return Host("dead.peer.test", address, port)

    def open_slot(self, deliverer: SmtpDeliverer, hosts: Sequence[Peer | Host], *entries: Granted) -> int:
        slot = next(self._slots)
        addresses = tuple(host if isinstance(host, Host) else host.host for host in hosts)
        deliverer.open(Open(slot, PATH, addresses, entries))
        return slot

    def answer_wants(
        self, deliverer: SmtpDeliverer, entries: Sequence[Granted], *, close: bool = True
    ) -> None:
        """Play the dispatcher: grant `entries` in order as they are wanted, then Close, or nothing."""
        left = list(entries)

        def on_want(slot: int, count: int) -> None:
            batch = tuple(left[:count])
            del left[:count]
            loop = asyncio.get_running_loop()
            if batch or not close:
                loop.call_soon(deliverer.batch, Batch(slot, batch))
            else:
                loop.call_soon(deliverer.close, Close(slot))

        self.report.on_want = on_want

    @asynccontextmanager
    async def running(
        self,
        *,
        guard: Guard | None = None,
        departures: Any = NO_DEPARTURES,
        clock: Clock | None = None,
        **options: Any,
    ) -> AsyncIterator[SmtpDeliverer]:
        """A deliverer at work; at the end it is shut down and nothing may be left."""
        deliverer = SmtpDeliverer(
            DeliveryResolver(DeliveryTable(default=DeliveryOptions(**options))),
            hostname="me.test",
            source=self,
            guard=guard or OpenGuard(),
            report=self.report,
            clock=clock or SystemClock(),
            log=self.log,
            tls=Contexts(lambda: self.authority),
            departures=departures,
            tick_seconds=0.01,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(deliverer.run())
            yield deliverer
            await deliverer.shutdown(5.0)
        assert deliverer.held() == ()

    def assert_once(self, entries: Sequence[Granted]) -> None:
        """The contract: each granted entry was reported exactly once, each slot was closed once."""
        assert self.report.reported() == Counter(granted.entry for granted in entries)
        assert all(len(ends) == 1 for ends in self.report.ends.values())

    async def aclose(self) -> None:
        for peer in self.peers:
            peer.released.set()
        for server in self.servers:
            server.close()
            await server.wait_closed()
        for peer in self.peers:
            await peer.gone()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """For tests that run loops of their own."""
    return World
