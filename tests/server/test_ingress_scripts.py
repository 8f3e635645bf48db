"""The intake where scripts decide: what waits, what is refused half-way, what stops, whose keys go back."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.base.log import ListLog
from outrider.model.changes import ContentRef, Finished, Keyed, Stored
from outrider.model.ends import Ends
from outrider.model.flow import Decided, Delivery, Message, Origin, Recipient, Refusal, Submission
from outrider.model.ports import PolicySession
from outrider.model.reply import Reply
from outrider.model.route import DISCARD
from outrider.server.contents import Contents
from outrider.server.decisions import VARIANTS_OCTETS_MAX
from outrider.server.ingress import Ingress
from outrider.server.options import ServerOptions
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies
from tests.server.conftest import KeepingLog, NoReader, StubPolicy
from tests.server.test_ingress import DENIED, SUBMISSION

NO = Refusal(DENIED, "a rule")
OTHER = Refusal(Reply(551, "5.1.6", ("gone",)), "a rule")
LATER = Refusal(Reply(451, "4.7.1", ("later",)), "a rule")
KEYS = [[Keyed(b"first", b"d", b"a", 1.0)], [Keyed(b"second", b"d", b"a", 1.0)]]
PLACE = ContentRef(1, 1, 64, 200)
HTTP = replace(SUBMISSION, origin=Origin("api", "HTTP", "", "", "key", None))

Decision = Decided | Refusal | Awaitable[Decided | Refusal]


def taken(submission: Submission = SUBMISSION, **changes: object) -> Decided:
    """One message for all."""
    recipients = submission.envelope.recipients
    return Decided((Message(submission, tuple(Delivery(each, each.address.domain) for each in recipients)),))


class Session:
    """`PolicySession` that decides what it was given."""

    def __init__(self, decisions: list[Decision]) -> None:
        self.decisions = decisions
        self.closed = 0

    def decide(self, submission: Submission) -> Decision:
        return self.decisions.pop(0)

    def close(self) -> None:
        self.closed += 1


class World:
    """An intake with scripts."""

    way_out = None

    def __init__(self, folder: Path, *decisions: Decision) -> None:
        self.session = Session(list(decisions))
        self.opened = 0
        self.log = KeepingLog()
        self.shortage: Reply | None = None
        self.heard: list[Reply] = []
        self.told: list[Reply] = []
        self.released: list[bytes] = []
        self.pressure = Pressure(
            ServerOptions(min_free_bytes=0), folder, ListLog(), lambda: 0, lambda: self.shortage
        )
        self.ingress = Ingress(
            StubPolicy(),
            self.log,
            Contents(NoReader(), 1_000_000),
            self.pressure,
            lambda _origin, _mail_from, _recipient, reply: self.told.append(reply),
            release=self.released.append,
        )
        self.ingress.scripts = self

    def open(self, origin: Origin, ends: Ends | None = None) -> PolicySession:
        self.opened += 1
        return self.session  # type: ignore[return-value]  # an intake asks no more of it

    def submit_two(self) -> None:
        self.ingress.submit_all((HTTP, HTTP), KEYS, self.heard.append)

    def settle(self) -> None:
        """Everything that was written is durable."""
        while self.log.waiting:
            self.log.waiting.pop(0)(PLACE)


async def later(decision: Decided | Refusal, gate: asyncio.Event) -> Decided | Refusal:
    await gate.wait()
    return decision


async def turns() -> None:
    """Let whatever can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_decision_that_waits_is_stored_when_it_is_there(tmp_path: Path) -> None:
    gate = asyncio.Event()
    world = World(tmp_path, later(taken(), gate))
    world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
    await turns()
    assert (world.log.frames, world.ingress.waiting) == ([], 1)
    gate.set()
    await turns()
    assert len(world.log.frames) == 1
    assert world.heard == []
    world.settle()
    assert [each.code for each in world.heard] == [250]
    assert world.ingress.waiting == 0
    assert (world.opened, world.session.closed) == (0, 0)  # it is the listener's session


