"""Messages that are stored and finished in the same frame, so that no queue ever holds them.

In: a `Stored` of a sandbox, or one that policy discards. Out: its change set.

Theory: what is finished where it is stored is never announced to the dispatcher, so never granted, so no
connection is opened for it; after a crash the frame says so too, because both are one atomic change set.
"""

from outrider.model.changes import Attempted, Change, Finished, Stored
from outrider.model.flow import Disposition, Outcome, Phase, Verdict
from outrider.model.reply import Reply
from outrider.model.route import DISCARD

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


def is_unsent(stored: Stored) -> bool:
    """True for a message that no queue is to hold."""
    return stored.origin.sandbox or stored.deliveries[0].channel == DISCARD


def changes_of(stored: Stored, reason: str = "") -> tuple[Change, ...]:
    """`stored` with the end of each of its recipients, where it is not to be sent; `reason` of a discard."""
    origin = stored.origin
    if stored.deliveries[0].channel == DISCARD:
        kind, outcome, verdict = _DISCARDED
    elif origin.sandbox:
        kind, outcome, verdict = _SIMULATED
    else:
        return (stored,)
    finished = [
        Finished(
            stored.first_entry + number,
            kind,
            Attempted(
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
            ),
            reason,
        )
        for number, delivery in enumerate(stored.deliveries)
    ]
    return (stored, *finished)


def ends_unsent(change: Change) -> bool:
    """True for the end of a recipient that the dispatcher never heard of."""
    return type(change) is Finished and (change.kind == SIMULATED or change.attempted.channel == DISCARD)
