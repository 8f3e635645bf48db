"""The parts of a message as a tree that is made as far as it is asked for.

In: octets of a message or a part (CRLF line ends, dots not stuffed). Out: parts with header, type, decoded
content and children, which can be changed, moved, added and taken out; and the octets again, in which every
part that was not changed is as it came.

Theory: a part is a window on the octets it was found in. Its header is read when it is asked for and its
children are found when they are, so a look at the first part of a large message costs a few searches.
Siblings are linked, so walking and editing cost the same at any number of parts. What is written anew is
the part that was changed, and around it, in each multipart that holds it, the windows of its siblings with
the delimiter lines that they had. A boundary that stands in what was added is replaced.

What is malformed has one reading: a multipart without a boundary, or none of whose delimiters is found, has
no children and its content is its preamble; without end boundary the last part goes to the end.

Invariant: `octets()` of an unchanged part is the window itself; after any edits, reading `octets()` again
gives the tree with the values that were set; reading costs time linear in the octets for each level of
nesting, and both are bounded by `MessageLimits`.

Standards: RFC 2046 §5.1 (multipart), RFC 2046 §5.1.5 (digest), RFC 2046 §5.2.1 (message/rfc822).
Not here: what a part says of itself (described), its text (content), making one (makers), the whole message
in wire form (editable).
"""

from collections.abc import Iterator
from typing import Final

from outrider.wire.headers import FieldError
from outrider.wire.message.delimiters import (
    BOUNDARY_OCTETS,
    Delimiter,
    choose_boundary,
    find_delimiters,
    holds_delimiter,
)
from outrider.wire.message.described import MESSAGE_TYPES, RFC822, TEXT_PLAIN, Described, Tree, find_body
from outrider.wire.message.header import Header
from outrider.wire.message.limits import DEFAULT, EditError, MessageLimitError, MessageLimits, check_lines
from outrider.wire.message.parameters import Parametered, format_parametered, writable

_LEAF: Final = ("", b"")
_MESSAGE: Final = ("message", b"")
# What a part has: nothing, a message, or the parts between lines of a boundary


