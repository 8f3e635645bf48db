"""One SMTP connection to a simulated provider.

In: octets of a client. Out: replies as the provider's temper gives them, late where it is slow.

Theory: dot-stuffing is left in place; only a stored message is unstuffed.

Standards: RFC 5321 §4.1.1 (commands), RFC 2920 §3.1 (what may be pipelined), RFC 3030 §2 (BDAT), RFC 3207 §4
(STARTTLS). Not here: octets, time and TLS (`sim.line`), what to answer (`sim.temper`), counting
(`sim.provider`).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from outrider.sim.commands import MAIL_PARAMETERS, RCPT_PARAMETERS, parse_path
from outrider.sim.line import Line
from outrider.sim.options import Phase
from outrider.sim.provider import Provider

_LINE_OCTETS_MAX = 4096  # chosen, because no extension offered here lengthens a command beyond that
_END_OF_DATA = b"\r\n.\r\n"

_OK = b"250 2.0.0 OK\r\n"
_SENDER_OK = b"250 2.1.0 Sender OK\r\n"
_RECIPIENT_OK = b"250 2.1.5 Recipient OK\r\n"
_START_DATA = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_TAKEN = b"250 2.0.0 Message taken\r\n"
_BYE = b"221 2.0.0 Bye\r\n"
_TLS_READY = b"220 2.0.0 Ready to start TLS\r\n"
_TLS_NOT_NOW = b"454 4.7.0 TLS not available\r\n"
_TLS_FIRST = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
_BAD_SEQUENCE = b"503 5.5.1 Bad sequence of commands\r\n"
_BAD_SYNTAX = b"501 5.5.4 Syntax error in arguments\r\n"
_BAD_PARAMETER = b"555 5.5.4 Parameter not recognised\r\n"
_UNKNOWN = b"500 5.5.2 Command not recognised\r\n"
_NOT_OFFERED = b"502 5.5.1 Command not implemented\r\n"
_TOO_LONG = b"500 5.5.2 Line too long\r\n"
_TOO_BIG = b"552 5.3.4 Message too big\r\n"
_NO_RELAY = b"550 5.7.1 Relaying denied\r\n"
_NO_RECIPIENTS = b"554 5.5.1 No valid recipients\r\n"
_NEEDS_SMTPUTF8 = b"553 5.6.7 Address needs SMTPUTF8\r\n"


class Session(Line):
    """The provider's end of one connection; `host` is the exchanger's name, said in the greeting."""

    __slots__ = (
        "_bdat",
        "_chunk_left",
        "_content",
        "_data",
        "_facts",
        "_helo",
        "_host",
        "_messages",
        "_overflow",
        "_recipients",
        "_scanned",
        "_sender",
    )

    def __init__(self, provider: Provider, host: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(provider, loop)
        self._host = host
        self._helo = ""
        self._messages = 0
        self._data = False
        self._bdat = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._facts: dict[str, Any] = {}
        self._content = bytearray()
        self._overflow = False
        self._reset()

    def _step(self) -> bool:
        if self._data:
            return self._take_data()
        if self._bdat:
            return self._take_chunk()
        return self._take_command()

    # commands

    def _take_command(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\n")
        if end < 0 or end > _LINE_OCTETS_MAX:
            if len(buffer) > _LINE_OCTETS_MAX:
                self._say(_TOO_LONG)
                self._close()
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if line[-1:] == b"\r":
            line = line[:-1]
        else:
            self._provider.counts.violations["command-without-crlf"] += 1
        verb = line[:4].upper()
        handler = _COMMANDS.get(verb)
        if buffer and ("PIPELINING" not in self._provider.extensions or verb in _LAST_OF_GROUP):
            self._provider.counts.violations["pipelining"] += 1
        if handler is None:
            self._say(_UNKNOWN)
        else:
            handler(self, line)
        return True

    def _greet(self) -> None:
        answer = self._provider.temper.answer("connect", (), self._provider.now())
        if answer:
            self._act(answer)
            if answer.action == "reply" and answer.reply[0] != "2":
                self._helo = "-"  # RFC 5321 §3.1: after 554 the server still answers, with 503
        else:
            self._say(f"220 {self._host} ESMTP practice\r\n".encode())

    def _ehlo(self, line: bytes) -> None:
        self._after("ehlo", self._do_ehlo, line)

    def _do_ehlo(self, line: bytes) -> None:
        provider = self._provider
        name = line[5:].strip().decode("utf-8", "replace")
        answer = provider.temper.answer("ehlo", (name,), provider.now())
        extended = line[:1] in b"eE"
        if answer:
            self._act(answer)
        elif not name:
            self._say(_BAD_SYNTAX)
        elif extended and provider.behaviour.helo_only:
            self._say(_NOT_OFFERED)
        else:
            self._reset()
            self._helo = name
            self._say(self._offers() if extended else f"250 {self._host}\r\n".encode())

    def _offers(self) -> bytes:
        provider = self._provider
        lines = [self._host]
        for extension in provider.behaviour.extensions:
            size = provider.behaviour.limits.max_message_bytes
            lines.append(f"SIZE {size}" if extension == "SIZE" else extension)
        if provider.behaviour.tls.mode != "none" and not self._pipe:
            lines.append("STARTTLS")
        last = len(lines) - 1
        return "".join(
            f"250{' ' if place == last else '-'}{line}\r\n" for place, line in enumerate(lines)
        ).encode()

    def _starttls(self, line: bytes) -> None:  # noqa: ARG002 - STARTTLS has no arguments
        self._after("starttls", self._do_starttls)

    def _do_starttls(self) -> None:
        provider = self._provider
        answer = provider.temper.answer("starttls", (self._helo,), provider.now())
        if answer:
            self._act(answer)
        elif provider.behaviour.tls.mode == "none" or self._pipe or provider.tls is None:
            self._say(_NOT_OFFERED)
        elif provider.behaviour.tls.fault == "refused":
            self._say(_TLS_NOT_NOW)
        else:
            if self._buffer:
                self._buffer.clear()  # RFC 3207 §4.2: nothing said in clear may have effect
            self._say(_TLS_READY)
            self._flush()
            self._helo = ""
            self._reset()
            self._tls_wait = True

    def _mail(self, line: bytes) -> None:
        self._after("mail", self._do_mail, line)

    def _do_mail(self, line: bytes) -> None:
        provider = self._provider
        if not self._helo or self._helo == "-" or self._sender is not None:
            self._say(_BAD_SEQUENCE)
            return
        if provider.behaviour.tls.mode == "require" and not self._pipe:
            self._say(_TLS_FIRST)
            return
        path = parse_path(line[10:].lstrip()) if line[:10].upper() == b"MAIL FROM:" else None
        if path is None:
            self._say(_BAD_SYNTAX)
            return
        if path.parameters and not self._knows(path.parameters, MAIL_PARAMETERS):
            self._say(_BAD_PARAMETER)
            return
        smtputf8 = "SMTPUTF8" in path.parameters
        if not path.mailbox.isascii() and not smtputf8:
            self._say(_NEEDS_SMTPUTF8)
            return
        size = path.parameters.get("SIZE", "")
        limit = provider.behaviour.limits.max_message_bytes
        if limit and size.isdigit() and int(size) > limit:
            self._say(_TOO_BIG)
            return
        now = provider.now()
        temper = provider.temper
        answer = temper.answer("mail", (path.mailbox,), now) or temper.limit_at_mail(self._messages, now)
        if answer:
            self._act(answer, 1)
            return
        self._sender = path.mailbox
        self._facts = {
            "eight_bit": path.parameters.get("BODY") == "8BITMIME" or smtputf8,
            "smtputf8": smtputf8,
            "parameters": path.parameters,
            "client": self._client,
            "ehlo": self._helo,
        }
        self._say(_SENDER_OK)

    def _knows(self, parameters: dict[str, str], known: dict[str, str]) -> bool:
        if all(known.get(name) in self._provider.extensions for name in parameters):
            return True
        self._provider.counts.violations["parameter-not-offered"] += 1
        return False

    def _rcpt(self, line: bytes) -> None:
        self._after("rcpt", self._do_rcpt, line)

    def _do_rcpt(self, line: bytes) -> None:
        provider = self._provider
        sender = self._sender
        if sender is None:
            self._say(_BAD_SEQUENCE)
            return
        path = parse_path(line[8:].lstrip()) if line[:8].upper() == b"RCPT TO:" else None
        if path is None or not path.mailbox:
            self._say(_BAD_SYNTAX)
            return
        if path.parameters and not self._knows(path.parameters, RCPT_PARAMETERS):
            self._say(_BAD_PARAMETER)
            return
        now = provider.now()
        provider.counts.recipients_in_window.add(now)
        if not path.mailbox.isascii() and not self._facts["smtputf8"]:
            self._say(_NEEDS_SMTPUTF8)
            return
        if path.domain and not provider.takes_domain(path.domain):
            provider.counts.refused(_NO_RELAY.decode().rstrip(), 1)
            self._say(_NO_RELAY)
            return
        temper = provider.temper
        recipient = path.mailbox
        answer = temper.answer("rcpt", (recipient,), now) or temper.limit_at_rcpt(
            sender, recipient, len(self._recipients), now
        )
        if answer:
            self._act(answer, 1)
            return
        self._recipients.append(recipient)
        self._say(_RECIPIENT_OK)

    def _start_data(self, line: bytes) -> None:  # noqa: ARG002 - DATA has no arguments
        self._after("data", self._do_data)

    def _do_data(self) -> None:
        provider = self._provider
        if self._sender is None or "chunked" in self._facts:
            self._say(_BAD_SEQUENCE)
            return
        if not self._recipients:
            self._say(_NO_RECIPIENTS)
            return
        answer = provider.temper.answer("data", self._recipients, provider.now())
        if answer:
            self._act(answer, len(self._recipients))
            return
        self._data = True
        self._scanned = 0
        self._say(_START_DATA)

    def _take_data(self) -> bool:
        buffer = self._buffer
        if buffer.startswith(b".\r\n") and not self._overflow:
            content, taken = b"\r\n", 3
        else:
            end = buffer.find(_END_OF_DATA, max(0, self._scanned - 4))
            if end < 0:
                self._scanned = len(buffer)
                if len(buffer) > self._provider.content_octets_max:
                    self._overflow = True
                    del buffer[:-4]
                    self._scanned = 4
                return False
            content, taken = bytes(buffer[: end + 2]), end + 5
        del buffer[:taken]
        self._data = False
        self._facts["stuffed"] = True
        self._after("body", self._end_of_content, content)
        return True

    def _bdat_command(self, line: bytes) -> None:
        words = line[4:].split()
        if not words or not words[0].isdigit() or len(words) > 2:
            self._say(_BAD_SYNTAX)
            self._close()  # RFC 3030 §2: where the chunk ends is not known
            return
        self._chunk_left = int(words[0])
        self._bdat = True
        self._facts["chunked"] = True
        self._facts["last"] = len(words) == 2 and words[1].upper() == b"LAST"

    def _take_chunk(self) -> bool:
        taken = bytes(self._buffer[: self._chunk_left])
        del self._buffer[: self._chunk_left]
        self._chunk_left -= len(taken)
        if len(self._content) + len(taken) > self._provider.content_octets_max:
            self._overflow = True
        else:
            self._content += taken
        if self._chunk_left:
            return False
        self._bdat = False
        if "CHUNKING" not in self._provider.extensions:
            self._say(_NOT_OFFERED)
        elif self._sender is None:
            self._say(_BAD_SEQUENCE)
            self._reset()
        elif not self._recipients:
            self._say(_NO_RECIPIENTS)
        elif self._facts["last"]:
            self._facts["stuffed"] = False
            self._after("body", self._end_of_content, bytes(self._content))
        else:
            self._say(_OK)
        return True

    def _end_of_content(self, content: bytes) -> None:
        provider = self._provider
        sender, recipients, facts = self._sender or "", self._recipients, self._facts
        too_big = self._overflow or len(content) > provider.content_octets_max
        self._reset()
        self._messages += 1
        if too_big:
            provider.counts.refused(_TOO_BIG.decode().rstrip(), len(recipients))
            self._say(_TOO_BIG)
            return
        answer = provider.temper.answer("body", recipients, provider.now())
        if answer and answer.action != "lose-reply":
            self._act(answer, len(recipients))
            return
        provider.take(sender, recipients, content, facts)
        if answer:
            self._act(answer)
        else:
            self._say(_TAKEN)

    def _rset(self, line: bytes) -> None:  # noqa: ARG002 - RSET has no arguments
        self._after("rset", self._do_simple, "rset", _OK)

    def _quit(self, line: bytes) -> None:  # noqa: ARG002 - QUIT has no arguments
        self._after("quit", self._do_simple, "quit", _BYE)

    def _noop(self, line: bytes) -> None:  # noqa: ARG002 - the argument of NOOP has no meaning
        self._say(_OK)

    def _do_simple(self, phase: Phase, usual: bytes) -> None:
        answer = self._provider.temper.answer(phase, (), self._provider.now())
        if answer:
            self._act(answer)
            return
        self._reset()
        self._say(usual)
        if phase == "quit":
            self._close()

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []
        self._facts = {"smtputf8": False, "eight_bit": False}
        self._content = bytearray()
        self._chunk_left = 0
        self._scanned = 0
        self._overflow = False


_COMMANDS: dict[bytes, Callable[[Session, bytes], None]] = {
    b"EHLO": Session._ehlo,
    b"HELO": Session._ehlo,
    b"STAR": Session._starttls,
    b"MAIL": Session._mail,
    b"RCPT": Session._rcpt,
    b"DATA": Session._start_data,
    b"BDAT": Session._bdat_command,
    b"RSET": Session._rset,
    b"NOOP": Session._noop,
    b"QUIT": Session._quit,
}

_LAST_OF_GROUP = frozenset((b"EHLO", b"HELO", b"DATA", b"STAR", b"QUIT", b"NOOP"))  # RFC 2920 §3.1
