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
Its parts: `server_lines` (input), `server_state`, `server_commands`, `server_auth`, `server_chunks`,
`server_limits`. Not here: who may relay (receive.access), time (receive.session).
"""

from outrider.base.errors import LocalProtocolError
from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.commands import CommandError, find_control
from outrider.wire.smtp.content import ContentReader, maybe_whole
from outrider.wire.smtp.server_chunks import Chunk
from outrider.wire.smtp.server_commands import COMMANDS
from outrider.wire.smtp.server_events import (
    AuthRequest,
    ChunkTaken,
    DataStart,
    Event,
    Helo,
    MailFrom,
    MessageEnd,
    RcptTo,
    StartTls,
    Violation,
)
from outrider.wire.smtp.server_lines import AUTH_LINE, LONG_LINE
from outrider.wire.smtp.server_state import AUTH, CHUNK, COMMAND, DATA, NEW, TLS, ServerState

# Octets of the replies that every message needs.
_SENDER_OK = format_reply(replies.SENDER_OK)
_RECIPIENT_OK = format_reply(replies.RECIPIENT_OK)
_START_MAIL_INPUT = format_reply(replies.START_MAIL_INPUT)


class Server(ServerState):
    """See the module."""

    __slots__ = ()

    # What the session calls

    def greet(self) -> None:
        """Send the greeting; octets that were fed before it are early talk."""
        if self._mode == NEW:
            self.output += self._limits.greeting
            self._mode = COMMAND

    def abort(self, reply: Reply) -> None:
        """Our own end of the session: `reply` (421 or 554) is the last thing sent."""
        if self._mode < TLS:
            self.output += format_reply(reply)
        self._close()

    def feed(self, octets: bytes) -> None:
        """Take what the client sent."""
        if self._mode >= TLS:
            return
        if self._buffer:
            self._put(octets)
        else:
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
            if not self._buffer and mode != CHUNK:  # a chunk may be empty and yet the last
                return None
            if mode == COMMAND:
                line = self._next_line(0)
                if line is None:
                    return self._check_partial_line()
                event = self._command(line)
            elif mode == DATA:
                return self._next_data()
            else:
                event = self._next_other(mode)
                if event is None and self._mode == mode:
                    return None
            if event is not None:
                return event
        return None

    def _next_other(self, mode: int) -> Event | None:
        if mode == CHUNK:
            return self._next_chunk()
        if mode == AUTH:
            return self._next_auth()
        if mode == NEW and self._buffer:
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
                self._mode = TLS
                self._drop_input()

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
        if self._chunk is not None and reply.code != 421:
            self._chunk.refusal = reply
            self._mode = CHUNK
            return
        self._say(reply)
        if reply.code == 421:
            self._close()
        else:
            self._count_error(reply)

    # Lines

    def _check_partial_line(self) -> Violation | None:
        limit = AUTH_LINE if self._mode == AUTH else 0
        return self._fatal(replies.STRAY_LINE_END_IN_COMMAND) if self._hides_line_end(limit) else None

    def _unreadable(self, line: bytes) -> Violation:
        if line == LONG_LINE:
            return self._refuse(replies.COMMAND_TOO_LONG)
        if b"\n" in line or b"\r" in line:
            return self._fatal(replies.STRAY_LINE_END_IN_COMMAND)
        return self._refuse(replies.BAD_CHARACTERS)

    # Commands

    def _command(self, line: bytes) -> Event | None:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return self._unreadable(line)
        if not text.isprintable() and find_control(text):
            return self._unreadable(line)
        self._idle += 1
        if self._idle > self._limits.idle_commands:
            return self._fatal(replies.TOO_MANY_COMMANDS)
        handler = COMMANDS.get(text[:4]) or COMMANDS.get(text[:4].upper())
        if handler is None:
            return self._refuse(replies.UNKNOWN_COMMAND)
        try:
            event = handler(self, text)
        except CommandError as error:
            return self._refuse(error.reply)
        if isinstance(event, Reply):
            return self._refuse(event)
        return event

    # AUTH

    def _next_auth(self) -> Event | None:
        event: Event | None = None
        while self._exchange is not None and event is None:
            line = self._next_line(AUTH_LINE)
            if line is None:
                return self._check_partial_line()
            if b"\n" in line or b"\r" in line:
                return self._fatal(replies.STRAY_LINE_END_IN_COMMAND)
            event = self._auth_step(self._exchange.respond(line))
        return event

    # Content

    def _start_content(self, event: DataStart) -> None:
        if event.bdat:
            self._reader = ContentReader(self._limits.content)
            self._mode = CHUNK
        elif self._buffer:
            # Content before 354: the client does not listen, which is how smuggling begins.
            self._fatal(replies.EARLY_TALK)
        else:
            self.output += _START_MAIL_INPUT
            self._mode = DATA

    def _next_data(self) -> Event | None:
        octets, self._buffer = self._buffer, b""
        reader = self._reader
        if reader is None:
            content = maybe_whole(octets, self._limits.content)
            if content is not None:
                self._mode = COMMAND
                return self._ask(MessageEnd(content))
            reader = self._reader = ContentReader(self._limits.content)
        end = reader.feed_data(octets)
        if end < 0:
            return None
        self._buffer = octets[end:]
        self._mode = COMMAND
        return self._end_content(reader)

    def _next_chunk(self) -> Event | None:
        chunk = self._chunk
        if chunk is None:
            raise LocalProtocolError("no chunk is under way")
        if chunk.left:
            octets = self._next_octets(chunk.left)
            chunk.left -= len(octets)
            if chunk.refusal is None and self._reader is not None:
                self._reader.feed_chunk(octets)
            if chunk.left:
                return None
        return self._end_chunk(chunk)

    def _end_chunk(self, chunk: Chunk) -> Event | None:
        self._mode = COMMAND
        self._chunk = None
        reader = self._reader
        refusal = chunk.refusal
        if refusal is None and reader is not None:
            if chunk.last:
                reader.finish_chunks()
                return self._end_content(reader)
            refusal = reader.fault
        if refusal is None:
            self._say(replies.CHUNK_OK)
            return ChunkTaken()
        self._reset()
        return self._refuse(refusal)

    def _end_content(self, reader: ContentReader) -> Event:
        content = reader.finish_apart()
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
