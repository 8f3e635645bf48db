"""Messages that are stored and finished in the same frame, so that no queue ever holds them.

In: a `Stored` of a sandbox, or one that policy discards; recipients that policy refuses while it takes their
message for others. Out: the change set.

Of a refused recipient's message only the header is kept, since nobody is to get it: a long message is not
written twice for it. Reports go to the sender who handed the message in, even where scripts changed that.

Theory: what is finished where it is stored is never announced to the dispatcher, so never granted, so no
connection is opened for it; after a crash the frame says so too, because both are one atomic change set.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from outrider.classify.table import OWN_POLICY
from outrider.model.changes import Attempted, Change, Finished, Stored, stored_of
from outrider.model.flow import (
    Delivery,
    Disposition,
    Message,
    Outcome,
    Phase,
    RefusedRecipient,
    Submission,
    Verdict,
)
from outrider.model.reply import Reply
from outrider.model.route import DISCARD, REFUSED, UNSENT_CHANNELS
from outrider.server.stored import as_asked
from outrider.wire.smtp.content import checked

SIMULATED = "simulated"

_SIMULATED_REPLY = Reply(250, "2.0.0", ("Simulated: a sandbox sends nothing",))
# what stands in the event in place of a receiver's reply

_DISCARDED_REPLY = Reply(550, "5.7.0", ("Discarded by policy",))
# the same; RFC 3463 §3.8, X.7.0: other policy status

_SIMULATED = SIMULATED, Outcome(_SIMULATED_REPLY, Phase.QUEUE, ours=True), Verdict(Disposition.DELIVERED)
_DISCARDED = (
    "discarded",
    Outcome(_DISCARDED_REPLY, Phase.QUEUE, ours=True),
    Verdict(Disposition.PERMANENT, "discarded"),
)


_REFUSED = Verdict(Disposition.PERMANENT, OWN_POLICY)

Report = Callable[[Stored, Sequence[Finished], bytes], tuple[Stored, bytes] | None]
"""What the sender hears of recipients that were refused, given their message; None where it hears nothing."""


class Refused(NamedTuple):
    """Recipients who were refused, as they are written.

    Attributes:
        stored: Their message, and the report to its sender, if there is one.
        wires: The content of each.
        changes: Of the frame.
    """

    stored: tuple[Stored, ...]
    wires: tuple[bytes, ...]
    changes: tuple[Change, ...]


def no_report(_stored: Stored, _finished: Sequence[Finished], _wire: bytes) -> None:
    """Where nobody writes reports."""


def is_unsent(stored: Stored) -> bool:
    """True for a message that no queue is to hold."""
    return stored.origin.sandbox or stored.deliveries[0].channel in UNSENT_CHANNELS


def changes_of(stored: Stored, reason: str = "") -> tuple[Change, ...]:
    """`stored` with the end of each of its recipients, where it is not to be sent; `reason` of a discard."""
    if stored.deliveries[0].channel == DISCARD:
        kind, outcome, verdict = _DISCARDED
    elif stored.origin.sandbox:
        kind, outcome, verdict = _SIMULATED
    else:
        return (stored,)
    return (
        stored,
        *[_end(stored, number, kind, outcome, verdict, reason) for number in range(len(stored.deliveries))],
    )


def refused_of(
    submission: Submission, refused: Sequence[RefusedRecipient], reserve: Callable[[int], int], report: Report
) -> Refused:
    """The ends of those whom policy refused, of a submission as it was received.

    Args:
        submission: As it was received.
        refused: At least one of its recipients.
        reserve: Gives the first of so many entries.
        report: Writes to the sender.
    """
    deliveries = tuple(
        [Delivery(each.recipient, each.recipient.address.domain, REFUSED, "") for each in refused]
    )
    asked = as_asked(Message(submission, deliveries))
    whole = stored_of(asked, reserve(len(deliveries)))
    content = submission.content
    head = checked(content.wire[: content.header_octets] + b"\r\n")
    stored = replace(whole, size=len(head.wire), traits=int(head.traits), header_octets=head.header_octets)
    finished = [
        _end(stored, number, "bounced", Outcome(each.reply, Phase.QUEUE, ours=True), _REFUSED)
        for number, each in enumerate(refused)
    ]
    told = report(whole, finished, content.wire)
    if told is None:
        return Refused((stored,), (head.wire,), (stored, *finished))
    return Refused((stored, told[0]), (head.wire, told[1]), (stored, *finished, told[0]))


def _end(
    stored: Stored, number: int, kind: str, outcome: Outcome, verdict: Verdict, reason: str = ""
) -> Finished:
    """The end of one recipient, at the time at which its message came."""
    origin, delivery = stored.origin, stored.deliveries[number]
    attempted = Attempted(
        stored.message_id,
        delivery.recipient.address,
        stored.mail_from,
        delivery.binding,
        "",
        origin.tenant,
        origin.stream,
        stored.received_time,
        stored.received_time,
        0,
        stored.size,
        outcome,
        verdict,
        delivery.channel,
        delivery.customer_id,
        delivery.recipient.metadata,
    )
    return Finished(stored.first_entry + number, kind, attempted, reason)


def ends_unsent(change: Change) -> bool:
    """True for the end of a recipient that the dispatcher never heard of."""
    return type(change) is Finished and (
        change.kind == SIMULATED or change.attempted.channel in UNSENT_CHANNELS
    )
