"""What policy was asked about the first entries of a slot's backlog, and what it said.

In: recipients of one message that are about to go. Out: those that stay, and the content that each of the
others gets.

Theory: the entries stay in the backlog while policy is asked, so a connection that ends gives them back as
all others. Those that get one and the same content go in one transaction; who gets his own goes alone.

Invariant: an answer is used once: what was sent, or stayed, is forgotten here, so that an entry which comes
again is asked about again.
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

from outrider.deliver.ports import Departures
from outrider.deliver.smtp import failures
from outrider.model.dispatch import Granted
from outrider.model.flow import Content
from outrider.model.way_out import Departure, Leaving, Stay

_FAILED = Stay(failures.INTERNAL)
# what was to answer did not: a failure of ours, after which it is tried again


class Asked:
    """See the module.

    Args:
        leaving: The recipients.
        departures: Who answers.
    """

    __slots__ = ("_goes", "_left", "_waiting", "leaving")

    def __init__(self, leaving: Leaving, departures: Departures) -> None:
        self.leaving = leaving
        self._goes: dict[int, Content] = {}
        self._left = {granted.entry for granted in leaving.group}
        answer = departures.ask(leaving)
        self._waiting: Future[Sequence[Departure]] | Sequence[Departure] | None = answer

    @property
    def is_done(self) -> bool:
        """Policy has answered."""
        waiting = self._waiting
        return not isinstance(waiting, Future) or waiting.done()

    @property
    def may_go(self) -> bool:
        """Somebody is left who may go; until the answer was looked at, that is to be seen."""
        return bool(self._goes)

    def when_done(self, call: Callable[["Future[Any]"], None]) -> None:
        """Call once policy has answered."""
        if isinstance(self._waiting, Future):
            self._waiting.add_done_callback(call)

    def is_about(self, granted: Granted) -> bool:
        """It was asked about this entry, and the answer is not used yet."""
        return granted.entry in self._left

    def take_stays(self) -> list[tuple[Granted, Stay]]:
        """Those that stay, once; the others may go from now on."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return []
        group = self.leaving.group
        stays: list[tuple[Granted, Stay]] = []
        for granted, departure in zip(group, _answers(waiting, len(group)), strict=True):
            if isinstance(departure, Stay):
                stays.append((granted, departure))
                self._left.discard(granted.entry)
            else:
                self._goes[granted.entry] = departure
        return stays

    def are_alike(self, one: Granted, other: Granted) -> bool:
        """Both get the same content, so they may go in one transaction."""
        return self._goes.get(one.entry) is self._goes.get(other.entry)

    def content_of(self, granted: Granted) -> Content:
        """What it gets."""
        return self._goes[granted.entry]

    def gone(self, group: Sequence[Granted]) -> None:
        """These are under way, or were held by the guard."""
        for granted in group:
            self._goes.pop(granted.entry, None)
            self._left.discard(granted.entry)

    def give_up(self) -> None:
        """Nobody waits for the answer any more."""
        if isinstance(self._waiting, Future):
            self._waiting.cancel()


def _answers(waiting: "Future[Sequence[Departure]] | Sequence[Departure]", count: int) -> Sequence[Departure]:
    if not isinstance(waiting, Future):
        return waiting
    if waiting.cancelled() or waiting.exception() is not None:
        return [_FAILED] * count
    return waiting.result()
