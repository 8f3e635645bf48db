"""The SMTP dialogue of one connection of the load generator.

In: replies. Out: commands, and the fate of each recipient in the tally.

Theory: replies are matched with the phases that were sent, in order, so that lock-step and pipelining differ
only in how much is sent at once. Independent of `wire.smtp` on purpose: this is a test peer.
Standards: RFC 5321 §4.1.1 (commands), RFC 2920 §3.1 (pipelining).
"""

import asyncio
from collections import deque

from outrider.sim.load_hand import LoadHand
from outrider.sim.load_port import LoadPort
from outrider.sim.tally import Fate
from outrider.sim.tickets import Ticket


class SmtpHand(LoadHand):
    """One connection that hands messages in."""

    def __init__(self, load: LoadPort) -> None:
        super().__init__(load)
        self._expected: deque[str] = deque(("greeting",))
        self._todo: deque[tuple[str, bytes]] = deque()
        self._pending: deque[str] = deque()
        self._accepted: list[str] = []
        self._refused: list[str] = []
        self._pipelining = False
        self._transient = False
        self._capabilities: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.waiting_since = self._load.now()
        super().connection_made(transport)

    def _broke_off(self, ticket: Ticket) -> None:
        self._ticket = None
        if "content" in self._expected:
            self._settle(ticket, "unknown")
        else:
            self._load.not_sent(ticket)

    def start(self, ticket: Ticket) -> None:
        """Hand in one message."""
        self._ticket = ticket
        self._pending.extend(ticket.recipients)
        self._accepted = []
        self._refused = []
        self._started_at = self.waiting_since = self._load.now()
        todo = self._todo
        todo.append(("mail", b"MAIL FROM:<%b>\r\n" % self._load.options.sender.encode()))
        for recipient in ticket.recipients:
            todo.append(("rcpt", b"RCPT TO:<%b>\r\n" % recipient.encode()))
        todo.append(("data", b"DATA\r\n"))
        self._send()

    def finish(self) -> None:
        """Nothing more to do: say QUIT."""
        self._todo.append(("quit", b"QUIT\r\n"))
        self._orderly = True
        self.waiting_since = self._load.now()
        self._send()

    def _send(self) -> None:
        todo = self._todo
        if self._transport.is_closing():
            todo.clear()
        elif self._pipelining:
            self._expected.extend(phase for phase, _ in todo)
            self._transport.write(b"".join(command for _, command in todo))
            todo.clear()
        else:
            phase, command = todo.popleft()
            self._expected.append(phase)
            self._transport.write(command)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start : end + 1]
            start = end + 1
            if line[3:4] == b"-":
                self._capabilities.append(line[4:].strip().upper())
            else:
                self._reply(line)
        self._buffer = data[start:]

    def _reply(self, line: bytes) -> None:
        code = int(line[:3]) if line[:3].isdigit() else 0
        phase = self._expected.popleft() if self._expected else "unasked"
        self._tally.replies[code] += 1
        if code >= 400 or not code:
            self._tally.last_reply = line.decode("utf-8", "replace").strip()
            self._transient = code < 500
        if code == 421:
            # RFC 5321 §3.8: the server closes now; a message that was not sent yet goes out again elsewhere
            self._transport.close()
            if phase != "content":
                return
        self._after(phase, code, line)

    def _after(self, phase: str, code: int, line: bytes) -> None:
        good = 200 <= code < 300
        if phase == "content":
            self._after_content(good)
        elif phase == "rcpt":
            (self._accepted if good else self._refused).append(self._pending.popleft())
            self._go_on()
        elif phase == "data":
            self._after_data(code)
        elif phase == "mail":
            if good or self._pipelining:
                self._go_on()
            else:
                self._refuse_all()
        elif phase == "greeting":
            self._greeted(good)
        elif phase == "ehlo":
            self._introduced(good, line)
        elif phase == "reset":
            self._next()
        else:
            self._transport.close()

    def _greeted(self, good: bool) -> None:
        if good:
            self._todo.append(("ehlo", b"EHLO generator.practice.test\r\n"))
            self._send()
        else:
            self._transport.close()

    def _introduced(self, good: bool, line: bytes) -> None:
        if not good:
            self._transport.close()
            return
        offered = {*self._capabilities, line[4:].strip().upper()}
        self._pipelining = self._load.options.pipelined and b"PIPELINING" in offered
        self.waiting_since = None
        self._load.ready(self)

    def _go_on(self) -> None:
        if self._pipelining:
            return
        if not self._pending and not self._accepted:
            self._refuse_all()
        else:
            self._send()

    def _after_data(self, code: int) -> None:
        if code == 354 and self._ticket:
            self._expected.append("content")
            if self._accepted:
                content = self._load.tickets.content(self._ticket)
                self._transport.write(content + b".\r\n")
            else:
                self._transport.write(b".\r\n")  # RFC 2920 §3.1: the server accepted DATA without recipients
        else:
            self._refuse_all()

    def _refuse_all(self) -> None:
        self._todo.clear()
        ticket = self._ticket
        if ticket:
            self._ticket = None
            self._refused = list(ticket.recipients)
            self._accepted = []
            self._settle(ticket, "refused")
        self._todo.append(("reset", b"RSET\r\n"))
        self._send()

    def _after_content(self, good: bool) -> None:
        ticket = self._ticket
        if ticket:
            self._ticket = None
            if good and self._accepted:
                self._tally.latency(self._load.now() - self._started_at)
                self._settle(ticket, "acknowledged")
            else:
                self._settle(ticket, "refused")
        self._next()

    def _settle(self, ticket: Ticket, fate: Fate) -> None:
        tally = self._tally
        tally.messages[fate] += 1
        if self._accepted:
            tally.fate(fate, ticket.number, self._accepted)
        if self._refused:
            tally.fate("refused", ticket.number, self._refused)
        self._pending.clear()
        self.carried += 1
        self._load.finished()

    def _next(self) -> None:
        self.waiting_since = None
        if self._transport.is_closing():
            return
        was_transient, self._transient = self._transient, False
        self._ask_for_more(after_pause=was_transient)
