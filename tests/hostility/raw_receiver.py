"""A receiver that keeps the very octets of each content, and what other receivers would make of them.

In: connections of the server under test. Out: for each message its envelope, and the octets between the
354 and CRLF.CRLF, or of its chunks, exactly as they were sent.

Theory: a receiver that ends data at anything but CRLF.CRLF sees a second message, or commands, in what was
one. `ways_to_end` finds every place where one of the lenient receivers seen so far would end.

Standards: RFC 5321 §4.1.1.4 (end of data), RFC 5321 §2.3.8 (line ends), RFC 3030 §2 (BDAT).
"""

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LENIENT_ENDS = re.compile(rb"(?:^|\r\n|\r|\n|\0)\.(?:\r\n|\r|\n|\0)")
"""A dot alone between any two of the line ends that some receiver has taken for one."""


def ways_to_end(wire: bytes) -> list[int]:
    """Where in a content, without its end of data, a lenient receiver would stop reading it."""
    return [found.start() for found in LENIENT_ENDS.finditer(wire)]


@dataclass(frozen=True)
class Taken:
    """One message as it came over the wire; `wire` is without the end of data."""

    mail_from: str
    recipients: tuple[str, ...]
    wire: bytes
    chunked: bool


@dataclass
class RawReceiver:
    """What was taken so far, and the port it came in by."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    receiver: RawReceiver
    offers: tuple[str, ...]


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self._say(b"220 raw.test ESMTP")
        try:
            while line := self.rfile.readline(4096):
                self.server.receiver.said.append(line)
                if not self._command(line.rstrip(b"\r\n")):
                    return
        except ConnectionError:
            return

    def _say(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")

    def _command(self, line: bytes) -> bool:
        verb = line[:4].upper()
        if verb == b"EHLO":
            lines = ["raw.test", *self.server.offers]
            for name in lines[:-1]:
                self._say(b"250-" + name.encode())
            self._say(b"250 " + lines[-1].encode())
        elif verb == b"MAIL":
            self.envelope = [line[10:].split(b" ")[0].strip(b"<>").decode()]
            self._say(b"250 Ok")
        elif verb == b"RCPT":
            self.envelope.append(line[8:].split(b" ")[0].strip(b"<>").decode())
            self._say(b"250 Ok")
        elif verb == b"DATA":
            self._data()
        elif verb == b"BDAT":
            self._take(self.rfile.read(int(line.split()[1])), chunked=True)
        elif verb == b"QUIT":
            self._say(b"221 Bye")
            return False
        else:
            self._say(b"250 Ok")
        return True

    def _data(self) -> None:
        self._say(b"354 Go on")
        parts = [b"\r\n"]  # so that a lone dot in the first line ends it too
        while parts[-1] != b".\r\n" or parts[-2][-2:] != b"\r\n":
            part = self.rfile.readline(65_536)
            if not part:
                return
            parts.append(part)
        self._take(b"".join(parts[1:-1]), chunked=False)

    def _take(self, wire: bytes, *, chunked: bool) -> None:
        self.server.receiver.taken.append(Taken(self.envelope[0], tuple(self.envelope[1:]), wire, chunked))
        self._say(b"250 Taken")


@contextmanager
def raw_receiver(*offers: str) -> Iterator[RawReceiver]:
    """A receiver that offers these extensions, until the end of the block."""
    with _Server(("127.0.0.1", 0), _Session) as server:
        port: Any = server.server_address[1]
        server.receiver = RawReceiver(port)
        server.offers = offers
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.receiver
        finally:
            server.shutdown()
            thread.join()
