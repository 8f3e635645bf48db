"""Messages pass the guard before their turn: as many as the host took, and each for whom it is sent to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from outrider.base.clock import FakeClock
from outrider.deliver.smtp.ahead import MESSAGES_MAX, OCTETS_MAX, SECONDS_MAX, TURN_SECONDS, Ahead
from outrider.model.changes import Stored
from outrider.model.dispatch import Batch, Granted
from outrider.model.flow import Content

if TYPE_CHECKING:
    from tests.deliver.conftest import Peer, World

MANY = 100
# recipients of a transaction


class Signing:
    """A guard that goes through what is not `open`, and counts; it holds back and fails as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.open: set[int] = set()
        self.held: set[int] = set()
        self.failing: set[int] = set()
        self.seconds = 0.0
        self.clock = FakeClock()

    def goes_through(self, stored: Stored) -> bool:
        return stored.first_entry not in self.open

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        self.calls.append(tuple(entries))
        self.clock.advance(self.seconds)
        if stored.first_entry in self.failing:
            raise RuntimeError("no key")
        mark = b"S: %d\r\n" % len(self.calls)
        signed = Content(mark + content.wire, content.traits, content.header_octets + len(mark))
        return [entry for entry in entries if entry not in self.held], signed


class Desk:
    """An `Ahead` by itself."""

    def __init__(self, world: "World") -> None:
        self.guard = Signing()
        self.ahead = Ahead(world, self.guard, self.guard.clock)

    def prepare(self, *backlog: Granted, messages: int = 100, recipients: int = MANY) -> int:
        self.ahead.prepare(backlog, messages, recipients)
        return len(self.ahead)


@pytest.fixture
def desk(world: "World") -> Desk:
    return Desk(world)


def test_each_is_given_once_in_order_with_what_was_cleared(world: "World", desk: Desk) -> None:
    [one], [two] = world.message(), world.message()
    assert desk.ahead.take([one.entry]) is None
    assert desk.prepare(one, two) == 2
    for place, granted in enumerate((one, two)):
        ready = desk.ahead.take([granted.entry])
        assert ready is not None
        stored, wire = world.messages[granted.ref]
        assert (ready.stored, ready.entries) == (stored, [granted.entry])
        assert ready.content.wire == b"S: %d\r\n" % (place + 1) + wire
    assert desk.ahead.take([two.entry]) is None


def test_a_message_passes_once_for_all_recipients_of_its_transaction(world: "World", desk: Desk) -> None:
    three, [last] = world.message("b", "c", "d"), world.message()
    desk.guard.held = {three[1].entry}
    assert desk.prepare(*three, last, recipients=2) == 3
    assert desk.guard.calls == [(three[0].entry, three[1].entry), (three[2].entry,), (last.entry,)]
    ready = desk.ahead.take([three[0].entry, three[1].entry])
    assert ready is not None
    assert ready.entries == [three[0].entry]


def test_what_passed_for_others_is_not_used(world: "World", desk: Desk) -> None:
    one, two = world.message("b", "c"), world.message()
    desk.prepare(one[0], *two)
    assert desk.ahead.take([each.entry for each in one]) is None
    assert len(desk.ahead) == 0


def test_what_passed_long_ago_is_not_used(world: "World", desk: Desk) -> None:
    [one], [two] = world.message(), world.message()
    desk.prepare(one, two)
    desk.guard.clock.advance(SECONDS_MAX)
    assert desk.ahead.take([one.entry]) is not None
    desk.guard.clock.advance(0.01)
    assert desk.ahead.take([two.entry]) is None


def test_what_is_given_back_is_forgotten(world: "World", desk: Desk) -> None:
    [one] = world.message()
    desk.prepare(one)
    desk.ahead.drop()
    assert desk.ahead.take([one.entry]) is None


