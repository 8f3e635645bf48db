"""What a part of a message says of itself: its header, its type, its name, how it is encoded.

In: a window on octets. Out: what the fields say, read when it is asked for and remembered.

What is malformed has one reading: a part whose first line is no field has no header section and is all
body; a type that cannot be read is text/plain; of two fields of one name the first counts.

Standards: RFC 2045 §5 (types), RFC 2045 §5.2 (default), RFC 2045 §6 (encodings), RFC 2183 §2 (disposition),
RFC 6532 §3.7 (message/global).
"""

import re
from collections.abc import Callable
from typing import Final

from outrider.wire.headers import begins_field
from outrider.wire.message.header import Header
from outrider.wire.message.limits import DEFAULT, MessageLimitError, MessageLimits
from outrider.wire.message.parameters import Parametered, parse_parametered
from outrider.wire.message.transfer import IDENTITY

TEXT_PLAIN: Final = Parametered("text/plain")
RFC822: Final = Parametered("message/rfc822")

MESSAGE_TYPES: Final = frozenset(("message/rfc822", "message/global"))
"""Types whose content is a message with parts of its own."""

_TYPE: Final = re.compile(r"[^ \t/]+/[^ \t/]+").fullmatch


class Tree:
    """What the parts of one tree share: bounds, how their headers are written, and how many they are.

    Attributes:
        refuse: Raises where nothing may be changed any more; None as long as it may.
    """

    __slots__ = ("limits", "parts", "refuse", "utf8")

    def __init__(self, limits: MessageLimits = DEFAULT, *, utf8: bool = False) -> None:
        self.limits = limits
        self.utf8 = utf8
        self.parts = 1
        self.refuse: Callable[[], None] | None = None

    def check(self, count: int) -> None:
        """Raises if so many more are too many."""
        if self.parts + count > self.limits.parts:
            raise MessageLimitError("parts", self.limits.parts)

    def add(self, count: int) -> None:
        self.check(count)
        self.parts += count


class Described:
    """The header of a part and what follows from it.

    Args:
        source: Octets that hold the part.
        at: Its start, where its header section begins.
        head: Where that ends.
        tree: What it shares with those that it stands among.
        default: What it is if it does not say (RFC 2046 §5.1.5).
    """

    __slots__ = ("_at", "_default", "_disposition", "_head", "_header", "_source", "_tree", "_type")

    def __init__(self, source: bytes, at: int, head: int, tree: Tree, default: Parametered) -> None:
        self._source = source
        self._at = at
        self._head = head
        self._tree = tree
        self._default = default
        self._header: Header | None = None
        self._type: Parametered | None = None
        self._disposition: Parametered | None = None

    @property
    def limits(self) -> MessageLimits:
        """The bounds of the tree that it is in."""
        return self._tree.limits

    def freeze(self, refuse: Callable[[], None]) -> None:
        """Nothing of its tree is changed from now on: whoever tries meets what `refuse` raises."""
        self._tree.refuse = refuse

    @property
    def header(self) -> Header:
        """Its header section.

        Raises:
            MessageLimitError: It is beyond the limits.
        """
        header = self._header
        if header is None:
            section = self._source[self._at : self._head]
            tree = self._tree
            header = Header(section, utf8=tree.utf8, before=self._before_field, limits=tree.limits)
            self._header = header
        return header

    @property
    def content_type(self) -> Parametered:
        """Content-Type with its parameters; what stands for it where it is missing or cannot be read."""
        kind = self._type
        if kind is None:
            value = self.header.get_unfolded("Content-Type")
            kind = self._default
            if value is not None:
                kind = parse_parametered(value)
                if not _TYPE(kind.value):
                    kind = TEXT_PLAIN  # RFC 2045 §5.2
            self._type = kind
        return kind

    @property
    def media_type(self) -> str:
        """`type/subtype` in lower case."""
        return self.content_type.value

    @property
    def charset(self) -> str:
        """The charset parameter in lower case; empty where there is none."""
        return self.content_type.get("charset").lower()

    @property
    def disposition(self) -> Parametered:
        """Content-Disposition with its parameters; its value is empty where there is none."""
        found = self._disposition
        if found is None:
            found = parse_parametered(self.header.get_unfolded("Content-Disposition") or "")
            self._disposition = found
        return found

    @property
    def filename(self) -> str:
        """Name to save it under: of Content-Disposition, else of Content-Type; empty where there is none."""
        return self.disposition.get("filename") or self.content_type.get("name")

    @property
    def is_attachment(self) -> bool:
        """It has a file name, or says that it is one, or something unknown (RFC 2183 §2.8)."""
        return self.disposition.value not in ("", "inline") or bool(self.filename)

    @property
    def transfer_encoding(self) -> str:
        """Content-Transfer-Encoding in lower case; empty where there is none."""
        return parse_parametered(self.header.get_unfolded("Content-Transfer-Encoding") or "").value

    @property
    def is_multipart(self) -> bool:
        """Its type is a multipart, whatever is in it."""
        return self.content_type.value.startswith("multipart/")

    @property
    def is_container(self) -> bool:
        """It may have children: a multipart, or a message that is not (wrongly) encoded."""
        kind = self.content_type.value
        return kind.startswith("multipart/") or (kind in MESSAGE_TYPES and self.transfer_encoding in IDENTITY)

    def _before_field(self, name: str) -> None:
        """A field of this name, in lower case, is about to change; what was read from it is forgotten."""
        if name in ("content-type", "content-transfer-encoding"):
            self._type = None
        elif name == "content-disposition":
            self._disposition = None


def find_body(source: bytes, at: int, end: int, *, is_strict: bool) -> tuple[int, int]:
    """Where the header section of a part ends and where its body begins.

    Args:
        source: Octets that hold it.
        at: Its start.
        end: Its end.
        is_strict: What does not begin with a field has no header section.
    """
    if source.startswith(b"\r\n", at, end):
        return at, at + 2
    if is_strict and not begins_field(source, at, end):
        return at, at
    found = source.find(b"\r\n\r\n", at, end)
    if found < 0:
        return end, end
    return found + 2, found + 4
