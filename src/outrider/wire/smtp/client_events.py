"""What goes into the client machine and what comes out of it, as values.

A `Transaction` is given to `SmtpClient.send`; it comes back in exactly one `TransactionDone`, with an
answer for each of its recipients, or None for one that was not attempted.

Standards: RFC 5321 §3.3 (mail transactions), RFC 3463 §3 (enhanced codes of our own answers).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from outrider.model.address import Address
from outrider.model.flow import Content, Phase, Recipient
from outrider.model.reply import Reply

TlsPolicy = Literal["off", "opportunistic", "required"]

NEEDS_8BITMIME = Reply(554, "5.6.3", ("Content has 8-bit octets and the next host does not take 8BITMIME",))
# RFC 6152 §3: without conversion this is a permanent error; we do not downgrade, it would break signatures
NEEDS_SMTPUTF8 = Reply(550, "5.6.7", ("Address needs SMTPUTF8, which the next host does not take",))
# RFC 6531 §3.5
HEADER_NEEDS_SMTPUTF8 = Reply(550, "5.6.9", ("Header needs SMTPUTF8, which the next host does not take",))
# RFC 6531 §4.2 X.6.9: a header in UTF-8 cannot be transferred
TOO_BIG = Reply(552, "5.3.4", ("Message is over the size that the next host takes",))
# RFC 1870 §6.1, RFC 3463 §3.4
TLS_NOT_OFFERED = Reply(451, "4.7.4", ("TLS is required here and the host does not offer it",))
# RFC 3463 §3.8
AUTH_NEEDS_TLS = Reply(451, "4.7.11", ("Authentication is only done inside TLS, and there is none",))
# RFC 4954 §6
NO_MECHANISM = Reply(451, "4.7.4", ("The host offers neither AUTH PLAIN nor AUTH LOGIN",))
# RFC 4954 §4


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """User and password for a smart host; `repr` shows neither."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(…)"


class Features(msgspec.Struct, frozen=True, gc=False):
    """What the peer said it can in its EHLO reply (RFC 5321 §4.1.1.1).

    Attributes:
        size: Its SIZE limit in octets, 0 when it names none (RFC 1870 §4).
        mechanisms: AUTH mechanisms, upper case.
        authenticated: It accepted our credentials.
        tls_failed: TLS was tried with it and failed, so that it is spoken to in clear text.
    """

    pipelining: bool = False
    chunking: bool = False
    eight_bit_mime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    has_size: bool = False
    size: int = 0
    mechanisms: frozenset[str] = frozenset()
    authenticated: bool = False
    tls_failed: bool = False


class Transaction(msgspec.Struct, frozen=True):
    """One message for one or more recipients.

    Attributes:
        mail_from: None is the null reverse-path.
        recipients: At least one.
        content: In wire form.
        ret: RET, or None (RFC 3461 §4.3).
        envid: ENVID decoded, or None (RFC 3461 §4.4).
        smtputf8: The sender asked for SMTPUTF8 (RFC 6531 §3.4).
    """

    mail_from: Address | None
    recipients: Sequence[Recipient]
    content: Content
    ret: str | None = None
    envid: str | None = None
    smtputf8: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of one recipient; `ours` when the reply is not the peer's."""

    reply: Reply
    phase: int
    ours: bool = False


class TransactionDone(msgspec.Struct, frozen=True):
    """A transaction is over; `answers[i]` belongs to `transaction.recipients[i]`, None was not attempted."""

    transaction: Transaction
    answers: list[Answer | None]


class Ready(msgspec.Struct, frozen=True):
    """The session is set up: `send` may be called."""

    features: Features


class TlsWanted(msgspec.Struct, frozen=True):
    """The peer waits for the TLS handshake; call `tls_established` after it."""


class SetupFailed(msgspec.Struct, frozen=True):
    """No transaction is possible on this connection."""

    phase: Phase
    reply: Reply
    ours: bool = False


class Disconnected(msgspec.Struct, frozen=True):
    """The session is over in good order: the peer said 421, or answered QUIT."""

    reply: Reply


Event = TransactionDone | Ready | TlsWanted | SetupFailed | Disconnected
