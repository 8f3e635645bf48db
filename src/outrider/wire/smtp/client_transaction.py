"""One transaction on its way: which recipients were asked, accepted, refused, and what may still be said.

The client machine moves it on reply by reply; this module holds its bookkeeping and the checks before
anything is sent.

Invariant: when it is over each recipient has an answer, or None because it was not attempted.

Standards: RFC 5321 §3.3, RFC 5321 §4.2.2 (503), RFC 3207 §4 (530), RFC 1870 §6.1, RFC 6152 §3,
RFC 6531 §3.5, RFC 5321 §4.5.3.1.10 (too many recipients).
"""

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Phase, Traits
from outrider.model.reply import Reply
from outrider.wire.smtp.client_events import (
    HEADER_NEEDS_SMTPUTF8,
    NEEDS_8BITMIME,
    NEEDS_SMTPUTF8,
    TOO_BIG,
    Answer,
    Features,
    Transaction,
    TransactionDone,
)

# plain integers: operators of IntFlag cost half a microsecond each
_EIGHT_BIT = int(Traits.EIGHT_BIT)
_DOTTED = int(Traits.DOTTED)
_HEADER_UTF8 = int(Traits.HEADER_UTF8)

UNSTUFF_MAX_OCTETS = 1_048_576
# chosen: removing dots costs 1.3 ms a MiB; over it DATA, which needs no copy, keeps the loop within 20 ms

_BAD_SEQUENCE = 503
# RFC 5321 §4.2.2

_TLS_FIRST = 530
# RFC 3207 §4

_ONE_DOMAIN = "multiple destination domains"
# Gmail, SMTP error reference 4.3.0
_TOO_MANY = "too many recipients"
# Exim 4.96, which has no enhanced codes

COUNT_MAX_OCTETS = 1_048_576
# chosen: counting dots costs 0.2 ms a MiB; a longer content is counted only where the limit may depend on it


def unstuffed_octets(wire: bytes) -> int:
    """Length without stuffed dots, as SIZE counts it (RFC 1870 §5)."""
    return len(wire) - wire.count(b"\r\n.") - wire.startswith(b".")


def is_too_many(reply: Reply) -> bool:
    """True when a refused RCPT speaks of the number of recipients, not of this one.

    RFC 5321 §4.5.3.1.10: 452, and 552 is to be read like it. An enhanced code other than X.5.3 (RFC 3463
    §3.6) says that it is about something else, such as a full mailbox. Gmail takes recipients of one domain
    in a transaction, and says 451 4.3.0 to those of others, who go with the next one too.
    """
    if reply.is_transient and _ONE_DOMAIN in reply.text.lower():
        return True
    if reply.enhanced is not None:
        return reply.enhanced.endswith(".5.3")
    return reply.code in {452, 552}


def _as_too_many(reply: Reply) -> Reply:
    """The reply to a content, read as 452 where it is refused for a number that RCPT has already put off.

    RFC 5321 §4.5.3.1.10: Exim with recipients_max_reject says 552 to those over its number and then 554 to
    the content, though nothing is wrong with the recipients that it took: fewer of them are taken together.
    """
    if not reply.is_permanent:
        return reply
    speaks_of_number = (reply.enhanced or "").endswith(".5.3") or _TOO_MANY in reply.text.lower()
    if not speaks_of_number:
        return reply
    return Reply(452, "4.5.3", (f"{reply.code}, read as 452, because others were put off:", *reply.lines))


def _as_tls_failed(reply: Reply) -> Reply:
    """The refusal of an envelope, read as 451 where it is 530 and TLS with this host has failed.

    RFC 3207 §4: 530 asks for STARTTLS first, which a later attempt may come to.
    """
    if reply.code != _TLS_FIRST:
        return reply
    return Reply(451, "4.7.0", (f"{reply.code}, read as 451, because TLS failed:", *reply.lines))


