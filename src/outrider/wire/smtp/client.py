"""The client end of one SMTP session, without I/O.

Feed octets with `receive`; it returns the events that happened. `send` starts a transaction, `take_output`
gives the octets to send. When the connection is lost, out of time or out of protocol, `abandon` ends what
is unfinished.

Theory: replies come in the order in which commands went out, so a queue of what each next reply belongs to
is the whole state. Lock-step is pipelining with a queue of one.

With PIPELINING a whole envelope and DATA are one write. RFC 2920 §3.1 says that the transfer of a content
may be the first "command" of a group: with `overlap` the next envelope follows the end of a content in the
same write, which halves the round trips and the writes. It is safe because nothing of the next *content* is
sent before its own 354, so a loss can never double it, and because RFC 2920 §3.2 obliges a server that
offers PIPELINING not to lose its input buffer. For the same reason BDAT, where envelope and content are one
write, is never overlapped. A peer that takes no command behind a content all the same says 503 to each: the
envelope is said once more, and no other one so.

Invariant: whatever the peer sends and however it is split, `receive` returns events or raises
RemoteProtocolError, and each transaction taken by `send` comes back in exactly one TransactionDone, from
`send`, `receive` or `abandon`.

Standards: RFC 5321 §4.1 (commands), RFC 2920 §3.1, RFC 3030 §2 (BDAT), RFC 5321 §3.8 (421), RFC 5321
§4.5.3.2 (`phase`), RFC 2033 §4 (LMTP).
Not here: sockets and time-outs (deliver), what a refusal means (classify).
"""

from collections import deque

from outrider.base.errors import LocalProtocolError, RemoteProtocolError
from outrider.model.flow import Phase
from outrider.model.reply import Reply
from outrider.wire.smtp.client_commands import mail_line, rcpt_line
from outrider.wire.smtp.client_events import (
    Credentials,
    Disconnected,
    Event,
    Features,
    Ready,
    SetupFailed,
    TlsPolicy,
    Transaction,
    TransactionDone,
)
from outrider.wire.smtp.client_replies import ReplyMemo, ReplyReader
from outrider.wire.smtp.client_setup import Setup
from outrider.wire.smtp.client_transaction import Underway
from outrider.wire.smtp.content import unstuff

BDAT_EAGER_OCTETS = 65_536
# chosen: a content up to this size rides with its envelope; a larger one waits for a recipient to be
# accepted, because sending it for nothing costs more than a round trip

BEHIND_CHARACTERS_MAX = 2_000
# chosen: Haraka ends a connection, and the reply to the content with it, when over 8,192 octets follow that
# content; a character has at most four

_MAIL = int(Phase.MAIL)
_RCPT = int(Phase.RCPT)
_DATA = int(Phase.DATA)
_BODY = int(Phase.BODY)
_RSET = 100
_EMPTY = 101  # the lone dot that answers a 354 without recipients
_QUIT = 102

_PHASES = {
    _MAIL: Phase.MAIL,
    _RCPT: Phase.RCPT,
    _DATA: Phase.DATA,
    _BODY: Phase.BODY,
    _RSET: Phase.MAIL,
    _EMPTY: Phase.BODY,
    _QUIT: Phase.MAIL,
}