def test_messages_octets_and_time_are_bounded(world: "World", desk: Desk) -> None:
    many = [granted for _ in range(MESSAGES_MAX + 1) for granted in world.message()]
    assert desk.prepare(*many) == MESSAGES_MAX
    desk.ahead.drop()
    assert desk.prepare(*many, messages=2) == 2
    desk.ahead.drop()
    assert desk.prepare(*many, messages=0) == 0
    desk.guard.seconds = TURN_SECONDS * 0.6
    assert desk.prepare(*many) == 2
    desk.ahead.drop()
    desk.guard.seconds = 0.0
    big = [granted for _ in range(4) for granted in world.message(body=b"x" * (OCTETS_MAX // 3) + b"\r\n")]
    assert desk.prepare(*big) == 2


def test_what_may_take_a_thread_is_left_to_its_turn(world: "World", desk: Desk) -> None:
    [short], [compressed] = world.message(), world.message()
    world.long_from = short.ref.length
    assert desk.prepare(short, compressed) == 2
    desk.ahead.drop()
    world.long_from = 0
    assert desk.prepare(short) == 0
    assert len(desk.guard.calls) == 2


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_failure_is_left_to_its_turn(world: "World", desk: Desk, *, is_missing: bool) -> None:
    [one], [bad], [last] = world.message(), world.message(missing=is_missing), world.message()
    desk.guard.failing = {bad.entry}
    assert desk.prepare(one, bad, last) == 1


async def test_a_host_gets_each_message_signed_once(world: "World") -> None:
    peer = await world.peer()
    entries = [granted for names in ("b", "bc", "b", "bcd") * 5 for granted in world.message(*names)]
    guard = Signing()
    guard.open = {entries[3].entry}
    async with world.running(guard=guard, max_recipients_per_transaction=2) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == len(entries))
    assert [each for call in guard.calls for each in call] == [granted.entry for granted in entries]
    assert {code for code, _, _ in world.report.codes().values()} == {250}
    # each content with the mark of its own call
    assert [content.partition(b"\r\n")[0] for _, _, content in peer.contents] == [
        b"%d" % (place + 1) for place in range(len(guard.calls))
    ]
    world.assert_once(entries)


async def test_a_host_that_takes_one_message_a_connection_has_one_signed(world: "World") -> None:
    def rule(host: "Peer", verb: str, line: str) -> str | None:
        return "DROP" if verb == "MAIL" and len(host.contents) == host.connections else None

    peer = await world.peer(rule)
    entries = [granted for _ in range(10) for granted in world.message()]
    guard = Signing()
    async with world.running(guard=guard) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    # one was taken, one was on its way; besides them one ahead, and one that was begun as the end came
    assert guard.calls == [(granted.entry,) for granted in entries[: len(guard.calls)]]
    assert len(guard.calls) <= 4
    world.assert_once(entries)


async def test_what_the_guard_holds_or_fails_at_ends_as_at_its_turn(world: "World") -> None:
    peer = await world.peer()
    entries = [granted for _ in range(8) for granted in world.message()]
    guard = Signing()
    guard.held, guard.failing = {entries[4].entry}, {entries[6].entry}
    async with world.running(guard=guard) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == len(entries))
    codes = {entry: code for entry, (code, _, _) in world.report.codes().items()}
    assert codes == {granted.entry: 451 if place in {4, 6} else 250 for place, granted in enumerate(entries)}
    world.assert_once(entries)


async def test_recipients_that_come_later_get_a_signature_of_their_own(world: "World") -> None:
    late = world.message("b", "c")
    entries = [*world.message(), *world.message(), *world.message(), late[0]]
    guard = Signing()

    def rule(host: "Peer", verb: str, line: str) -> str | None:
        if verb == "CONTENT" and len(host.contents) == 1:  # the fourth is signed by now
            deliverer.batch(Batch(slot, (late[1],)))
        return None

    peer = await world.peer(rule)
    async with world.running(guard=guard) as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 5)
    assert guard.calls.count((late[0].entry, late[1].entry)) == 1
    assert [names for _, names, _ in peer.contents][-1] == ("b", "c")
    world.assert_once([*entries, late[1]])
