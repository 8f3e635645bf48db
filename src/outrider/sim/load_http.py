"""The HTTP dialogue of one connection of the load generator: `POST /v1/messages`, one after the other.

In: responses. Out: requests on a connection that is kept alive, and the fate of each message in the tally.

Theory: a message counts as acknowledged at 202 (or 200, 201), as refused at any other status. Once a request
was written, a lost connection leaves its fate unknown. Only bodies with a Content-Length are read: this is a
tool for our own server on loopback, not a client for the web.
Standards: RFC 9112 §6.3 (length of a message body), RFC 6750 §2.1 (bearer keys).
"""

import asyncio
import json
from urllib.parse import urlencode

from outrider.sim.load_hand import LoadHand
from outrider.sim.numbered import NUMBER_FIELD
from outrider.sim.tally import Fate
from outrider.sim.tickets import Ticket

_TAKEN = frozenset((200, 201, 202))
_BUSY = frozenset((429, 503))


class HttpHand(LoadHand):
    """One connection that hands messages in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._load.ready(self)

    def _broke_off(self, ticket: Ticket) -> None:  # noqa: ARG002 - it is the one under way
        self._settle("unknown")

    def start(self, ticket: Ticket) -> None:
        """Hand in one message."""
        if self._transport.is_closing():
            self._load.not_sent(ticket)
            return
        self._ticket = ticket
        self._started_at = self.waiting_since = self._load.now()
        self._transport.write(self._request(ticket))

    def finish(self) -> None:
        """Nothing more to do."""
        self._orderly = True
        self._transport.close()

    def _request(self, ticket: Ticket) -> bytes:
        options = self._load.options
        target, kind = "/v1/messages", "application/json"
        if options.http_form == "rfc822":
            envelope = [("from", options.sender), *(("to", recipient) for recipient in ticket.recipients)]
            target, kind = f"{target}?{urlencode(envelope)}", "message/rfc822"
            body = self._load.tickets.content(ticket)
        else:
            body = json.dumps(
                {
                    "from": options.sender,
                    "to": list(ticket.recipients),
                    "subject": f"Practice {ticket.number}",
                    "text": self._load.tickets.text().decode().replace("\r\n", "\n"),
                    "headers": {NUMBER_FIELD.decode().rstrip(":"): ticket.number},
                }
            ).encode()
        authorization = f"Authorization: Bearer {options.api_key}\r\n" if options.api_key else ""
        return (
            f"POST {target} HTTP/1.1\r\nHost: {options.host}:{options.port}\r\n{authorization}"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        status, length, keep = _read_head(self._buffer[:end])
        if length is None:
            self._transport.abort()
            return
        if len(self._buffer) < end + 4 + length:
            return
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        if status >= 200:
            self._answered(status, body, keep=keep)

    def _answered(self, status: int, body: bytes, *, keep: bool) -> None:
        self.waiting_since = None
        self._tally.replies[status] += 1
        if not self._ticket:
            self._transport.abort()
            return
        if status in _TAKEN:
            self._tally.latency(self._load.now() - self._started_at)
            self._settle("acknowledged")
        else:
            self._tally.last_reply = f"{status} {body.decode('utf-8', 'replace')[:200]}"
            self._settle("refused")
        if keep:
            self._ask_for_more(after_pause=status in _BUSY)
        else:
            self.finish()

    def _settle(self, fate: Fate) -> None:
        ticket = self._ticket
        if ticket:
            self._ticket = None
            self._tally.messages[fate] += 1
            self._tally.fate(fate, ticket.number, ticket.recipients)
            self.carried += 1
            self._load.finished()


def _read_head(head: bytes) -> tuple[int, int | None, bool]:
    lines = head.split(b"\r\n")
    words = lines[0].split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    length: int | None = 0 if status in (204, 304) or status < 200 else None
    keep = words[:1] == [b"HTTP/1.1"]
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"content-length" if value.strip().isdigit():
                length = int(value)
            case b"connection" if value.strip().lower() == b"close":
                keep = False
    return status, length, keep
