"""A call that waits, as something to await or to let go of."""

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


def let_go(pending: object) -> None:
    """Nobody will await it: a coroutine is closed, a future or task is cancelled."""
    end = getattr(pending, "close", None) or getattr(pending, "cancel", None)
    if end is not None:
        end()


class Waiting(Awaitable[Any]):
    """The rest of a call.

    Args:
        rest: Goes on with the call once `pending` is there.
        pending: What it waits for first.
    """

    __slots__ = ("_is_begun", "_pending", "_rest")

    def __init__(self, rest: Coroutine[Any, Any, Any], pending: Awaitable[Any]) -> None:
        self._rest = rest
        self._pending = pending
        self._is_begun = False

    def __await__(self) -> Generator[Any, Any, Any]:
        self._is_begun = True
        return self._rest.__await__()

    def close(self) -> None:
        """It will not be awaited."""
        self._rest.close()
        if not self._is_begun:
            let_go(self._pending)
