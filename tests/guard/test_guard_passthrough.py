"""The guard that keeps its place."""

from outrider.base.ids import MessageId
from outrider.guard.passthrough import PassthroughGuard
from outrider.model.changes import Stored
from outrider.model.flow import Content, Origin, Traits
from outrider.model.ports import Guard


def test_it_clears_everything_unchanged() -> None:
    guard: Guard = PassthroughGuard()
    origin = Origin("test", "ESMTP", "127.0.0.1", "me.test", None, None)
    stored = Stored(MessageId("0" * 18), 7, 0.0, origin, None, (), None, None, False, 0, 4, 8)
    content = Content(b"X: y\r\n\r\n", Traits.NONE, 6)
    entries = [7, 8]
    assert guard.clear(stored, entries, content) == (entries, content)
