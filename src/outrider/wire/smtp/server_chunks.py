"""The chunk of a BDAT command that is on its way to the server machine.

Theory: the octets that follow BDAT come in any case, also those of a chunk that is refused: they are counted
off, thrown away, and the refusal is the answer to the whole chunk.

Standards: RFC 3030 §2 (BDAT).
"""

from outrider.model.reply import Reply


class Chunk:
    """See the module.

    Attributes:
        left: Octets still to come.
        last: It ends the message.
        refusal: What its end is answered with, or None.
    """

    __slots__ = ("last", "left", "refusal")

    def __init__(self, size: int, *, last: bool, refusal: Reply | None) -> None:
        self.left = size
        self.last = last
        self.refusal = refusal
