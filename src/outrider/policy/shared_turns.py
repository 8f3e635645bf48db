"""Rounds of binding groups that all workers of a node share.

In: a group's name, and what makes the next turn of a turn. Out: nothing; the turn is a shared number
(`policy.shared`), which one worker at a time changes.

Theory: with a round in each worker, a member may be ahead of another one by a message for each worker, and by
one more after each reload. The shared number costs 3.5 µs for each choice (measured).

Where the numbers cannot be had, as when there is no room for one more, a worker goes on with a round of its
own, and the log says so once.
"""

from collections.abc import Callable

from outrider.base.errors import StoreError, UnavailableError
from outrider.base.log import Log
from outrider.policy.bindings import OwnTurns
from outrider.policy.shared import SharedCells


class SharedTurns:
    """`bindings.Turns` of all workers.

    Args:
        cells: Gives the numbers that all workers share.
        wall: Unix seconds.
        log: Server log.
    """

    __slots__ = ("_cells", "_is_apart", "_keys", "_log", "_own", "_wall")

    def __init__(self, cells: Callable[[], SharedCells], wall: Callable[[], float], log: Log) -> None:
        self._cells = cells
        self._wall = wall
        self._log = log
        self._keys: dict[str, bytes] = {}
        self._own = OwnTurns()
        self._is_apart = False

    def take(self, group: str, step: Callable[[int], int]) -> None:
        try:
            cells = self._cells()
            key = self._keys.get(group)
            if key is None:
                key = self._keys[group] = cells.key(b"binding group", group.encode())
            cells.change(key, step, self._wall())
            self._is_apart = False
        except (StoreError, UnavailableError) as error:
            if not self._is_apart:
                self._log.warning("bindings.turns_apart", group=group, reason=error.message)
                self._is_apart = True
            self._own.take(group, step)