class Part(Described):
    """One part, or a whole message; made by `read_part` and by `makers`.

    Attributes:
        parent: The part that holds it, or None.
        previous: The part before it under the same parent, or None.
        next: The part behind it under the same parent, or None.
    """

    __slots__ = (
        *("_begin", "_body", "_closing", "_end", "_first", "_last", "_lead", "_lines", "_preamble", "_shape"),
        *("_is_changed", "_is_edited", "_is_parted", "_is_rebuilt", "_is_replaced", "_is_restructured"),
        *("_is_retyped", "next", "parent", "previous"),
    )

    def __init__(
        self, source: bytes, at: int, head: int, body: int, end: int, tree: Tree, default: Parametered
    ) -> None:
        super().__init__(source, at, head, tree, default)
        # With these two: the window, which is the whole part, with its body from `body` to `end`.
        self._body = body
        self._end = end
        self._is_edited = False  # header or body are no longer those of the window
        self._is_replaced = False  # the window is not the one that it came with
        self._is_rebuilt = False  # the body is that of the children now
        self._is_restructured = False  # there are others than there were, or in another order
        self._is_changed = False  # anything of these, here or below, or moved here
        # Of a container:
        self._is_parted = False  # its children have been found
        self._is_retyped = False  # its header may say now that it has others
        self._shape = _LEAF  # what it was when they were found
        self._lines = b""  # boundary of the delimiter lines in `_source`
        self._preamble = body  # index in `_source` behind the preamble
        self._closing = end  # index in `_source` of the end boundary's line; `_end` where there is none
        self._first: Part | None = None
        self._last: Part | None = None
        # Of a child: its delimiter line in the parent's source, and -1 where it has none yet.
        self._lead = -1
        self._begin = -1
        self.parent: Part | None = None
        self.previous: Part | None = None
        self.next: Part | None = None

    # Its octets.

    @property
    def is_changed(self) -> bool:
        """It, or something below it, is not as it came."""
        return self._is_edited or self._is_rebuilt or self._is_changed

    @property
    def has_own_body(self) -> bool:
        """Its body is still the window; its header may have changed."""
        self._settle()
        return not self._is_rebuilt and not self._is_replaced

    def octets(self) -> bytes:
        """The whole part: header section, empty line, body."""
        if not self._is_edited and not self._is_rebuilt:
            return self._source[self._at : self._end]
        body = self.body()  # may give the header another boundary
        return b"%s\r\n%s" % (self.header.octets(), body)

    def body(self) -> bytes:
        """All behind the header section and the empty line, transfer encoding untouched."""
        self._settle()
        if self._is_rebuilt:
            return self._rebuilt()
        return self._source[self._body : self._end]

    # The tree.

    @property
    def first_child(self) -> "Part | None":
        """The first of its children; None for a leaf, or a container in which none was found."""
        self._find_children()
        return self._first

    @property
    def last_child(self) -> "Part | None":
        """The last of its children."""
        self._find_children()
        return self._last

    @property
    def children(self) -> "list[Part]":
        """Its children in order.

        Raises:
            MessageLimitError: The message has more parts, or levels, than the limits allow.
        """
        found = []
        child = self.first_child
        while child is not None:
            found.append(child)
            child = child.next
        return found

    @property
    def preamble(self) -> bytes:
        """What stands before the first part of a multipart; its whole content where no part was found."""
        self._find_children()
        return self._source[self._body : self._preamble]

    @property
    def epilogue(self) -> bytes:
        """What stands behind the line that ends a multipart."""
        self._find_children()
        line_end = self._source.find(b"\r\n", self._closing, self._end)
        return b"" if line_end < 0 else self._source[line_end + 2 : self._end]

    @property
    def following(self) -> "Part | None":
        """The next part of the whole tree, in the order of the message; None at its end."""
        child = self.first_child
        part: Part | None = self
        while child is None and part is not None:
            child = part.next
            part = part.parent
        return child

    def walk(self) -> "Iterator[Part]":
        """This part and all below it, in the order of the message."""
        yield self
        stack = [self.first_child]
        while stack:
            part = stack.pop()
            if part is not None:
                yield part
                stack += (part.next, part.first_child)

    # Changes.

    def set_body(self, octets: bytes) -> None:
        """Give it another body, which is taken as it is, in its transfer encoding; its children are gone.

        Raises:
            EditError: It holds a NUL, a bare CR or a bare LF.
        """
        self._may_change()
        check_lines(octets, "the body")
        _ = self.header  # which is read before its octets are gone
        self._replace_body(octets)
        self._is_edited = True

    def set_octets(self, octets: bytes) -> None:
        """Make it another part altogether, read anew from `octets`; its children are gone.

        Raises:
            EditError: They hold a NUL, a bare CR or a bare LF.
        """
        self._may_change()
        check_lines(octets, "the part")
        head, body = find_body(octets, 0, len(octets), is_strict=self.parent is not None)
        self._replace_body(octets)
        self._at, self._head, self._body, self._preamble = 0, head, body, body
        self._header = self._type = self._disposition = None
        self._is_edited = False

    def set_content_type(self, kind: Parametered) -> None:
        """Change Content-Type, in its place; it has a MIME-Version beside it where that belongs.

        A multipart that stays one keeps its children, and its boundary if `kind` names none. (A field that is
        written into `header` changes nothing else: the body is read anew as what it says.)

        Raises:
            FieldError: It cannot be written.
        """
        if "/" not in kind.value:
            raise FieldError("Content-Type", "is not a media type such as text/plain")
        keeps = kind.value.startswith("multipart/") and self.is_multipart and self.first_child is not None
        if keeps and not kind.get("boundary"):
            own = self.content_type.get("boundary")
            # One that no multipart may have gives way to a new one when the octets are asked for.
            kind = kind.with_parameter("boundary", own if len(own) <= BOUNDARY_OCTETS else "")
        self.header.set("Content-Type", format_parametered(kind, "Content-Type"))
        if keeps:
            self._keep_children()
        self.require_mime_version()

    def set_transfer_encoding(self, encoding: str) -> None:
        """Change what Content-Transfer-Encoding says; the body is left as it is."""
        if encoding != self.transfer_encoding:
            self.header.set("Content-Transfer-Encoding", encoding)

    def allow_eight_bits(self) -> None:
        """Have the containers of an 8bit part, where they say 7bit, say 8bit too (RFC 2045 §6.4)."""
        above = self.parent
        while above is not None:
            if above.transfer_encoding in ("", "7bit"):
                above.set_transfer_encoding("8bit")
            above = above.parent

    def require_mime_version(self) -> None:
        """Give a message MIME-Version if it has none (RFC 2045 §4); other parts need none."""
        if (
            self.parent is None or self.parent.media_type in MESSAGE_TYPES
        ) and "mime-version" not in self.header:
            self.header.append("MIME-Version", "1.0")

    def add_first(self, child: "Part") -> bool:
        """Put `child` before all children; False where this is no multipart.

        Raises:
            EditError: It is this part, or holds it.
            MessageLimitError: The tree would have too many parts or levels.
        """
        return self._link(child, None, is_before=True)

    def add_last(self, child: "Part") -> bool:
        """Put `child` behind all children; as `add_first`."""
        return self._link(child, None, is_before=False)

    def insert_before(self, other: "Part") -> bool:
        """Put this part before `other`; False where that stands in no multipart."""
        return other.parent is not None and other.parent._link(self, other, is_before=True)

    def insert_after(self, other: "Part") -> bool:
        """Put this part behind `other`; False where that stands in no multipart."""
        return other.parent is not None and other.parent._link(self, other, is_before=False)

    def replace_with(self, other: "Part") -> bool:
        """Put `other` in this part's place; False where this stands in no multipart."""
        if self is other or not other.insert_after(self):
            return False
        self.unlink()
        return True

    def unlink(self) -> None:
        """Take it, with all below it, out of its tree; it can be put somewhere else."""
        self._may_change()
        if self.parent is not None:
            self.parent._find_children()
        parent = self.parent
        if parent is None:
            return
        parent._restructure()
        parent._join(self.previous, self.next)
        self._leave()
        if parent._shape is _MESSAGE:
            parent.set_body(b"")

    # Inside.

    def _may_change(self) -> None:
        if self._tree.refuse is not None:
            self._tree.refuse()

    def _leave(self) -> None:
        """Belong to a tree of its own; the neighbours know already."""
        self.parent = self.previous = self.next = None
        old = self._tree
        new = Tree(old.limits, utf8=old.utf8)
        new.parts = self._move(new)
        old.parts -= new.parts

    def _link(self, child: "Part", other: "Part | None", *, is_before: bool) -> bool:
        """Put `child` beside `other`, or without it at the beginning or end."""
        self._may_change()
        if not self.is_multipart or child is other:
            return False
        self._find_children()
        self._check_place(child)
        count = child._move(child._tree)
        if child._tree is not self._tree:
            self._tree.check(count)
        default = _default_of(self._shape)
        child._have_default(default)
        if child.parent is not None:
            child.unlink()
        if other is None:
            before, behind = (None, self._first) if is_before else (self._last, None)
        else:
            before, behind = (other.previous, other) if is_before else (other, other.next)
        self._tree.add(child._move(self._tree))
        self._restructure()
        child.parent = self
        self._join(before, child)
        self._join(child, behind)
        child._lead = child._begin = -1
        child._is_changed = True
        if child.transfer_encoding == "8bit":
            child.allow_eight_bits()
        return True

    def _join(self, before: "Part | None", behind: "Part | None") -> None:
        """Have these children stand side by side; None is what there is beyond the first and the last."""
        if before is None:
            self._first = behind
        else:
            before.next = behind
        if behind is None:
            self._last = before
        else:
            behind.previous = before

    def _have_default(self, default: Parametered) -> None:
        """Be what it is where another type stands for a missing one."""
        if self._default is not default:
            if "content-type" not in self.header:
                self.header.append("Content-Type", self._default.value)
            self._default = default

    def _check_place(self, child: "Part") -> None:
        """Raises if `child` holds this part, or the tree would get too deep."""
        depth = 1
        part: Part | None = self
        while part is not None:
            if part is child:
                raise EditError("a part cannot be put into itself")
            depth += 1
            part = part.parent
        if depth - 1 + child._height() > self._tree.limits.depth:
            raise MessageLimitError("depth", self._tree.limits.depth)

    def _height(self) -> int:
        """Levels of what has been found of it."""
        height = 0
        level = [self]
        while level:
            height += 1
            level = [child for part in level for child in part._known_children()]
        return height

    def _known_children(self) -> "Iterator[Part]":
        child = self._first
        while child is not None:
            yield child
            child = child.next

    def _move(self, tree: Tree) -> int:
        """Have it and what has been found below it belong to `tree`; returns how many they are."""
        count = 0
        stack = [self]
        while stack:
            part = stack.pop()
            count += 1
            part._tree = tree
            stack += part._known_children()
        return count

    def _find_children(self) -> None:
        self._settle()
        if self._is_parted:
            return
        shape = self._shape_now()
        if shape is _MESSAGE:
            self._adopt([self._window_at(-1, self._body, self._end, TEXT_PLAIN)])
        elif shape is not _LEAF:
            self._lines = shape[1]
            self._preamble = self._end
            if self._lines:
                self._cut(_default_of(shape))
        self._shape = shape
        self._is_parted = True

    def _shape_now(self) -> tuple[str, bytes]:
        """What its header says of its children."""
        kind = self.content_type
        if kind.value.startswith("multipart/"):
            name = "digest" if kind.value == "multipart/digest" else "multipart"
            return name, kind.get("boundary").encode("utf-8", "replace")
        return _MESSAGE if self.is_container else _LEAF

    def _settle(self) -> None:
        """If its header has come to say something else of its children, have them found anew."""
        if not self._is_retyped:
            return
        self._is_retyped = False
        if self._is_parted and self._shape_now() != self._shape:
            self._replace_body(self._rebuilt() if self._is_rebuilt else None)

    def _keep_children(self) -> None:
        """Its header has another type, under which it has the same children."""
        self._is_retyped = False
        shape = self._shape_now()
        if shape == self._shape:
            return
        self._shape = shape
        for child in self._known_children():
            child._have_default(_default_of(shape))
        self._is_rebuilt = True
        self._touch()

    def _cut(self, default: Parametered) -> None:
        source, end = self._source, self._end
        most = self._tree.limits.parts - self._tree.parts
        children: list[Part] = []
        open_line: Delimiter | None = None
        preamble, closing = -1, end
        for line in find_delimiters(source, self._body, end, self._lines):
            if open_line is None:
                preamble = line.start
            else:
                children.append(
                    self._window_at(
                        open_line.start, open_line.end, max(open_line.end, line.start - 2), default
                    )
                )
            if len(children) > most:
                raise MessageLimitError("parts", self._tree.limits.parts)
            open_line = line
        if open_line is None:
            return
        if open_line.is_close:
            closing = open_line.start
        else:
            children.append(self._window_at(open_line.start, open_line.end, end, default))
        self._adopt(children)
        self._preamble, self._closing = preamble, closing

    def _window_at(self, lead: int, at: int, end: int, default: Parametered) -> "Part":
        head, body = find_body(self._source, at, end, is_strict=True)
        part = Part(self._source, at, head, body, end, self._tree, default)
        part._lead, part._begin = lead, at
        part.parent = self
        return part

    def _adopt(self, children: "list[Part]") -> None:
        """Take the children that were found; nothing changes if they are too many or too deep."""
        depth = 2
        part = self.parent
        while part is not None:
            depth += 1
            part = part.parent
        if depth > self._tree.limits.depth and children:
            raise MessageLimitError("depth", self._tree.limits.depth)
        self._tree.add(len(children))
        before: Part | None = None
        for child in children:
            self._join(before, child)
            before = child
        self._join(before, None)

    def _before_field(self, name: str) -> None:
        """The header is about to change; what was read from it is forgotten."""
        self._may_change()
        if name in ("content-type", "content-transfer-encoding"):
            self._settle()
            self._is_retyped = True
        super()._before_field(name)
        self._is_edited = True
        self._touch()

    def _touch(self) -> None:
        """It is not as it came; neither are those that hold it."""
        self._is_changed = True
        part = self.parent
        while part is not None and not part._is_rebuilt:
            part._is_rebuilt = part._is_changed = True
            part = part.parent

    def _restructure(self) -> None:
        self._is_rebuilt = self._is_restructured = True
        self._touch()

    def _replace_body(self, octets: bytes | None) -> None:
        """Have this body, or the same as before, and no children yet."""
        for child in list(self._known_children()):
            child._leave()
        self._first = self._last = None
        self._is_parted = self._is_retyped = self._is_rebuilt = self._is_restructured = False
        self._shape = _LEAF
        if octets is not None:
            self._is_replaced = True
            self._source = octets
            self._body = 0
            self._end = len(octets)
        self._preamble = self._body
        self._closing = self._end
        self._touch()

    def _rebuilt(self) -> bytes:
        """The body out of the children."""
        if self._shape is _MESSAGE and self._first is not None:
            return self._first.octets()
        pieces: list[tuple[Part, bytes]] = []
        boundary = self._shape[1]
        preamble = self._source[self._body : self._preamble]
        is_fresh = boundary != self._lines  # then what is old may hold it too
        is_safe = bool(boundary) and not (is_fresh and holds_delimiter(preamble, boundary))
        for child in self._known_children():
            octets = child.octets()
            pieces.append((child, octets))
            if is_safe and (is_fresh or child.is_changed):
                is_safe = not holds_delimiter(octets, boundary)
        if not is_safe and self._shape == self._shape_now():
            chosen = choose_boundary([preamble, *(octets for _, octets in pieces)])
            kind = writable(self.content_type, "multipart/mixed")
            self.set_content_type(kind.with_parameter("boundary", chosen))
            boundary = self._shape[1]
        return self._assembled(pieces, preamble, boundary)

    def _assembled(self, pieces: "list[tuple[Part, bytes]]", preamble: bytes, boundary: bytes) -> bytes:
        source = self._source
        has_own_lines = boundary == self._lines
        out = [preamble]
        if preamble and preamble[-2:] != b"\r\n":
            out.append(b"\r\n")
        line = b"--%s\r\n" % boundary
        for child, octets in pieces:
            own = has_own_lines and child._lead >= 0
            own_line = source[child._lead : child._begin]
            # The last line of all may have no end; it needs one if something follows now.
            own = own and (own_line[-2:] == b"\r\n" or not octets)
            out += (own_line if own else line, octets)
            # An empty part may share the line end of its delimiter with the next one.
            shares = own and not octets and source.startswith(line[:-2], child._begin)
            out.append(b"" if shares else b"\r\n")
        if has_own_lines and self._closing < self._end:
            out.append(source[self._closing : self._end])
        elif self._is_restructured or not has_own_lines:
            line_end = source.find(b"\r\n", self._closing, self._end)
            out.append(b"--%s--%s" % (boundary, source[line_end : self._end] if line_end >= 0 else b""))
        elif pieces:
            out.pop()  # the last part goes to the end, as it did
        return b"".join(out)


def _default_of(shape: tuple[str, bytes]) -> Parametered:
    """What a part is that does not say it, under a parent of this shape (RFC 2046 §5.1.5)."""
    return RFC822 if shape[0] == "digest" else TEXT_PLAIN


def read_part(
    octets: bytes, *, limits: MessageLimits = DEFAULT, utf8: bool = False, header: Header | None = None
) -> Part:
    """A whole message, or a part of its own, out of its octets.

    Args:
        octets: CRLF line ends, dots not stuffed.
        limits: Bounds.
        utf8: Text beyond ASCII goes into header fields as UTF-8 (RFC 6532 §3).
        header: Its header section, where that has been read already.
    """
    head, body = find_body(octets, 0, len(octets), is_strict=False)
    part = Part(octets, 0, head, body, len(octets), Tree(limits, utf8=utf8), TEXT_PLAIN)
    if header is not None:
        part._header = header
        part._is_edited = part._is_changed = header.is_changed
        header.watch(part._before_field)
    return part
