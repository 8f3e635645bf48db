"""A plain fast sink: takes every message and counts.

In: SMTP. Out: a 250 to everything. Nothing is parsed beyond the verb, so that the sink is never what a
measurement measures.

Standards: RFC 5321 §4.1.1 (commands), RFC 3030 §2 (BDAT).
"""

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any, cast

_END_OF_DATA = b"\r\n.\r\n"
_GREETING = b"220 sink.practice.test ESMTP\r\n"
_OFFERS = (
    b"250-sink.practice.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 DSN\r\n"
)
_OK = b"250 2.0.0 OK\r\n"
_START_DATA = b"354 Go on\r\n"
_BYE = b"221 2.0.0 Bye\r\n"
_LINE_OCTETS_MAX = 4096  # chosen, because no command of a client under test is longer


@dataclass(slots=True)
class SinkCounts:
    """What a sink has seen."""

    connections: int = 0
    connections_most: int = 0
    connections_total: int = 0
    messages: int = 0
    recipients: int = 0
    octets: int = 0
    commands: dict[str, int] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The counts, ready for JSON."""
        return asdict(self)


class Sink(asyncio.Protocol):
    """One connection to the sink; all of them share `counts`."""

    __slots__ = ("_buffer", "_chunk_left", "_counts", "_in_data", "_last", "_transport")

    def __init__(self, counts: SinkCounts) -> None:
        self._counts = counts
        self._buffer = b""
        self._in_data = False
        self._chunk_left = 0
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        counts = self._counts
        counts.connections += 1
        counts.connections_total += 1
        counts.connections_most = max(counts.connections_most, counts.connections)
        self._transport.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is the client's affair
        self._counts.connections -= 1

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        out: list[bytes] = []
        start = 0
        closing = False
        while start < len(data) and not closing:
            if self._chunk_left:
                start = self._chunk(data, start, out)
            elif self._in_data:
                end = self._end_of_data(data, start)
                if end < 0:
                    break
                self._counts.octets += end - start
                self._counts.messages += 1
                self._in_data = False
                out.append(_OK)
                start = end
            else:
                end = data.find(b"\n", start)
                if end < 0:
                    closing = len(data) - start > _LINE_OCTETS_MAX
                    break
                closing = self._command(data[start : end + 1], out)
                start = end + 1
        self._buffer = data[start:]
        if out:
            self._transport.write(b"".join(out))
        if closing:
            self._transport.close()

    @staticmethod
    def _end_of_data(data: bytes, start: int) -> int:
        if data.startswith(b".\r\n", start):
            return start + 3
        end = data.find(_END_OF_DATA, start)
        return end + len(_END_OF_DATA) if end >= 0 else -1

    def _chunk(self, data: bytes, start: int, out: list[bytes]) -> int:
        taken = min(self._chunk_left, len(data) - start)
        self._chunk_left -= taken
        self._counts.octets += taken
        if not self._chunk_left:
            self._end_of_chunk(out)
        return start + taken

    def _end_of_chunk(self, out: list[bytes]) -> None:
        self._counts.messages += self._last
        out.append(_OK)

    def _command(self, line: bytes, out: list[bytes]) -> bool:
        verb = line[:4].upper()
        commands = self._counts.commands
        name = verb.decode("ascii", "replace").strip()
        commands[name] = commands.get(name, 0) + 1
        if verb == b"RCPT":
            self._counts.recipients += 1
            out.append(_OK)
        elif verb == b"DATA":
            self._in_data = True
            out.append(_START_DATA)
        elif verb in (b"EHLO", b"HELO"):
            out.append(_OFFERS)
        elif verb == b"BDAT":
            words = line.split()
            self._chunk_left = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            self._last = words[-1].upper() == b"LAST"
            if not self._chunk_left:
                self._end_of_chunk(out)
        elif verb == b"QUIT":
            out.append(_BYE)
            return True
        else:
            out.append(_OK)
        return False
