"""One finding of the doctor, and what many of them mean together."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec


class Level(StrEnum):
    """How bad it is, from good to bad."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Finding(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        check: Name of the check, `area.what`.
        level: How bad it is. A fault costs mail or safety now; a warning will.
        what: What was found, with its numbers.
        mend: What to do about it; empty when nothing is to do.
    """

    check: str
    level: Level
    what: str
    mend: str = ""


def good(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.GOOD, what)


def note(check: str, what: str, mend: str = "") -> Finding:
    """Nothing is wrong, but worth knowing."""
    return Finding(check, Level.NOTE, what, mend)


def warning(check: str, what: str, mend: str) -> Finding:
    """It will cost something."""
    return Finding(check, Level.WARNING, what, mend)


def fault(check: str, what: str, mend: str) -> Finding:
    """It costs mail or safety now."""
    return Finding(check, Level.FAULT, what, mend)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of all findings."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.GOOD)


def as_data(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings for machines."""
    found = list(findings)
    return {
        "worst": worst(found).value,
        "ok": worst(found) is not Level.FAULT,
        "findings": [msgspec.to_builtins(finding) for finding in found],
    }
