"""Mail in: receive → policy → spool, on one screen.

A listener hands a `Submission`; policy makes it a `Message`; the log makes it durable; only then the
listener hears 250 and the dispatcher hears of the entries (worker.py announces whole batches). What it
refuses is told to the record here, whatever the listener.
"""

from collections.abc import Callable
from functools import partial

from outrider.model.address import Address
from outrider.model.changes import ContentRef, Stored
from outrider.model.flow import Message, Origin, Refusal, Submission
from outrider.model.ports import Log, Policy
from outrider.model.reply import Reply
from outrider.server.contents import Contents
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies

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


class Ingress:
    """`model.ports.Intake` of one worker.

    Args:
        policy: Decides.
        log: Stores.
        contents: Keeps what was stored for its delivery.
        pressure: Says when nothing is taken.
        tell_refused: Hears of every refusal.
        is_full: Whether a message that was not stored found the log full.
    """

    __slots__ = ("_contents", "_is_full", "_log", "_policy", "_pressure", "_tell_refused", "waiting")

    def __init__(
        self,
        policy: Policy,
        log: Log,
        contents: Contents,
        pressure: Pressure,
        tell_refused: RefusalTeller,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
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
        self._log.commit((stored,), ((wire,),), partial(self._committed, stored, wire, done))

    def _committed(
        self, stored: Stored, wire: bytes, done: Callable[[Reply], None], ref: ContentRef | None
    ) -> None:
        self.waiting -= 1
        if ref is None:
            reply = replies.DISK_LOW if self._is_full() else replies.SPOOL_FAILED
            self._refuse(stored.origin, stored.mail_from, reply, done)
            return
        self._contents.keep(ref, stored, wire)
        done(replies.queued(stored.message_id))

    def _refuse(
        self, origin: Origin, mail_from: Address | None, reply: Reply, done: Callable[[Reply], None]
    ) -> None:
        self._tell_refused(origin, "" if mail_from is None else str(mail_from), "", reply)
        done(reply)

    def refusal(self) -> Reply | None:
        return self._pressure.refusal

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self._tell_refused(origin, mail_from, recipient, reply)
