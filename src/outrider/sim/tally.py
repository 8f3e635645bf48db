"""What a load generator heard, and the journal that outlives it.

In: one call per message. Out: counts, percentiles, and a file with one line per (message, recipient).

Theory: three ends of a message are possible. *Acknowledged*: a 250 or 202 was read, so the server owes it.
*Refused*: a negative reply was read, so it must never arrive. *Unknown*: the connection died between the end
of the content and the reply, so it may arrive or not.
"""

import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

Fate = Literal["acknowledged", "refused", "unknown"]
_SAMPLES = 100_000  # chosen, because the 99.9th percentile then rests on a hundred values
_MARKS: dict[Fate, str] = {"acknowledged": "A", "refused": "R", "unknown": "U"}
_FATES: dict[str, Fate] = {mark: fate for fate, mark in _MARKS.items()}


class Journal:
    """A file to which each fate is written at once; `sync` makes it survive the machine."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, fate: Fate, number: str, recipients: Iterable[str]) -> None:
        """Lines `A|R|U`, number, recipient with tabs between, in one write that survives this process."""
        lines = "".join(f"{_MARKS[fate]}\t{number}\t{recipient}\n" for recipient in recipients)
        os.write(self._descriptor, lines.encode())

    def sync(self) -> None:
        """Wait until all that was written is on disk; call it from a thread."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Sync and close."""
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)


def read_journal(path: Path) -> dict[Fate, Counter[tuple[str, str]]]:
    """Fate → (number, recipient) → how often it was written; a torn last line is left out."""
    found: dict[Fate, Counter[tuple[str, str]]] = {fate: Counter() for fate in _MARKS}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        mark, _, rest = line.partition("\t")
        number, _, recipient = rest.partition("\t")
        if recipient.endswith("\n") and mark in _FATES:
            found[_FATES[mark]][number, recipient[:-1]] += 1
    return found


class Tally:
    """Running counts of one load.

    Args:
        journal: Where each fate is written.
        remember: Keep each (number, recipient), and what was acknowledged by domain.
    """

    def __init__(self, journal: Journal | None = None, *, remember: bool = False) -> None:
        self.messages: Counter[Fate] = Counter()
        self.recipients: Counter[Fate] = Counter()
        self.replies: Counter[int] = Counter()
        self.connections = 0
        self.connect_failures = 0
        self.connections_lost = 0
        self.resent = 0
        self.last_reply = ""
        self.remembered: dict[tuple[str, str], Fate] | None = {} if remember else None
        self.acknowledged_by_domain: Counter[str] = Counter()
        self._journal = journal
        self._latencies: list[float] = []
        self._measured = 0
        self._chance = random.Random(1)  # noqa: S311 - which samples are kept is no secret

    def fate(self, fate: Fate, number: str, recipients: Sequence[str]) -> None:
        """The end of a message for some of its recipients."""
        self.recipients[fate] += len(recipients)
        if self.remembered is not None:
            for recipient in recipients:
                self.remembered[number, recipient] = fate
                if fate == "acknowledged":
                    self.acknowledged_by_domain[recipient.rpartition("@")[2]] += 1
        if self._journal:
            self._journal.write(fate, number, recipients)

    def latency(self, seconds: float) -> None:
        """How long an acknowledged message took, from its first command to its reply."""
        self._measured += 1
        if len(self._latencies) < _SAMPLES:
            self._latencies.append(seconds)
        elif (place := self._chance.randrange(self._measured)) < _SAMPLES:
            self._latencies[place] = seconds

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latencies, in milliseconds; 0 when there are none."""
        if not self._latencies:
            return 0.0
        ordered = sorted(self._latencies)
        place = min(len(ordered) - 1, int(len(ordered) * percent / 100))
        return round(ordered[place] * 1000, 3)

    def report(self, seconds: float) -> dict[str, Any]:
        """All of it, ready for JSON."""
        acknowledged = self.messages["acknowledged"]
        return {
            "seconds": round(seconds, 3),
            "messages": {fate: self.messages[fate] for fate in _MARKS},
            "recipients": {fate: self.recipients[fate] for fate in _MARKS},
            "per_second": round(acknowledged / seconds, 1) if seconds > 0 else 0.0,
            "latency_ms": {
                f"p{name}": self.percentile_ms(float(name)) for name in ("50", "90", "99", "99.9")
            },
            "replies": {str(code): count for code, count in sorted(self.replies.items())},
            "connections": self.connections,
            "connect_failures": self.connect_failures,
            "connections_lost": self.connections_lost,
            "resent": self.resent,
            "last_reply": self.last_reply,
        }
