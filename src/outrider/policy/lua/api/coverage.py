"""What of Momentum's API there is: a row for each function, with its phases.

In: the rows of the parts. Out: the rows of all, for the manual, the tests and the checks of calls.

Theory: one row serves three readers. The manual prints it; whoever registers a function takes the phases in
which it may be called from it; and the tests call each function that "works" in each of its phases and see it
refused in the others. So a function that nobody tests cannot be printed as one that works.

Not here: how a function works.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outrider.model.hooks import HookPhase

LOAD: Final = "load"
"""While scripts are loaded: top level, `init`; and in functions that run outside of any session."""


class Status(StrEnum):
    """How much of a function there is."""

    WORKS = "works"
    PARTLY = "partly"
    NOT_CARRIED_OVER = "not carried over"


@dataclass(frozen=True, slots=True)
class Row:
    """One function or method.

    Attributes:
        name: As scripts write it: `msys.db.query`, `msg:header`.
        section: Of the manual's page.
        phases: Where it may be called; names of phases, and `LOAD`.
        status: How much of it there is.
        note: How it differs, or why it is not there; empty for one that works as Momentum's does.
    """

    name: str
    section: str
    phases: frozenset[str]
    status: Status = Status.WORKS
    note: str = ""


BODY: Final = frozenset({HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN, HookPhase.EACH_RCPT})
BIND: Final = frozenset({HookPhase.SET_BINDING})
FINAL: Final = frozenset({HookPhase.FINAL_VALIDATION})
OUT: Final = frozenset({HookPhase.OUTBOUND})
RCPTTO: Final = frozenset({HookPhase.RCPTTO})
SESSION: Final = frozenset(HookPhase)
ANY: Final = frozenset({*HookPhase, LOAD})
AT_LOAD: Final = frozenset({LOAD})


def by_name(rows: Iterable[Row]) -> Mapping[str, Row]:
    """Rows by their names. Raises ValueError: two have the same."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.name in found:
            raise ValueError(f"{row.name} has two rows")
        found[row.name] = row
    return found
