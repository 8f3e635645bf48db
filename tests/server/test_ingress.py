"""What a listener hears when a submission is stored or refused, and what the record hears."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.ids import MessageId
from outrider.base.log import ListLog
from outrider.model.address import Address
from outrider.model.changes import ContentRef
from outrider.model.flow import Content, Envelope, Origin, Recipient, Refusal, Submission, Traits
from outrider.model.ports import Log
from outrider.model.reply import Reply
from outrider.server.contents import Contents
from outrider.server.ingress import Ingress
from outrider.server.options import ServerOptions
from outrider.server.pressure import Pressure
from outrider.spool.directory import SpoolDirectory
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import FrameReader
from outrider.spool.writer import LogWriter
from outrider.wire.smtp import replies
from tests.server.conftest import WIRE, KeepingLog, NoReader, StubPolicy

ORIGIN = Origin("smtp", "ESMTP", "127.0.0.1", "client.test", None, None)
SUBMISSION = Submission(
    MessageId("0" * 18),
    1_790_000_000.0,
    ORIGIN,
    Envelope(Address("shop", "sender.test"), (Recipient(Address("joe", "example.net")),)),
    Content(WIRE, Traits.NONE, 12),
)
DENIED = Reply(550, "5.7.1", ("Not today",))


class World:
    def __init__(self, folder: Path, log: Log | None = None) -> None:
        self.log = KeepingLog()
        self.policy = StubPolicy()
        self.is_full = False
        self.shortage: Reply | None = None
        self.told: list[tuple[str, Reply]] = []
        self.heard: list[Reply] = []
        self.pressure = Pressure(
            ServerOptions(min_free_bytes=0), folder, ListLog(), lambda: 0, lambda: self.shortage
        )
        self.ingress = Ingress(
            self.policy,
            log or self.log,
            Contents(NoReader(), 1_000_000),
            self.pressure,
            lambda _origin, mail_from, _recipient, reply: self.told.append((mail_from, reply)),
            lambda: self.is_full,
        )

    def submit(self) -> Reply | None:
        """What the listener has heard, if anything."""
        self.heard.clear()
        self.ingress.submit(SUBMISSION, self.heard.append)
        return self.heard[0] if self.heard else None


@pytest.fixture
def intake(tmp_path: Path) -> World:
    return World(tmp_path)


def test_250_comes_with_the_place_in_the_log_and_not_before(intake: World) -> None:
    assert intake.submit() is None
    intake.log.waiting[0](ContentRef(1, 1, 64, 200))
    [reply] = intake.heard
    assert reply.code == 250
    assert intake.told == []


@pytest.mark.parametrize(("is_full", "reply"), [(False, replies.SPOOL_FAILED), (True, replies.DISK_LOW)])
def test_what_was_not_stored_is_refused_for_now_and_recorded(
    intake: World, is_full: bool, reply: Reply
) -> None:
    intake.is_full = is_full
    assert intake.submit() is None
    intake.log.waiting[0](None)
    assert intake.heard == [reply]
    assert intake.told == [("shop@sender.test", reply)]


async def test_a_request_of_several_messages_finds_room_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Its client hears one answer: of what was stored before a 452 he would send everybody's once more."""
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
    directory.open()
    options = SpoolOptions(pending_octets=1 << 20)
    log = LogWriter(directory, options, FakeClock(), ListLog())
    world = World(tmp_path, log)
    long = replace(SUBMISSION, content=Content(b"Subject: x\r\n\r\n" + b"x" * 200_000, Traits.NONE, 12))
    for _ in range(4):
        world.ingress.submit_all([long] * 5, (), world.heard.append)
    assert log.is_full
    await log.drain()
    assert [reply.code for reply in world.heard] == [250, 250, 451, 451]
    await log.close()
    reader = FrameReader(directory, options)
    assert sum(1 for _ in reader.scan(log.number)) == 10
    reader.close()


def test_policy_that_refuses_is_recorded(intake: World) -> None:
    intake.policy.refusal = Refusal(DENIED, "a rule")
    assert intake.submit() is DENIED
    assert intake.told == [("shop@sender.test", DENIED)]
    assert intake.log.frames == []


def test_nothing_is_taken_while_the_stores_are_behind(intake: World) -> None:
    intake.shortage = replies.DISK_LOW
    intake.pressure.check()
    assert intake.ingress.refusal() is replies.DISK_LOW
    assert intake.submit() is replies.DISK_LOW
    assert intake.told == [("shop@sender.test", replies.DISK_LOW)]
    intake.shortage = None
    intake.pressure.check()
    assert intake.ingress.refusal() is None
    assert intake.submit() is None


def test_a_stop_takes_the_message_that_was_on_its_way(intake: World) -> None:
    """Its session was let go on to its end for that; who begins another one is refused."""
    intake.pressure.drain()
    assert intake.ingress.refusal() is replies.SHUTTING_DOWN
    assert intake.submit() is None
    intake.log.waiting[0](ContentRef(1, 1, 64, 200))
    assert [reply.code for reply in intake.heard] == [250]
