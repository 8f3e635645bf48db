"""The server end of one SMTP session, without I/O.

Octets go in by `feed`; `next_event` gives what happened until it returns None, which means: more octets are
needed, or the last event still waits for `accept` or `answer`. `take_output` gives the octets to send.
Pipelined commands stay in the buffer while an answer is outstanding, so replies come out in the order in
which commands went in and RFC 2920 needs no case of its own.

Theory: at any time the machine is in one mode (command, data, chunk, AUTH exchange, waiting for TLS,
closed) and each mode knows one way to take octets off the buffer. After STARTTLS was accepted everything is
dropped until `tls_started`, which forgets all the client said before (RFC 3207 §4.2).

Invariant: whatever the input and however it is split, no method but `answer` and `accept` (called without
an event that waits) raises; every command gets exactly one final reply; no octet of a message is ever taken
for a command.

Standards: RFC 5321 §4.1.4 (order of commands), RFC 5321 §4.5.3 (limits), RFC 2920 §3.2 (pipelining),
RFC 3030 §2 (BDAT), RFC 3207 §4 (STARTTLS), RFC 4954 §4 (AUTH), RFC 2034 §4 (enhanced codes), RFC 1870 §6.
Not here: who may relay (receive.access), time (receive.session).
"""

import base64
import re
from collections.abc import Callable

import msgspec
from msgspec.structs import force_setattr

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Recipient
from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp import replies, sasl
from outrider.wire.smtp.commands import (
    COMMAND_OCTETS,
    LINE_LIMITS,
    CommandError,
    parse_bdat,
    parse_helo,
    parse_mail,
    parse_rcpt,
)
from outrider.wire.smtp.content import DEFAULT_LIMITS, ContentLimits, ContentReader, maybe_whole
from outrider.wire.smtp.server_events import (
    AuthRequest,
    DataStart,
    Event,
    Helo,
    MailFrom,
    MessageEnd,
    Question,
    Quit,
    RcptTo,
    Reset,
    StartTls,
    Violation,
)

_NEW, _COMMAND, _DATA, _CHUNK, _AUTH, _TLS, _CLOSED = range(7)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
_LINE_LIMITS = {verb.encode(): limit - 2 for verb, limit in LINE_LIMITS.items()}
_SHORT_LINE = COMMAND_OCTETS - 2
_AUTH_LINE = LINE_LIMITS["AUTH"] - 2

# Octets of the replies that every message needs.
_SENDER_OK = format_reply(replies.SENDER_OK)
_RECIPIENT_OK = format_reply(replies.RECIPIENT_OK)
_START_MAIL_INPUT = format_reply(replies.START_MAIL_INPUT)
_CLOSING = format_reply(replies.CLOSING)
_DATA_START = DataStart(bdat=False)


class ServerLimits(msgspec.Struct, frozen=True):
    """What a session may do and is offered.

    Attributes:
        hostname: What we call ourselves.
        content: Limits of a message.
        recipients: Most recipients of a transaction.
        errors: Refusals since the last accepted message that end the session.
        idle_commands: Commands other than MAIL and RCPT since the last accepted message that end it.
        starttls: Offer STARTTLS while TLS is not active.
        auth: Offer AUTH.
        auth_without_tls: Offer it also in the clear.
        greeting: Made from the others: the octets of the greeting.
        helo: Made from the others: the octets of the reply to HELO.
        ehlo: Made from the others: the octets of the reply to EHLO in the clear.
        ehlo_tls: Made from the others: the octets of the reply to EHLO under TLS.
    """

    hostname: str
    content: ContentLimits = DEFAULT_LIMITS
    recipients: int = 1000
    errors: int = 20
    idle_commands: int = 100
    starttls: bool = False
    auth: bool = False
    auth_without_tls: bool = False
    greeting: bytes = b""
    helo: bytes = b""
    ehlo: bytes = b""
    ehlo_tls: bytes = b""

    def __post_init__(self) -> None:
        # Once a listener, not once a connection.
        force_setattr(self, "greeting", format_reply(replies.greeting(self.hostname)))
        force_setattr(self, "helo", format_reply(Reply(250, None, (self.hostname,))))
        force_setattr(self, "ehlo", format_reply(self._offer(tls=False)))
        force_setattr(self, "ehlo_tls", format_reply(self._offer(tls=True)))

    def offers_auth(self, *, tls: bool) -> bool:
        """AUTH can be used."""
        return self.auth and (tls or self.auth_without_tls)

    def _offer(self, *, tls: bool) -> Reply:
        lines = [self.hostname, "PIPELINING", f"SIZE {self.content.message_octets}"]
        if self.starttls and not tls:
            lines.append("STARTTLS")
        if self.offers_auth(tls=tls):
            lines.append(f"AUTH {' '.join(sasl.MECHANISMS)}")
        lines += ("ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")
        return Reply(250, None, tuple(lines))


