"""A long message that is not in memory is read in a thread; its slot goes on with it, and waits in order."""

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from outrider.base.errors import SpoolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.deliver.smtp.connection import BLOCK_OCTETS, TURN_BLOCKS, Connection
from outrider.model.changes import Stored
from outrider.model.dispatch import Batch, Close, Granted
from outrider.model.flow import Content
from tests.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.deliver.conftest import World

BODY = b"x" * 62 + b"\r\n"
LONG_BODY = BODY * (LONG_OCTETS // len(BODY) + 1)


async def loading_of(world: "World", entry: Granted) -> "asyncio.Future[tuple[Stored, bytes]]":
    """The question for a message, once it is asked."""
    await world.report.until(lambda: world.loading[entry.ref])
    future = world.loading[entry.ref]
    assert future is not None
    return future


async def test_it_is_sent_when_it_was_read_and_those_behind_it_follow(world: "World") -> None:
    peer = await world.peer()
    [short], [long], [last] = world.message(), world.message(body=LONG_BODY), world.message()
    world.loading[long.ref] = None
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], short, long, last)
        future = await loading_of(world, long)
        await world.report.until(lambda: short.entry in world.report.outcomes)
        assert len(peer.contents) == 1
        future.set_result(world.messages[long.ref])
        await world.report.until(lambda: last.entry in world.report.outcomes)
        deliverer.close(Close(slot))
        await world.report.until(lambda: world.report.ends)
    assert list(world.report.outcomes) == [short.entry, long.entry, last.entry]
    assert [content.endswith(LONG_BODY) for _, _, content in peer.contents] == [False, True, False]


@pytest.mark.parametrize("error", [SpoolError("damaged"), OSError("worse")])
async def test_what_cannot_be_read_is_said_and_those_behind_it_follow(
    world: "World", error: Exception
) -> None:
    peer = await world.peer()
    [long], [last] = world.message(body=LONG_BODY), world.message()
    world.loading[long.ref] = None
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], long, last)
        (await loading_of(world, long)).set_exception(error)
        await world.report.until(lambda: last.entry in world.report.outcomes)
    assert world.report.unread[long.entry].reply.code == 451
    assert len(peer.contents) == 1
    world.assert_once([long, last])


@pytest.mark.parametrize("can_be_read", [True, False])
async def test_it_is_read_in_a_thread_where_no_host_answers_too(world: "World", can_be_read: bool) -> None:
    [short], [long], [last] = world.message(), world.message(body=LONG_BODY), world.message()
    world.loading[long.ref] = None
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [await world.refusing()], short, long, last)
        future = await loading_of(world, long)
        assert list(world.report.outcomes) == [short.entry]
        assert [held.entries for held in deliverer.held()] == [(long.entry, last.entry)]
        if can_be_read:
            future.set_result(world.messages[long.ref])
        else:
            future.set_exception(SpoolError("damaged"))
        await world.report.until(lambda: world.report.ends)
    assert list(world.report.ends) == [slot]
    assert (long.entry in world.report.outcomes) == can_be_read
    assert (long.entry in world.report.unread) != can_be_read
    world.assert_once([short, long, last])


async def test_where_no_host_answers_a_stop_gives_back_what_is_not_read_yet(world: "World") -> None:
    [long], [last] = world.message(body=LONG_BODY), world.message()
    world.loading[long.ref] = None
    async with world.running() as deliverer:
        world.open_slot(deliverer, [await world.refusing()], long, last)
        await loading_of(world, long)
        await deliverer.shutdown(0.2)
    assert world.report.outcomes == {}
    world.assert_once([long, last])


async def test_a_slot_that_ends_meanwhile_gives_it_back(world: "World") -> None:
    peer = await world.peer()
    [long], [other] = world.message(body=LONG_BODY), world.message(body=LONG_BODY)
    world.loading |= {long.ref: None, other.ref: None}
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], long)
        world.open_slot(deliverer, [peer], other)
        futures = [await loading_of(world, each) for each in (long, other)]
        await deliverer.shutdown(0.2)
        futures[0].set_result(world.messages[long.ref])
        futures[1].set_exception(SpoolError("damaged"))
        await asyncio.sleep(0)
    assert peer.contents == []
    world.assert_once([long, other])


