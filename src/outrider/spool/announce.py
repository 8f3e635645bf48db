"""What the dispatcher hears of a change that has become durable.

Takes changes with their places, gives the messages of `model.dispatch`: what was stored is `Arrived`, what
became of a granted entry is `Settled`.
"""

from outrider.model.changes import Altered, Change, ContentRef, Finished, Retried, Stored
from outrider.model.dispatch import Arrived, Settled
from outrider.model.last_reply import last_reply_of


def arrived_of(stored: Stored, ref: ContentRef) -> Arrived:
    """What is announced of a stored message."""
    return Arrived(
        stored.first_entry,
        ref,
        stored.origin.tenant,
        stored.origin.stream,
        stored.size,
        stored.received_time,
        tuple(
            (each.channel, each.binding, each.routing_domain, each.priority, each.not_before_time)
            for each in stored.deliveries
        ),
        stored.message_id,
    )


def settled_of(change: Change, slot: int) -> Settled:
    """What is announced of a change of one entry; `slot` is what it was granted to, 0 for none."""
    match change:
        case Finished(entry=entry):
            return Settled(slot, entry, finished=True)
        case Retried():
            return Settled(
                slot,
                change.entry,
                finished=False,
                version=change.version,
                attempts=change.attempts,
                due_time=change.due_time,
                delay_notified=change.delay_notified,
                last=last_reply_of(change.attempted),
            )
        case Altered():
            return Settled(
                slot,
                change.entry,
                finished=False,
                version=change.version,
                due_time=change.due_time,
                held=change.held,
            )
        case _:
            raise AssertionError(f"{type(change).__name__} settles no entry")
