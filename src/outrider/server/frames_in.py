"""The messages of one request, or all that policy made of one, written and answered together.

In: submissions and what was decided of them. Out: frames in the log, and one reply when all of them are
durable.

Theory: each message of a request has a frame of its own, with its idempotency keys; what scripts made of one
message, and what becomes of those whom they refused, is one frame, so that it is there as a whole or not at
all. The frames of a request are written together: a disk that fails refuses all of them. With keys the last
frame is written after all others are durable, so that what its keys say of the whole request is true.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Keyed, Stored, stored_of
from outrider.model.flow import Decided, Message, Origin, Refusal, RefusedRecipient, Submission
from outrider.model.ports import Keep, Log
from outrider.model.reply import Reply
from outrider.server import unsent
from outrider.server.contents import Contents
from outrider.server.decisions import Decision, is_too_big, messages_of, refusal_of, refused_of
from outrider.server.stored import as_asked
from outrider.wire.smtp import replies

Refuse = Callable[[Origin, Address | None, Reply, Callable[[Reply], None]], None]
"""Tells the record and the client."""


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


class Frames:
    """See the module.

    Args:
        log: Stores.
        contents: Keeps what was stored for its delivery.
        refuse: Hears of every refusal.
        is_full: Whether a message that was not stored found the log full.
        release: Gives an idempotency key back.
        report: Writes to the sender about recipients whom policy refuses.

    Attributes:
        waiting: Frames that are not durable yet.
    """

    __slots__ = ("_contents", "_is_full", "_log", "_refuse", "_release", "_report", "waiting")

    def __init__(
        self,
        log: Log,
        contents: Contents,
        refuse: Refuse,
        is_full: Callable[[], bool],
        release: Callable[[bytes], None],
        report: unsent.Report,
    ) -> None:
        self._log = log
        self._contents = contents
        self._refuse = refuse
        self._is_full = is_full
        self._release = release
        self._report = report
        self.waiting = 0

    def store(
        self,
        submissions: Sequence[Submission],
        decisions: Sequence[Decision],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None,
    ) -> None:
        """Store what was decided of one request, or refuse the whole; see `decisions.refusal_of`."""
        last = decisions[-1]
        refusal = last if isinstance(last, Refusal) else None
        refused: list[tuple[RefusedRecipient, ...]] = []
        if len(decisions) > 1 or (isinstance(last, Decided) and last.refused):
            refusal = refusal_of(decisions)
            if refusal is None:
                refused = [refused_of(*each) for each in zip(submissions, decisions, strict=True)]
        if any(map(is_too_big, decisions)):
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
            frame = self._frame_of(messages_of(decision), keys[number] if keys else ())
            if count and refused[number]:
                frame = self._with_ends(frame, submissions[number], refused[number])
            request.frames.append(frame)
        if keys and len(request.frames) > 1:
            request.last = request.frames.pop()
        request.waiting = len(request.frames)
        for number, frame in enumerate(request.frames):
            self._commit(request, frame, follows=number > 0)

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

    def _commit(self, request: _Request, frame: _Frame, *, follows: bool = False) -> None:
        self.waiting += 1
        changes: list[Change] = [*frame.ends, *frame.keys]
        contents = tuple((wire,) for wire in frame.wires)
        self._log.commit(changes, contents, partial(self._frame_committed, request, frame), follows=follows)

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