class SmtpClient:
    """See the module.

    Args:
        ehlo_name: What we call ourselves.
        tls: Whether STARTTLS is used.
        credentials: For a smart host; used in TLS only.
        secured: TLS is there from the start.
        tls_failed: An earlier session with this peer ended in its TLS handshake.
        pipelining: Use PIPELINING when offered.
        chunking: Use CHUNKING when offered.
        overlap: See the module.
        lmtp: Speak LMTP: LHLO, and a reply to the content from each accepted recipient; without CHUNKING.

    Attributes:
        features: What the peer takes; meaningful after `Ready`.
        is_closed: No further octet is read or sent.
        replies: How many complete replies came.
        transactions: How many were taken by `send`.
    """

    __slots__ = (
        "_awaiting",
        "_chunking",
        "_completed",
        "_events",
        "_lmtp",
        "_out",
        "_overlap",
        "_pipelining",
        "_queued",
        "_quit_wanted",
        "_quitting",
        "_reader",
        "_reset_needed",
        "_setup",
        "_underway",
        "_use_pipelining",
        "features",
        "is_closed",
        "replies",
        "transactions",
    )

    def __init__(
        self,
        *,
        ehlo_name: str,
        tls: TlsPolicy = "opportunistic",
        credentials: Credentials | None = None,
        secured: bool = False,
        tls_failed: bool = False,
        pipelining: bool = True,
        chunking: bool = True,
        overlap: bool = True,
        lmtp: bool = False,
        memo: ReplyMemo | None = None,
    ) -> None:
        self._reader = ReplyReader(memo)
        self._setup: Setup | None = Setup(
            ehlo_name, tls, credentials, secured=secured, lmtp=lmtp, tls_failed=tls_failed
        )
        self._use_pipelining = pipelining
        self._chunking = chunking and not lmtp
        self._lmtp = lmtp
        self._overlap = overlap
        self._pipelining = False
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._awaiting: deque[int] = deque()
        self._underway: deque[Underway] = deque()
        self._queued: Underway | None = None
        self._reset_needed = False
        self._quit_wanted = False
        self._quitting = False
        self._completed = 0
        self.features = Features()
        self.is_closed = False
        self.replies = 0
        self.transactions = 0

    # what the session asks

    @property
    def phase(self) -> Phase | None:
        """What is being waited for, or None when nothing is."""
        if self._setup is not None:
            return self._setup.phase
        return _PHASES[self._awaiting[0]] if self._awaiting else None

    @property
    def is_ready(self) -> bool:
        """Setup is over and the session is not."""
        return self._setup is None and not self.is_closed and not self._quit_wanted

    @property
    def is_quitting(self) -> bool:
        """QUIT was said and only its reply is outstanding."""
        return bool(self._awaiting) and self._awaiting[0] == _QUIT

    @property
    def can_send(self) -> bool:
        """`send` may be called now."""
        if self._setup is not None or self.is_closed or self._quit_wanted or self._queued is not None:
            return False
        if not self._underway:
            return True
        return self._overlap and self._pipelining and len(self._underway) == 1 and not self._underway[0].bdat

    def take_output(self) -> list[bytes]:
        """The octets to send now, in order."""
        setup = self._setup
        if setup is not None and setup.out:
            self._out.extend(setup.out)
            setup.out.clear()
        out, self._out = self._out, []
        return out

    # what the session does

    def receive(self, data: bytes) -> list[Event]:
        """Take octets from the peer.

        Raises:
            RemoteProtocolError: The peer broke the protocol. The session is closed; `abandon` gives what is
                left, first of all the events of the octets before the fault.
        """
        if self.is_closed:
            return []
        if self._setup is not None and self._setup.waiting_for_tls:
            return []  # RFC 3207 §4.2: nothing in clear text counts from here
        try:
            if self._take_all(self._reader.feed(data)) and self._reader.fault is not None:
                raise self._reader.fault
        except RemoteProtocolError:
            self.is_closed = True
            raise
        events, self._events = self._events, []
        return events

    def tls_established(self) -> None:
        """The TLS handshake that `TlsWanted` asked for is done."""
        if self._setup is None or not self._setup.waiting_for_tls:
            raise LocalProtocolError("no TLS handshake was asked for")
        self._reader.reset()
        self._setup.tls_established()

    def send(self, transaction: Transaction) -> TransactionDone | None:
        """Start a transaction, or put it behind the one whose content is on its way.

        Returns:
            The transaction, done, when it could not be sent to this peer at all; else None.

        Raises:
            LocalProtocolError: Not now (see `can_send`), or it would break the protocol; nothing was sent.
        """
        if not self.can_send:
            raise LocalProtocolError("the session cannot take a transaction now")
        underway = Underway(transaction)
        size = underway.prepare(self.features, chunking=self._chunking)
        if not underway.targets:
            return underway.done()
        features = self.features
        recipients = transaction.recipients
        underway.mail = mail_line(
            transaction, features, size=size, eight_bit=underway.eight_bit, smtputf8=underway.smtputf8
        )
        underway.rcpts = [rcpt_line(recipients[index], features) for index in underway.targets]
        self.transactions += 1
        if not self._underway:
            self._begin(underway)
        else:
            self._queued = underway
            self._overlap_next()
        return None

    def quit(self) -> None:
        """Say QUIT when the transactions are over; with `overlap` in the same write as the last content."""
        if self._setup is not None:
            if self._setup.phase > Phase.GREETING and not self._setup.waiting_for_tls:
                self._out.append(b"QUIT\r\n")
            self.is_closed = True
            return
        self._quit_wanted = True
        if self._underway:
            self._overlap_next()
        elif not self.is_closed:
            self._say_quit()

    def abandon(self, reply: Reply, *, ours: bool = True) -> list[TransactionDone]:
        """The connection is gone: end all unfinished transactions with `reply`.

        Recipients of a transaction of which nothing was heard, on a connection that had carried others
        before, and of those that were only queued, are not attempted: the peer was closing, and another
        connection takes them.
        """
        first = self._underway[0] if self._underway else None
        if first is not None and (first.heard or first.content_sent or not self._completed):
            first.answer_open(reply, first.phase, ours=ours)
        self._end_all()
        events, self._events = self._events, []
        return [event for event in events if isinstance(event, TransactionDone)]

    # one reply

    def _take_all(self, replies: list[Reply]) -> bool:
        """Take replies in order; False when what follows them no longer counts."""
        for reply in replies:
            self.replies += 1
            if self._setup is None:
                self._take(reply)
            else:
                self._take_setup(reply)
            if self.is_closed or (self._setup is not None and self._setup.waiting_for_tls):
                return False
        return True

    def _take_setup(self, reply: Reply) -> None:
        setup = self._setup
        event = setup.take(reply) if setup is not None else None
        if setup is None or event is None:
            return
        self._events.append(event)
        if isinstance(event, SetupFailed):
            if reply.code != 421:
                self._out.append(b"QUIT\r\n")  # RFC 5321 §3.1, also after a refusing greeting
            self.is_closed = True
        elif isinstance(event, Ready):
            self.features = event.features
            self._pipelining = self._use_pipelining and event.features.pipelining
            self._setup = None

    def _take(self, reply: Reply) -> None:
        code = reply.code
        if not self._awaiting:
            if code == 421:
                self._shut(reply, _MAIL)
                return
            raise RemoteProtocolError(f"the peer sent a reply {code} to no command")
        kind = self._awaiting.popleft()
        if code == 421 and kind != _QUIT:
            self._shut(reply, kind)
            return
        if 300 <= code < 400 and (kind != _DATA or code != 354):
            raise RemoteProtocolError(f"the peer asked for more ({code}) where nothing follows")
        if kind == _RCPT:
            self._take_rcpt(reply)
        elif kind == _MAIL:
            self._take_mail(reply)
        elif kind == _DATA:
            self._take_data(reply)
        elif kind == _BODY:
            self._take_body(reply)
        elif kind == _EMPTY:
            self._finish()
        elif kind == _QUIT:
            self._events.append(Disconnected(reply))
            self.is_closed = True
        elif not self._pipelining:  # the reply to RSET: go on with MAIL
            self._say_mail()

    def _take_mail(self, reply: Reply) -> None:
        underway = self._underway[0]
        underway.take_mail(reply)
        if self._pipelining:
            return
        if underway.refused:
            self._finish_refused()
        else:
            self._say_rcpt(underway)

    def _take_rcpt(self, reply: Reply) -> None:
        underway = self._underway[0]
        go_on = underway.take_rcpt(reply)
        if self._awaiting:
            return  # more of this group is to come
        if not self._pipelining and go_on and underway.replied < len(underway.targets):
            self._say_rcpt(underway)
        elif not underway.accepted:
            self._finish_refused()
        elif underway.bdat:
            self._say_bdat(underway)
        else:
            self._out.append(b"DATA\r\n")
            self._awaiting.append(_DATA)

    def _take_data(self, reply: Reply) -> None:
        underway = self._underway[0]
        if reply.code < 300:
            raise RemoteProtocolError(f"the peer answered {reply.code} to DATA")
        if reply.code != 354:
            underway.answer_accepted(reply, Phase.DATA)
            self._finish_refused()
        elif underway.accepted:
            self._out.append(underway.transaction.content.wire)
            self._out.append(b".\r\n")
            self._awaiting.extend([_BODY] * (len(underway.accepted) if self._lmtp else 1))
            underway.content_sent = True
            self._overlap_next()
        elif self._lmtp:  # RFC 2033 §4.2: it must be refused; nobody would answer a content
            raise RemoteProtocolError("the peer took DATA without any recipient")
        else:
            # RFC 2920 §3.1: all recipients were refused and DATA was accepted: send an empty content
            self._out.append(b".\r\n")
            self._awaiting.append(_EMPTY)

    def _take_body(self, reply: Reply) -> None:
        underway = self._underway[0]
        if self._lmtp:
            if underway.answer_next(reply):
                self._finish()
            return
        underway.answer_accepted(reply, Phase.BODY)
        if underway.bdat and (reply.code >= 300 or not underway.accepted):
            self._finish_refused()  # RFC 3030 §2: after a refused BDAT the state is undefined until RSET
        else:
            self._finish()

    # what goes out

    def _begin(self, underway: Underway) -> None:
        """Put the envelope on the wire, whole when the peer takes pipelining."""
        self._underway.append(underway)
        awaiting = self._awaiting
        if not self._pipelining:
            if self._reset_needed:
                self._reset_needed = False
                self._out.append(b"RSET\r\n")
                awaiting.append(_RSET)
            else:
                self._say_mail()
            return
        group = underway.mail + "".join(underway.rcpts)
        if self._reset_needed:
            self._reset_needed = False
            group = "RSET\r\n" + group
            awaiting.append(_RSET)
        awaiting.append(_MAIL)
        awaiting.extend([_RCPT] * len(underway.rcpts))
        if not underway.bdat:
            awaiting.append(_DATA)
            self._out.append((group + "DATA\r\n").encode())
            return
        self._out.append(group.encode())
        if len(underway.transaction.content.wire) <= BDAT_EAGER_OCTETS:
            self._say_bdat(underway)

    def _say_mail(self) -> None:
        self._out.append(self._underway[0].mail.encode())
        self._awaiting.append(_MAIL)

    def _say_rcpt(self, underway: Underway) -> None:
        self._out.append(underway.rcpts[underway.replied].encode())
        self._awaiting.append(_RCPT)

    def _say_bdat(self, underway: Underway) -> None:
        """The whole content as one chunk, as it was before dots were stuffed (RFC 3030 §2)."""
        content = underway.transaction.content
        octets = unstuff(content) if underway.dotted else content.wire
        self._out.append(b"BDAT %d LAST\r\n" % len(octets))
        self._out.append(octets)
        self._awaiting.append(_BODY)
        underway.content_sent = True
        self._overlap_next()

    def _say_quit(self) -> None:
        if not self._quitting:
            self._quitting = True
            self._out.append(b"QUIT\r\n")
            self._awaiting.append(_QUIT)

    def _overlap_next(self) -> None:
        """Let the next group begin behind a content whose reply is outstanding."""
        first = self._underway[0]
        if not (self._overlap and self._pipelining and first.content_sent) or len(self._underway) > 1:
            return
        queued = self._queued
        if queued is None:
            if self._quit_wanted:
                self._say_quit()  # RFC 2920 §3.1: QUIT may be the last of a group
        elif not first.bdat and not queued.bdat and queued.characters <= BEHIND_CHARACTERS_MAX:
            self._queued = None
            queued.is_behind = True
            self._begin(queued)

    # ends

    def _finish_refused(self) -> None:
        """The peer may still hold an envelope: RSET goes before the next one."""
        self._reset_needed = True
        if self._underway[0].was_too_soon:
            self._overlap = False
            again = self._underway.popleft()  # the only one: nothing follows what has no content yet
            again.begin_again()
            self._begin(again)
        else:
            self._finish()

    def _finish(self) -> None:
        self._events.append(self._underway.popleft().done())
        self._completed += 1
        if self._underway:
            return
        queued = self._queued
        if queued is not None:
            self._queued = None
            self._begin(queued)
        elif self._quit_wanted:
            self._say_quit()

    def _shut(self, reply: Reply, kind: int) -> None:
        """The peer said 421: nothing more comes from it (RFC 5321 §3.8)."""
        first = self._underway[0] if self._underway else None
        unheard = first is not None and not first.heard and self._completed > 0
        if first is not None and not (unheard and kind in {_MAIL, _RSET}):
            first.answer_open(reply, _PHASES[kind], ours=False)
        self._end_all()
        self._events.append(Disconnected(reply))

    def _end_all(self) -> None:
        self._events.extend(underway.done() for underway in self._underway)
        if self._queued is not None:
            self._events.append(self._queued.done())
            self._queued = None
        self._underway.clear()
        self._awaiting.clear()
        self.is_closed = True
