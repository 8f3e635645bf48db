"""What the server machine says happened: one value for each thing a session may have to decide upon.

`Helo`, `MailFrom`, `RcptTo`, `DataStart`, `MessageEnd`, `AuthRequest` and `StartTls` wait for an answer; the
others only tell.
"""

import msgspec

from outrider.model.address import Address
from outrider.model.flow import Content, Recipient
from outrider.model.reply import Reply
from outrider.wire.smtp.long_content import LongContent
from outrider.wire.smtp.mail_parameters import MailParameters
from outrider.wire.smtp.sasl import Credentials


class Helo(msgspec.Struct, frozen=True, gc=False):
    """EHLO (`esmtp`) or HELO."""

    name: str
    esmtp: bool


class MailFrom(msgspec.Struct, frozen=True, gc=False):
    """MAIL; None is the null reverse-path."""

    mail_from: Address | None
    parameters: MailParameters


class RcptTo(msgspec.Struct, frozen=True, gc=False):
    """RCPT."""

    recipient: Recipient


class DataStart(msgspec.Struct, frozen=True, gc=False):
    """DATA or the first BDAT; the last moment to refuse before the content comes."""

    bdat: bool


class MessageEnd(msgspec.Struct, frozen=True, gc=False):
    """The content is complete; what answers it takes responsibility."""

    content: Content | LongContent


class AuthRequest(msgspec.Struct, frozen=True, gc=False):
    """Credentials to check; a 235 marks the session as authenticated."""

    mechanism: str
    credentials: Credentials


class StartTls(msgspec.Struct, frozen=True, gc=False):
    """STARTTLS; after `accept` and once the output is written the session starts TLS."""


class Reset(msgspec.Struct, frozen=True, gc=False):
    """RSET, already answered."""


class ChunkTaken(msgspec.Struct, frozen=True, gc=False):
    """A BDAT chunk that is not the last, already answered."""


class Quit(msgspec.Struct, frozen=True, gc=False):
    """QUIT, already answered; the connection is to be closed."""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """The machine refused something by itself, with `reply`; `fatal` ends the session."""

    reply: Reply
    fatal: bool


Question = Helo | MailFrom | RcptTo | DataStart | MessageEnd | AuthRequest | StartTls
Event = Question | Reset | ChunkTaken | Quit | Violation
