"""What policy decided, as it is stored.

In: a `Message`. Out: the same with what the sender asked for and without what was for policy alone.
"""

from typing import Final

from msgspec.structs import replace

from outrider.model.flow import SECRET_PREFIX, Message, Recipient

CUSTOMER_ID: Final = "customer_id"
# the name in the metadata whose text stands for the recipient where a redaction profile says so


def as_asked(message: Message) -> Message:
    """With the time that the sender asked for, unless policy wants it later still, and its own names."""
    at = message.submission.not_before_time
    first = message.deliveries[0]
    if not at and not first.recipient.metadata and len(message.deliveries) == 1:
        return message  # the usual, without a look at all of them
    if not at and not any(each.recipient.metadata for each in message.deliveries):
        return message
    deliveries = tuple(
        replace(
            each,
            recipient=_without_secrets(each.recipient),
            not_before_time=max(each.not_before_time, at),
            customer_id=each.customer_id or dict(each.recipient.metadata).get(CUSTOMER_ID, ""),
        )
        for each in message.deliveries
    )
    return replace(message, deliveries=deliveries)


def _without_secrets(recipient: Recipient) -> Recipient:
    """As it is stored: what is secret in its metadata was for policy alone."""
    kept = tuple(pair for pair in recipient.metadata if not pair[0].startswith(SECRET_PREFIX))
    return recipient if len(kept) == len(recipient.metadata) else replace(recipient, metadata=kept)