class Signing:
    """A guard that goes through all; it puts a line before what it clears, for what is not `held`."""

    def __init__(self, held: frozenset[int] = frozenset(), error: Exception | None = None) -> None:
        self.held = held
        self.error = error
        self.calls: list[tuple[bool, tuple[int, ...]]] = []
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def goes_through(self, stored: Stored) -> bool:
        return True

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        self.calls.append((threading.current_thread() is threading.main_thread(), tuple(entries)))
        self.has_begun.set()
        self.may_go_on.wait(PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        signed = Content(b"Signed: 1\r\n" + content.wire, content.traits, content.header_octets + 11)
        return [entry for entry in entries if entry not in self.held], signed


@pytest.mark.parametrize("is_read", [False, True])
async def test_what_is_signed_is_signed_in_a_thread_once_for_all_its_recipients(
    world: "World", *, is_read: bool
) -> None:
    peer = await world.peer()
    long, [last] = world.message("b", "c", "d", body=LONG_BODY), world.message()
    guard = Signing(held=frozenset({long[1].entry}))
    if is_read:
        world.loading[long[0].ref] = None
    async with world.running(guard=guard) as deliverer:
        world.open_slot(deliverer, [peer], *long, last)
        if is_read:
            (await loading_of(world, long[0])).set_result(world.messages[long[0].ref])
        await world.report.until(lambda: last.entry in world.report.outcomes)
    assert guard.calls == [(False, tuple(each.entry for each in long)), (True, (last.entry,))]
    [(_, names, content), _] = peer.contents
    assert names == ("b", "d")
    assert b"ned: 1\r\nSubject" in content[:20]  # the host keeps nothing of the first three octets
    assert content.endswith(LONG_BODY)
    world.assert_once([*long, last])


async def test_a_recipient_who_comes_while_it_is_signed_is_asked_for_by_himself(world: "World") -> None:
    peer = await world.peer()
    long = world.message("b", "c", "d", body=LONG_BODY)
    guard = Signing()
    guard.may_go_on.clear()
    async with world.running(guard=guard) as deliverer:
        slot = world.open_slot(deliverer, [peer], *long[:2])
        assert await asyncio.to_thread(guard.has_begun.wait, 10)
        deliverer.batch(Batch(slot, long[2:]))
        guard.may_go_on.set()
        await world.report.until(lambda: len(world.report.outcomes) == 3)
    assert guard.calls == [(False, tuple(each.entry for each in part)) for part in (long[:2], long[2:])]
    assert [names for _, names, _ in peer.contents] == [("b", "c"), ("d",)]
    world.assert_once(long)


async def test_a_guard_that_fails_in_its_thread_fails_that_message(world: "World") -> None:
    peer = await world.peer()
    [long] = world.message(body=LONG_BODY)
    async with world.running(guard=Signing(error=RuntimeError("no"))) as deliverer:
        world.open_slot(deliverer, [peer], long)
        await world.report.until(lambda: world.report.outcomes)
    assert peer.contents == []
    world.assert_once([long])


async def test_a_host_that_takes_all_at_once_gets_it_over_many_turns(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await world.peer(features=("CHUNKING",))
    [long] = world.message(body=LONG_BODY * 8)
    written: list[int] = []
    turns: list[int] = []

    class Greedy:
        """A transport that never asks to pause."""

        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> object:
            return getattr(self._transport, name)

        def write(self, octets: bytes) -> None:
            written.append(len(octets))
            self._transport.write(bytes(octets))

    made = Connection.connection_made
    blocks = Connection._write_blocks

    def connection_made(self: Connection, transport: asyncio.BaseTransport) -> None:
        made(self, Greedy(transport))  # type: ignore[arg-type]

    def write_blocks(self: Connection) -> None:
        before = sum(written)
        blocks(self)
        turns.append(sum(written) - before)

    monkeypatch.setattr(Connection, "connection_made", connection_made)
    monkeypatch.setattr(Connection, "pause_writing", lambda _: None)
    monkeypatch.setattr(Connection, "_write_blocks", write_blocks)
    async with world.running(chunking=True) as deliverer:
        world.open_slot(deliverer, [peer], long)
        await world.report.until(lambda: world.report.outcomes)
    assert len(peer.contents[0][2]) > 8 * LONG_OCTETS
    assert sum(turns) > 8 * LONG_OCTETS
    assert max(turns) <= TURN_BLOCKS * BLOCK_OCTETS
