"""A guard that keeps its place and refuses nothing.

Takes what is about to be sent to some recipients of a message, gives back the same.
"""

from collections.abc import Sequence

from outrider.model.changes import Stored
from outrider.model.flow import Content


class PassthroughGuard:
    """Implements `model.ports.Guard`."""

    __slots__ = ()

    def clear(
        self,
        stored: Stored,  # noqa: ARG002 - the port's shape
        entries: Sequence[int],
        content: Content,
    ) -> tuple[Sequence[int], Content]:
        return entries, content