class Underway:
    """The bookkeeping of one transaction.

    Attributes:
        transaction: What was given to `send`.
        mail: The MAIL command.
        rcpts: The RCPT commands of `targets`.
        targets: Indexes of the recipients to ask, in order.
        tls_failed: See `Features`.
        replied: How many of `targets` have been answered.
        accepted: Indexes that the peer accepted.
        answers: The final answers.
        answers_heard: How many of `accepted` have been answered one by one (LMTP).
        eight_bit: The content has octets over 127.
        dotted: The content has stuffed dots.
        bdat: Content goes by BDAT, else by DATA.
        smtputf8: The SMTPUTF8 parameter is sent.
        put_off: A recipient was put off, because there are too many.
        refused: MAIL was refused.
        is_behind: Its envelope followed a content whose reply was outstanding.
        was_too_soon: MAIL was refused for nothing but that.
        heard: At least one reply to it arrived.
        content_sent: The whole content was handed over: from here a loss may mean a duplicate.
    """

    __slots__ = (
        "accepted",
        "answers",
        "answers_heard",
        "bdat",
        "content_sent",
        "dotted",
        "eight_bit",
        "heard",
        "is_behind",
        "mail",
        "put_off",
        "rcpts",
        "refused",
        "replied",
        "smtputf8",
        "targets",
        "tls_failed",
        "transaction",
        "was_too_soon",
    )

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.answers: list[Answer | None] = [None] * len(transaction.recipients)
        self.mail = ""
        self.rcpts: list[str] = []
        self.targets = list(range(len(transaction.recipients)))
        self.replied = 0
        self.answers_heard = 0
        self.accepted: list[int] = []
        self.eight_bit = False
        self.dotted = False
        self.bdat = False
        self.smtputf8 = False
        self.tls_failed = False
        self.put_off = False
        self.refused = False
        self.is_behind = False
        self.was_too_soon = False
        self.heard = False
        self.content_sent = False

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        if self.content_sent:
            return Phase.BODY
        if self.heard and self.replied >= len(self.targets):
            return Phase.DATA
        return Phase.RCPT if self.heard else Phase.MAIL

    @property
    def characters(self) -> int:
        """Of its envelope."""
        return len(self.mail) + sum(map(len, self.rcpts))

    def prepare(self, features: Features, *, chunking: bool) -> int:
        """Decide how it goes to a peer with `features`; recipients that cannot go leave `targets`, answered.

        Returns:
            The octets for SIZE.

        Raises:
            LocalProtocolError: The content is not in wire form.
        """
        transaction = self.transaction
        self.tls_failed = features.tls_failed
        content = transaction.content
        wire = content.wire
        if not wire.endswith(b"\r\n") or wire.startswith(b".\r\n"):
            raise LocalProtocolError("a content is not in wire form; it was not sent")
        if not self.answers:
            raise LocalProtocolError("a transaction has no recipient; it was not sent")
        traits = int(content.traits)
        self.eight_bit = bool(traits & _EIGHT_BIT)
        self.dotted = bool(traits & _DOTTED)
        size = len(wire)
        if self.dotted and (size <= COUNT_MAX_OCTETS or size > features.size > 0):
            size = unstuffed_octets(wire)  # else it is declared with its stuffed dots
        if features.size and size > features.size:
            self._refuse_all(TOO_BIG)
        elif self.eight_bit and not features.eight_bit_mime:
            self._refuse_all(NEEDS_8BITMIME)
        else:
            self._prepare_smtputf8(features, header_utf8=bool(traits & _HEADER_UTF8))
        self.bdat = chunking and features.chunking and (not self.dotted or len(wire) <= UNSTUFF_MAX_OCTETS)
        return size

    def _prepare_smtputf8(self, features: Features, *, header_utf8: bool) -> None:
        transaction = self.transaction
        sender = transaction.mail_from
        if features.smtputf8:
            self.smtputf8 = (
                transaction.smtputf8
                or (sender is not None and sender.needs_smtputf8)
                or any(not recipient.address.local_part.isascii() for recipient in transaction.recipients)
            )
            return
        if sender is not None and sender.needs_smtputf8:
            self._refuse_all(NEEDS_SMTPUTF8)
            return
        if transaction.smtputf8 and header_utf8:
            self._refuse_all(HEADER_NEEDS_SMTPUTF8)
            return
        for index, recipient in enumerate(transaction.recipients):
            if not recipient.address.local_part.isascii():
                self.answers[index] = Answer(NEEDS_SMTPUTF8, Phase.RCPT, ours=True)
                self.targets.remove(index)

    def _refuse_all(self, reply: Reply) -> None:
        self.answers = [Answer(reply, Phase.MAIL, ours=True)] * len(self.answers)
        self.targets = []

    def take_mail(self, reply: Reply) -> None:
        """The reply to MAIL."""
        self.heard = True
        if reply.code >= 300:
            self.refused = True
            if self.is_behind and reply.code == _BAD_SEQUENCE:
                self.was_too_soon = True
                return  # nobody has judged a recipient: until it is said again, none has an answer
            answer = self._refusal(reply, Phase.MAIL)
            for index in self.targets:
                self.answers[index] = answer

    def begin_again(self) -> None:
        """Forget all replies: what was said too soon is said once more."""
        self.replied = 0
        self.refused = self.is_behind = self.was_too_soon = self.heard = False

    def take_rcpt(self, reply: Reply) -> bool:
        """The reply to the next RCPT; False when asking for more recipients is useless."""
        index = self.targets[self.replied]
        self.replied += 1
        if self.refused:
            return False
        if reply.code < 300:
            self.accepted.append(index)
        elif self.accepted and is_too_many(reply):
            self.put_off = True
            return False  # not attempted: it goes with the next transaction
        else:
            self.answers[index] = self._refusal(reply, Phase.RCPT)
        return True

    def _refusal(self, reply: Reply, phase: Phase) -> Answer:
        """Of the envelope."""
        return Answer(_as_tls_failed(reply) if self.tls_failed else reply, phase)

    def answer_accepted(self, reply: Reply, phase: int) -> None:
        """The accepted recipients share the fate of the content."""
        answer = Answer(_as_too_many(reply) if self.put_off else reply, phase)
        for index in self.accepted:
            self.answers[index] = answer

    def answer_next(self, reply: Reply) -> bool:
        """The next accepted recipient's reply to the content (RFC 2033 §4.2); True when it is the last."""
        self.answers[self.accepted[self.answers_heard]] = Answer(reply, Phase.BODY)
        self.answers_heard += 1
        return self.answers_heard == len(self.accepted)

    def answer_open(self, reply: Reply, phase: int, *, ours: bool) -> None:
        """Whoever has no final answer gets this one: the session ended."""
        if self.refused:
            return
        answer = Answer(reply, phase, ours)
        for index in (*self.accepted[self.answers_heard :], *self.targets[self.replied :]):
            self.answers[index] = answer

    def done(self) -> TransactionDone:
        return TransactionDone(self.transaction, self.answers)
