"""What policy decided of the messages of one request, read for whoever stores them.

In: decisions. Out: what is stored, who is refused, or why the whole is.
"""

from collections.abc import Awaitable, Sequence

from outrider.model.flow import Decided, Message, Refusal, RefusedRecipient, Submission
from outrider.server.stored import as_asked

VARIANTS_OCTETS_MAX = 64 << 20
# chosen: what policy makes of one message is one frame, and that stays within a segment

Decision = Message | Decided | Refusal
"""Of one message, by configuration or by scripts."""


def messages_of(decision: Decision) -> tuple[Message, ...]:
    """Those that are stored; none of a refusal."""
    if isinstance(decision, Refusal):
        return ()
    return (decision,) if isinstance(decision, Message) else decision.messages


def refused_of(submission: Submission, decision: Decision) -> tuple[RefusedRecipient, ...]:
    """Recipients of one of several messages who are refused, be it the whole of it."""
    if isinstance(decision, Refusal):
        return tuple([RefusedRecipient(each, decision.reply) for each in submission.envelope.recipients])
    return decision.refused if isinstance(decision, Decided) else ()


def refusal_of(decisions: Sequence[Decision]) -> Refusal | None:
    """What refuses a request as a whole: a transient reply to any of its messages, or one to each of them."""
    refusals = [each for each in decisions if isinstance(each, Refusal)]
    for each in refusals:
        if not each.reply.is_permanent:
            return each
    return refusals[0] if len(refusals) == len(decisions) else None


def only_message(decision: Decided | Refusal | Awaitable[Decided | Refusal]) -> Message | Refusal | None:
    """The one message that goes out as any other does, or the refusal; None where there is more to it."""
    if isinstance(decision, Refusal):
        return decision
    if not isinstance(decision, Decided) or decision.refused or len(decision.messages) > 1:
        return None
    [message] = decision.messages
    return None if message.discard else as_asked(message)


def is_too_big(decision: Decision) -> bool:
    """What policy made of one message is too much for one frame."""
    if not isinstance(decision, Decided) or len(decision.messages) == 1:
        return False
    octets = sum(
        len(each.submission.content.wire) + sum(len(name) + 4 * len(text) for name, text in each.notes)
        for each in decision.messages
    )
    return octets > VARIANTS_OCTETS_MAX
