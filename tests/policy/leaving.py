"""What hooks of the way out are asked with: a stored message, its path, its host, and a reply."""

from outrider.classify.verdict import classify
from outrider.model import changes
from outrider.model.changes import ContentRef, Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Delivery, Message, Outcome, Path, Phase, Submission
from outrider.model.reply import Reply
from outrider.model.way_out import Ended, Leaving
from tests.policy.acting import submission

PATH = Path("smtp", "vip", "mx.one.test")
OK = Reply(250, "2.0.0", ("Ok",))
UNKNOWN = Reply(550, "5.1.1", ("No such user",))
LATER = Reply(451, "4.7.1", ("Later",))


def stored_of(
    submitted: Submission, *, notes: tuple[tuple[str, str], ...] = (), signing: bytes = b""
) -> Stored:
    """A message as it was stored."""
    recipients = submitted.envelope.recipients
    deliveries = tuple(Delivery(each, each.address.domain, "smtp", "vip", 1) for each in recipients)
    message = Message(submitted, deliveries, signing=signing, notes=notes)
    return changes.stored_of(message, first_entry=1)


def leaving_of(submitted: Submission | None = None, *, attempts: int = 0, **more: object) -> Leaving:
    """Its recipients are about to go."""
    submitted = submitted or submission()
    stored = stored_of(submitted, **more)  # type: ignore[arg-type]
    group = tuple(
        Granted(1 + at, ContentRef(1, 1, 64, 200), at, 0, attempts, delay_notified=False)
        for at in range(len(stored.deliveries))
    )
    return Leaving(
        PATH, stored, submitted.content, group, "mx.one.test", "192.0.2.25:25", "192.0.2.2", "TLSv1.3 X"
    )


def ended_of(
    reply: Reply,
    phase: Phase = Phase.RCPT,
    *,
    kind: str = "",
    attempts: int = 1,
    ours: bool = False,
    submitted: Submission | None = None,
    **more: object,
) -> Ended:
    """One of them got a reply."""
    outcome = Outcome(reply, phase, ours, "mx.one.test", "192.0.2.25:25", "192.0.2.2", None, 0.5)
    stored = stored_of(submitted or submission(), **more)  # type: ignore[arg-type]
    return Ended(PATH, stored, 0, attempts, outcome, classify(outcome), kind)
