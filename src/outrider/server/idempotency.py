"""Idempotency keys on both ends of the link: the dispatcher knows them all, a worker asks before it commits.

Theory: a key is *reserved* for one worker from the answer FREE until the frame that holds it is durable, the
worker gives it back, or the worker is dead and its log was read to the end. The reservation is memory only:
who holds one says so in `Hello`, and a dispatcher answers nothing before it has heard of all workers and
read all logs. What was done is in the logs, as `Keyed`, in the same frame as the messages; `spool.keys` finds
it.

Invariant: between two uses of a key within its life, at most one request under it is stored, whichever
workers took it and whatever died in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Protocol

from outrider.base.errors import SpoolError
from outrider.model.changes import Keyed
from outrider.model.dispatch import KeyState, Released, Reserve, Reserved, ToDispatcher

ANSWER_SECONDS: Final = 5.0
# chosen: a dispatcher's restart takes about a second; a client that waits longer is better told to come back
QUESTIONS_MAX: Final = 10_000
# chosen: questions that wait for the logs to be read, or in a worker for a dispatcher; about 2 MiB


class WorkerEnd(Protocol):
    """Where answers for one worker go."""

    def send(self, message: Reserved) -> None: ...


class KeyRegister:
    """The dispatcher's end.

    Args:
        find: A key that was used and has not expired; raises SpoolError when that cannot be told.
        start: Starts a task that the caller owns.
    """

    def __init__(
        self,
        find: Callable[[bytes], Awaitable[Keyed | None]],
        start: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self._find = find
        self._start = start
        self._reserved: dict[bytes, tuple[int, bytes]] = {}
        self._waiting: list[tuple[int, WorkerEnd, Reserve]] = []
        self._is_complete = False

    @property
    def reserved(self) -> int:
        """Keys whose requests are under way."""
        return len(self._reserved)

    def begin(self) -> None:
        """All logs are read and all living workers were heard: answer from now on."""
        self._is_complete = True
        waiting, self._waiting = self._waiting, []
        for worker, end, question in waiting:
            self.ask(worker, end, question)

    def joined(self, worker: int, reserved: tuple[tuple[bytes, bytes], ...]) -> None:
        """A worker is here with its reservations; its log is read up to where it is."""
        self.left(worker)
        for key, body in reserved:
            self._reserved[key] = (worker, body)

    def left(self, worker: int) -> None:
        """A worker is dead and its log read: what it had reserved is done, or never will be."""
        self._reserved = {key: held for key, held in self._reserved.items() if held[0] != worker}
        self._waiting = [each for each in self._waiting if each[0] != worker]

    def kept(self, key: bytes) -> None:
        """The key's frame is durable, and the index knows it."""
        self._reserved.pop(key, None)

    def released(self, worker: int, key: bytes) -> None:
        """Its request came to nothing."""
        held = self._reserved.get(key)
        if held is not None and held[0] == worker:
            del self._reserved[key]

    def ask(self, worker: int, end: WorkerEnd, question: Reserve) -> None:
        """Answer now or as soon as it can be told."""
        token, key, body = question.token, question.key, question.body
        if not self._is_complete:
            if len(self._waiting) < QUESTIONS_MAX:
                self._waiting.append((worker, end, question))
            else:
                end.send(Reserved(token, KeyState.UNKNOWN))
            return
        held = self._reserved.get(key)
        if held is not None:
            end.send(Reserved(token, KeyState.BUSY if held[1] == body else KeyState.OTHER))
            return
        # reserved while the disk is asked, so that a second one who asks meanwhile is told to wait
        self._reserved[key] = (worker, body)
        self._start(self._look_up(worker, end, question))

    async def _look_up(self, worker: int, end: WorkerEnd, question: Reserve) -> None:
        token, key, body = question.token, question.key, question.body
        try:
            found = await self._find(key)
        except SpoolError:
            self.released(worker, key)
            end.send(Reserved(token, KeyState.UNKNOWN))
            return
        if self._reserved.get(key) != (worker, body):
            return  # the worker died, or has a new link and asks again
        if found is None:
            end.send(Reserved(token, KeyState.FREE))
            return
        self.released(worker, key)
        if found.body == body:
            end.send(Reserved(token, KeyState.DONE, found.answer))
        else:
            end.send(Reserved(token, KeyState.OTHER))


class KeyAsker:
    """A worker's end; implements `model.ports.Reservations`.

    Args:
        send: Sends over the link; what is sent while there is none is lost.
    """

    def __init__(self, send: Callable[[ToDispatcher], None]) -> None:
        self._send = send
        self._questions: dict[int, tuple[Reserve, asyncio.Future[Reserved]]] = {}
        self._held: dict[bytes, bytes] = {}
        self._next_token = 0

    def held(self) -> tuple[tuple[bytes, bytes], ...]:
        """The reservations, for `Hello`."""
        return tuple(self._held.items())

    async def reserve(self, key: bytes, body: bytes) -> Reserved:
        """Ask for a key. After FREE it is the caller's until `release` or `kept`.

        A caller that is cancelled, or that hears UNKNOWN, has reserved nothing.
        """
        if len(self._questions) >= QUESTIONS_MAX:
            return Reserved(0, KeyState.UNKNOWN)
        self._next_token += 1
        token = self._next_token
        question = Reserve(token, key, body)
        future: asyncio.Future[Reserved] = asyncio.get_running_loop().create_future()
        self._questions[token] = question, future
        self._send(question)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await future
        except TimeoutError:
            if future.cancelled():
                return Reserved(token, KeyState.UNKNOWN)
            return future.result()  # it was answered in the turn in which the time ran out
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result().state == KeyState.FREE:
                self.release(key)  # it was answered in the turn in which we were cancelled
            raise

    def answered(self, answer: Reserved) -> None:
        """The dispatcher's answer; a key that nobody waits for any more goes back."""
        asked = self._questions.pop(answer.token, None)
        if asked is None:
            return
        question, future = asked
        if future.done():
            if answer.state == KeyState.FREE:
                self._send(Released(question.key))
            return
        if answer.state == KeyState.FREE:
            self._held[question.key] = question.body
        future.set_result(answer)

    def release(self, key: bytes) -> None:
        """The request came to nothing."""
        if self._held.pop(key, None) is not None:
            self._send(Released(key))

    def kept(self, key: bytes) -> None:
        """The key's frame is durable."""
        self._held.pop(key, None)

    def ask_again(self) -> None:
        """A new link, after `Hello`: ask again what was not answered and somebody waits for."""
        self._questions = {token: asked for token, asked in self._questions.items() if not asked[1].done()}
        for question, _ in self._questions.values():
            self._send(question)
