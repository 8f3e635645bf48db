"""Mail in: receive → policy → spool, on one screen.

A listener hands a `Submission`; policy makes it a `Message`; the log makes it durable; only then the
listener hears 250 and the dispatcher hears of the entries (worker.py announces whole batches). What it
refuses is told to the record here, whatever the listener.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Keyed, Stored
from outrider.model.flow import Message, Origin, Refusal, Submission
from outrider.model.ports import Log, Policy
from outrider.model.reply import Reply
from outrider.server import sandbox
from outrider.server.contents import Contents
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies

CUSTOMER_ID = "customer_id"
# the name in the metadata whose text stands for the recipient where a redaction profile says so
RefusalTeller = Callable[[Origin, str, str, Reply], None]


def stored_of(message: Message, first_entry: int) -> Stored:
    """The change that stores `message`; its deliveries are entries from `first_entry` on."""
    submission = message.submission
    envelope = submission.envelope
    content = submission.content
    return Stored(
        submission.message_id,
        first_entry,
        submission.received_time,
        submission.origin,
        envelope.mail_from,
        message.deliveries,
        envelope.ret,
        envelope.envid,
        envelope.smtputf8,
        int(content.traits),
        content.header_octets,
        len(content.wire),
    )


class _Frame(NamedTuple):
    """One message as it is written."""

    stored: Stored
    wire: bytes
    keys: Sequence[Keyed]


class _Request:
    """What one request still waits for; `last` is written when the others are durable."""

    __slots__ = ("done", "frames", "has_failed", "last", "waiting")

    def __init__(self, done: Callable[[Reply], None]) -> None:
        self.done = done
        self.frames: list[_Frame] = []
        self.last: _Frame | None = None
        self.waiting = 0
        self.has_failed = False


def _as_asked(message: Message) -> Message:
    """With the time that the sender asked for, unless policy wants it later still, and his own names."""
    at = message.submission.not_before_time
    if not at and not any(each.recipient.metadata for each in message.deliveries):
        return message
    deliveries = tuple(
        replace(
            each,
            not_before_time=max(each.not_before_time, at),
            customer_id=each.customer_id or dict(each.recipient.metadata).get(CUSTOMER_ID, ""),
        )
        for each in message.deliveries
    )
    return replace(message, deliveries=deliveries)


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
    """

    __slots__ = (
        *("_contents", "_is_full", "_log", "_policy", "_pressure", "_release", "_tell_refused", "waiting"),
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
    ) -> None:
        self._release = release
        self._policy = policy
        self._log = log
        self._contents = contents
        self._pressure = pressure
        self._tell_refused = tell_refused
        self._is_full = is_full
        self.waiting = 0

    def submit(self, submission: Submission, done: Callable[[Reply], None]) -> None:
        refusal = self._pressure.refusal
        if refusal is not None:
            self._refuse(submission.origin, submission.envelope.mail_from, refusal, done)
            return
        message = self._policy.decide(submission)
        if isinstance(message, Refusal):
            self._refuse(submission.origin, submission.envelope.mail_from, message.reply, done)
            return
        stored = stored_of(message, self._log.reserve(len(message.deliveries)))
        wire = submission.content.wire
        self.waiting += 1
        changes = sandbox.changes_of(stored) if stored.origin.sandbox else (stored,)
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
            done(replies.queued(stored.message_id, sandbox.SIMULATED))
            return
        self._contents.keep(ref, stored, wire)
        done(replies.queued(stored.message_id))

    def submit_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
    ) -> None:
        """The messages of one request, each in a frame of its own with its keys.

        With keys the last one is written after all others are durable, so that what its keys say of the whole
        request is true.
        """
        first = submissions[0]
        reply = self._pressure.refusal
        messages: list[Message] = []
        if reply is None:
            for submission in submissions:
                message = self._policy.decide(submission)
                if isinstance(message, Refusal):
                    reply = message.reply
                    break
                messages.append(_as_asked(message))
        if reply is not None:
            self._give_back(keys)
            self._refuse(first.origin, first.envelope.mail_from, reply, done)
            return
        request = _Request(done)
        for number, message in enumerate(messages):
            stored = stored_of(message, self._log.reserve(len(message.deliveries)))
            own = keys[number] if keys else ()
            request.frames.append(_Frame(stored, message.submission.content.wire, own))
        if keys and len(messages) > 1:
            request.last = request.frames.pop()
        request.waiting = len(request.frames)
        for frame in request.frames:
            self._commit(request, frame)

    def _commit(self, request: "_Request", frame: "_Frame") -> None:
        self.waiting += 1
        stored = frame.stored
        ends = sandbox.changes_of(stored) if stored.origin.sandbox else (stored,)
        changes: list[Change] = [*ends, *frame.keys]
        self._log.commit(changes, ((frame.wire,),), partial(self._frame_committed, request, frame))

    def _frame_committed(self, request: "_Request", frame: "_Frame", ref: ContentRef | None) -> None:
        self.waiting -= 1
        request.waiting -= 1
        if ref is None:
            request.has_failed = True
            self._give_back((frame.keys,))
        elif not frame.stored.origin.sandbox:
            self._contents.keep(ref, frame.stored, frame.wire)
        if request.waiting:
            return
        last, request.last = request.last, None
        stored = request.frames[0].stored
        if request.has_failed:
            self._give_back(() if last is None else (last.keys,))
            reply = replies.DISK_LOW if self._is_full() else replies.SPOOL_FAILED
            self._refuse(stored.origin, stored.mail_from, reply, request.done)
        elif last is not None:
            request.waiting = 1
            self._commit(request, last)
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
