"""Scripts of the way out, for one worker: who asks them, and who waits for them.

In: recipients that are about to go, replies that have come, recipients that end. Out: what scripts say, given
to whoever asked; at once where no script waits.

Theory: a reply that scripts think about is in no log yet. Its slot is therefore not reported as closed before
they have answered, so the dispatcher grants the entry to nobody else meanwhile; if the worker dies, the entry
is granted again, which for a failure costs one more attempt. A delivery never waits for scripts: it is in the
log before they hear of it.

Invariant: each question is answered exactly once, whatever becomes of its scripts; what was not answered
holds as if the script had failed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, Final, TypeGuard, TypeVar

from msgspec.structs import replace

from outrider.model.changes import Attempted, Change, Finished, Retried
from outrider.model.flow import Disposition, Verdict
from outrider.model.hooks import HookPhase
from outrider.model.ports import WayOutPolicy
from outrider.model.way_out import Departure, Ended, Leaving, Ruling

T = TypeVar("T")

DRAIN_SECONDS: Final = 5.0
# chosen: what waits longer when the worker ends, or finds a new dispatcher, counts as failed
DISCARDED: Final = Verdict(Disposition.PERMANENT, "discarded")
"""Of a recipient whom a script discarded before the wire."""


class WayOut:
    """`deliver.ports.Departures`, and what `Egress` asks.

    Attributes:
        is_asked: Some script is asked before the wire.
        is_response_asked: Some script is asked after a reply.
        is_disposal_asked: Some script hears of recipients that end.
        busy: For each slot the entries whose scripts have not answered.
        untold: Deliveries by their entries, until they are in the log.
    """

    def __init__(self) -> None:
        self._policy: WayOutPolicy | None = None
        self.is_asked = False
        self.is_response_asked = False
        self.is_disposal_asked = False
        self.busy: Counter[int] = Counter()
        self.untold: dict[int, Ended] = {}
        self._idle: dict[int, Callable[[], None]] = {}
        self._deciding: set[asyncio.Task[Any]] = set()
        self._others: set[asyncio.Task[Any]] = set()  # before the wire, and those that only read

    def take(self, policy: WayOutPolicy | None) -> None:
        """These are asked from now on; what others were asked, they go on answering."""
        phases: frozenset[HookPhase] = frozenset() if policy is None else policy.phases
        self._policy = policy
        self.is_asked = HookPhase.OUTBOUND in phases
        self.is_response_asked = HookPhase.RESPONSE in phases
        self.is_disposal_asked = HookPhase.DISPOSAL in phases

    # before the wire

    def ask(self, leaving: Leaving) -> "Sequence[Departure] | asyncio.Future[Sequence[Departure]]":
        """See `deliver.ports.Departures`."""
        if self._policy is None:
            return [leaving.content for _ in leaving.group]
        answer = self._policy.outbound(leaving)
        return _task(answer, self._others) if isawaitable(answer) else answer

    # after it

    def review(self, slot: int, ended: Ended, then: Callable[[Ruling], None]) -> None:
        """What a failure means; `then` is called once."""
        if self._policy is None:
            then(Ruling(ended.verdict))
            return
        self._answer(slot, self._policy.response(ended), lambda: Ruling(kept(ended.verdict)), then)

    def written(self, changes: Iterable[Change]) -> None:
        """These are in the log: scripts hear of the deliveries among them."""
        for change in changes:
            ended = self.untold.pop(change.entry, None) if type(change) is Finished else None
            if ended is not None and self._policy is not None and self.is_response_asked:
                answer = self._policy.response(ended)
                if isawaitable(answer):
                    _task(answer, self._others)

    def dispose(self, slot: int, ended: Ended, then: Callable[[Mapping[str, str]], None]) -> None:
        """A recipient ends; `then` is called once with what is noted."""
        if self._policy is None:
            then({})
            return
        nothing: Callable[[], Mapping[str, str]] = dict
        self._answer(slot, self._policy.disposal(ended), nothing, then)

    # what waits

    def when_idle(self, slot: int, call: Callable[[], None]) -> None:
        """Call once nothing of this slot waits for scripts, at once where nothing does."""
        if slot in self.busy:
            self._idle[slot] = call
        else:
            call()

    async def drain(self) -> None:
        """Wait for what scripts are to decide, so that it is in the log; what takes too long is given up."""
        while self._deciding:  # what ends after a reply is asked about once more
            _, late = await asyncio.wait(self._deciding, timeout=DRAIN_SECONDS)
            await _cancelled(late)
            for _ in range(2):
                await asyncio.sleep(0)  # their callbacks, and then the frame that they make

    async def close(self) -> None:
        """Nothing is asked any more."""
        self.take(None)
        await self.drain()
        await _cancelled(self._others.copy())

    def _answer(
        self, slot: int, answer: T | Awaitable[T], otherwise: Callable[[], T], then: Callable[[T], None]
    ) -> None:
        if not isawaitable(answer):
            then(answer)
            return
        self.busy[slot] += 1
        _task(answer, self._deciding).add_done_callback(partial(self._answered, slot, otherwise, then))

    def _answered(
        self, slot: int, otherwise: Callable[[], T], then: Callable[[T], None], task: "asyncio.Task[T]"
    ) -> None:
        failed = task.cancelled() or task.exception() is not None
        try:
            then(otherwise() if failed else task.result())
        finally:
            self.busy[slot] -= 1
            if not self.busy[slot]:
                del self.busy[slot]
                call = self._idle.pop(slot, None)
                if call is not None:
                    call()


def _task(answer: Awaitable[T], owner: set[asyncio.Task[Any]]) -> "asyncio.Task[T]":
    # one that is cancelled before it began has nothing inside that nobody awaited
    work = answer if iscoroutine(answer) else _awaited(answer)
    task = asyncio.get_running_loop().create_task(work)
    owner.add(task)
    task.add_done_callback(owner.discard)
    return task


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer


def kept(verdict: Verdict) -> Verdict:
    """What holds where scripts that might have kept the recipient gave no answer."""
    if verdict.disposition != Disposition.PERMANENT:
        return verdict
    return replace(verdict, disposition=int(Disposition.TRANSIENT))


def with_notes(attempted: Attempted, notes: Mapping[str, str]) -> Attempted:
    """The attempt with notes in its metadata; a note goes before metadata of its name."""
    return replace(attempted, metadata=tuple({**dict(attempted.metadata), **notes}.items()))


def ends_undelivered(change: Finished | Retried) -> TypeGuard[Finished]:
    """The recipient ends, and nobody took the message for it."""
    return type(change) is Finished and change.kind != "delivered"
