"""The policy that needs no script: every recipient goes out by mail, to the domain of its address.

Takes a `Submission`, gives a `Message` with one `Delivery` for each recipient, in the envelope's order, and
the signatures that the configuration asks for. Smart hosts and static routes are not decided here: they say
where a domain's exchangers are (`net.mx`), not who sends.
"""

from outrider.base.errors import ConfigError
from outrider.model.flow import Delivery, Message, Refusal, Submission
from outrider.policy.signing import ConfiguredSigning
from outrider.wire.dkim.stored import pack
from outrider.wire.smtp import replies


class RoutingPolicy:
    """`model.ports.Policy` by configuration alone.

    Args:
        binding: That all mail goes out with.
        signing: What the configuration says of signatures, where it says anything; may be exchanged.
    """

    __slots__ = ("_binding", "signing")

    def __init__(self, binding: str = "default", signing: ConfiguredSigning | None = None) -> None:
        self._binding = binding
        self.signing = signing

    def decide(self, submission: Submission) -> Message | Refusal:
        """One delivery for each recipient; a refusal only where the signing keys cannot be read."""
        binding = self._binding
        deliveries = tuple(
            [
                Delivery(recipient, recipient.address.domain, "smtp", binding)
                for recipient in submission.envelope.recipients
            ]
        )
        if self.signing is None:
            return Message(submission, deliveries)
        try:
            requests = self.signing.requests_for(submission.content, submission.origin.tenant)
        except ConfigError as error:
            return Refusal(replies.POLICY_FAILED, error.message)
        return Message(submission, deliveries, "", pack(requests))
