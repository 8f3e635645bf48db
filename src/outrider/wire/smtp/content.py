"""Content: the octets of DATA and BDAT in, a `Content` in wire form out.

Wire form is what DATA carries: CRLF line ends, lines that begin with a dot stuffed, no end-of-data line. It
is kept from here to the wire, so the usual message is looked at once.

Theory: the reader cuts what arrives after its last LF into a *block* of whole lines and carries the rest, a
part of a line, over to the next octets; so no pattern ever straddles a border. Once something is wrong
(size, stray line end, NUL, line length) it stores nothing more and only looks for the true end of data, so a
refused message costs no memory and nothing in it is ever taken for a command.

Invariant: only CR LF `.` CR LF ends data, however it is split; a returned content has no bare CR, bare LF or
NUL, ends in CRLF, and `stuff_plain(unstuff(c)).wire == c.wire`.

Standards: RFC 5321 §4.5.2 (transparency), RFC 5321 §2.3.8 (line ends), RFC 3030 §2 (BDAT),
RFC 1870 §6 (size).
"""

import re

from outrider.base.errors import LocalProtocolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.flow import Content, Traits
from outrider.model.reply import Reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.content_limits import DEFAULT_LIMITS, ContentLimits
from outrider.wire.smtp.long_content import LongContent
from outrider.wire.smtp.scan import DOTTED, EIGHT_BIT, LONG, NUL, STRAY, longest_line, scan

SMALL_OCTETS = 4_096
"""Chosen: two octets in a block of their own cost 43; smaller blocks are joined as they come, so a message
takes the memory that it has in octets, even if it is sent in crumbs."""

_LINE_END = re.compile(rb"\r\n|\r|\n")


def _traits_of(found: int) -> Traits:
    return (
        (Traits.EIGHT_BIT if found & EIGHT_BIT else Traits.NONE)
        | (Traits.DOTTED if found & DOTTED else Traits.NONE)
        | (Traits.LONG_LINES if found & LONG else Traits.NONE)
    )


# By what the scan found: made once, because joining flags takes a microsecond in CPython 3.11.
_TRAITS = tuple(map(_traits_of, range(LONG << 1)))
_TRAITS_UTF8_HEADER = tuple(traits | Traits.HEADER_UTF8 for traits in _TRAITS)


def _stuff(plain: bytes) -> bytes:
    stuffed = plain.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed[:1] == b"." else stuffed


def _unstuff(wire: bytes) -> bytes:
    plain = wire.replace(b"\r\n.", b"\r\n")
    return plain[1:] if plain[:1] == b"." else plain


def _is_stuffed(wire: bytes) -> bool:
    return wire.count(b"\n.") == wire.count(b"\n..") and (wire[:1] != b"." or wire[:2] == b"..")


def _normalise(plain: bytes) -> bytes:
    return _LINE_END.sub(b"\r\n", plain.replace(b"\0", b""))


def content_of(wire: bytes, found: int) -> Content:
    """`wire`, which is in wire form, as content; `found` is what a scan of it finds."""
    header_octets = 0 if wire[:2] == b"\r\n" else wire.find(b"\r\n\r\n") + 2
    if header_octets == 1:
        header_octets = len(wire)
    if found & EIGHT_BIT and not wire[:header_octets].isascii():
        return Content(wire, _TRAITS_UTF8_HEADER[found], header_octets)
    return Content(wire, _TRAITS[found], header_octets)


def stuff_plain(plain: bytes) -> Content:
    """A message with CRLF line ends, not stuffed, as content; a missing last CRLF is added.

    Raises:
        LocalProtocolError: It holds a bare CR, a bare LF or a NUL (RFC 5321 §2.3.8).
    """
    if plain[-2:] != b"\r\n":
        plain += b"\r\n"
    _, found = scan(plain, True, True)
    if found & (STRAY | NUL):
        raise LocalProtocolError("a message holds a bare CR, a bare LF or a NUL", nul=bool(found & NUL))
    return content_of(_stuff(plain) if found & DOTTED else plain, found)


def checked(wire: bytes) -> Content:
    """Octets of which somebody else says that they are wire form, as content.

    Raises:
        LocalProtocolError: They are not: a stray line end, a NUL, a dot that is not stuffed, no CRLF at the
            end.
    """
    if wire[-2:] != b"\r\n":
        raise LocalProtocolError("a content in wire form ends in CRLF")
    _, found = scan(wire, True, True)
    if found & (STRAY | NUL):
        raise LocalProtocolError("a message holds a bare CR, a bare LF or a NUL", nul=bool(found & NUL))
    if found & DOTTED and not _is_stuffed(wire):
        raise LocalProtocolError("a line of a content in wire form begins with one dot: it is to be doubled")
    return content_of(wire, found)


