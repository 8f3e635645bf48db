"""Idempotency keys on both ends of the link: whatever dies in between, a key is done once."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.base.errors import SpoolError
from outrider.model.changes import Keyed
from outrider.model.dispatch import KeyState, Released, Reserve, Reserved
from outrider.server import idempotency
from outrider.server.idempotency import QUESTIONS_MAX, KeyAsker, KeyRegister

KEY, BODY, OTHER = b"k" * 16, b"b" * 16, b"o" * 16
EXPIRES = 1e12


class End:
    """What was sent to one worker."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def take(self) -> list[tuple[int, KeyState]]:
        sent, self.sent = self.sent, []
        return [(each.token, KeyState(each.state)) for each in sent]


class Desk:
    """A register whose index is a dictionary."""

    def __init__(self, *, is_complete: bool = True) -> None:
        self.known: dict[bytes, Keyed] = {}
        self.failing = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.register = KeyRegister(self.find, self.start)
        if is_complete:
            self.register.begin()

    def start(self, look_up: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(look_up)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def find(self, key: bytes) -> Keyed | None:
        await asyncio.sleep(0)
        if self.failing:
            raise SpoolError("no disk")
        return self.known.get(key)

    async def settle(self) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks)

    async def ask(self, worker: int, key: bytes = KEY, body: bytes = BODY) -> KeyState:
        end = End()
        self.register.ask(worker, end, Reserve(1, key, body))
        await self.settle()
        ((_, state),) = end.take()
        return state


async def test_a_key_is_free_once() -> None:
    desk = Desk()
    assert await desk.ask(0) is KeyState.FREE
    assert await desk.ask(0) is KeyState.BUSY
    assert await desk.ask(1) is KeyState.BUSY
    assert await desk.ask(1, body=OTHER) is KeyState.OTHER
    assert await desk.ask(1, key=OTHER) is KeyState.FREE


async def test_two_who_ask_at_once_are_not_both_told_that_it_is_free() -> None:
    desk = Desk()
    first, second = End(), End()
    desk.register.ask(0, first, Reserve(1, KEY, BODY))
    desk.register.ask(1, second, Reserve(1, KEY, BODY))
    await desk.settle()
    assert (first.take(), second.take()) == ([(1, KeyState.FREE)], [(1, KeyState.BUSY)])


async def test_what_was_done_is_answered_again_and_not_to_another_request() -> None:
    desk = Desk()
    desk.known[KEY] = Keyed(KEY, BODY, b"answer", EXPIRES)
    end = End()
    desk.register.ask(0, end, Reserve(7, KEY, BODY))
    await desk.settle()
    assert end.sent == [Reserved(7, KeyState.DONE, b"answer")]
    assert await desk.ask(0, body=OTHER) is KeyState.OTHER
    assert desk.register.reserved == 0


async def test_a_key_comes_back_when_its_request_came_to_nothing() -> None:
    desk = Desk()
    assert await desk.ask(0) is KeyState.FREE
    desk.register.released(1, KEY)  # it is not his
    assert await desk.ask(1) is KeyState.BUSY
    desk.register.released(0, KEY)
    assert await desk.ask(1) is KeyState.FREE


async def test_a_dead_workers_keys_are_free_only_after_its_log_was_read() -> None:
    desk = Desk()
    assert await desk.ask(0) is KeyState.FREE
    assert await desk.ask(1) is KeyState.BUSY  # it is dead, and nobody knows what its log holds
    desk.known[KEY] = Keyed(KEY, BODY, b"", EXPIRES)
    desk.register.left(0)
    assert await desk.ask(1) is KeyState.DONE


async def test_nothing_is_answered_before_all_logs_are_read() -> None:
    desk = Desk(is_complete=False)
    end = End()
    desk.register.ask(0, end, Reserve(1, KEY, BODY))
    desk.register.ask(0, end, Reserve(2, OTHER, BODY))
    await desk.settle()
    assert end.take() == []
    desk.register.joined(1, ((KEY, BODY),))  # a living worker holds it since before the restart
    desk.register.begin()
    await desk.settle()
    assert end.take() == [(1, KeyState.BUSY), (2, KeyState.FREE)]


async def test_questions_that_wait_are_bounded() -> None:
    desk = Desk(is_complete=False)
    end = End()
    for token in range(QUESTIONS_MAX + 1):
        desk.register.ask(0, end, Reserve(token, KEY, BODY))
    assert end.take() == [(QUESTIONS_MAX, KeyState.UNKNOWN)]


