"""A message that policy reads and changes: a `Content` in, a `Content` out.

Theory: most messages are only asked for a field or two, so nothing is read before it is asked for: neither
the header, nor, by far, the parts. A message whose header alone was changed gets its body as it is, without
a look at it; what is in it (its traits) is known from when it came. One that was not changed gives back the
very content it was made of.

Invariant: whatever is done to it, `content()` is wire form: CRLF line ends, dots stuffed once, no bare CR,
bare LF or NUL, CRLF at the end, traits and the length of the header as they are; what was not changed is
the octets that it was.

Standards: RFC 5321 §4.5.2 (transparency), RFC 5322 §2.1 (header and body), RFC 6532 §3 (UTF-8 in headers).
"""

from collections.abc import Callable, Iterator

from outrider.model.flow import Content, Traits
from outrider.wire.message.header import Header
from outrider.wire.message.limits import DEFAULT, MessageLimits
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import content_of, stuff_header, stuff_plain, unstuff, unstuff_header
from outrider.wire.smtp.scan import DOTTED, EIGHT_BIT, LONG, scan


class EditableMessage:
    """One message; not to be shared between those who change it.

    Args:
        content: As it was received.
        utf8: The envelope asked for SMTPUTF8, so text beyond ASCII goes into header fields as UTF-8.
        limits: Bounds of reading it.
    """

    __slots__ = ("_content", "_header", "_limits", "_refuse", "_root", "_utf8")

    def __init__(self, content: Content, *, utf8: bool = False, limits: MessageLimits = DEFAULT) -> None:
        self._content = content
        self._utf8 = utf8
        self._limits = limits
        self._header: Header | None = None
        self._root: Part | None = None
        self._refuse: Callable[[], None] | None = None

    @property
    def header(self) -> Header:
        """Its header section.

        Raises:
            MessageLimitError: It is beyond the limits.
        """
        root = self._root
        if root is not None:
            return root.header
        header = self._header
        if header is None:
            section = unstuff_header(self._content)
            self._header = header = Header(section, utf8=self._utf8, limits=self._limits)
            self._freeze()
        return header

    @property
    def root(self) -> Part:
        """The message as a part, from which all its parts are reached."""
        root = self._root
        if root is None:
            self._root = root = read_part(
                unstuff(self._content), limits=self._limits, utf8=self._utf8, header=self.header
            )
            self._freeze()
        return root

    @property
    def is_changed(self) -> bool:
        """Something was changed, though perhaps not in effect."""
        root = self._root
        if root is not None:
            return root.is_changed
        return self._header is not None and self._header.is_changed

    def freeze(self, refuse: Callable[[], None]) -> None:
        """Nothing is changed from now on: whoever tries meets what `refuse` raises, where he tries."""
        self._refuse = refuse
        self._freeze()

    def _freeze(self) -> None:
        refuse = self._refuse
        if refuse is None:
            return
        if self._root is not None:
            self._root.freeze(refuse)
        elif self._header is not None:
            self._header.watch(lambda _name: refuse())

    def walk(self) -> Iterator[Part]:
        """All parts, in the order of the message; itself first."""
        return self.root.walk()

    def raw(self) -> bytes:
        """The whole message: CRLF line ends, dots not stuffed."""
        return unstuff(self.content())

    def set_raw(self, octets: bytes) -> None:
        """Make it another message; parts that were taken from it before are no longer part of it.

        Raises:
            EditError: It holds a NUL, a bare CR or a bare LF.
        """
        self.root.set_octets(octets)

    def body(self) -> bytes:
        """All behind the header and the empty line: transfer encoding untouched, dots not stuffed."""
        return self.root.body()

    def set_body(self, octets: bytes) -> None:
        """Give it another body, as it is to stand in the message, and leave the header as it is.

        Raises:
            EditError: It holds a NUL, a bare CR or a bare LF.
        """
        self.root.set_body(octets)

    def content(self) -> Content:
        """The message in wire form; the very content that it was made of, as long as nothing was changed."""
        if not self.is_changed:
            return self._content
        root = self._root
        made = self._with_header() if root is None or root.has_own_body else stuff_plain(root.octets())
        return self._content if made.wire == self._content.wire else made

    def _with_header(self) -> Content:
        """The body as it came behind the header as it is now."""
        content = self._content
        section = self.header.octets()
        rest = content.wire[content.header_octets :] or b"\r\n"
        found = scan(section, True, True)[1] if section else 0
        traits = content.traits
        if traits:
            if traits & Traits.EIGHT_BIT and not rest.isascii():
                found |= EIGHT_BIT
            if traits & Traits.DOTTED and b"\r\n." in rest:
                found |= DOTTED
            if traits & Traits.LONG_LINES:
                found |= scan(rest, True, True)[1] & LONG
        return content_of(stuff_header(section) + rest, found)