def normalise_plain(plain: bytes) -> Content:
    """As `stuff_plain`, but bare CR and LF become CRLF and NUL is dropped."""
    return stuff_plain(_normalise(plain))


def unstuff(content: Content) -> bytes:
    """The message as its author sees it: CRLF line ends, dots unstuffed (RFC 5321 §4.5.2)."""
    return _unstuff(content.wire) if content.traits & Traits.DOTTED else content.wire


def unstuff_header(content: Content) -> bytes:
    """Its header section alone, dots unstuffed."""
    section = content.wire[: content.header_octets]
    return _unstuff(section) if b"\n." in section or section[:1] == b"." else section


def stuff_header(section: bytes) -> bytes:
    """A header section in wire form."""
    return _stuff(section) if b"\n." in section or section[:1] == b"." else section


def maybe_whole(octets: bytes, limits: ContentLimits) -> Content | None:
    """The content of a DATA that came in one piece, with its end last and nothing to repair or refuse.

    None sends the caller to a `ContentReader`, which takes everything. This is the usual small message; apart
    from the scan it costs half of what it would with a reader.
    """
    if octets[-5:] != b"\r\n.\r\n" or len(octets) > LONG_OCTETS:
        return None
    end, found = scan(octets, True, False)
    if end != len(octets) - 3 or end > limits.message_octets or found & (STRAY | NUL):
        return None
    wire = octets[:end]
    if found & DOTTED and not _is_stuffed(wire):
        return None
    if found & LONG and longest_line(wire) - 1 > limits.line_octets:
        return None
    return content_of(wire, found)


