"""Policy before the wire: who stays, who gets a content of his own, and what waits."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from outrider.base.errors import SpoolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.deliver.smtp import failures
from outrider.model.changes import Stored
from outrider.model.dispatch import Batch, Close
from outrider.model.flow import Content
from outrider.model.reply import Reply
from outrider.model.way_out import Departure, Leaving, Stay
from tests.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.deliver.conftest import World

NO = Stay(Reply(550, "5.7.1", ("No licence",)))


def edited(content: Content, mark: bytes) -> Content:
    """With a field more."""
    field = b"X-Mark: " + mark + b"\r\n"
    return Content(field + content.wire, content.traits, content.header_octets + len(field))


def mark_in(content: bytes) -> bytes:
    """What `edited` wrote; the peer of the tests does not keep the first three octets."""
    return content.partition(b"ark: ")[2].partition(b"\r\n")[0]


class Asking:
    """Departures of a test: `say` gives one for each recipient, by name; with `waits` later."""

    is_asked = True

    def __init__(self, say: Callable[[str, Content], Departure], *, waits: bool = False) -> None:
        self.say = say
        self.waits = waits
        self.asked: list[list[int]] = []
        self.facts: list[tuple[str, str, str]] = []
        self.futures: list[asyncio.Future[Sequence[Departure]]] = []
        self.heard = asyncio.Event()

    def ask(self, leaving: Leaving) -> Sequence[Departure] | asyncio.Future[Sequence[Departure]]:
        self.asked.append([granted.entry for granted in leaving.group])
        self.facts.append((leaving.host, leaving.peer, leaving.source))
        if not self.waits:
            return self.answer(leaving)
        future: asyncio.Future[Sequence[Departure]] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        self.last = leaving
        self.heard.set()
        return future

    def answer(self, leaving: Leaving) -> list[Departure]:
        names = [leaving.stored.deliveries[each.index].recipient.address.local_part for each in leaving.group]
        return [self.say(name, leaving.content) for name in names]


def as_it_is(_name: str, content: Content) -> Departure:
    return content


async def test_all_that_get_the_same_go_together_and_an_edit_goes_alone(world: "World") -> None:
    peer = await world.peer()
    entries = world.message("b", "c", "d", "e")
    asking = Asking(lambda name, content: edited(content, b"d") if name == "d" else content)
    async with world.running(departures=asking) as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 4)
        deliverer.close(Close(slot))
        await world.report.until(lambda: world.report.ends)
    assert [(names, mark_in(content)) for _, names, content in peer.contents] == [
        (("b", "c"), b""),
        (("d",), b"d"),
        (("e",), b""),
    ]
    assert asking.asked == [[each.entry for each in entries]], "all at once, and once"
    host = peer.host
    assert asking.facts == [(host.name, f"{host.address}:{host.port}", "127.0.0.1")]
    world.assert_once(entries)


async def test_who_stays_is_told_and_the_others_go(world: "World") -> None:
    peer = await world.peer()
    entries = world.message("b", "c", "d")
    asking = Asking(lambda name, content: NO if name == "c" else content)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 2)
    [(outcome, stay)] = world.report.stayed.values()
    assert stay is NO
    assert (outcome.reply, outcome.ours, outcome.host) == (NO.reply, True, peer.host.name)
    assert [names for _, names, _ in peer.contents] == [("b", "d")]
    world.assert_once(entries)


async def test_when_all_stay_the_next_message_follows(world: "World") -> None:
    peer = await world.peer()
    first, [last] = world.message("b", "c"), world.message("z")
    asking = Asking(lambda name, content: content if name == "z" else NO)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], *first, last)
        await world.report.until(lambda: last.entry in world.report.outcomes)
    assert list(world.report.stayed) == [each.entry for each in first]
    assert [names for _, names, _ in peer.contents] == [("z",)]
    world.assert_once([*first, last])


async def test_an_answer_is_waited_for_in_order(world: "World") -> None:
    peer = await world.peer()
    [first], [last] = world.message("b"), world.message("c")
    asking = Asking(lambda name, content: edited(content, name.encode()), waits=True)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], first, last)
        for count in (1, 2):
            await asyncio.wait_for(asking.heard.wait(), PATIENCE_SECONDS)
            asking.heard.clear()
            assert len(peer.contents) == count - 1
            asking.futures[-1].set_result(asking.answer(asking.last))
            await world.report.until(lambda count=count: len(world.report.outcomes) == count)  # type: ignore[misc]
    assert [mark_in(content) for _, _, content in peer.contents] == [b"b", b"c"]
    world.assert_once([first, last])


@pytest.mark.parametrize("how", ["error", "cancelled"])
async def test_an_answer_that_never_comes_is_a_failure_of_ours(world: "World", how: str) -> None:
    peer = await world.peer()
    [entry] = world.message("b")
    asking = Asking(as_it_is, waits=True)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], entry)
        await asyncio.wait_for(asking.heard.wait(), PATIENCE_SECONDS)
        if how == "error":
            asking.futures[0].set_exception(RuntimeError("odd"))
        else:
            asking.futures[0].cancel()
        await world.report.until(lambda: world.report.stayed)
    [(outcome, _)] = world.report.stayed.values()
    assert (outcome.reply, outcome.ours) == (failures.INTERNAL, True)
    assert peer.contents == []
    world.assert_once([entry])


async def test_what_is_asked_about_when_the_slot_ends_goes_back(world: "World") -> None:
    peer = await world.peer()
    [entry], [other] = world.message("b"), world.message("c")
    asking = Asking(as_it_is, waits=True)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], entry, other)
        await asyncio.wait_for(asking.heard.wait(), PATIENCE_SECONDS)
        await deliverer.shutdown(1.0)
    assert asking.futures[0].cancelled()
    assert world.report.back == [entry.entry, other.entry]
    assert peer.contents == []


async def test_an_entry_that_comes_again_is_asked_about_again(world: "World") -> None:
    peer = await world.peer()
    [entry] = world.message("b")
    asking = Asking(lambda _name, content: edited(content, b"%d" % len(asking.asked)))
    async with world.running(departures=asking) as deliverer:
        slot = world.open_slot(deliverer, [peer], entry)
        await world.report.until(lambda: len(peer.contents) == 1 and world.report.wants)
        deliverer.batch(Batch(slot, (entry,)))
        await world.report.until(lambda: len(world.report.outcomes[entry.entry]) == 2)
    assert [mark_in(content) for _, _, content in peer.contents] == [b"1", b"2"]


class Signing:
    """A guard that goes through all, and puts a line before it."""

    def __init__(self) -> None:
        self.threads: list[bool] = []

    def goes_through(self, stored: Stored) -> bool:
        return True

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        self.threads.append(threading.current_thread() is threading.main_thread())
        return entries, Content(b"Signed: 1\r\n" + content.wire, content.traits, content.header_octets + 11)


@pytest.mark.parametrize("is_long", [False, True])
async def test_what_is_signed_is_what_was_edited(world: "World", *, is_long: bool) -> None:
    peer = await world.peer()
    line = b"x" * 62 + b"\r\n"
    body = line * (LONG_OCTETS // len(line) + 1) if is_long else line
    entries = world.message("b", "c", body=body)
    if is_long:
        world.loading[entries[0].ref] = None
    guard = Signing()
    asking = Asking(lambda name, content: edited(content, b"c") if name == "c" else content)
    async with world.running(guard=guard, departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        if is_long:
            await world.report.until(lambda: world.loading[entries[0].ref])
            future = world.loading[entries[0].ref]
            assert future is not None
            future.set_result(world.messages[entries[0].ref])
        await world.report.until(lambda: len(world.report.outcomes) == 2)
    assert [content.split(b"\r\n")[:2] for _, _, content in peer.contents] == [
        [b"ned: 1", b"Subject: 1"],
        [b"ned: 1", b"X-Mark: c"],
    ]
    assert guard.threads == [not is_long] * 2
    assert len(asking.asked) == 1
    world.assert_once(entries)


async def test_what_cannot_be_read_is_not_asked_about(world: "World") -> None:
    peer = await world.peer()
    gone, [last] = world.message("b", "c", missing=True), world.message("d")
    asking = Asking(as_it_is)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], *gone, last)
        await world.report.until(lambda: last.entry in world.report.outcomes)
    assert sorted(world.report.unread) == [each.entry for each in gone]
    assert asking.asked == [[last.entry]]
    world.assert_once([*gone, last])


async def test_a_guard_that_fails_ends_one_transaction(world: "World") -> None:
    class Failing(Signing):
        def clear(
            self, stored: Stored, entries: Sequence[int], content: Content
        ) -> tuple[Sequence[int], Content]:
            if b"X-Mark" in content.wire:
                raise SpoolError("odd")
            return super().clear(stored, entries, content)

    peer = await world.peer()
    entries = world.message("b", "c", "d")
    asking = Asking(lambda name, content: edited(content, b"c") if name == "c" else content)
    async with world.running(guard=Failing(), departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 3)
    assert [names for _, names, _ in peer.contents] == [("b",), ("d",)]
    assert world.report.codes()[entries[1].entry][0] == 451
    world.assert_once(entries)


async def test_what_was_asked_goes_out_though_nobody_is_asked_any_more(world: "World") -> None:
    peer = await world.peer()
    [entry], [other] = world.message("b"), world.message("c")
    asking = Asking(lambda _name, content: edited(content, b"yes"), waits=True)
    async with world.running(departures=asking) as deliverer:
        world.open_slot(deliverer, [peer], entry, other)
        await asyncio.wait_for(asking.heard.wait(), PATIENCE_SECONDS)
        asking.is_asked = False
        asking.futures[0].set_result(asking.answer(asking.last))
        await world.report.until(lambda: other.entry in world.report.outcomes)
    assert [mark_in(content) for _, _, content in peer.contents] == [b"yes", b""]
    world.assert_once([entry, other])
