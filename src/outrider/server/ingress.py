"""Mail in: receive → policy → spool, on one screen.

A listener hands a `Submission`; policy makes it a `Message`; the log makes it durable; only then the
listener hears 250 and the dispatcher hears of the entries (worker.py announces whole batches). What it
refuses is told to the record here, whatever the listener. Where there are scripts, they decide; for one that
waits there is a task, and the listener waits as it does for the disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Keyed, Stored
from outrider.model.flow import Decided, Message, Origin, Refusal, RefusedRecipient, Submission
from outrider.model.ports import Keep, Log, Policy, PolicyDoor, PolicySession
from outrider.model.reply import Reply
from outrider.server import unsent
from outrider.server.contents import Contents
from outrider.server.pressure import Pressure
from outrider.server.stored import as_asked, stored_of
from outrider.wire.smtp import replies

VARIANTS_OCTETS_MAX = 64 << 20
# chosen: what policy makes of one message is one frame, and that stays within a segment
RefusalTeller = Callable[[Origin, str, str, Reply], None]


class _Frame(NamedTuple):
    """One message, or all that policy made of it, as it is written."""

    stored: tuple[Stored, ...]
    wires: tuple[bytes, ...]
    ends: tuple[Change, ...]
    keys: Sequence[Keyed]


class _Request:
    """What one request still waits for; `last` is written when the others are durable.

    Of its recipients, `refused` are not to get it.
    """

    __slots__ = ("done", "frames", "has_failed", "last", "refused", "waiting")

    def __init__(self, done: Callable[[Reply], None], refused: int = 0) -> None:
        self.done = done
        self.refused = refused
        self.frames: list[_Frame] = []
        self.last: _Frame | None = None
        self.waiting = 0
        self.has_failed = False


_Decision = Message | Decided | Refusal


def _messages_of(decision: _Decision) -> tuple[Message, ...]:
    if isinstance(decision, Refusal):
        return ()
    return (decision,) if isinstance(decision, Message) else decision.messages


def _refused_of(submission: Submission, decision: _Decision) -> tuple[RefusedRecipient, ...]:
    """Recipients of one of several messages who are refused, be it the whole of it."""
    if isinstance(decision, Refusal):
        return tuple([RefusedRecipient(each, decision.reply) for each in submission.envelope.recipients])
    return decision.refused if isinstance(decision, Decided) else ()


def _refusal_of(decisions: Sequence[_Decision]) -> Refusal | None:
    """What refuses a request as a whole: a transient reply to any of its messages, or one to each of them."""
    refusals = [each for each in decisions if isinstance(each, Refusal)]
    for each in refusals:
        if not each.reply.is_permanent:
            return each
    return refusals[0] if len(refusals) == len(decisions) else None


def _only_message(decision: Decided | Refusal | Awaitable[Decided | Refusal]) -> Message | Refusal | None:
    """The one message that goes out as any other does, or the refusal; None where there is more to it."""
    if isinstance(decision, Refusal):
        return decision
    if not isinstance(decision, Decided) or decision.refused or len(decision.messages) > 1:
        return None
    [message] = decision.messages
    return None if message.discard else as_asked(message)


def _is_too_big(decision: _Decision) -> bool:
    if not isinstance(decision, Decided) or len(decision.messages) == 1:
        return False
    octets = sum(
        len(each.submission.content.wire) + sum(len(name) + 4 * len(text) for name, text in each.notes)
        for each in decision.messages
    )
    return octets > VARIANTS_OCTETS_MAX


async def _closing(session: PolicySession, waiting: Awaitable[Decided | Refusal]) -> Decided | Refusal:
    """What was waited for; the session that was opened for it is closed then."""
    try:
        return await waiting
    finally:
        session.close()


class Ingress:
    """`model.ports.InjectionIntake` of one worker.

    Args:
        policy: Decides.
        log: Stores.
        contents: Keeps what was stored for its delivery.
        pressure: Says when nothing is taken.
        tell_refused: Hears of every refusal.
        is_full: Whether a message that was not stored found the log full.
        release: Gives an idempotency key back.
        report: Writes to the sender about recipients whom policy refuses.

    Attributes:
        scripts: What decides instead of `policy`, for sessions and requests that begin; may be exchanged.
        waiting: Messages that are not durable yet.
    """

    __slots__ = (
        *("_contents", "_is_full", "_log", "_policy", "_pressure", "_release", "_report", "_tasks"),
        *("_tell_refused", "scripts", "waiting"),
    )

    def __init__(
        self,
        policy: Policy,
        log: Log,
        contents: Contents,
        pressure: Pressure,
        tell_refused: RefusalTeller,
        is_full: Callable[[], bool] = lambda: False,
        release: Callable[[bytes], None] = lambda _: None,
        report: unsent.Report = unsent.no_report,
    ) -> None:
        self._release = release
        self._report = report
        self._policy = policy
        self._log = log
        self._contents = contents
        self._pressure = pressure
        self._tell_refused = tell_refused
        self._is_full = is_full
        self._tasks: set[asyncio.Task[None]] = set()
        self.scripts: PolicyDoor | None = None
        self.waiting = 0

    def submit(
        self,
        submission: Submission,
        done: Callable[[Reply], None],
        session: PolicySession | None = None,
    ) -> None:
        refusal = self._pressure.refusal
        if refusal is not None:
            self._refuse(submission.origin, submission.envelope.mail_from, refusal, done)
            return
        if session is None and self.scripts is None:
            message = self._policy.decide(submission)
        else:
            decision = self._decision(submission, session)
            only = _only_message(decision)
            if only is None:
                self._decide_all((submission,), (), done, session, None, decision)
                return
            message = only
        if isinstance(message, Refusal):
            self._refuse(submission.origin, submission.envelope.mail_from, message.reply, done)
            return
        stored = stored_of(message, self._log.reserve(len(message.deliveries)))
        wire = message.submission.content.wire
        self.waiting += 1
        changes = unsent.changes_of(stored) if stored.origin.sandbox else (stored,)
        self._log.commit(changes, ((wire,),), partial(self._committed, stored, wire, done))

    def _committed(
        self, stored: Stored, wire: bytes, done: Callable[[Reply], None], ref: ContentRef | None
    ) -> None:
        self.waiting -= 1
        if ref is None:
            reply = replies.DISK_LOW if self._is_full() else replies.SPOOL_FAILED
            self._refuse(stored.origin, stored.mail_from, reply, done)
            return
        if stored.origin.sandbox:
            done(replies.queued(stored.message_id, unsent.SIMULATED))
            return
        self._contents.keep(ref, stored, wire)
        done(replies.queued(stored.message_id))

    def submit_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None = None,
    ) -> None:
        """The messages of one request, each in a frame of its own with its keys.

        With keys the last one is written after all others are durable, so that what its keys say of the whole
        request is true.
        """
        if self._pressure.refusal is not None:
            self._store_all(submissions, [Refusal(self._pressure.refusal, "pressure")], keys, done, keep)
        elif self.scripts is not None:
            self._decide_all(submissions, keys, done, None, keep)
        else:
            decisions: list[_Decision] = []
            for submission in submissions:
                decisions.append(self._policy.decide(submission))
                if isinstance(last := decisions[-1], Refusal) and not last.reply.is_permanent:
                    break
            self._store_all(submissions, decisions, keys, done, keep)

    # where scripts decide

    def _decide_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        session: PolicySession | None,
        keep: Keep | None,
        first: Decided | Refusal | Awaitable[Decided | Refusal] | None = None,
    ) -> None:
        """As `submit_all`; what has to wait goes on in a task, which a stop waits for as for the disk.

        Args:
            first: What was decided of the first one, where that was done.
        """
        decisions: list[_Decision] = []
        for number, submission in enumerate(submissions):
            decision = first if first is not None and not number else self._decision(submission, session)
            if not isinstance(decision, Decided | Refusal):
                self.waiting += 1
                work = self._decide_later(submissions, number, decisions, decision, keys, done, session, keep)
                self._begin(work)
                return
            decisions.append(decision)
            if isinstance(decision, Refusal) and not decision.reply.is_permanent:
                break
        self._store_all(submissions, decisions, keys, done, keep)

    async def _decide_later(
        self,
        submissions: Sequence[Submission],
        number: int,
        decisions: list[_Decision],
        waiting: Awaitable[Decided | Refusal],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        session: PolicySession | None,
        keep: Keep | None,
    ) -> None:
        """Go on where `_decide_all` came to something that waits."""
        try:
            decisions.append(await waiting)
            for submission in submissions[number + 1 :]:
                if isinstance(last := decisions[-1], Refusal) and not last.reply.is_permanent:
                    break
                decision = self._decision(submission, session)
                decisions.append(decision if isinstance(decision, Decided | Refusal) else await decision)
        except asyncio.CancelledError:
            decisions.append(Refusal(replies.SHUTTING_DOWN, "stopped while a script waited"))
        except Exception as error:  # a bug: the client and the keys are not left waiting for it
            decisions.append(Refusal(replies.POLICY_FAILED, "policy failed"))
            asyncio.get_running_loop().call_exception_handler(
                {"message": "policy raised", "exception": error}
            )
        self.waiting -= 1
        self._store_all(submissions, self._pressure_or(decisions), keys, done, keep)

    def _pressure_or(self, decisions: Sequence[_Decision]) -> Sequence[_Decision]:
        refusal = self._pressure.refusal
        if refusal is None or refusal.code == 421:  # a stop takes what was under way before it
            return decisions
        return [Refusal(refusal, "pressure")]

    def _decision(
        self, submission: Submission, session: PolicySession | None
    ) -> Decided | Refusal | Awaitable[Decided | Refusal]:
        """What scripts decide, in the session that it came in, or in one of its own."""
        if session is not None:
            return session.decide(submission)
        scripts = self.scripts
        if scripts is None:  # a reload took them away meanwhile
            decided = self._policy.decide(submission)
            return decided if isinstance(decided, Refusal) else Decided((decided,))
        own = scripts.open(submission.origin)
        decision = own.decide(submission)
        if isinstance(decision, Decided | Refusal):
            own.close()
            return decision
        return _closing(own, decision)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for scripts that wait; what is not decided in time is refused."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:  # a script has some time to clean up, and so has one that is asked after it
            await asyncio.wait(self._tasks, timeout=seconds)

    # what was decided

    def _store_all(
        self,
        submissions: Sequence[Submission],
        decisions: Sequence[_Decision],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None,
    ) -> None:
        """Store what was decided of one request, or refuse the whole; see `_refusal_of`."""
        last = decisions[-1]
        refusal = last if isinstance(last, Refusal) else None
        refused: list[tuple[RefusedRecipient, ...]] = []
        if len(decisions) > 1 or (isinstance(last, Decided) and last.refused):
            refusal = _refusal_of(decisions)
            if refusal is None:
                refused = [_refused_of(*each) for each in zip(submissions, decisions, strict=True)]
        if any(map(_is_too_big, decisions)):
            refusal = Refusal(replies.MESSAGE_TOO_BIG, "its variants are too big together")
        if refusal is not None:
            first = submissions[0]
            self._give_back(keys)
            self._refuse(first.origin, first.envelope.mail_from, refusal.reply, done)
            return
        count = sum(map(len, refused))
        if count and keep is not None:
            keys = keep(refused)
        request = _Request(done, count)
        for number, decision in enumerate(decisions):
            frame = self._frame_of(_messages_of(decision), keys[number] if keys else ())
            if count and refused[number]:
                frame = self._with_ends(frame, submissions[number], refused[number])
            request.frames.append(frame)
        if keys and len(request.frames) > 1:
            request.last = request.frames.pop()
        request.waiting = len(request.frames)
        for frame in request.frames:
            self._commit(request, frame)

    def _with_ends(
        self, frame: _Frame, submission: Submission, refused: Sequence[RefusedRecipient]
    ) -> _Frame:
        """The same frame with what becomes of those whom policy refused, and the report about them."""
        ends = unsent.refused_of(submission, refused, self._log.reserve, self._report)
        return _Frame(
            (*frame.stored, *ends.stored),
            (*frame.wires, *ends.wires),
            (*frame.ends, *ends.changes),
            frame.keys,
        )

    def _frame_of(self, messages: Sequence[Message], keys: Sequence[Keyed]) -> _Frame:
        if len(messages) == 1:  # the usual, a hundred times in a batch
            message = as_asked(messages[0])
            one = stored_of(message, self._log.reserve(len(message.deliveries)))
            changes = unsent.changes_of(one, message.discard)
            return _Frame((one,), (message.submission.content.wire,), changes, keys)
        stored = tuple(
            stored_of(as_asked(each), self._log.reserve(len(each.deliveries))) for each in messages
        )
        ends = (unsent.changes_of(one, each.discard) for one, each in zip(stored, messages, strict=True))
        return _Frame(
            stored,
            tuple(each.submission.content.wire for each in messages),
            tuple(change for each in ends for change in each),
            keys,
        )

    def _commit(self, request: _Request, frame: _Frame) -> None:
        self.waiting += 1
        changes: list[Change] = [*frame.ends, *frame.keys]
        contents = tuple((wire,) for wire in frame.wires)
        self._log.commit(changes, contents, partial(self._frame_committed, request, frame))

    def _frame_committed(self, request: _Request, frame: _Frame, ref: ContentRef | None) -> None:
        self.waiting -= 1
        request.waiting -= 1
        stored = frame.stored[0]
        if ref is None:
            request.has_failed = True
            self._give_back((frame.keys,))
        elif len(frame.stored) == 1 and not unsent.is_unsent(stored):
            self._contents.keep(ref, stored, frame.wires[0])  # of several, each is read from the log
        if request.waiting:
            return
        last, request.last = request.last, None
        stored = request.frames[0].stored[0]
        if request.has_failed:
            self._give_back(() if last is None else (last.keys,))
            reply = replies.DISK_LOW if self._is_full() else replies.SPOOL_FAILED
            self._refuse(stored.origin, stored.mail_from, reply, request.done)
        elif last is not None:
            request.waiting = 1
            self._commit(request, last)
        elif request.refused:
            durability = unsent.SIMULATED if stored.origin.sandbox else replies.DURABLE
            request.done(replies.queued_without(request.refused, stored.message_id, durability))
        elif stored.origin.sandbox:
            request.done(replies.queued(stored.message_id, unsent.SIMULATED))
        else:
            request.done(replies.queued(stored.message_id))

    def _give_back(self, keys: Sequence[Sequence[Keyed]]) -> None:
        for each in keys:
            for keyed in each:
                self._release(keyed.key)

    def _refuse(
        self, origin: Origin, mail_from: Address | None, reply: Reply, done: Callable[[Reply], None]
    ) -> None:
        self._tell_refused(origin, "" if mail_from is None else str(mail_from), "", reply)
        done(reply)

    def refusal(self) -> Reply | None:
        return self._pressure.refusal

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self._tell_refused(origin, mail_from, recipient, reply)
