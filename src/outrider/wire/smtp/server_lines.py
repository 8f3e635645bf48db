"""The server machine's input: octets in, command lines out, within their limits.

A base of `server.Server` and not a part of it, because one attribute less on the way of every line is what
it costs to take a line.

Theory: a line is taken off the buffer by moving a position; the buffer is copied only when octets come while
a part is left. Of a line that is longer than it may be only the last octet is kept (it may be the CR of its
end), and once it is complete `LONG_LINE` is given in its place.

Invariant: no more is held than what one `feed` brought and one line.

Standards: RFC 5321 §4.5.3.1.4 (length of commands), RFC 5321 §2.3.8 (line ends), RFC 4954 §4 (AUTH lines).
"""

from outrider.wire.smtp.commands import COMMAND_OCTETS, LINE_LIMITS

LONG_LINE = b"\xff"
# no command is made of this octet, and no base64

AUTH_LINE = LINE_LIMITS["AUTH"] - 2
_LINE_LIMITS = {verb.encode(): limit - 2 for verb, limit in LINE_LIMITS.items()}
_SHORT_LINE = COMMAND_OCTETS - 2


class LineInput:
    """See the module."""

    __slots__ = ("_buffer", "_pos", "_skipping")

    def __init__(self) -> None:
        self._buffer = b""
        self._pos = 0
        self._skipping = False

    @property
    def buffered(self) -> int:
        """Octets held back; a session stops reading when they become many."""
        return len(self._buffer) - self._pos

    def _put(self, octets: bytes) -> None:
        if self._buffer:
            octets = self._buffer[self._pos :] + octets
            self._pos = 0
        self._buffer = octets

    def _drop_input(self) -> None:
        self._buffer = b""
        self._pos = 0

    def _next_line(self, limit: int) -> bytes | None:
        """The next complete line without its end, or None; `limit` 0 is that of its command."""
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
                return LONG_LINE
        return line

    def _hides_line_end(self, limit: int) -> bool:
        """Part of a line is here: True where it holds a stray line end; of a line too long the rest goes."""
        part = self._buffer[self._pos :]
        if not self._skipping:
            if b"\n" in part or b"\r" in part[:-1]:
                return True
            allowed = limit or _LINE_LIMITS.get(part[:4].upper(), _SHORT_LINE)
            if len(part) <= allowed + 1:
                return False
            self._skipping = True
        self._buffer = part[-1:]
        self._pos = 0
        return False

    def _next_octets(self, count: int) -> bytes:
        """Up to `count` octets, whatever they are."""
        octets = self._buffer[self._pos : self._pos + count]
        self._pos += len(octets)
        if self._pos == len(self._buffer):
            self._drop_input()
        return octets
