"""What becomes of an outcome: one change for each entry, with the report that it causes in the same frame."""

import asyncio
import threading

import pytest
from msgspec.structs import replace

from outrider.base.clock import format_date
from outrider.base.errors import SpoolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.address import Address
from outrider.model.changes import Altered, ContentRef, Finished, LastReply, Retried, Stored
from outrider.model.dispatch import Granted, Settle
from outrider.model.flow import Notify, Outcome, Phase, Recipient, Refusal
from outrider.model.reply import Reply
from outrider.server.dispatcher import EXPIRED
from tests.patience import PATIENCE_SECONDS
from tests.server.conftest import PATH, WIRE, EgressWorld, granted_entry, stored_message

OK = Reply(250, "2.0.0", ("Ok",))
UNKNOWN = Reply(550, "5.1.1", ("No such user",))
LATER = Reply(451, "4.7.1", ("Later",))


def recipient(name: str = "joe", *, notify: int = Notify.UNSPECIFIED) -> Recipient:
    return Recipient(Address(name, "example.net"), notify)


async def settle(world: EgressWorld, stored: Stored, *outcomes: Outcome) -> None:
    for index, outcome in enumerate(outcomes):
        world.egress.outcome(PATH, 5, granted_entry(index), stored, outcome)
    await asyncio.sleep(0)


@pytest.mark.parametrize(("dsn", "frames"), [(False, [Finished, Stored]), (True, [Finished])])
async def test_a_relayed_report_is_ours_only_where_the_next_server_sends_none(
    egress_world: EgressWorld, dsn: bool, frames: list[type]
) -> None:
    stored = stored_message(recipient(notify=Notify.SUCCESS))
    egress_world.keep(stored)
    await settle(egress_world, stored, Outcome(OK, Phase.BODY, host="mx.example.net", dsn=dsn))
    assert [type(change) for change in egress_world.log.changes] == frames
    assert len(egress_world.log.frames) == 1, "the report is in the frame of its cause"


async def test_outcomes_of_one_turn_are_one_frame(egress_world: EgressWorld) -> None:
    stored = stored_message(recipient("a"), recipient("b"))
    await settle(egress_world, stored, Outcome(OK, Phase.BODY), Outcome(LATER, Phase.RCPT))
    [(changes, _)] = egress_world.log.frames
    assert [type(change) for change in changes] == [Finished, Retried]


async def test_a_report_whose_original_cannot_be_read_is_sent_without_it(egress_world: EgressWorld) -> None:
    stored = stored_message(recipient())
    await settle(egress_world, stored, Outcome(UNKNOWN, Phase.RCPT))
    [(changes, [[wire]])] = egress_world.log.frames
    assert [type(change) for change in changes] == [Finished, Stored]
    assert b"5.1.1" in wire
    assert [line[1] for line in egress_world.server_log.lines] == ["dsn.original_unreadable"]


async def test_what_cannot_be_read_is_held_with_the_reason(egress_world: EgressWorld) -> None:
    reply = Reply(451, "4.3.0", ("The message cannot be read from the spool",))
    egress_world.egress.unreadable(PATH, 5, granted_entry(attempts=3), Outcome(reply, Phase.QUEUE, ours=True))
    [altered] = egress_world.log.changes
    assert isinstance(altered, Altered)
    assert altered.held == "The message cannot be read from the spool"
    assert altered.version == 1
    assert altered.altered_time == egress_world.clock.wall()
    assert egress_world.egress.slots == {1: 5}, "the settlement goes to the slot that had the entry"


async def test_policy_that_refuses_a_report_leaves_the_rate_alone() -> None:
    world = EgressWorld(rate={"per_hour": 1, "burst": 1})
    stored = stored_message(recipient())
    world.keep(stored)
    world.policy.refusal = Refusal(Reply(550, "5.7.1", ("No",)), "not today")
    await settle(world, stored, Outcome(UNKNOWN, Phase.RCPT))
    world.policy.refusal = None
    world.keep(stored)
    await settle(world, stored, Outcome(UNKNOWN, Phase.RCPT))
    world.keep(stored)
    await settle(world, stored, Outcome(UNKNOWN, Phase.RCPT))
    assert [type(change) for change in world.log.changes] == [Finished, Finished, Stored, Finished]
    assert [line[1] for line in world.server_log.lines] == ["dsn.refused", "dsn.suppressed"]


