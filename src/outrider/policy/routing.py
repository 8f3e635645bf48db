"""The policy that needs no script: every recipient goes out by mail, to the domain of its address.

Takes a `Submission`, gives a `Message` with one `Delivery` for each recipient, in the envelope's order.
Smart hosts and static routes are not decided here: they say where a domain's exchangers are (`net.mx`),
not who sends.
"""

from outrider.model.flow import Delivery, Message, Refusal, Submission


class RoutingPolicy:
    """`model.ports.Policy` by configuration alone."""

    __slots__ = ("_binding",)

    def __init__(self, binding: str = "default") -> None:
        self._binding = binding

    def decide(self, submission: Submission) -> Message | Refusal:
        """One delivery for each recipient; never a refusal."""
        binding = self._binding
        return Message(
            submission,
            tuple(
                [
                    Delivery(recipient, recipient.address.domain, "smtp", binding)
                    for recipient in submission.envelope.recipients
                ]
            ),
        )