class Server:
    """See the module.

    Attributes:
        helo: What the client called itself; empty before EHLO.
        esmtp: It said EHLO.
        tls: TLS is active.
        authenticated: AUTH succeeded.
        closed: The last reply is in the output: write it and close.
        output: Octets to send; who sends them empties it, as `take_output` does.
        waiting: The event that waits for an answer, or None.
        mail: The open transaction's MAIL, or None.
        recipients: Its accepted recipients.
    """

    __slots__ = (
        "_buffer",
        "_chunk_last",
        "_chunk_left",
        "_chunk_refusal",
        "_errors",
        "_idle",
        "_limits",
        "_mechanism",
        "_mechanism_name",
        "_mode",
        "_pos",
        "_reader",
        "_skipping",
        "_tried_recipient",
        "authenticated",
        "closed",
        "esmtp",
        "helo",
        "mail",
        "output",
        "recipients",
        "tls",
        "waiting",
    )

    def __init__(self, limits: ServerLimits, *, tls: bool = False) -> None:
        self._limits = limits
        self._buffer = b""
        self._pos = 0
        self.output = b""
        self._mode = _NEW
        self.closed = False
        self.waiting: Question | None = None
        self._skipping = False
        self._errors = 0
        self._idle = 0
        self.tls = tls
        self._forget()

    def _forget(self) -> None:
        self.helo = ""
        self.esmtp = False
        self.authenticated = False
        self._mechanism: sasl.Mechanism | None = None
        self._mechanism_name = ""
        self._reset()

    def _reset(self) -> None:
        self.mail: MailFrom | None = None
        self.recipients: list[Recipient] = []
        self._tried_recipient = False
        self._reader: ContentReader | None = None
        self._chunk_left = 0
        self._chunk_last = False
        self._chunk_refusal: Reply | None = None

    # What the session calls

    @property
    def buffered(self) -> int:
        """Octets held back; a session stops reading when they become many."""
        return len(self._buffer) - self._pos

    @property
    def receiving(self) -> bool:
        """Content is on its way (DATA after 354, or inside BDAT)."""
        return self._mode == _DATA or self._mode == _CHUNK  # noqa: PLR1714 - a set costs more

    @property
    def handshaking(self) -> bool:
        """STARTTLS was accepted and TLS has not begun: nothing may be said in the clear any more."""
        return self._mode == _TLS

    @property
    def offers_auth(self) -> bool:
        """AUTH can be used now."""
        return self._limits.offers_auth(tls=self.tls)

    @property
    def protocol(self) -> str:
        """`SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA` or `ESMTPSA` (RFC 3848 §2)."""
        if not self.esmtp:
            return "SMTP"
        return f"ESMTP{'S' if self.tls else ''}{'A' if self.authenticated else ''}"

    def greet(self) -> None:
        """Send the greeting; octets that were fed before it are early talk."""
        if self._mode == _NEW:
            self.output += self._limits.greeting
            self._mode = _COMMAND

    def abort(self, reply: Reply) -> None:
        """Our own end of the session: `reply` (421 or 554) is the last thing sent."""
        if self._mode < _TLS:
            self.output += format_reply(reply)
        self._close()

    def feed(self, octets: bytes) -> None:
        """Take what the client sent."""
        if self._mode >= _TLS:
            return
        if self._buffer:
            octets = self._buffer[self._pos :] + octets
            self._pos = 0
        self._buffer = octets

    def take_output(self) -> bytes:
        """What is to be sent since the last call."""
        output, self.output = self.output, b""
        return output

    def next_event(self) -> Event | None:
        """The next thing that happened; see the module for None."""
        event: Event | None
        while self.waiting is None:
            mode = self._mode
            if not self._buffer and mode != _CHUNK:  # a chunk may be empty and yet the last
                return None
            if mode == _COMMAND:
                line = self._next_line(0)
                if line is None:
                    return self._check_partial_line()
                event = self._command(line)
            elif mode == _DATA:
                return self._next_data()
            else:
                event = self._next_other(mode)
                if event is None and self._mode == mode:
                    return None
            if event is not None:
                return event
        return None

    def _next_other(self, mode: int) -> Event | None:
        if mode == _CHUNK:
            return self._next_chunk()
        if mode == _AUTH:
            return self._next_auth()
        if mode == _NEW and self._buffer:
            return self._fatal(replies.EARLY_TALK)
        return None

    def accept(self) -> None:
        """Say yes to the event that waits."""
        event = self.waiting
        if event is None:
            raise LocalProtocolError("there is nothing to accept")
        self.waiting = None
        if isinstance(event, MailFrom):
            self.mail = event
            self.output += _SENDER_OK
        elif isinstance(event, RcptTo):
            self.recipients.append(event.recipient)
            self.output += _RECIPIENT_OK
        elif isinstance(event, DataStart):
            self._start_content(event)
        else:
            self._accept_other(event)

    def _accept_other(self, event: Helo | MessageEnd | AuthRequest | StartTls) -> None:
        match event:
            case Helo():
                self._reset()
                self.helo = event.name
                self.esmtp = event.esmtp
                self.output += self._helo_reply()
            case MessageEnd():
                self._end_transaction(replies.OK)
            case AuthRequest():
                self.authenticated = True
                self._say(replies.AUTHENTICATED)
            case StartTls():
                self._say(replies.READY_FOR_TLS)
                self._mode = _TLS
                self._buffer = b""
                self._pos = 0

    def answer(self, reply: Reply) -> None:
        """Answer the event that waits with `reply`; a positive one accepts it."""
        event = self.waiting
        if event is None:
            raise LocalProtocolError("there is nothing to answer")
        if isinstance(event, MessageEnd):
            self.waiting = None
            self._end_transaction(reply)
            return
        if reply.code < 400:
            self.accept()
            return
        self.waiting = None
        if isinstance(event, DataStart) and event.bdat and reply.code != 421:
            # The chunk comes in any case; it is thrown away and answered when it is complete.
            self._chunk_refusal = reply
            self._mode = _CHUNK
            return
        self._say(reply)
        if reply.code == 421:
            self._close()
        else:
            self._count_error(reply)

    def tls_started(self) -> None:
        """The handshake is done: everything the client said before is forgotten (RFC 3207 §4.2)."""
        if self._mode != _TLS:
            raise LocalProtocolError("no STARTTLS was accepted")
        self._mode = _COMMAND
        self.tls = True
        self._forget()

    # Replies and errors

    def _say(self, reply: Reply) -> None:
        self.output += format_reply(reply)

    def _close(self) -> None:
        self._mode = _CLOSED
        self.closed = True
        self.waiting = None
        self._buffer = b""
        self._pos = 0

    def _fatal(self, reply: Reply) -> Violation:
        self._say(reply)
        self._close()
        return Violation(reply, fatal=True)

    def _refuse(self, reply: Reply) -> Violation:
        self._say(reply)
        self._count_error(reply)
        return Violation(reply, fatal=self._mode == _CLOSED)

    def _count_error(self, reply: Reply) -> None:
        if reply.code < 500:
            return
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._say(replies.TOO_MANY_ERRORS)
            self._close()

    # Lines

    def _next_line(self, limit: int) -> bytes | None:
        buffer, pos = self._buffer, self._pos
        end = buffer.find(b"\r\n", pos)
        if end < 0:
            return None
        if end + 2 == len(buffer):
            self._buffer = b""
            self._pos = 0
        else:
            self._pos = end + 2
        line = buffer[pos:end]
        if self._skipping or end - pos > (limit or _SHORT_LINE):
            allowed = limit or _LINE_LIMITS.get(line[:4].upper(), _SHORT_LINE)
            if self._skipping or end - pos > allowed:
                self._skipping = False
                return b"\xff"  # no command is made of this octet; `_unreadable` knows it
        return line

    def _check_partial_line(self) -> Violation | None:
        """Part of a line is here: refuse a stray line end at once, and never hold more than a line may be."""
        part = self._buffer[self._pos :]
        if not self._skipping:
            if b"\n" in part or b"\r" in part[:-1]:
                return self._fatal(replies.STRAY_LINE_END_IN_COMMAND)
            allowed = _AUTH_LINE if self._mode == _AUTH else _LINE_LIMITS.get(part[:4].upper(), _SHORT_LINE)
            if len(part) <= allowed + 1:
                return None
            self._skipping = True
        self._buffer = part[-1:]
        self._pos = 0
        return None

    def _unreadable(self, line: bytes) -> Violation:
        if line == b"\xff":
            return self._refuse(
                replies.AUTH_LINE_TOO_LONG if self._mode == _AUTH else replies.COMMAND_TOO_LONG
            )
        if b"\n" in line or b"\r" in line:
            return self._fatal(replies.STRAY_LINE_END_IN_COMMAND)
        return self._refuse(replies.BAD_CHARACTERS)

    # Commands

    def _command(self, line: bytes) -> Event | None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return self._unreadable(line)
        if not text.isprintable() and _CONTROLS(text):
            return self._unreadable(line)
        self._idle += 1
        if self._idle > self._limits.idle_commands:
            return self._fatal(replies.TOO_MANY_COMMANDS)
        handler = _COMMANDS.get(text[:4]) or _COMMANDS.get(text[:4].upper())
        if handler is None:
            return self._refuse(replies.UNKNOWN_COMMAND)
        try:
            event = handler(self, text)
        except CommandError as error:
            return self._refuse(error.reply)
        if isinstance(event, Reply):
            return self._refuse(event)
        return event

    def _ask(self, event: Question) -> Question:
        self.waiting = event
        return event

    def _mail(self, text: str) -> Event | Reply | None:
        if text[4:10] != " FROM:" and text[4:10].upper() != " FROM:":
            return replies.BAD_ARGUMENT if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND
        self._idle -= 1
        if not self.helo:
            return replies.HELO_FIRST
        if self.mail is not None:
            return replies.NESTED_MAIL
        mail_from, parameters = parse_mail(text[10:], esmtp=self.esmtp)
        if parameters.size and parameters.size > self._limits.content.message_octets:
            return replies.MESSAGE_TOO_BIG
        event = self.waiting = MailFrom(mail_from, parameters)
        return event

    def _rcpt(self, text: str) -> Event | Reply | None:
        if text[4:8] != " TO:" and text[4:8].upper() != " TO:":
            return replies.BAD_ARGUMENT if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND
        self._idle -= 1
        mail = self.mail
        if mail is None:
            return replies.MAIL_FIRST
        if self._reader is not None:
            return replies.BDAT_UNDER_WAY
        self._tried_recipient = True
        if len(self.recipients) >= self._limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        recipient = parse_rcpt(
            text[8:],
            esmtp=self.esmtp,
            smtputf8=mail.parameters.smtputf8,
            hostname=self._limits.hostname,
        )
        event = self.waiting = RcptTo(recipient)
        return event

    def _content_refusal(self) -> Reply | None:
        if self.mail is None:
            return replies.MAIL_FIRST if self.helo else replies.HELO_FIRST
        if not self.recipients:
            return replies.NO_VALID_RECIPIENTS if self._tried_recipient else replies.MAIL_FIRST
        return None

    def _data(self, text: str) -> Event | Reply | None:
        if text != "DATA" and len(text) > 4 and text.rstrip(" ")[4:]:
            return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
        if not self.recipients:  # without MAIL there are none either
            return self._content_refusal()
        if self._reader is not None:
            return replies.BDAT_UNDER_WAY
        self.waiting = _DATA_START
        return _DATA_START

    def _bdat(self, text: str) -> Event | Reply | None:
        if text[4:5] not in {"", " "}:
            return replies.UNKNOWN_COMMAND
        try:
            size, last = parse_bdat(text[5:].strip(" "))
        except CommandError as error:
            # How many octets follow is unknown, and they must not be taken for commands.
            return self._fatal(error.reply)
        self._idle -= 1
        self._chunk_left = size
        self._chunk_last = last
        self._chunk_refusal = self._content_refusal()
        if self._chunk_refusal is None and self._reader is None:
            return self._ask(DataStart(bdat=True))
        self._mode = _CHUNK
        return None

    def _ehlo(self, text: str) -> Event | Reply | None:
        if text[4:5] not in {"", " "}:
            return replies.UNKNOWN_COMMAND
        if self._reader is not None:
            return replies.BDAT_UNDER_WAY
        return self._ask(Helo(parse_helo(text[5:]), text[:4].upper() == "EHLO"))

    def _helo_reply(self) -> bytes:
        limits = self._limits
        if not self.esmtp:
            return limits.helo
        return limits.ehlo_tls if self.tls else limits.ehlo

    def _rset(self, text: str) -> Event | Reply | None:
        if text[4:].strip(" "):
            return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
        self._reset()
        self._say(replies.OK)
        return Reset()

    def _quit(self, text: str) -> Event | Reply | None:
        if text[4:].strip(" "):
            return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
        self.output += _CLOSING
        self._close()
        return Quit()

    def _fixed(self, text: str) -> Event | Reply | None:
        if text[4:5] not in {"", " "}:
            return replies.UNKNOWN_COMMAND
        self._say(_FIXED[text[:4].upper()])
        return None

    def _not_implemented(self, text: str) -> Event | Reply | None:
        return replies.NOT_IMPLEMENTED if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND

    def _starttls(self, text: str) -> Event | Reply | None:
        if text[:8].upper() != "STARTTLS" or text[8:9] not in {"", " "}:
            return replies.UNKNOWN_COMMAND
        if text[8:].strip(" "):
            return replies.NO_ARGUMENT_ALLOWED
        if self.tls:
            return replies.TLS_ACTIVE
        if not self._limits.starttls:
            return replies.NOT_IMPLEMENTED
        return self._ask(StartTls())

    # AUTH

    def _auth(self, text: str) -> Event | Reply | None:
        if text[4:5] not in {"", " "}:
            return replies.UNKNOWN_COMMAND
        if not self._limits.auth:
            return replies.NOT_IMPLEMENTED
        if not self.offers_auth:
            return replies.AUTH_NEEDS_TLS
        if self.authenticated or self.mail is not None or not self.esmtp:
            return replies.AUTH_NOT_NOW
        name, _, initial = text[5:].strip(" ").partition(" ")
        mechanism = sasl.start(name)
        if mechanism is None:
            return replies.AUTH_MECHANISM_UNKNOWN if name else replies.BAD_ARGUMENT
        self._mechanism = mechanism
        self._mechanism_name = name.upper()
        if not initial:
            return self._auth_step(None)
        if isinstance(mechanism, sasl.Login):
            mechanism.step(None)
        return self._auth_response(initial.encode(errors="replace"))

    def _next_auth(self) -> Event | None:
        event: Event | None = None
        while self._mode == _AUTH and event is None:
            line = self._next_line(_AUTH_LINE)
            if line is None:
                return self._check_partial_line()
            event = self._auth_response(line)
        return event

    def _auth_response(self, line: bytes) -> Event | None:
        if line == b"*":
            return self._end_auth(replies.AUTH_CANCELLED)
        if line == b"\xff":
            return self._end_auth(replies.AUTH_LINE_TOO_LONG)
        if b"\n" in line or b"\r" in line:
            return self._fatal(replies.STRAY_LINE_END_IN_COMMAND)
        try:
            return self._auth_step(sasl.decode_response(line))
        except sasl.SaslError:
            return self._end_auth(replies.AUTH_MALFORMED)

    def _auth_step(self, response: bytes | None) -> Event | None:
        if self._mechanism is None:
            raise LocalProtocolError("no AUTH exchange is under way")
        step = self._mechanism.step(response)
        if isinstance(step, bytes):
            self.output += b"334 " + base64.b64encode(step) + b"\r\n"
            self._mode = _AUTH
            return None
        self._mechanism = None
        self._mode = _COMMAND
        return self._ask(AuthRequest(self._mechanism_name, step))

    def _end_auth(self, reply: Reply) -> Violation:
        self._mechanism = None
        self._mode = _COMMAND
        return self._refuse(reply)

    # Content

    def _start_content(self, event: DataStart) -> None:
        if event.bdat:
            self._reader = ContentReader(self._limits.content)
            self._mode = _CHUNK
        elif self._buffer:
            # Content before 354: the client does not listen, which is how smuggling begins.
            self._fatal(replies.EARLY_TALK)
        else:
            self.output += _START_MAIL_INPUT
            self._mode = _DATA

    def _next_data(self) -> Event | None:
        octets, self._buffer = self._buffer, b""
        reader = self._reader
        if reader is None:
            content = maybe_whole(octets, self._limits.content)
            if content is not None:
                self._mode = _COMMAND
                return self._ask(MessageEnd(content))
            reader = self._reader = ContentReader(self._limits.content)
        end = reader.feed_data(octets)
        if end < 0:
            return None
        self._buffer = octets[end:]
        self._mode = _COMMAND
        return self._end_content(reader)

    def _next_chunk(self) -> Event | None:
        if self._chunk_left:
            octets = self._buffer[self._pos : self._pos + self._chunk_left]
            self._pos += len(octets)
            if self._pos == len(self._buffer):
                self._buffer = b""
                self._pos = 0
            self._chunk_left -= len(octets)
            if self._chunk_refusal is None and self._reader is not None:
                self._reader.feed_chunk(octets)
            if self._chunk_left:
                return None
        return self._end_chunk()

    def _end_chunk(self) -> Event | None:
        self._mode = _COMMAND
        reader = self._reader
        refusal = self._chunk_refusal
        if refusal is None and reader is not None:
            if self._chunk_last:
                reader.finish_chunks()
                return self._end_content(reader)
            refusal = reader.fault
        if refusal is None:
            self._say(replies.CHUNK_OK)
            return None
        self._reset()
        return self._refuse(refusal)

    def _end_content(self, reader: ContentReader) -> Event:
        content = reader.finish()
        self._reader = None
        if isinstance(content, Reply):
            self._reset()
            return self._refuse(content)
        return self._ask(MessageEnd(content))

    def _end_transaction(self, reply: Reply) -> None:
        self.output += format_reply(reply)
        self._reset()
        if reply.code < 400:
            self._errors = 0
            self._idle = 0
        elif reply.code == 421:
            self._close()


_FIXED = {
    "NOOP": replies.OK,
    "VRFY": replies.CANNOT_VERIFY,
    "HELP": replies.HELP,
}

_COMMANDS: dict[str, Callable[[Server, str], Event | Reply | None]] = {
    "MAIL": Server._mail,
    "RCPT": Server._rcpt,
    "DATA": Server._data,
    "BDAT": Server._bdat,
    "EHLO": Server._ehlo,
    "HELO": Server._ehlo,
    "RSET": Server._rset,
    "NOOP": Server._fixed,
    "VRFY": Server._fixed,
    "HELP": Server._fixed,
    "QUIT": Server._quit,
    "EXPN": Server._not_implemented,
    "STAR": Server._starttls,
    "AUTH": Server._auth,
}