async def test_where_the_disk_cannot_be_asked_nothing_is_promised() -> None:
    desk = Desk()
    desk.failing = True
    assert await desk.ask(0) is KeyState.UNKNOWN
    desk.failing = False
    assert await desk.ask(0) is KeyState.FREE


async def test_a_caller_that_gives_up_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.server.idempotency.ANSWER_SECONDS", 0.0)
    sent: list[Any] = []
    asker = KeyAsker(sent.append)
    answer = await asker.reserve(KEY, BODY)
    assert answer.state is KeyState.UNKNOWN
    asker.ask_again()
    assert sent == [Reserve(1, KEY, BODY)]  # nobody waits for it, so it is not asked again
    asker.answered(Reserved(1, KeyState.FREE))
    assert asker.held() == ()


async def test_a_late_answer_gives_the_key_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.server.idempotency.ANSWER_SECONDS", 0.0)
    sent: list[Any] = []
    asker = KeyAsker(sent.append)
    await asker.reserve(KEY, BODY)
    asker.answered(Reserved(1, KeyState.FREE))
    assert sent[-1] == Released(KEY)


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_cancelled_caller_holds_nothing(*, is_answered: bool) -> None:
    sent: list[Any] = []
    asker = KeyAsker(sent.append)
    task = asyncio.get_running_loop().create_task(asker.reserve(KEY, BODY))
    await asyncio.sleep(0)
    if is_answered:
        asker.answered(Reserved(1, KeyState.FREE))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if not is_answered:
        asker.answered(Reserved(1, KeyState.FREE))
    assert asker.held() == ()
    assert sent[-1] == Released(KEY)


# -- whole life: two workers, a dispatcher, links that break, processes that die at any moment --


class Node:
    """A worker: its end, what it has committed, and what is durable."""

    def __init__(self, world: "World", number: int) -> None:
        self.number = number
        self.asker = KeyAsker(lambda message: world.outgoing.append((self, message)))
        self.unsynced: list[Keyed] = []
        self.log: list[Keyed] = []
        self.granted: list[tuple[bytes, bytes]] = []
        self.callers: list[asyncio.Task[None]] = []

    def send(self, message: Reserved) -> None:
        self.world_inbox.append((self, message))

    world_inbox: deque[tuple["Node", Reserved]]


class World:
    """All of them; `outgoing` and `incoming` are the octets under way on the links."""

    def __init__(self) -> None:
        self.outgoing: deque[tuple[Node, Any]] = deque()
        self.incoming: deque[tuple[Node, Reserved]] = deque()
        self.dead_logs: list[list[Keyed]] = []
        self.stored: list[Keyed] = []
        self.answers: list[tuple[bytes, bytes]] = []
        self.nodes = [self._node(number) for number in range(2)]
        self.desk = Desk()

    def _node(self, number: int) -> Node:
        node = Node(self, number)
        node.world_inbox = self.incoming
        return node

    def ask(self, number: int, key: bytes, body: bytes) -> None:
        node = self.nodes[number]

        async def call() -> None:
            answer = await node.asker.reserve(key, body)
            if answer.state == KeyState.FREE:
                node.granted.append((key, body))
            elif answer.state == KeyState.DONE:
                self.answers.append((key, answer.answer))

        node.callers.append(asyncio.get_running_loop().create_task(call()))

    def commit(self, number: int) -> None:
        node = self.nodes[number]
        if node.granted:
            key, body = node.granted.pop(0)
            node.unsynced.append(Keyed(key, body, b"%d" % (len(self.stored) + len(node.unsynced)), EXPIRES))

    def fail(self, number: int) -> None:
        node = self.nodes[number]
        if node.granted:
            node.asker.release(node.granted.pop(0)[0])

    def sync(self, number: int) -> None:
        node = self.nodes[number]
        frames, node.unsynced = node.unsynced, []
        node.log += frames
        self.stored += frames
        for frame in frames:
            node.asker.kept(frame.key)
            self.outgoing.append((node, frame))

    async def pump(self) -> None:
        """Deliver what is under way."""
        while self.outgoing or self.incoming or self.desk.tasks:
            await asyncio.sleep(0)
            if self.outgoing:
                node, message = self.outgoing.popleft()
                match message:
                    case Reserve():
                        self.desk.register.ask(node.number, node, message)
                    case Released(key=key):
                        self.desk.register.released(node.number, key)
                    case _:
                        self.desk.known[message.key] = message
                        self.desk.register.kept(message.key)
            if self.incoming:
                node, answer = self.incoming.popleft()
                node.asker.answered(answer)
        await asyncio.sleep(0)

    def kill_worker(self, number: int, *, reached_disk: bool) -> None:
        node = self.nodes[number]
        for caller in node.callers:
            caller.cancel()
        if reached_disk:  # written, not synced: nobody was told, but a replay finds it
            node.log += node.unsynced
            self.stored += node.unsynced
        self.outgoing = deque(each for each in self.outgoing if each[0] is not node)
        kept = [each for each in self.incoming if each[0] is not node]
        self.incoming.clear()
        self.incoming.extend(kept)
        self.dead_logs.append(node.log)
        self.desk.known |= {frame.key: frame for frame in node.log}
        self.desk.register.left(number)
        self.nodes[number] = self._node(number)
        self.desk.register.joined(number, ())

    def kill_dispatcher(self) -> None:
        self.outgoing.clear()
        self.incoming.clear()
        self.desk = Desk(is_complete=False)
        for log in self.dead_logs:
            self.desk.known |= {frame.key: frame for frame in log}
        for node in self.nodes:
            self.desk.known |= {frame.key: frame for frame in node.log}
            self.desk.register.joined(node.number, node.asker.held())
            node.asker.ask_again()
        self.desk.register.begin()