async def test_each_message_of_a_request_has_a_session_that_is_closed(tmp_path: Path) -> None:
    gate = asyncio.Event()
    world = World(tmp_path, taken(HTTP), later(taken(HTTP), gate))
    world.submit_two()
    await turns()
    assert (world.opened, world.session.closed) == (2, 1)
    gate.set()
    await turns()
    assert world.session.closed == 2
    world.settle()
    assert [each.code for each in world.heard] == [250]
    assert world.released == []
    assert len(world.log.frames) == 2


async def test_a_transient_refusal_refuses_the_whole_and_gives_the_keys_back(tmp_path: Path) -> None:
    gate = asyncio.Event()
    gate.set()
    for decisions in ([taken(HTTP), LATER], [later(taken(HTTP), gate), LATER], [NO, later(LATER, gate)]):
        world = World(tmp_path, *decisions)
        world.submit_two()
        await turns()
        assert world.heard == world.told == [LATER.reply]
        assert world.released == [b"first", b"second"]
        assert (world.log.frames, world.ingress.waiting) == ([], 0)
        assert world.session.closed == world.opened == 2


async def test_where_each_message_is_refused_the_whole_is(tmp_path: Path) -> None:
    gate = asyncio.Event()
    gate.set()
    for decisions in ([NO, OTHER], [NO, later(OTHER, gate)]):
        world = World(tmp_path, *decisions)
        world.submit_two()
        await turns()
        assert world.heard == world.told == [DENIED]
        assert world.released == [b"first", b"second"]
        assert world.log.frames == []


async def test_what_comes_after_a_transient_refusal_is_not_decided(tmp_path: Path) -> None:
    gate = asyncio.Event()
    gate.set()
    for first in (LATER, later(LATER, gate)):
        world = World(tmp_path, first, taken(HTTP))
        world.submit_two()
        await turns()
        assert len(world.session.decisions) == 1
        assert world.heard == [LATER.reply]


async def test_a_stop_waits_for_scripts_and_then_refuses(tmp_path: Path) -> None:
    gate = asyncio.Event()
    world = World(tmp_path, taken(HTTP), later(taken(HTTP), gate))
    world.submit_two()
    await turns()
    await world.ingress.drain(0.01)
    assert world.heard == [replies.SHUTTING_DOWN]
    assert world.released == [b"first", b"second"]
    assert (world.log.frames, world.ingress.waiting) == ([], 0)
    assert world.session.closed == 2


async def test_a_stop_takes_what_scripts_decide_in_time(tmp_path: Path) -> None:
    gate = asyncio.Event()
    world = World(tmp_path, taken(HTTP), later(taken(HTTP), gate))
    world.submit_two()
    world.pressure.drain()
    gate.set()
    await world.ingress.drain(5)
    world.settle()
    world.settle()
    assert [each.code for each in world.heard] == [250]


async def test_a_script_that_ignores_its_end_does_not_keep_the_server(tmp_path: Path) -> None:
    ends = asyncio.Event()

    async def stubborn() -> Decided:
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                continue
        return taken()

    world = World(tmp_path, stubborn())
    world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
    await turns()
    await world.ingress.drain(0.01)
    assert world.heard == []
    ends.set()
    await turns()


async def test_pressure_that_came_while_a_script_waited_refuses(tmp_path: Path) -> None:
    gate = asyncio.Event()
    world = World(tmp_path, later(taken(), gate))
    world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
    await turns()
    world.shortage = replies.DISK_LOW
    world.pressure.check()
    gate.set()
    await turns()
    assert world.heard == [replies.DISK_LOW]
    assert world.log.frames == []


