"""However long a message is, no step of a worker's loop goes through all of it; short ones cost no thread."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.base.files import OsFiles
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.changes import Stored
from outrider.policy.routing import RoutingPolicy
from outrider.receive.listener import SmtpListener
from outrider.receive.options import ListenerOptions
from outrider.receive.session import SmtpSession
from outrider.server.contents import Contents
from outrider.server.ingress import Ingress
from outrider.spool import frames
from outrider.spool.directory import SpoolDirectory
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import FrameReader
from outrider.spool.writer import LogWriter, Synced
from outrider.wire.smtp import content as content_module
from outrider.wire.smtp.content import unstuff
from tests.receive.conftest import Client, FakeAuthenticator, MemoryTransport
from tests.receive.http_site import HttpSite
from tests.server.loop_steps import LoopSteps
from tests.spool.samples import CODECS, spool_keys

READ_OCTETS = 262_144
"""What the loop reads at once (uvloop)."""

BOUND_OCTETS = 4 * LONG_OCTETS
"""Chosen: a read is gone through a few times, and what is short may be copied twice."""

LINE = b".%060d\r\n"
LONG_LINES = 16 * LONG_OCTETS // len(LINE % 0)
SHORT_LINES = 30
HEADER = b"From: shop@sender.example\r\nSubject: long\r\nMIME-Version: 1.0\r\n\r\n"


COUNTED = ((frames, "extend"), (frames, "value"), (content_module, "scan"))


class _NoPressure:
    refusal = None


class Site:
    """The way of a message from a door into the log and back, in one loop."""

    def __init__(self, folder: Path, codec: str) -> None:
        self.clock, self.log = SystemClock(), ListLog()
        options = SpoolOptions().model_copy(update=CODECS[codec])
        directory = SpoolDirectory(OsFiles(), str(folder / "spool"))
        directory.open()
        self.synced: list[Synced] = []
        self.writer = LogWriter(directory, options, self.clock, self.log, self._synced, keys=spool_keys())
        readers = [FrameReader(directory, options, spool_keys()) for _ in range(2)]
        # it keeps nothing, so all is read back
        self.contents = Contents(readers[0], 0, readers[1], readers[0].plain_length)
        self.intake = Ingress(
            RoutingPolicy(),
            self.writer,
            self.contents,
            _NoPressure(),  # type: ignore[arg-type]
            lambda *_: None,
        )
        self.listener = SmtpListener(
            ListenerOptions(trusted_networks=("127.0.0.0/8",)),
            hostname="mx.outrider.test",
            intake=self.intake,
            authenticator=FakeAuthenticator(),
            ids=IdSource(self.clock, 7),
            clock=self.clock,
            log=self.log,
            tls=None,
        )

    def _synced(self, _position: object, batch: Sequence[Synced]) -> None:
        self.synced += batch

    def client(self) -> Client:
        session = self.listener.protocol()
        assert isinstance(session, SmtpSession)
        transport = MemoryTransport(session)
        session.connection_made(transport)
        return Client(session, transport)

    async def read_back(self) -> bytes:
        """The content of the one message in the log."""
        [(changes, ref)] = self.synced
        [stored] = changes
        assert isinstance(stored, Stored)
        loading = self.contents.load(ref, stored.first_entry)
        read = self.contents.read(ref, stored.first_entry) if loading is None else await loading
        return read[1]


@asynccontextmanager
async def running(folder: Path, codec: str) -> AsyncIterator[Site]:
    site = Site(folder, codec)
    async with asyncio.TaskGroup() as group:
        group.create_task(site.listener.run())
        await asyncio.sleep(0)
        yield site
        site.listener.stop()
    await site.writer.close()


def cut(octets: bytes) -> list[bytes]:
    return [octets[at : at + READ_OCTETS] for at in range(0, len(octets), READ_OCTETS)]


async def hand_in(client: Client, pieces: list[bytes]) -> bytes:
    """Each piece in a step of its own; the reply."""
    said = b""
    for piece in pieces:
        said += client.send(piece)
        await asyncio.sleep(0)
    while b"\r\n" not in said:
        await asyncio.sleep(0)
        said += client.take()
    return said


@pytest.mark.parametrize("lines", [SHORT_LINES, LONG_LINES])
@pytest.mark.parametrize("command", ["DATA", "BDAT"])
@pytest.mark.parametrize("codec", CODECS)
async def test_smtp(tmp_path: Path, codec: str, command: str, lines: int) -> None:
    is_long = lines == LONG_LINES
    plain = HEADER + b"".join(LINE % number for number in range(lines))
    wire = plain.replace(b"\r\n.", b"\r\n..")
    async with running(tmp_path, codec) as site:
        client = site.client()
        client.lines("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>")
        if command == "DATA":
            client.lines("DATA")
            pieces = cut(wire + b".\r\n")
        else:
            pieces = [b"BDAT %d LAST\r\n" % len(plain), *cut(plain)]
        with LoopSteps(*COUNTED) as steps:
            reply = await hand_in(client, pieces)
            found = await site.read_back()
    assert reply.startswith(b"250 2.0.0")
    assert found.startswith(b"Received: ")
    assert found.endswith(wire)
    assert steps.longest < BOUND_OCTETS, steps.where
    # joined in one thread, read in another; a short message has none
    assert steps.handed_over == (2 if is_long else 0)


@pytest.mark.parametrize("lines", [SHORT_LINES, LONG_LINES])
@pytest.mark.parametrize("kind", ["message/rfc822", "application/json"])
async def test_http(kind: str, lines: int) -> None:
    site = HttpSite()
    text = b"".join(LINE % number for number in range(lines)).decode()
    target = "/v1/messages?from=shop@sender.example&to=joe@example.com"
    body = HEADER + text.encode()
    if kind == "application/json":
        target = "/v1/messages"
        message = {"from": "shop@sender.example", "to": ["joe@example.com"], "subject": "Hi", "text": text}
        body = json.dumps(message).encode()
    pieces = cut(body)
    del body, text
    with LoopSteps(*COUNTED) as steps:
        answer = await site.ask("POST", target, pieces, kind=kind)
    assert answer.status == 202, answer.body
    assert unstuff(site.intake.only().content).endswith(LINE % (lines - 1))
    assert steps.longest < BOUND_OCTETS, steps.where
    assert (steps.handed_over > 0) == (lines == LONG_LINES)


@pytest.mark.parametrize("step", ["copy", "search", "checksum"])
async def test_a_step_that_goes_through_all_is_found(step: str) -> None:
    octets = bytes(2 * BOUND_OCTETS)
    with LoopSteps(*COUNTED) as steps:
        await asyncio.sleep(0)
        match step:
            case "copy":
                assert octets[1:]
            case "search":
                assert octets.find(b"x") < 0
            case _:
                assert frames.payload_checksum(b"", [[octets]])
        await asyncio.sleep(0)
    assert steps.longest > BOUND_OCTETS