class ContentReader:
    """Reads the content of one transaction, by DATA or by BDAT; see the module.

    After `feed_data` returned a position, or the last chunk was fed, `finish` gives the content or the reply
    that refuses it.
    """

    __slots__ = (
        *(
            "_after_crlf",
            "_blocks",
            "_found",
            "_header_octets",
            "_limits",
            "_looked",
            "_looked_octets",
            "_size",
        ),
        *("_tail", "fault"),
    )

    def __init__(self, limits: ContentLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._blocks: list[bytes] = []
        self._tail = b""
        self._size = 0
        self._found = 0
        self._after_crlf = True
        self._header_octets = -1  # of a long content; -1 is not known yet
        self._looked = 0  # blocks in which the end of its header section was looked for, with their octets
        self._looked_octets = 0
        self.fault: Reply | None = None

    def feed_data(self, octets: bytes) -> int:
        """Take octets after DATA.

        Returns:
            Index in `octets` behind the end-of-data line, or -1 when it is not among them.
        """
        carried = len(self._tail)
        block = self._whole_lines(octets)
        if not block:
            self._judge_tail()
            return -1
        end, found = scan(block, self._after_crlf, False)
        if end < 0:
            self._take(block, found)
            self._after_crlf = block[-2:] == b"\r\n"
            self._judge_tail()
            return -1
        self._tail = b""
        if end:
            self._take(block[:end], found)
        return end + 3 - carried

    def feed_chunk(self, octets: bytes) -> None:
        """Take octets of a BDAT chunk, dots as they are (RFC 3030 §2)."""
        block = self._whole_lines(octets)
        if block:
            _, found = scan(block, self._after_crlf, True)
            self._after_crlf = True
            self._take_plain(block, found)
        self._judge_tail()

    def finish_chunks(self) -> None:
        """The last chunk is complete; a missing last CRLF is added."""
        if self._tail:
            block = self._tail[:-1] if self._tail[-1:] == b"\r" and self._limits.normalise else self._tail
            block += b"\r\n"
            self._tail = b""
            _, found = scan(block, True, True)
            self._take_plain(block, found)

    def finish(self) -> Content | Reply:
        """The content, or the reply that refuses it."""
        content = self.finish_apart()
        return content.joined() if isinstance(content, LongContent) else content

    def finish_apart(self) -> Content | LongContent | Reply:
        """As `finish`, but a long content is not joined."""
        if self.fault is not None:
            return self.fault
        blocks = self._blocks
        if self._size > LONG_OCTETS:
            return self._long()
        wire = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return content_of(wire or b"\r\n", self._found)

    def _long(self) -> LongContent:
        self._look_for_body()
        header_octets = self._size if self._header_octets < 0 else self._header_octets
        left, in_header = min(header_octets, LONG_OCTETS), header_octets
        head: list[bytes] = []
        rest: list[bytes] = []
        is_utf8 = False
        for block in self._blocks:
            if in_header > 0 and self._found & EIGHT_BIT:
                is_utf8 = is_utf8 or not block[:in_header].isascii()
            in_header -= len(block)
            if left < len(block):
                rest.append(block[left:] if left else block)
            if left:
                head.append(block[:left])
                left -= len(head[-1])
        traits = (_TRAITS_UTF8_HEADER if is_utf8 else _TRAITS)[self._found]
        return LongContent(Content(b"".join(head), traits, header_octets), tuple(rest), self._size)

    def _look_for_body(self) -> None:
        """Look for the end of the header section in the blocks that are new; each holds whole lines."""
        blocks = self._blocks
        while self._header_octets < 0 and self._looked < len(blocks):
            block = blocks[self._looked]
            if block[:2] == b"\r\n":
                self._header_octets = self._looked_octets
                return
            found = block.find(b"\r\n\r\n")
            if found >= 0:
                self._header_octets = self._looked_octets + found + 2
                return
            self._looked += 1
            self._looked_octets += len(block)

    def _whole_lines(self, octets: bytes) -> bytes:
        block = self._tail + octets if self._tail else octets
        if block[-1:] == b"\n":
            self._tail = b""
            return block
        cut = block.rfind(b"\n") + 1
        tail = block[cut:]
        if self.fault is not None and len(tail) > 8:
            # Only "does it begin with .CR" and "does it end in CR" matter for a line that is thrown away.
            tail = b"...." + tail[-1:]
        self._tail = tail
        return block[:cut]

    def _judge_tail(self) -> None:
        """Refuse a line that is too long before it ends; only once it is known that it is not a command."""
        if self.fault is None and len(self._tail) > self._limits.line_octets + 1:
            self._refuse(replies.LINE_TOO_LONG)

    def _refuse(self, fault: Reply) -> None:
        if self.fault is None:
            self.fault = fault
        self._blocks.clear()

    def _take_plain(self, block: bytes, found: int) -> None:
        if found & DOTTED and not found & (STRAY | NUL):
            block = _stuff(block)
        self._take(block, found, stuffed=False)

    def _take(self, block: bytes, found: int, *, stuffed: bool = True) -> None:
        if self.fault is not None:
            return
        if found & LONG and longest_line(block) - 1 > self._limits.line_octets:
            self._refuse(replies.LINE_TOO_LONG)  # as it came, because a part of it may have been judged so
            return
        # A dot behind a bare LF at a block's border is content too; such a block may be clean in itself.
        literal_dot = stuffed and not self._after_crlf and block[:1] == b"."
        if found & (STRAY | NUL) or literal_dot:
            if not self._limits.normalise:
                self._refuse(replies.NUL_IN_MESSAGE if found & NUL else replies.STRAY_LINE_END)
                return
            block, found = self._normalised(block, stuffed)
        elif found & DOTTED and stuffed and not _is_stuffed(block):
            # A single dot is taken off by the receiver (RFC 5321 §4.5.2); say what it means in one way.
            block = _stuff(_unstuff(block))
            _, found = scan(block, True, True)
        self._size += len(block)
        if self._size > self._limits.message_octets:
            self._refuse(replies.MESSAGE_TOO_BIG)
            return
        self._found |= found
        blocks = self._blocks
        if blocks and len(blocks[-1]) + len(block) <= SMALL_OCTETS:
            blocks[-1] += block
        else:
            if self._size > LONG_OCTETS and self._header_octets < 0:
                self._look_for_body()  # the blocks so far are not joined with others any more
            blocks.append(block)

    def _normalised(self, block: bytes, stuffed: bool) -> tuple[bytes, int]:
        """Unstuff, repair, stuff again: a dot behind a stray line end is content, whatever follows."""
        if stuffed:
            unstuffed = block.replace(b"\r\n.", b"\r\n")
            block = unstuffed[1:] if self._after_crlf and unstuffed[:1] == b"." else unstuffed
        content = stuff_plain(_normalise(block))
        _, found = scan(content.wire, True, True)
        return content.wire, found
