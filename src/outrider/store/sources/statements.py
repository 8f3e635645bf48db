"""Connections that prepare statements, and those of each by their text; the least recently used go first."""

from collections import OrderedDict
from typing import Any, Final, Generic, NamedTuple, TypeVar

S = TypeVar("S")

STATEMENTS_MAX: Final = 100
# chosen, as asyncpg keeps for itself; each takes memory at the server


class Statements(Generic[S]):
    """See the module."""

    __slots__ = ("_statements",)

    def __init__(self) -> None:
        self._statements: OrderedDict[str, S] = OrderedDict()

    def find(self, text: str) -> S | None:
        """The statement, when it was prepared already."""
        found = self._statements.get(text)
        if found is not None:
            self._statements.move_to_end(text)
        return found

    def keep(self, text: str, statement: S) -> S | None:
        """Keep a statement; returns the one that had to go for it."""
        self._statements[text] = statement
        return self._statements.popitem(last=False)[1] if len(self._statements) > STATEMENTS_MAX else None


class PreparingConnection(NamedTuple):
    """A driver's connection and its statements."""

    client: Any
    statements: Statements[Any]