async def test_a_last_attempt_that_fails_ends_the_message_and_is_told_once(egress_world: EgressWorld) -> None:
    stored = stored_message(recipient())
    egress_world.keep(stored)
    seconds = 432_000.0  # shaping's default of message_expiration_seconds
    egress_world.clock.step_wall(stored.received_time + seconds - 1 - egress_world.clock.wall())
    await settle(egress_world, stored, Outcome(LATER, Phase.RCPT))
    [first] = [change for change in egress_world.log.changes if isinstance(change, Retried)]
    assert first.due_time == stored.received_time + seconds, "the last attempt is when the time is over"
    egress_world.log.frames.clear()
    egress_world.clock.advance(1)
    await settle(egress_world, stored, Outcome(LATER, Phase.RCPT))
    [(changes, _)] = egress_world.log.frames
    assert [type(change) for change in changes] == [Finished, Stored]
    assert isinstance(changes[0], Finished)
    assert (changes[0].kind, changes[0].attempted.outcome.reply) == ("expired", LATER)


def report_in(world: EgressWorld) -> str:
    [(changes, [[wire]])] = world.log.frames
    assert [type(change) for change in changes] == [Finished, Stored]
    assert isinstance(changes[0], Finished)
    assert changes[0].kind == "expired"
    return bytes(wire).decode()


def expire(world: EgressWorld, last: LastReply | None) -> str:
    stored = stored_message(recipient())
    world.keep(stored)
    outcome = Outcome(EXPIRED, Phase.QUEUE, ours=True)
    world.egress.settle(Settle(PATH, outcome, (granted_entry(attempts=3),), "expire", (last,)))
    world.egress._flush()
    return report_in(world)


async def test_an_expired_message_tells_the_last_reply_of_the_remote_server(
    egress_world: EgressWorld,
) -> None:
    last = LastReply("450 4.2.2 Mailbox full", "mx.example.net", False, egress_world.clock.wall() - 600)
    wire = expire(egress_world, last)
    assert "Action: failed\r\nStatus: 4.2.2\r\nRemote-MTA: dns; mx.example.net\r\n" in wire
    assert "Diagnostic-Code: smtp; 450 4.2.2 Mailbox full\r\n" in wire
    assert f"Last-Attempt-Date: {format_date(last.attempted_time)}\r\n" in wire
    assert "4.4.7" not in wire
    assert "within the time allowed" in wire
    assert "mx.example.net said: 450 4.2.2 Mailbox full" in wire
    assert "Will-Retry-Until" not in wire


async def test_an_expired_message_whose_last_failure_was_ours_says_so(egress_world: EgressWorld) -> None:
    wire = expire(egress_world, LastReply("451 4.4.1 Connection refused", "", True, 5.0))
    assert "Status: 4.4.1\r\nDiagnostic-Code: x-outrider; 451 4.4.1 Connection refused\r\n" in wire
    assert "Remote-MTA" not in wire


async def test_an_expired_message_that_was_never_tried_claims_no_attempt(egress_world: EgressWorld) -> None:
    wire = expire(egress_world, None)
    assert "Status: 4.4.7\r\nDiagnostic-Code: x-outrider; 451 4.4.7 Message expired" in wire
    assert "Last-Attempt-Date" not in wire
    assert "No attempt was made" in " ".join(wire.split())


class LongReader:
    """A log whose one long message is given when the test lets it, or is damaged."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.may_go_on = threading.Event()
        self.is_damaged = False
        self.reads = 0

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        self.reads += 1
        if self.is_damaged:
            raise SpoolError("the frame is damaged")
        return self.stored, WIRE


def long_world(reader: LongReader) -> tuple[EgressWorld, Granted]:
    world = EgressWorld(long_reader=reader)
    granted = granted_entry(attempts=3)
    return world, replace(granted, ref=replace(granted.ref, length=LONG_OCTETS + 1))


EXPIRY = Outcome(EXPIRED, Phase.QUEUE, ours=True)


async def test_what_ends_a_long_message_is_settled_when_it_was_read_once_with_its_report() -> None:
    reader = LongReader(stored_message(recipient()))
    world, granted = long_world(reader)
    world.egress.settle(Settle(PATH, EXPIRY, (granted,), "expire", (None,)))
    await asyncio.sleep(0)
    assert world.log.changes == []
    drained = asyncio.ensure_future(world.egress.drain())
    await asyncio.sleep(0)
    assert not drained.done()
    reader.may_go_on.set()
    await drained
    [(changes, [[wire]])] = world.log.frames
    assert [type(change) for change in changes] == [Finished, Stored]
    assert WIRE.partition(b"\r\n")[0] in wire, "the report has the header of the message"
    assert reader.reads == 1
    assert world.server_log.lines == []


async def test_a_long_message_that_cannot_be_read_is_held_too() -> None:
    reader = LongReader(stored_message(recipient()))
    reader.is_damaged = True
    reader.may_go_on.set()
    world, granted = long_world(reader)
    world.egress.settle(Settle(PATH, EXPIRY, (granted,), "expire", (None,)))
    await world.egress.drain()
    [altered] = world.log.changes
    assert isinstance(altered, Altered)
    assert altered.held == "the frame is damaged"
