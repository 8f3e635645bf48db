"""A long content, in the blocks that it came in: its header section can be judged before anything is joined.

Theory: `bytes.join` is the one copy that lets other threads go on meanwhile (see `base.long_octets`), so
whoever has to answer others joins in a thread, once, with what is put before the content.

Invariant: `joined` is what the blocks and the head are in their order, and nothing else.
"""

from typing import NamedTuple

from outrider.model.flow import Content


class LongContent(NamedTuple):
    """See the module.

    Attributes:
        head: The header section as a content of its own, with the traits of the whole; its `wire` is cut off
            where the header section is longer than `LONG_OCTETS`, its `header_octets` is true all the same.
        rest: What follows `head.wire`.
        size: Octets of all.
    """

    head: Content
    rest: tuple[bytes, ...]
    size: int

    def joined(self) -> Content:
        """The content in one piece; to be called in a thread."""
        head = self.head
        return Content(b"".join((head.wire, *self.rest)), head.traits, head.header_octets)
