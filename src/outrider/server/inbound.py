"""Mail that is for the server itself: its policy, and the deliverer that is asked for each channel.

A submission of an inbound listener gets one delivery for each recipient on the channel `inbound`, whose
routing domain names the purpose (`inbound:bounce`): no name that DNS could know, so it never leaves by
another door.
"""

import asyncio

from outrider.deliver.maildir import MaildirDeliverer
from outrider.deliver.ports import TlsContexts
from outrider.deliver.resolve import DeliveryResolver
from outrider.deliver.smtp.deliverer import SmtpDeliverer
from outrider.model.dispatch import Batch, Close, Held, Open
from outrider.model.flow import Delivery, Message, Refusal, Submission
from outrider.model.route import INBOUND, INBOUND_PREFIX
from outrider.receive.inbound import InboundAddresses
from outrider.wire.smtp import replies


class InboundPolicy:
    """`model.ports.Policy` of one inbound listener; nothing that it decides is ever relayed."""

    __slots__ = ("_addresses",)

    def __init__(self, addresses: InboundAddresses) -> None:
        self._addresses = addresses

    def decide(self, submission: Submission) -> Message | Refusal:
        """One delivery for each recipient by its purpose; an address without one refuses the whole."""
        deliveries = []
        for recipient in submission.envelope.recipients:
            purpose = self._addresses.purpose_of(recipient.address)
            if purpose is None:
                return Refusal(replies.NO_SUCH_MAILBOX, "no purpose")
            deliveries.append(Delivery(recipient, INBOUND_PREFIX + purpose, INBOUND))
        return Message(submission, tuple(deliveries))


class Channels:
    """The deliverers of a worker as one, chosen by the channel of a slot's path."""

    __slots__ = ("_maildir", "_smtp")

    def __init__(self, smtp: SmtpDeliverer, maildir: MaildirDeliverer) -> None:
        self._smtp = smtp
        self._maildir = maildir

    def reconfigure(self, options: DeliveryResolver, tls: TlsContexts) -> None:
        """Other options and TLS for connections from now on."""
        self._smtp.reconfigure(options, tls)

    def open(self, message: Open) -> None:
        (self._maildir if message.path.channel == INBOUND else self._smtp).open(message)

    def batch(self, message: Batch) -> None:
        (self._maildir if self._maildir.has(message.slot) else self._smtp).batch(message)

    def close(self, message: Close) -> None:
        (self._maildir if self._maildir.has(message.slot) else self._smtp).close(message)

    def held(self) -> tuple[Held, ...]:
        return (*self._smtp.held(), *self._maildir.held())

    def ask_again(self) -> None:
        self._smtp.ask_again()
        self._maildir.ask_again()

    async def run(self) -> None:
        """Work until `shutdown`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._smtp.run())
            group.create_task(self._maildir.run())

    async def shutdown(self, deadline_seconds: float) -> None:
        """Return what was not begun and finish what is in flight, for at most so long."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._smtp.shutdown(deadline_seconds))
            group.create_task(self._maildir.shutdown(deadline_seconds))