KEYS = st.sampled_from([b"1", b"2"])
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 1), KEYS, st.sampled_from([b"x", b"x", b"y"])),
    st.tuples(st.just("commit"), st.integers(0, 1)),
    st.tuples(st.just("fail"), st.integers(0, 1)),
    st.tuples(st.just("sync"), st.integers(0, 1)),
    st.tuples(st.just("pump")),
    st.tuples(st.just("kill_worker"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("kill_dispatcher")),
)


@given(steps=st.lists(STEPS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_key_is_stored_at_most_once_whatever_dies(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(_live(steps))


async def _live(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for step in steps:
        match step:
            case ("pump",):
                await world.pump()
            case ("kill_worker", number, reached_disk):
                world.kill_worker(number, reached_disk=reached_disk)
            case _:
                getattr(world, step[0])(*step[1:])
        await asyncio.sleep(0)
    keys = [frame.key for frame in world.stored]
    assert len(keys) == len(set(keys)), keys
    by_key = {frame.key: frame.answer for frame in world.stored}
    assert all(by_key[key] == answer for key, answer in world.answers)
    await _nothing_is_stuck(world)


async def _nothing_is_stuck(world: World) -> None:
    """After all is quiet, a key that was not used is free again."""
    for _ in range(2):
        for number in range(2):
            while world.nodes[number].granted:
                world.fail(number)
            world.sync(number)
        await world.pump()
    used = {frame.key: frame.body for frame in world.stored}
    for key in (b"1", b"2"):
        state = await world.desk.ask(0, key=key, body=b"x")
        body = used.get(key)
        expected = KeyState.FREE if body is None else KeyState.DONE if body == b"x" else KeyState.OTHER
        assert state is expected, (key, state)
    for node in world.nodes:
        for caller in node.callers:
            caller.cancel()


async def test_an_answer_in_the_turn_in_which_the_time_runs_out_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the key would stay reserved with nobody to give it back."""
    monkeypatch.setattr(idempotency, "ANSWER_SECONDS", 0.0)
    asker = KeyAsker(lambda _message: None)
    caller = asyncio.get_running_loop().create_task(asker.reserve(KEY, BODY))
    await asyncio.sleep(0)
    asker.answered(Reserved(1, KeyState.FREE))
    assert (await caller).state == KeyState.FREE
    assert asker.held() == ((KEY, BODY),)


async def test_questions_without_a_dispatcher_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(idempotency, "QUESTIONS_MAX", 3)
    said: list[Any] = []
    asker = KeyAsker(said.append)
    answers = [await asker.reserve(b"%d" % number, BODY) for number in range(5)]
    assert {answer.state for answer in answers} == {KeyState.UNKNOWN}
    assert len(said) == 3
    asker.ask_again()
    await asker.reserve(KEY, BODY)
    assert len(said) == 4
