"""The policy that needs no script: every recipient goes out by mail, to the domain of its address.

Takes a `Submission`, gives a `Message` with one `Delivery` for each recipient, in the envelope's order, and
the signatures that the configuration asks for. Smart hosts and static routes are not decided here: they say
where a domain's exchangers are (`net.mx`), not who sends.
"""

from outrider.base.errors import ConfigError
from outrider.model.flow import Delivery, Message, Refusal, Submission
from outrider.policy.author import has_one_author
from outrider.policy.bindings import Bindings
from outrider.policy.signing import ConfiguredSigning
from outrider.wire.dkim.stored import pack
from outrider.wire.smtp import replies


class RoutingPolicy:
    """`model.ports.Policy` by configuration alone.

    Args:
        bindings: Say which is the default; may be exchanged.
        signing: What the configuration says of signatures, where it says anything; may be exchanged.
        fallback: Binding of mail that has none by `bindings`; empty where such mail is refused.
    """

    __slots__ = ("_fallback", "bindings", "signing")

    def __init__(
        self,
        bindings: Bindings | None = None,
        signing: ConfiguredSigning | None = None,
        fallback: str = "",
    ) -> None:
        self.bindings = bindings or Bindings()
        self.signing = signing
        self._fallback = fallback

    def decide(self, submission: Submission) -> Message | Refusal:
        """One delivery for each recipient; a refusal where there is no binding, or it cannot be signed."""
        fixed = self.bindings.initial
        deliveries = []
        for recipient in submission.envelope.recipients:
            domain = recipient.address.domain
            binding = fixed or self._chosen(domain)
            if not binding:
                return Refusal(replies.NO_BINDING, "no binding")
            deliveries.append(Delivery(recipient, domain, "smtp", binding))
        return self._signed(submission, tuple(deliveries))

    def _chosen(self, domain: str) -> str:
        chosen = self.bindings.choose_default(domain)
        return self._fallback if chosen is None else chosen[0]

    def _signed(self, submission: Submission, deliveries: tuple[Delivery, ...]) -> Message | Refusal:
        if self.signing is None:
            return Message(submission, deliveries)
        try:
            requests = self.signing.requests_for(submission.content, submission.origin.tenant)
        except ConfigError as error:
            return Refusal(replies.POLICY_FAILED, error.message)
        if requests and not has_one_author(submission.content):
            return Refusal(replies.UNSIGNABLE, "not one From")
        return Message(submission, deliveries, "", pack(requests))
