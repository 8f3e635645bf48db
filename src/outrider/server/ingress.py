"""Mail in: receive → policy → spool, on one screen.

A listener hands a `Submission`; policy makes it a `Message`; the log makes it durable; only then the
listener hears 250 and the dispatcher hears of the entries (worker.py announces whole batches). What it
refuses is told to the record here, whatever the listener. Where there are scripts, they decide; for one that
waits there is a task, and the listener waits as it does for the disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from outrider.model.address import Address
from outrider.model.changes import ContentRef, Keyed, Stored, stored_of
from outrider.model.flow import Decided, Origin, Refusal, Submission
from outrider.model.ports import Keep, Log, Policy, PolicyDoor, PolicySession
from outrider.model.reply import Reply
from outrider.server import unsent
from outrider.server.contents import Contents
from outrider.server.decisions import Decision, only_message
from outrider.server.frames_in import Frames
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies

RefusalTeller = Callable[[Origin, str, str, Reply], None]


def _bug(error: Exception) -> Refusal:
    """Ours: it is told, and neither client nor keys are left waiting for a decision."""
    asyncio.get_running_loop().call_exception_handler({"message": "policy raised", "exception": error})
    return Refusal(replies.POLICY_FAILED, "policy failed")


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
    """

    __slots__ = (
        *("_contents", "_frames", "_is_full", "_log", "_policy", "_pressure", "_tasks", "_tell_refused"),
        *("_waiting", "scripts"),
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
        self._policy = policy
        self._log = log
        self._contents = contents
        self._pressure = pressure
        self._tell_refused = tell_refused
        self._is_full = is_full
        self._tasks: set[asyncio.Task[None]] = set()
        self.scripts: PolicyDoor | None = None
        self._frames = Frames(log, contents, self._refuse, is_full, release, report)
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Messages that are not decided, or not durable yet."""
        return self._waiting + self._frames.waiting

    def submit(
        self,
        submission: Submission,
        done: Callable[[Reply], None],
        session: PolicySession | None = None,
    ) -> None:
        refusal = self._pressure.refusal
        # a stop waits for the transactions that are open, and takes them
        if refusal is not None and refusal is not replies.SHUTTING_DOWN:
            self._refuse(submission.origin, submission.envelope.mail_from, refusal, done)
            return
        if session is None and self.scripts is None:
            message = self._policy.decide(submission)
        else:
            decision = self._decision(submission, session)
            only = only_message(decision)
            if only is None:
                self._decide_all((submission,), (), done, session, None, decision)
                return
            message = only
        if isinstance(message, Refusal):
            self._refuse(submission.origin, submission.envelope.mail_from, message.reply, done)
            return
        stored = stored_of(message, self._log.reserve(len(message.deliveries)))
        wire = message.submission.content.wire
        self._waiting += 1
        changes = unsent.changes_of(stored) if stored.origin.sandbox else (stored,)
        self._log.commit(changes, ((wire,),), partial(self._committed, stored, wire, done))

    def _committed(
        self, stored: Stored, wire: bytes, done: Callable[[Reply], None], ref: ContentRef | None
    ) -> None:
        self._waiting -= 1
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
            self._frames.store(submissions, [Refusal(self._pressure.refusal, "pressure")], keys, done, keep)
        elif self.scripts is not None:
            self._decide_all(submissions, keys, done, None, keep)
        else:
            decisions: list[Decision] = []
            for submission in submissions:
                decisions.append(self._policy.decide(submission))
                if isinstance(last := decisions[-1], Refusal) and not last.reply.is_permanent:
                    break
            self._frames.store(submissions, decisions, keys, done, keep)

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
        decisions: list[Decision] = []
        for number, submission in enumerate(submissions):
            decision = first if first is not None and not number else self._decision(submission, session)
            if not isinstance(decision, Decided | Refusal):
                self._waiting += 1
                work = self._decide_later(submissions, number, decisions, decision, keys, done, session, keep)
                self._begin(work)
                return
            decisions.append(decision)
            if isinstance(decision, Refusal) and not decision.reply.is_permanent:
                break
        self._frames.store(submissions, decisions, keys, done, keep)

    async def _decide_later(
        self,
        submissions: Sequence[Submission],
        number: int,
        decisions: list[Decision],
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
        except Exception as error:
            decisions.append(_bug(error))
        self._waiting -= 1
        self._frames.store(submissions, self._pressure_or(decisions), keys, done, keep)

    def _pressure_or(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        refusal = self._pressure.refusal
        if refusal is None or refusal.code == 421:  # a stop takes what was under way before it
            return decisions
        return [Refusal(refusal, "pressure")]

    def _decision(
        self, submission: Submission, session: PolicySession | None
    ) -> Decided | Refusal | Awaitable[Decided | Refusal]:
        """What scripts decide, in the session that it came in, or in one of its own."""
        if session is not None:
            try:
                return session.decide(submission)
            except Exception as error:
                return _bug(error)
        scripts = self.scripts
        if scripts is None:  # a reload took them away meanwhile
            decided = self._policy.decide(submission)
            return decided if isinstance(decided, Refusal) else Decided((decided,))
        own = scripts.open(submission.origin)
        try:
            decision = own.decide(submission)
        except Exception as error:
            decision = _bug(error)
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

    def _refuse(
        self, origin: Origin, mail_from: Address | None, reply: Reply, done: Callable[[Reply], None]
    ) -> None:
        self._tell_refused(origin, "" if mail_from is None else str(mail_from), "", reply)
        done(reply)

    def refusal(self) -> Reply | None:
        return self._pressure.refusal

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self._tell_refused(origin, mail_from, recipient, reply)
