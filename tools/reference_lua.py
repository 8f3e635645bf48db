"""The page of Momentum's functions for scripts in Lua: which there are, where, and what differs."""

from collections.abc import Iterator

from outrider.model.hooks import HookPhase
from outrider.policy.lua.api.coverage import ANY, LOAD, Row, Status
from outrider.policy.lua.api.coverage_hooks import HOOK_ROWS
from outrider.policy.lua.api.packages import ROWS

INTRODUCTION = (
    "Scripts written for Momentum call these functions. *works*: as Momentum's manual describes it, and a",
    "test calls it from Lua in each phase in which it is permitted and sees it refused in the others;",
    "*partly*: what differs is said; *not carried over*: why, and what there is instead. A function that is",
    "not carried over is there all the same: scripts that mention it load, and its call raises an error that",
    "says so, or gives the answer that is noted. A hook that is never asked keeps no script from being",
    "loaded.",
)


_OBJECTS = {"vctx", "ac", "msgpart", "msys"}


def phases(row: Row) -> str:
    """Where a function may be called, in words."""
    if row.phases == ANY:
        return "any"
    if row.phases == frozenset(HookPhase):
        return "any hook"
    return ", ".join(
        "load" if each == LOAD else str(each) for each in (*HookPhase, LOAD) if each in row.phases
    )


def sections() -> dict[str, list[Row]]:
    """Rows by the section's title, in the order of the table."""
    found: dict[str, list[Row]] = {}
    for row in (*ROWS.values(), *HOOK_ROWS):
        is_code = "." in row.section or row.section in _OBJECTS
        title = f"`{row.section}`" if is_code else row.section[0].upper() + row.section[1:]
        found.setdefault(title, []).append(row)
    return found


def counts() -> Iterator[tuple[object, ...]]:
    """How many functions and hooks have each status."""
    for status in Status:
        functions = sum(row.status is status for row in ROWS.values())
        yield status.value, functions, sum(row.status is status for row in HOOK_ROWS)
