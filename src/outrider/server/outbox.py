"""Sends messages that scripts make: a submission of our own, stored before whoever made it goes on.

In: a message in plain form, its sender and recipients. Out: its id.

Theory: it goes out by the configuration alone. Scripts do not see it, because one that answers each message
with another would never end.

Standards: RFC 5322 §3.6 (a message has a date, and should have an id).
"""

import asyncio
from email.utils import formatdate

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.base.ids import IdSource
from outrider.model.flow import Envelope, Origin, Recipient, Submission
from outrider.model.mailbox import parse_mailbox
from outrider.model.ports import Intake
from outrider.model.reply import Reply
from outrider.wire.message.editable import EditableMessage
from outrider.wire.smtp.content import stuff_plain

ORIGIN = Origin("policy", "internal", "", "", None, None)
"""Where these messages come from."""


class SpoolOutbox:
    """`policy.lua.api.host.Outbox`.

    Args:
        intake: Stores; no script is asked there.
        ids: Of messages.
        clock: Time.
        hostname: Ours, for the message's own id.
    """

    def __init__(self, intake: Intake, ids: IdSource, clock: Clock, hostname: str) -> None:
        self._intake = intake
        self._ids = ids
        self._clock = clock
        self._hostname = hostname

    async def send(self, content: bytes, mail_from: str, recipients: tuple[str, ...]) -> str:
        """Store a message; its id.

        Raises:
            AddressError: An address is none.
            EditError: The content is no message.
            UnavailableError: It was not taken.
        """
        message_id = self._ids.next()
        now = self._clock.wall()
        message = EditableMessage(stuff_plain(content))
        header = message.header
        if "date" not in header:
            header.append("Date", formatdate(now))
        if "message-id" not in header:
            header.append("Message-ID", f"<{message_id}@{self._hostname}>")
        utf8 = not all(each.isascii() for each in (mail_from, *recipients))
        envelope = Envelope(
            parse_mailbox(mail_from, smtputf8=True) if mail_from else None,
            tuple(Recipient(parse_mailbox(each, smtputf8=True)) for each in recipients),
            smtputf8=utf8,
        )
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._intake.submit(Submission(message_id, now, ORIGIN, envelope, message.content()), done)
        reply = await answered
        if not reply.is_positive:
            raise UnavailableError(f"the new message was not taken: {reply}")
        return str(message_id)
