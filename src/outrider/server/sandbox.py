"""Messages of a sandbox: stored, and finished in the same frame, so that no queue ever holds them.

In: a `Stored` whose origin is a sandbox. Out: its change set.

Theory: what is finished where it is stored is never announced to the dispatcher, so never granted, so no
connection is opened for it; after a crash the frame says so too, because both are one atomic change set.
"""

from outrider.model.changes import Attempted, Change, Finished, Stored
from outrider.model.flow import Disposition, Outcome, Phase, Verdict
from outrider.model.reply import Reply

SIMULATED = "simulated"

_REPLY = Reply(250, "2.0.0", ("Simulated: a sandbox sends nothing",))
# what stands in the event in place of a receiver's reply

_OUTCOME = Outcome(_REPLY, Phase.QUEUE, ours=True)
_VERDICT = Verdict(Disposition.DELIVERED)


def changes_of(stored: Stored) -> tuple[Change, ...]:
    """`stored` with the end of each of its recipients."""
    origin = stored.origin
    finished = [
        Finished(
            stored.first_entry + number,
            SIMULATED,
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
                _OUTCOME,
                _VERDICT,
                delivery.channel,
                delivery.customer_id,
            ),
        )
        for number, delivery in enumerate(stored.deliveries)
    ]
    return (stored, *finished)


def is_simulated(change: Change) -> bool:
    """True for the end of a sandbox's recipient, which the dispatcher never heard of."""
    return type(change) is Finished and change.kind == SIMULATED