async def test_a_bug_in_a_decision_is_answered_and_told(tmp_path: Path) -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what["exception"]))

    async def broken() -> Decided:
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    world = World(tmp_path, taken(HTTP), broken())
    world.submit_two()
    await turns()
    assert world.heard == [replies.POLICY_FAILED]
    assert world.released == [b"first", b"second"]
    assert [str(each) for each in told] == ["a bug"]
    assert world.ingress.waiting == 0


@pytest.mark.parametrize("before", [(), (taken(HTTP),)], ids=["in the first", "in the second"])
async def test_a_bug_in_a_decision_that_does_not_wait_is_answered_and_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[Decided, ...]
) -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what["exception"]))
    world = World(tmp_path, *before)

    def decide(_submission: Submission) -> Decision:
        if world.session.decisions:
            return world.session.decisions.pop(0)
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.session, "decide", decide)
    world.submit_two()
    assert world.heard == [replies.POLICY_FAILED]
    assert world.released == [b"first", b"second"]
    assert world.session.closed == world.opened, "what scripts keep for it is let go of"
    world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
    assert world.heard == [replies.POLICY_FAILED, replies.POLICY_FAILED]
    assert [str(each) for each in told] == ["a bug", "a bug"]
    assert world.ingress.waiting == 0


def variants(count: int, octets: int = 10, notes: tuple[tuple[str, str], ...] = ()) -> Decided:
    """A message of its own for each recipient."""
    made = []
    for number in range(count):
        recipient = Recipient(SUBMISSION.envelope.recipients[0].address)
        wire = b"X: %d\r\n\r\n" % number + b"x" * octets + b"\r\n"
        content = replace(SUBMISSION.content, wire=wire)
        own = replace(
            SUBMISSION, content=content, envelope=replace(SUBMISSION.envelope, recipients=(recipient,))
        )
        made.append(Message(own, (Delivery(recipient, "example.net"),), notes=notes))
    return Decided(tuple(made))


async def test_variants_are_one_frame_with_a_content_each(tmp_path: Path) -> None:
    decided = variants(3)
    discarded = replace(decided.messages[1], discard="why")
    [delivery] = discarded.deliveries
    discarded = replace(discarded, deliveries=(replace(delivery, channel=DISCARD),))
    world = World(tmp_path, Decided((decided.messages[0], discarded, decided.messages[2])))
    world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
    [(changes, contents)] = world.log.frames
    kept = [each for each in changes if isinstance(each, Stored)]
    assert [each.first_entry for each in kept] == [1_000, 1_001, 1_002]
    assert [b"".join(each)[:4] for each in contents] == [b"X: 0", b"X: 1", b"X: 2"]
    [finished] = [each for each in changes if isinstance(each, Finished)]
    assert (finished.entry, finished.reason) == (1_001, "why")
    world.log.waiting[0](None)
    assert world.heard == [replies.SPOOL_FAILED]


async def test_variants_that_no_frame_holds_are_refused(tmp_path: Path) -> None:
    notes = (("n", "x" * 200_000),)
    for decided in (variants(3, VARIANTS_OCTETS_MAX // 3), variants(100, notes=notes)):
        world = World(tmp_path, decided)
        world.ingress.submit(SUBMISSION, world.heard.append, world.session)  # type: ignore[arg-type]
        assert world.heard == [replies.MESSAGE_TOO_BIG]
        assert world.log.frames == []


async def test_what_is_secret_in_metadata_is_not_stored(tmp_path: Path) -> None:
    [joe] = HTTP.envelope.recipients
    joe = replace(joe, metadata=(("order", "5"), ("secret_code", "hush"), ("customer_id", "7")))
    submission = replace(HTTP, envelope=replace(HTTP.envelope, recipients=(joe,)))
    world = World(tmp_path, taken(submission))
    world.ingress.submit_all((submission,), (), world.heard.append)
    [kept] = [each for each in world.log.changes if isinstance(each, Stored)]
    assert kept.deliveries[0].recipient.metadata == (("order", "5"), ("customer_id", "7"))
    assert kept.deliveries[0].customer_id == "7"
