"""Reads a peer's replies out of octets, within bounds.

Octets in, `Reply` values out, in order. A line longer than `LINE_MAX`, a reply longer than
`REPLY_LINES_MAX` lines or `REPLY_OCTETS_MAX` octets, and anything that does not begin with a reply code is
a fault: `fault` is set, what came before it is still given, and everything after it is ignored, because
nobody knows where the next reply begins.

Theory: a bare LF also ends a line here. It is only tolerated in what we *read*, where it cannot smuggle
anything: a reply is matched to a command by its place alone.

Invariant: whatever the octets and however they are split, `feed` returns and holds at most
`REPLY_OCTETS_MAX` plus one line; texts that leave are printable.

Standards: RFC 5321 §4.2 (replies), RFC 5321 §4.2.1 (multi-line), RFC 2034 §4 and RFC 3463 §2 (enhanced
codes).
"""

import re
from collections.abc import Callable

from outrider.base.errors import RemoteProtocolError
from outrider.model.reply import Reply

LINE_MAX = 2_000
# chosen: RFC 5321 §4.5.3.1.5 says 512, and providers' policy texts with links go over it
REPLY_LINES_MAX = 128
# chosen: the longest EHLO replies have some 30 lines
REPLY_OCTETS_MAX = 65_536
# chosen: far over any real reply, small beside a message
LINES_MAX = 1_024
# chosen: peers repeat their replies to MAIL, RCPT and DATA word for word, and of each kind there are a few
LINE_OCTETS_MAX = 64
# chosen: longer ones seldom come again word for word

MEMO_MAX = 256
# chosen: more hosts than are connected to at once at most senders
MEMO_OCTETS_MAX = 2_048
# chosen: twice the EHLO reply of a host that offers everything

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")
_SEPARATORS = (b" ", b"-", b"")


def clean(text: bytes) -> str:
    """`text` as a printable string: a tab becomes a space, all else that does not print becomes U+FFFD."""
    decoded = text.decode("utf-8", "replace")
    if decoded.isprintable():
        return decoded
    return "".join(
        char if char.isprintable() else " " if char == "\t" else "\N{REPLACEMENT CHARACTER}"
        for char in decoded
    )


def _split_enhanced(code: int, texts: list[str]) -> tuple[str | None, tuple[str, ...]]:
    """The enhanced code of a reply and its lines without it; RFC 2034 §4 repeats it on each line."""
    match = _ENHANCED.match(texts[0])
    if match is None or int(texts[0][0]) != code // 100:
        return None, tuple(texts)
    enhanced = match[1]
    if len(texts) == 1:
        return enhanced, (texts[0][match.end() :],)
    lines = []
    for text in texts:
        again = _ENHANCED.match(text)
        lines.append(text[again.end() :] if again is not None and again[1] == enhanced else text)
    return enhanced, tuple(lines)


def _fault(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"the peer sent no SMTP reply: {what}")


class ReplyMemo:
    """Replies by their octets, for all connections of a process.

    An exchanger answers every EHLO with the same octets, and MAIL, RCPT and DATA too; reading its dozen lines
    once instead of for each connection saves some 30 µs (measured).

    Attributes:
        of_line: The reply that a line by itself is, its LF removed, if it was read before.
    """

    __slots__ = ("_lines", "_replies", "of_line")

    def __init__(self) -> None:
        self._replies: dict[bytes, Reply] = {}
        self._lines: dict[bytes, Reply] = {}
        self.of_line: Callable[[bytes], Reply | None] = self._lines.get

    def __len__(self) -> int:
        """How many replies are remembered."""
        return len(self._lines) + len(self._replies)

    def put_line(self, line: bytes, reply: Reply) -> None:
        """Remember a reply of one line; queue ids push others out, which costs those one more reading."""
        if len(line) <= LINE_OCTETS_MAX:
            if len(self._lines) >= LINES_MAX:
                self._lines.clear()
            self._lines[line] = reply

    def get(self, octets: bytes) -> Reply | None:
        """The reply that `octets` are, if they were read before."""
        return self._replies.get(octets)

    def put(self, octets: bytes, reply: Reply) -> None:
        """Remember a reply; the memo stays within its bounds."""
        if len(octets) <= MEMO_OCTETS_MAX:
            if len(self._replies) >= MEMO_MAX:
                self._replies.clear()
            self._replies[octets] = reply


class ReplyReader:
    """See the module.

    Args:
        memo: Shared by the readers of a process, or None for one's own.
    """

    __slots__ = ("_code", "_memo", "_octets", "_rest", "_texts", "fault")

    def __init__(self, memo: ReplyMemo | None = None) -> None:
        self._memo = ReplyMemo() if memo is None else memo
        self._rest = b""
        self._texts: list[str] = []
        self._code = 0
        self._octets = 0
        self.fault: RemoteProtocolError | None = None

    def reset(self) -> None:
        """Forget what was read but not used (RFC 3207 §4.2: nothing from before TLS counts)."""
        self._rest = b""
        self._texts = []
        self._octets = 0

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes; sets `fault` at the first octet that cannot be one."""
        replies: list[Reply] = []
        if self.fault is not None:
            return replies
        is_multi_line = data[3:4] == b"-" and not self._rest and not self._texts
        if is_multi_line:
            remembered = self._memo.get(data)
            if remembered is not None:
                replies.append(remembered)
                return replies
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        of_line = self._memo.of_line
        try:
            for line in lines:
                reply = of_line(line) if not self._texts else None
                if reply is None:
                    reply = self._line(line)
                    if reply is None:
                        continue
                replies.append(reply)
            if len(self._rest) > LINE_MAX:
                raise _fault("line without end")
        except RemoteProtocolError as error:
            self.fault = error
            self.reset()
        if is_multi_line and len(replies) == 1 and not self._rest and not self._texts and self.fault is None:
            self._memo.put(data, replies[0])
        return replies

    def _line(self, line: bytes) -> Reply | None:
        """Take one line, its LF removed; the reply when it is complete. Raises RemoteProtocolError."""
        text = line[:-1] if line[-1:] == b"\r" else line
        digits, separator = text[:3], text[3:4]
        if len(text) > LINE_MAX:
            raise _fault("line too long")
        # RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; some peers use 560 and above
        if (
            len(digits) != 3
            or not digits.isdigit()
            or digits[0] not in b"2345"
            or separator not in _SEPARATORS
        ):
            raise _fault("line without reply code")
        code = int(digits)
        if self._texts and code != self._code:
            raise _fault("reply with two codes")
        self._code = code
        self._octets += len(text)
        self._texts.append(clean(text[4:]))
        if separator == b"-":
            if len(self._texts) >= REPLY_LINES_MAX or self._octets > REPLY_OCTETS_MAX:
                raise _fault("reply without end")
            return None
        texts, self._texts, self._octets = self._texts, [], 0
        reply = Reply(code, *_split_enhanced(code, texts))
        if len(texts) == 1:
            self._memo.put_line(line, reply)
        return reply
